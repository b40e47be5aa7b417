"""How much driver CPU time does an env step of remote env runners take, and how many of them occupy one driver core?

The shipped experiments of QMIX with ``n`` remote runners and no learning: the driver asks, takes in episodes, stores them in
the replay and makes a metrics row for each iteration; the runners act, step and pack. Process CPU seconds (all threads, user
and system), so that other work on the machine lengthens a measurement and hardly changes it.

- ``driver_us``, ``runner_us``: CPU microseconds per env step of the driver, and of the runners together;
- ``ray_us``: the same of Ray's own processes (raylet, GCS, agents), over all repetitions, since these count in hundredths of
  a second;
- ``runners_per_driver_core``: ``runner_us / driver_us``, i.e. how many runners that always have a core of their own keep one
  driver core occupied. An estimate beyond the ``n`` that is measured: more runners mean more messages an env step.

Each is a median over the repetitions, with the bounds of its 95% bootstrap interval. A learner in the driver comes on top of
``driver_us`` (``benchmarks.end_to_end``); so do weights, which are sent only after updates.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import benchmarks.common  # isort: skip  # sets the threads of numpy and torch, which must not have been imported
import numpy as np  # isort: skip
import psutil
import ray

from rllib_reborn.experiments.build import build_config
from rllib_reborn.experiments.load import load_experiment

EXPERIMENTS = {"predator_prey": "predator_prey/small/qmix", "matrix": "matrix/two_step/qmix"}
RUNNERS = (1, 2, 4)
#: Env steps of one repetition, at least.
STEPS = 20_000
_RESAMPLES = 10_000
assert benchmarks.common


def median_with_bounds(values: Sequence[float]) -> list[float]:
    """Median, and bounds of its 95% bootstrap interval (percentiles); the same values give the same interval."""
    drawn = np.random.default_rng(0).choice(np.asarray(values), (_RESAMPLES, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return [statistics.median(values), float(low), float(high)]


def rows_of(driver_us: Sequence[float], runner_us: Sequence[float]) -> dict[str, Any]:
    """What is printed of the repetitions' microseconds per env step."""
    ratios = [runners / driver for runners, driver in zip(runner_us, driver_us, strict=True)]
    return {
        "driver_us": median_with_bounds(driver_us),
        "runner_us": median_with_bounds(runner_us),
        "runners_per_driver_core": median_with_bounds(ratios),
    }


def feeding(env: str, runners: int, *, sampling: str, steps: int, repeats: int) -> dict[str, Any]:
    """Measures one environment with so many remote runners, on the Ray that is there.

    Args:
        env: A key of :data:`EXPERIMENTS`.
        runners: Remote runners, at least one.
        sampling: ``sync`` or ``async``.
        steps: Env steps of one repetition, at least.
        repeats: Repetitions.
    """
    experiment = load_experiment(
        EXPERIMENTS[env],
        [
            f"resources.num_env_runners={runners}",
            f"training.sampling={sampling}",
            "training.updates_per_episode=1.0e-12",  # never comes to a whole update
            "evaluation.interval_env_steps=null",
        ],
    )
    algorithm = build_config(experiment).build_algo()
    try:
        group = algorithm.env_runner_group

        def runner_seconds() -> float:
            return sum(group.foreach_env_runner(lambda runner: time.process_time(), local_env_runner=False))

        def train(least: int) -> int:
            before = algorithm.counters.env_steps
            while algorithm.counters.env_steps < before + least:
                algorithm.train()
            return int(algorithm.counters.env_steps - before)

        train(max(1, steps // 4))
        driver_us, runner_us, taken = [], [], 0
        ray_start = _ray_seconds()
        for _ in range(repeats):
            runner_start, driver_start = runner_seconds(), time.process_time()
            done = train(steps)
            driver_us.append(1e6 * (time.process_time() - driver_start) / done)
            runner_us.append(1e6 * (runner_seconds() - runner_start) / done)
            taken += done
        if algorithm.counters.updates:
            raise RuntimeError(f"{algorithm.counters.updates} updates were made; expected none.")
        ray_us = 1e6 * (_ray_seconds() - ray_start) / taken
    finally:
        algorithm.stop()
    return {
        "shape": f"{experiment.env}, {runners} runners of {experiment.resources.num_envs_per_env_runner} games, {sampling}",
        "runners": runners,
        **rows_of(driver_us, runner_us),
        "ray_us": ray_us,
        "env_steps": taken,
        "steps_per_iteration": experiment.logging.report_interval_env_steps,
        "threads": 1,
        "repeats": repeats,
    }


def _ray_seconds() -> float:
    """CPU seconds of Ray's own processes, so far: of all children but those that work for us."""
    seconds = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            if not process.cmdline()[:1] or process.cmdline()[0].startswith("ray::"):
                continue
            times = process.cpu_times()
        except psutil.Error:
            continue
        seconds += times.user + times.system
    return seconds


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows for people."""

    def shown(bounds: Sequence[float]) -> str:
        return f"{bounds[0]:.3g} ({bounds[1]:.3g} to {bounds[2]:.3g})"

    head = ("", "driver us/step", "runner us/step", "Ray us/step", "runners a driver core")
    lines = [
        (
            str(row["name"]),
            shown(row["driver_us"]),
            shown(row["runner_us"]),
            f"{row['ray_us']:.3g}",
            shown(row["runners_per_driver_core"]),
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in (head, *lines)) for column in range(len(head))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in (head, *lines)
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line, and no table")
    parser.add_argument("--only", default="", metavar="NAME", help="only environments whose name contains NAME")
    parser.add_argument("--runners", type=int, nargs="+", default=list(RUNNERS), metavar="N", help="default 1 2 4")
    parser.add_argument("--sampling", choices=("sync", "async"), default="sync", help="default sync, as shipped")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"env steps of a repetition; default {STEPS}")
    parser.add_argument("--repeats", type=int, default=7, help="default 7")
    arguments = parser.parse_args()
    chosen = [env for env in EXPERIMENTS if arguments.only in env]
    if not chosen:
        parser.error(f"no environment contains {arguments.only!r}; there are: {', '.join(EXPERIMENTS)}")
    ray.init(
        "local",
        num_cpus=max(arguments.runners) + 1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    rows = []
    try:
        for env in chosen:
            for runners in arguments.runners:
                measured = feeding(
                    env, runners, sampling=arguments.sampling, steps=arguments.steps, repeats=arguments.repeats
                )
                rows.append({"name": f"feeding/{env}/{runners}", **measured})
                if arguments.json:
                    print(json.dumps(rows[-1]), flush=True)
    finally:
        ray.shutdown()
    if not arguments.json:
        print(table(rows))


if __name__ == "__main__":
    main()
