"""What does an env step cost, all in all, through ``algo.train()``? QMIX, PyMARL's ratio: one update of 32 whole episodes
per collected episode.

- ``lbf``, ``mpe``, ``rware``: CPU time of the one process that samples and learns, by the shipped experiments of
  :data:`SHIPPED` without their evaluations; the clock is read at the ends of ``train()`` calls, so that starting, the
  warm-up and the first updates are not in it.
- ``stag_hunt/one_process``: the same for classic stag hunt with 32 games.
- ``stag_hunt/two_learners_overlap``: env steps per second of wall time with two learner processes and overlapped sampling.

``published`` are figures measured before on another machine (EPYC Zen 4). EPyMARL in the same run: ``benchmarks.peers``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.common import cpu_seconds, main

import torch  # isort: skip  (after the thread settings of benchmarks.common)

from rllib_reborn import QMIXConfig
from rllib_reborn.experiments.build import build_config
from rllib_reborn.experiments.load import load_experiment

#: Row -> environment, whose experiment ``.../qmix`` is shipped, and env steps of one measurement, at least: 150 episodes
#: and more, and not less than one ``train()`` call.
SHIPPED = {
    "lbf": ("lbf/8x8-2p-3f", 7_500),
    "mpe": ("mpe/simple_spread", 7_500),
    "rware": ("rware/tiny-2ag", 20_000),
}

PUBLISHED = {
    "cpu_us": {"ReBorn": 6272, "EPyMARL": 5824, "PyMARL2 (1 update per 8 episodes)": 3833},
    "env_steps_per_s": {"ReBorn": 159, "EPyMARL": 172},
}


def config(**training: Any) -> QMIXConfig:
    settings = {
        "batch_episodes": 32,
        "buffer_episodes": 500,
        "learning_starts_episodes": 32,
        "updates_per_episode": 1.0,
    }
    made: QMIXConfig = (
        QMIXConfig()
        .environment("predator_prey/stag_hunt")
        .training(**(settings | training))
        .reporting(min_sample_timesteps_per_iteration=1)
        .debugging(seed=0)
    )
    return made


def algorithm_of(env: str, overrides: Sequence[str] = ()) -> Any:
    """QMIX as shipped for ``env``, with ``overrides`` (``key.path=value``), no evaluations, one thread. Ray must run."""
    experiment = load_experiment(f"{env}/qmix", [*overrides, "evaluation.interval_env_steps=null"])
    algorithm = build_config(experiment).build_algo()
    torch.set_num_threads(1)
    return algorithm


def train(algorithm: Any, env_steps: int) -> dict[str, float]:
    """``train()`` calls for at least so many env steps: ``cpu_s`` of this process, and the ``env_steps``, ``episodes`` and
    ``updates`` that it was for."""
    names = ("env_steps", "episodes", "updates")
    before = {name: getattr(algorithm.counters, name) for name in names}
    start = time.process_time()
    while algorithm.counters.env_steps < before["env_steps"] + env_steps:
        algorithm.train()
    seconds = time.process_time() - start
    return {"cpu_s": seconds} | {name: getattr(algorithm.counters, name) - before[name] for name in names}


def shipped(row: str, repeats: int) -> dict[str, Any]:
    import ray

    env, env_steps = SHIPPED[row]
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    algorithm = algorithm_of(env)
    try:
        while algorithm.counters.updates == 0:
            algorithm.train()
        taken = [train(algorithm, env_steps) for _ in range(repeats)]
    finally:
        algorithm.stop()
        ray.shutdown()
    games = algorithm.config.num_envs_per_env_runner
    whole = {name: sum(one[name] for one in taken) for name in taken[0]}
    return {
        "shape": f"QMIX, {env}, {games} games, batch of 32 episodes, 1 update per episode",
        "cpu_us": statistics.median(1e6 * one["cpu_s"] / one["env_steps"] for one in taken),
        "env_steps": whole["env_steps"],
        "episodes": whole["episodes"],
        "updates": whole["updates"],
        "threads": 1,
        "repeats": repeats,
    }


def one_process(repeats: int) -> dict[str, Any]:
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    algorithm = config().env_runners(num_env_runners=0, num_envs_per_env_runner=32).build_algo()
    torch.set_num_threads(1)
    try:
        while algorithm.counters.updates == 0:  # the warm-up collects 32 episodes and does the first updates
            algorithm.train()
        steps, updates = algorithm.counters.env_steps, algorithm.counters.updates
        seconds = cpu_seconds(lambda: [algorithm.train() for _ in range(repeats)])
        steps, updates = algorithm.counters.env_steps - steps, algorithm.counters.updates - updates
    finally:
        algorithm.stop()
        ray.shutdown()
    return {
        "shape": "QMIX, 32 games, batch of 32 episodes, 1 update per episode",
        "cpu_us": 1e6 * seconds / steps,
        "env_steps": steps,
        "updates": updates,
        "published": PUBLISHED["cpu_us"],
        "threads": 1,
        "repeats": repeats,
    }


def two_learners_overlap(repeats: int) -> dict[str, Any]:
    import ray

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    algorithm = (
        config(sampling="async", episodes_per_sample=16)
        .env_runners(num_env_runners=1, num_envs_per_env_runner=16)
        .learners(num_learners=2)
        .build_algo()
    )
    try:
        while algorithm.counters.updates < 16:
            algorithm.train()
        steps, updates = algorithm.counters.env_steps, algorithm.counters.updates
        begin = time.perf_counter()
        while algorithm.counters.updates - updates < 32 * repeats:
            algorithm.train()
        seconds = time.perf_counter() - begin
        updates = algorithm.counters.updates - updates
        # Sampling runs ahead: what counts is the pace at which episodes are learnt, one update each.
        learnt = updates * algorithm.replay.env_steps / len(algorithm.replay)
        collected = algorithm.counters.env_steps - steps
    finally:
        algorithm.stop()
        ray.shutdown()
    return {
        "shape": "QMIX, 16 games, batch of 32 episodes, 1 update per episode, 2 learners, overlapped sampling",
        "env_steps_per_s": min(learnt, collected) / seconds,
        "updates_per_s": updates / seconds,
        "updates": updates,
        "published": PUBLISHED["env_steps_per_s"],
        "threads": 1,
        "repeats": repeats,
    }


ROWS: dict[str, Callable[[int], dict[str, Any]]] = {
    **{row: partial(shipped, row) for row in SHIPPED},
    "stag_hunt/one_process": one_process,
    "stag_hunt/two_learners_overlap": two_learners_overlap,
}

if __name__ == "__main__":
    main(__doc__ or "", ROWS, repeats=3)
