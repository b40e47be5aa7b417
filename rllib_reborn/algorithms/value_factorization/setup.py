"""What an algorithm makes once, before it trains: the replay, and the env runner's networks."""

from __future__ import annotations

import logging
import sys
from typing import Any

import torch
from ray.rllib.core.learner.learner_group import LearnerGroup

from rllib_reborn.algorithms.value_factorization.config import ValueFactorizationConfig
from rllib_reborn.algorithms.value_factorization.replay_mirror import ReplayMirror, room_for_mirror
from rllib_reborn.algorithms.value_factorization.settings import ReplayWeightingSettings
from rllib_reborn.replay import EpisodeReplay, ReplayMemoryError, format_bytes
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


def make_mirror(config: ValueFactorizationConfig, learners: LearnerGroup, replay: EpisodeReplay) -> ReplayMirror | None:
    """The replay's copy on the GPU of the learner in this process, which then takes batches from it; says how large it is,
    or why there is none. None: no such learner, no room with ``replay_device`` "auto", or "off".

    Raises:
        ReplayMemoryError: ``replay_device`` is "cuda", and there is no room.
    """
    if config.replay_device == "off" or not learners.is_local:
        return None
    (answer,) = learners.foreach_learner(lambda learner: learner)
    learner = answer.get()
    if learner.device.type != "cuda":
        return None
    most = room_for_mirror(*torch.cuda.mem_get_info(learner.device), config.num_gpus_per_learner)
    needed, at_most = format_bytes(replay.largest_nbytes), format_bytes(most)
    if replay.largest_nbytes > most:
        why = f"a copy of the replay takes {needed} of the GPU, and {at_most} is the most that it may take there"
        if config.replay_device == "cuda":
            raise ReplayMemoryError(
                f"replay_device is 'cuda', but {why}; set training.buffer_episodes to at most "
                f"{int(replay.capacity * most / replay.largest_nbytes)}, or training.replay_device to auto."
            )
        line = f"Replay: not on the GPU, since {why}."
    else:
        learner.replay_mirror = ReplayMirror(replay, learner.device)
        line = f"Replay: a copy on the GPU takes {needed}."
    if config.log_level != "ERROR":
        print(line, file=sys.stderr, flush=True)
    mirror: ReplayMirror | None = learner.replay_mirror
    return mirror


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
