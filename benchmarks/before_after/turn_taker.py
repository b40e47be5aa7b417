"""One side of :mod:`.turns`: ``python turn_taker.py WORK [ARGUMENT ...]``, run by each tree's own python, which imports that
tree's ``benchmarks``. It makes the work ready, prints ``ready``, and answers every line of standard input with the seconds
that a turn of it took, per unit."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

#: Seconds of one turn, per update or env step.
Turn = Callable[[], float]


def learner(algorithm: str, shape: str, lengths: str) -> Turn:
    """CPU of an update in one process."""
    from benchmarks.common import cpu_seconds
    from benchmarks.learner import OneProcess

    one = OneProcess(algorithm, shape, lengths)
    count = 3 if shape == "32x200x8" else 8

    def updates() -> None:
        for _ in range(count):
            one.ours()

    updates()
    return lambda: cpu_seconds(updates) / count


def sampling(row: str) -> Turn:
    """CPU of sampling, as the row of that name of ``benchmarks.sampling`` has it, without its bare loop."""
    from benchmarks import sampling as rows
    from benchmarks.common import cpu_seconds

    works: dict[str, Callable[[], object]] = {}

    def kept(_repeats: int, **given: Callable[[], object]) -> dict[str, float]:
        works.update(given)
        return dict.fromkeys(given, 1.0)

    rows.interleaved = kept  # type: ignore[assignment]
    rows.ROWS[row](1)
    works["ours"]()
    return lambda: cpu_seconds(works["ours"])


def one_process() -> Turn:
    """CPU of an env step of training on stag hunt in one process."""
    from benchmarks.end_to_end import config

    algorithm = _built(config().env_runners(num_env_runners=0, num_envs_per_env_runner=32))

    def turn() -> float:
        before, start = algorithm.counters.env_steps, time.process_time()
        algorithm.train()
        return (time.process_time() - start) / (algorithm.counters.env_steps - before)

    return turn


def two_learners(shape: str) -> Turn:
    """Wall time of an update of two learner processes."""
    import ray

    from benchmarks import learner as rows

    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    config = rows.config_of(rows.QMIXConfig, shape).learners(num_learners=2)
    group = config.build_learner_group(spaces={"default_policy": rows.team_spaces(config.team_spec)})
    update = rows.Update(rows.learner_batches(rows.sample_of(shape, "full"), 2), rows.CLOCK, 0)

    def turn() -> float:
        start = time.perf_counter()
        rows._in_a_row(group, update)
        return (time.perf_counter() - start) / rows.UPDATES_IN_A_ROW

    turn()
    return turn


def overlapped() -> Turn:
    """Wall time of an update of two learner processes while a runner samples."""
    from benchmarks.end_to_end import config

    algorithm = _built(
        config(sampling="async", episodes_per_sample=16)
        .env_runners(num_env_runners=1, num_envs_per_env_runner=16)
        .learners(num_learners=2)
    )

    def turn() -> float:
        before, start = algorithm.counters.updates, time.perf_counter()
        while algorithm.counters.updates - before < 16:
            algorithm.train()
        return (time.perf_counter() - start) / (algorithm.counters.updates - before)

    return turn


def _built(config: Any) -> Any:
    """The algorithm, behind its first updates."""
    import ray
    import torch

    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    algorithm = config.build_algo()
    torch.set_num_threads(1)
    while algorithm.counters.updates < 16:
        algorithm.train()
    return algorithm


WORKS: dict[str, Callable[..., Turn]] = {
    "learner": learner,
    "sampling": sampling,
    "one_process": one_process,
    "two_learners": two_learners,
    "overlapped": overlapped,
}

if __name__ == "__main__":
    take_turn = WORKS[sys.argv[1]](*sys.argv[2:])
    print("ready", flush=True)
    for _ in sys.stdin:
        print(f"seconds {take_turn()}", flush=True)
    os._exit(0)  # Ray's processes end with this one; nothing is worth waiting for
