"""An environment that is nothing but a shape, for timing learners on tasks that are not built in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.team_env import TeamObs, TeamSpec, TeamStep, VectorTeamEnv


class Shape(VectorTeamEnv):
    """Zeros of the sizes asked for; every action is allowed and nothing happens."""

    def __init__(
        self, num_envs: int = 1, *, n_agents: int, n_actions: int, obs_dim: int, state_dim: int, episode_limit: int
    ) -> None:
        self.num_envs = num_envs
        self.spec = TeamSpec(
            n_agents=n_agents, n_actions=n_actions, obs_dim=obs_dim, state_dim=state_dim, episode_limit=episode_limit
        )
        self._time = np.zeros(num_envs, np.int64)

    def _obs(self) -> TeamObs:
        spec, count = self.spec, self.num_envs
        return TeamObs(
            np.zeros((count, spec.n_agents, spec.obs_dim), np.float32),
            np.zeros((count, spec.state_dim), np.float32),
            np.ones((count, spec.n_agents, spec.n_actions), bool),
        )

    def reset(self, *, seed: Any = None, mask: npt.NDArray[np.bool_] | None = None) -> TeamObs:
        self._time[slice(None) if mask is None else mask] = 0
        return self._obs()

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> TeamStep:
        self._time += 1
        nothing = np.zeros(self.num_envs, np.float32)
        return TeamStep(self._obs(), nothing, nothing.astype(bool), self._time >= self.spec.episode_limit, {})
