"""What an algorithm makes once, before it trains: the replay, and the env runner's networks."""

from __future__ import annotations

import logging
import sys
from typing import Any

from ray.rllib.core.learner.learner_group import LearnerGroup

from rllib_reborn.algorithms.value_factorization.config import ValueFactorizationConfig
from rllib_reborn.algorithms.value_factorization.settings import ReplayWeightingSettings
from rllib_reborn.replay import EpisodeReplay, format_bytes
from rllib_reborn.replay.age_weighting import AgeWeightedReplay
from rllib_reborn.replay.memory import largest_size
from rllib_reborn.runtime.spaces import replay_layout
from rllib_reborn.settings import parse

logger = logging.getLogger(__name__)


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
    weighting = parse(ReplayWeightingSettings, config.replay_weighting, "replay_weighting")
    if weighting.kind == "uniform":
        return EpisodeReplay(episodes, layout, spec.episode_limit, seed=config.seed)
    return AgeWeightedReplay(
        episodes,
        layout,
        spec.episode_limit,
        decay_env_steps=weighting.decay_env_steps,
        min_weight=weighting.min_weight,
        seed=config.seed,
    )


def build_envs(algorithm: Any) -> None:
    """Make the environments of all remote runners, side by side.

    Raises:
        EnvContractError: One cannot; ``algorithm`` has stopped its runners.
    """
    config = algorithm.config
    for group in (algorithm.env_runner_group, algorithm.eval_env_runner_group):
        if group is None or group.num_remote_env_runners() == 0:
            continue
        answers = group.foreach_env_runner("build_env", local_env_runner=False, timeout_seconds=config.sample_timeout_s)
        late = group.num_healthy_remote_env_runners() - len(answers)
        if late > 0:
            logger.warning(
                "%d of %d env runners have not built %r after %g seconds; training begins with the others.",
                late,
                group.num_remote_env_runners(),
                config.env,
                config.sample_timeout_s,
            )
        for error in answers:
            if error is not None:
                algorithm.cleanup()
                error.raise_here()


def share_module(learners: LearnerGroup, env_runner: Any) -> None:
    """Where the learner is in this process, the env runner here (None: there is none) gets a copy of its networks and builds
    none."""
    if learners.is_local and env_runner is not None:
        (answer,) = learners.foreach_learner(lambda learner: learner.inference_copy())
        env_runner.module = answer.get()
