"""A team's spaces: as Gymnasium and RLlib see them, and as the replay stores them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.replay.fields import field_layout


def team_spaces(spec: TeamSpec) -> tuple[gym.Space, gym.Space]:
    """Observation and action space of a team, for one joint step."""
    n, a = spec.n_agents, spec.n_actions
    return (
        gym.spaces.Dict(
            {
                "obs": gym.spaces.Box(-np.inf, np.inf, (n, spec.obs_dim), np.float32),
                "state": gym.spaces.Box(-np.inf, np.inf, (spec.state_dim,), np.float32),
                "action_mask": gym.spaces.Box(0, 1, (n, a), np.int8),
            }
        ),
        gym.spaces.MultiDiscrete([a] * n),
    )


def replay_layout(spec: TeamSpec) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Of every field of an episode the shape and storage dtype of one row."""
    return field_layout(spec.n_agents, spec.n_actions, spec.obs_dim, spec.state_dim, spec.obs_dtype, spec.state_dtype)
