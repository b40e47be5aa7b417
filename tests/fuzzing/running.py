"""Feeds a reader with inputs and notes what each costs: raised errors that it does not declare, seconds, megabytes."""

from __future__ import annotations

import dataclasses
import os
import random
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

#: What one input may cost.
MOST_SECONDS = 2.0
MOST_MEGABYTES = 500.0


@dataclasses.dataclass(frozen=True)
class Target:
    """A reader under test.

    Attributes:
        make: From a stream of random numbers to one input.
        read: Reads it; what it returns is not looked at.
        declared: The errors that it may raise.
    """

    make: Callable[[random.Random], Any]
    read: Callable[[Any], object]
    declared: tuple[type[BaseException], ...]


@dataclasses.dataclass
class Outcome:
    """What came of some inputs.

    Attributes:
        inputs: How many there were.
        refused: How many ended in a declared error.
        undeclared: ``seed: traceback`` of the others that raised.
        slowest_s: CPU seconds of the slowest, and its seed.
        peak_mb: Megabytes that the process grew by over its size at the first input.
    """

    inputs: int = 0
    refused: int = 0
    undeclared: list[str] = dataclasses.field(default_factory=list)
    slowest_s: float = 0.0
    slowest_seed: int = -1
    peak_mb: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.inputs:,} inputs, {self.refused:,} refused, {len(self.undeclared)} undeclared errors, slowest "
            f"{1000 * self.slowest_s:.0f} ms (seed {self.slowest_seed}), memory +{self.peak_mb:.0f} MB"
        )


def feed(target: Target, seeds: range) -> Outcome:
    """Read one input for each seed in this process."""
    outcome = Outcome()
    before = _peak_mb()
    for seed in seeds:
        given = target.make(random.Random(seed))
        begin = time.process_time()
        try:
            target.read(given)
        except target.declared:
            outcome.refused += 1
        except BaseException:
            outcome.undeclared.append(f"{seed}: {traceback.format_exc(limit=-3)}")
        took = time.process_time() - begin
        if took > outcome.slowest_s:
            outcome.slowest_s, outcome.slowest_seed = took, seed
        outcome.inputs += 1
    outcome.peak_mb = _peak_mb() - before
    return outcome


def assert_harmless(outcome: Outcome) -> None:
    """No undeclared error, none slow, none large."""
    assert not outcome.undeclared, "\n".join([str(outcome), *outcome.undeclared[:5]])
    assert outcome.slowest_s < MOST_SECONDS, str(outcome)
    assert outcome.peak_mb < MOST_MEGABYTES, str(outcome)
    assert outcome.refused > outcome.inputs // 20, f"{outcome}: these inputs are not hostile"
    assert outcome.refused < outcome.inputs, f"{outcome}: these inputs are nothing but noise"


def feed_elsewhere(name: str, count: int) -> str:
    """Read ``count`` inputs in a process of their own, which may have 4 GB of address space, and return its last line.

    Raises:
        AssertionError: One was not harmless, or ended the process.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzzing", name, str(count)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"},
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
    return done.stdout.strip().splitlines()[-1]


def limit_memory(gigabytes: int) -> None:
    """Let this process have no more address space; beyond it an allocation is a MemoryError, which no reader declares."""
    resource.setrlimit(resource.RLIMIT_AS, (gigabytes << 30, gigabytes << 30))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
