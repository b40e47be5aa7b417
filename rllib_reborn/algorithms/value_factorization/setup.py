"""What an algorithm makes once, before it trains: the replay, and the env runner's networks."""

from __future__ import annotations

import sys
from typing import Any

from ray.rllib.core.learner.learner_group import LearnerGroup

from rllib_reborn.algorithms.value_factorization.config import ValueFactorizationConfig
from rllib_reborn.replay import EpisodeReplay, format_bytes
from rllib_reborn.replay.memory import largest_size
from rllib_reborn.runtime.spaces import replay_layout


def make_replay(config: ValueFactorizationConfig) -> EpisodeReplay:
    """An empty replay; says how large it can become.

    Raises:
        ReplayMemoryError: This machine has not as much memory.
    """
    spec, episodes = config.team_spec, config.buffer_episodes
    layout = replay_layout(spec)
    if config.log_level != "ERROR":
        # Not logged: RLlib shows warnings and worse only, and this is none.
        size = format_bytes(largest_size(layout, episodes, spec.episode_limit))
        line = f"Replay: {episodes:,} episodes of up to {spec.episode_limit} steps, at most {size}."
        print(line, file=sys.stderr, flush=True)
    return EpisodeReplay(episodes, layout, spec.episode_limit, seed=config.seed)


def share_module(learners: LearnerGroup, env_runner: Any) -> None:
    """Where the learner is in this process, the env runner here (None: there is none) gets a copy of its networks and builds
    none."""
    if learners.is_local and env_runner is not None:
        (answer,) = learners.foreach_learner(lambda learner: learner.inference_copy())
        env_runner.module = answer.get()
