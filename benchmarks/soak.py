"""What grows while a run goes on for long, with games that fail? Memory, handles, threads, processes, files in memory.

Runs ``rllib-reborn train`` as users do, in a process of its own, on games of which 1 % of the steps raise, with two sampling
processes, evaluation and checkpoints, and measures every ``--every`` seconds:

- ``driver_mb``: resident memory of the process that learns; ``runner_mb``: proportional memory (PSS) of the sampling
  processes together; ``shm_mb``: what is in use of ``/dev/shm``, by everybody;
- ``driver_handles``, ``driver_threads``, ``children``: open files, threads, and processes below the driver.

Of each the row has the slope of a straight line (least squares) a minute, from the samples after ``--warm-up`` minutes, how
far they lie off it, the slopes of both halves, the first and last value; ``mb_per_1000_iterations`` is the driver's memory
against the rows of ``metrics.jsonl`` in place of minutes. A slope counts once the halves agree: allocators go up in steps.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.failing_game import FAILING_SHARE
from benchmarks.straight_line import line_through

_REPOSITORY = Path(__file__).parents[1]
_MB = 1024 * 1024
_END_S = 120.0
SETTINGS = (
    "training.learning_starts_episodes=16",
    "training.batch_episodes=16",
    "training.buffer_episodes=500",
    "training.updates_per_episode=0.125",
    "evaluation.interval_env_steps=2000",
    "evaluation.episodes=8",
    "checkpoint.interval_env_steps=5000",
    "logging.report_interval_env_steps=200",
)


@dataclasses.dataclass(frozen=True)
class Sample:
    """What was there after so many minutes; see the module's text."""

    minutes: float
    iterations: int
    driver_mb: float
    runner_mb: float
    shm_mb: float
    driver_handles: int
    driver_threads: int
    children: int


MEASURED = ("driver_mb", "runner_mb", "shm_mb", "driver_handles", "driver_threads", "children")


class Soak:
    """A training process and its samples.

    Args:
        folder: For the run and Ray's files.
        runners: Sampling processes.
        more: Further settings of the experiment, ``key.path=value``.
    """

    def __init__(self, folder: Path, runners: int, more: Sequence[str]) -> None:
        self._run = folder / "run"
        self._log = folder / "log.txt"
        command = [
            *(sys.executable, "-m", "rllib_reborn", "train", "benchmarks.failing_game:FailingGame/qmix", *SETTINGS),
            f"resources.num_env_runners={runners}",
            *("stop.env_steps=1000000000", *more, "--quiet", "--out", str(self._run)),
        ]
        path = os.pathsep.join(filter(None, [str(_REPOSITORY), os.environ.get("PYTHONPATH", "")]))
        own = {"RAY_TMPDIR": str(folder), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        with self._log.open("w") as file:
            self.process = subprocess.Popen(
                command, cwd=_REPOSITORY, env={**os.environ, **own}, stdout=file, stderr=subprocess.STDOUT
            )
        self._driver = psutil.Process(self.process.pid)
        self._start = time.monotonic()

    @property
    def minutes(self) -> float:
        return (time.monotonic() - self._start) / 60

    def follow(self, minutes: float, every_s: float) -> Iterator[Sample]:
        """Samples from the first row on.

        Raises:
            RuntimeError: Training ended.
        """
        while self.minutes < minutes:
            if self.process.poll() is not None:
                raise RuntimeError(f"training ended after {self.minutes:.1f} minutes:\n{self._log.read_text()[-2000:]}")
            if self._rows() > 0:
                yield self._sample()
            time.sleep(every_s)

    def end(self) -> int:
        """SIGTERM, so that a checkpoint is made; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(_END_S)

    def last_row(self) -> dict[str, Any]:
        row: dict[str, Any] = json.loads((self._run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
        return row

    def _rows(self) -> int:
        metrics = self._run / "metrics.jsonl"
        return metrics.read_bytes().count(b"\n") if metrics.exists() else 0

    def _sample(self) -> Sample:
        children = self._driver.children(recursive=True)
        runners = 0.0
        for process in children:
            with contextlib.suppress(psutil.Error):
                if "EnvRunner" in " ".join(process.cmdline()):
                    runners += process.memory_full_info().pss / _MB
        return Sample(
            minutes=self.minutes,
            iterations=self._rows(),
            driver_mb=self._driver.memory_info().rss / _MB,
            runner_mb=runners,
            shm_mb=shutil.disk_usage("/dev/shm").used / _MB,
            driver_handles=self._driver.num_fds(),
            driver_threads=self._driver.num_threads(),
            children=len(children),
        )


def summary(samples: Sequence[Sample], warm_up: float) -> dict[str, Any]:
    """The row of numbers.

    Args:
        samples: In the order of time.
        warm_up: Minutes that are left out.

    Raises:
        ValueError: Fewer than four samples are left.
    """
    kept = [sample for sample in samples if sample.minutes >= warm_up]
    if len(kept) < 4:
        raise ValueError(
            f"{len(kept)} samples are left after a warm-up of {warm_up:g} minutes; expected 4 or more: measure for longer."
        )
    minutes, iterations = [sample.minutes for sample in kept], [sample.iterations for sample in kept]
    row: dict[str, Any] = {
        "minutes": kept[-1].minutes,
        "warm_up_minutes": warm_up,
        "samples": len(kept),
        "iterations": kept[-1].iterations,
        "mb_per_1000_iterations": 1000 * line_through(iterations, [sample.driver_mb for sample in kept]).slope,
    }
    for name in MEASURED:
        values = [float(getattr(sample, name)) for sample in kept]
        line = line_through(minutes, values)
        row[name] = {
            "per_minute": line.slope,
            "off_line": line.residual,
            "per_minute_halves": line.halves,
            "first": values[0],
            "last": values[-1],
        }
    return row


def soak(
    minutes: float, *, warm_up: float, every_s: float, runners: int, more: Sequence[str], all_samples: bool
) -> dict[str, Any]:
    """Run it; see the module's text.

    Raises:
        RuntimeError: Training ended by itself.
        ValueError: Too few samples.
    """
    # Ray's sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="soak", dir="/tmp", ignore_cleanup_errors=True) as scratch:
        started = Soak(Path(scratch), runners, more)
        try:
            samples = list(started.follow(minutes, every_s))
            last = started.last_row()
        finally:
            status = started.end()
    counted = {
        name: value for name, value in last.items() if name.startswith("faults/") or name.endswith("env_failures")
    }
    row = {
        "name": f"soak/{runners}_runners",
        "failing_steps": FAILING_SHARE,
        **summary(samples, warm_up),
        "env_steps": last["env_steps"],
        "counted": counted,
        "exit_status": status,
    }
    return row | ({"all_samples": [dataclasses.asdict(sample) for sample in samples]} if all_samples else {})


def _text(row: dict[str, Any]) -> str:
    """A row for people: a line for each number."""

    def short(value: Any) -> str:
        if isinstance(value, dict):
            return "  ".join(f"{key}={short(item)}" for key, item in value.items())
        if isinstance(value, list | tuple):
            return ", ".join(map(short, value))
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    shown = {key: value for key, value in row.items() if key not in ("name", "all_samples")}
    return "\n".join([row["name"], *(f"  {key:24}  {short(value)}" for key, value in shown.items())])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="further settings of the experiment")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--minutes", type=float, default=60, help="how long, warm-up included; default 60")
    parser.add_argument("--warm-up", type=float, default=10, metavar="MINUTES", help="left out; default 10")
    parser.add_argument("--every", type=float, default=10, metavar="SECONDS", help="between samples; default 10")
    parser.add_argument("--runners", type=int, default=2, help="sampling processes; default 2")
    parser.add_argument("--samples", action="store_true", help="with --json: every sample too")
    arguments = parser.parse_args()
    row = soak(
        arguments.minutes,
        warm_up=arguments.warm_up,
        every_s=arguments.every,
        runners=arguments.runners,
        more=arguments.overrides,
        all_samples=arguments.samples,
    )
    print(json.dumps(row) if arguments.json else _text(row), flush=True)


if __name__ == "__main__":
    main()
