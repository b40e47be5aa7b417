"""What does a sweep of many short trials take beside training: memory of its driver, files, seconds?

Runs ``rllib-reborn tune`` as users do, in a process of its own: trials of two iterations of ``matrix/two_step`` with QMIX,
short ones unless ``--steps`` says otherwise, since what is measured is what comes on top. While it runs, the resident memory
of its processes is read, and files are counted, against how many trials have ended. Then ``tune status`` and ``report`` are
timed.

- ``driver_mb_per_100``, ``files_per_trial``: slopes of straight lines, and how far the measured values lie off them (root
  mean square), beside the slopes of the first and of the second half: what grows faster than linear shows in the second;
- ``wall_s_per_trial``: from the first trial that ended to the last;
- ``training_s_per_trial``: ``time/total_s`` of a trial's last row; ``overhead_s_per_trial``: the rest of what a trial takes
  of its process: inside it (building before the clock starts, checkpoint, final evaluation), and between the end of a trial
  and the start of the next one in its place, by the times of files. Wall clock: beside other work all of these grow;
- ``driver_cpu_s_per_trial``: of the sweep's own process, whatever else the machine does;
- ``trial_process_mb``: the largest process that plays trials, one after another; there are ``concurrency`` of them;
- ``ray_files``, ``ray_mb``: Ray's session folder, once the last trial has ended.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import psutil

from benchmarks.straight_line import Line, line_through

SEEDS = 2
OVER = re.compile(r"\((\d+) of \d+ over")
_MB = 1024 * 1024


def sweep_text(trials: int, concurrency: int, iterations: int, steps: int) -> str:
    """The sweep's file: learning rates that are drawn, each with two seeds; ``steps`` env steps an iteration."""
    if trials % SEEDS:
        raise ValueError(f"trials is {trials}; expected a multiple of {SEEDS}, since every point has {SEEDS} seeds.")
    return "\n".join(
        [
            "base: matrix/two_step/qmix",
            f"set: {{logging.report_interval_env_steps: {steps}}}",
            "space:",
            "  training.lr: {loguniform: [1.0e-4, 1.0e-2]}",
            f"samples: {trials // SEEDS}",
            f"seeds: {list(range(SEEDS))}",
            f"budget: {{iterations: {iterations}}}",
            f"concurrency: {concurrency}",
            "",
        ]
    )


def count_files(root: Path) -> tuple[int, int]:
    """Files below a folder, and their bytes; what disappears meanwhile is left out."""
    files = size = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(folder, name)).st_size
                files += 1
    return files, size


@dataclasses.dataclass
class Sample:
    """What was there when so many trials had ended."""

    over: int
    wall_s: float
    driver_mb: float
    driver_cpu_s: float
    gcs_mb: float
    trial_mb: float
    files: int
    file_mb: float
    tune_files: int
    ray_files: int


class Watch:
    """Follows a sweep's process: how many trials have ended is said by its output, a line each."""

    def __init__(self, process: subprocess.Popen[str], out: Path, ray_folder: Path) -> None:
        self._process = process
        self._ray_folder = ray_folder
        self._driver = psutil.Process(process.pid)
        self._out = out
        self._start = time.perf_counter()
        self.over = 0
        self.samples: list[Sample] = []
        self.last_lines: list[str] = []

    def follow(self, step: int, end: float) -> None:
        """Take a sample whenever ``step`` more trials have ended; returns when the sweep has, or at the time ``end``."""
        reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        reader.start()
        while self._process.poll() is None and time.perf_counter() < end:
            if self.over >= (self.samples[-1].over + step if self.samples else 1):
                with contextlib.suppress(psutil.NoSuchProcess):
                    self.samples.append(self._sample())
            time.sleep(0.1)

    def _read(self, stream: IO[str] | None) -> None:
        for line in stream or ():
            self.last_lines = [*self.last_lines[-9:], line.rstrip()]
            found = OVER.search(line)
            if found:
                self.over = int(found[1])

    def _sample(self) -> Sample:
        over = self.over
        times = self._driver.cpu_times()
        sizes: dict[str, list[float]] = {"gcs": [0.0], "trial": [0.0]}
        for process in self._driver.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                name = " ".join(process.cmdline()[:1])
                kind = "gcs" if "gcs_server" in name else "trial" if name.startswith("ray::") else None
                if kind is not None:
                    sizes[kind].append(process.memory_info().rss / _MB)
        files, size = count_files(self._out)
        return Sample(
            over=over,
            wall_s=time.perf_counter() - self._start,
            driver_mb=self._driver.memory_info().rss / _MB,
            driver_cpu_s=times.user + times.system,
            gcs_mb=max(sizes["gcs"]),
            trial_mb=max(sizes["trial"]),
            files=files,
            file_mb=size / _MB,
            tune_files=count_files(self._out / ".tune")[0],
            ray_files=count_files(self._ray_folder)[0],
        )


@dataclasses.dataclass(frozen=True)
class TrialTimes:
    """Seconds of one trial that is over, by its folder.

    Attributes:
        start, end: When it took its folder, and when it wrote its last file.
        training: ``time/total_s`` of its last row.
    """

    start: float
    end: float
    training: float


def trial_times(out: Path) -> list[TrialTimes]:
    """Of every trial in a sweep's folder that came to its end."""
    found = []
    for last_file in sorted(out.glob("*/s*/final_evaluation.json")):
        run = last_file.parent
        row = json.loads((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
        start, end = (run / ".lock").stat().st_mtime, last_file.stat().st_mtime
        found.append(TrialTimes(start, end, float(row["time/total_s"])))
    return found


def overhead_s(trials: Sequence[TrialTimes], concurrency: int) -> tuple[float, float]:
    """Mean seconds of a trial that are not training: inside it, and from the end of a trial to the start of the next one in
    its place."""
    inside = statistics.fmean(trial.end - trial.start - trial.training for trial in trials)
    starts = sorted(trial.start for trial in trials)[concurrency:]
    ends = sorted(trial.end for trial in trials)[: len(starts)]
    return inside, statistics.fmean(start - end for start, end in zip(starts, ends, strict=True))


def summary(samples: Sequence[Sample], trials: Sequence[TrialTimes], concurrency: int) -> dict[str, Any]:
    """The numbers of a sweep, from the samples."""
    over = [sample.over for sample in samples]

    def line(name: str) -> Line:
        return line_through(over, [getattr(sample, name) for sample in samples])

    first, last = samples[0], samples[-1]
    memory, files, cpu, trial_memory = (line(name) for name in ("driver_mb", "files", "driver_cpu_s", "trial_mb"))
    inside, between = overhead_s(trials, concurrency)
    return {
        "trials_over": last.over,
        "concurrency": concurrency,
        "wall_s": last.wall_s,
        "first_trial_over_s": first.wall_s,
        "wall_s_per_trial": (last.wall_s - first.wall_s) / (last.over - first.over),
        "training_s_per_trial": statistics.fmean(trial.training for trial in trials),
        "overhead_s_per_trial": inside + between,
        "overhead_inside_s": inside,
        "overhead_between_s": between,
        "driver_cpu_s_per_trial": cpu.slope,
        "driver_cpu_s_per_trial_halves": cpu.halves,
        "driver_mb": last.driver_mb,
        "driver_mb_per_100": 100 * memory.slope,
        "driver_mb_off_line": memory.residual,
        "driver_mb_per_100_halves": [100 * half for half in memory.halves],
        "gcs_mb": last.gcs_mb,
        "gcs_mb_per_100": 100 * line("gcs_mb").slope,
        "trial_process_mb": last.trial_mb,
        "trial_process_mb_per_100": 100 * trial_memory.slope,
        "trial_process_mb_per_100_halves": [100 * half for half in trial_memory.halves],
        "files_per_trial": files.slope,
        "files_off_line": files.residual,
        "files_per_trial_halves": files.halves,
        "kb_per_trial": 1024 * line("file_mb").slope,
        "tune_files": last.tune_files,
        "ray_files_per_100": 100 * line("ray_files").slope,
    }


def timed(command: Sequence[str]) -> dict[str, Any]:
    """Wall and CPU seconds of a command, and lines that it prints."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "wall_s": time.perf_counter() - start,
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "lines": len(done.stdout.splitlines()),
    }


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder for Ray, whose sockets' names must not be long."""
    folder = Path(tempfile.mkdtemp(prefix="many", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def many_trials(
    trials: int, out: Path, *, concurrency: int, iterations: int, steps: int, limit_s: float
) -> Iterator[dict[str, Any]]:
    """Runs the sweep, then ``status`` and ``report`` on it; a row for each. What lasts longer than ``limit_s`` is stopped,
    and what it came to is a row all the same.

    Raises:
        RuntimeError: Too few trials ended to fit a line through.
    """
    program = [sys.executable, "-m", "rllib_reborn"]
    with short_folder() as ray_folder:
        file = ray_folder / "many_trials.yaml"
        file.write_text(sweep_text(trials, concurrency, iterations, steps), encoding="utf-8")
        process = subprocess.Popen(
            [*program, "tune", str(file), "--out", str(out)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "RAY_TMPDIR": str(ray_folder), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
        )
        watch = Watch(process, out, ray_folder)
        watch.follow(max(1, trials // 40), time.perf_counter() + limit_s)
        ray_files, ray_bytes = count_files(ray_folder)
        stopped = process.poll() is None
        if stopped:
            process.terminate()  # its runs are saved, and --resume goes on
        process.wait()
    if len(watch.samples) < 4:
        raise RuntimeError(
            "too few trials ended to measure anything; the sweep's last lines:\n" + "\n".join(watch.last_lines)
        )
    yield {
        "name": f"many_trials/{trials}",
        **summary(watch.samples, trial_times(out), concurrency),
        "ray_files": ray_files,
        "ray_mb": ray_bytes / _MB,
        "stopped_at_limit": stopped,
        "exit_status": process.returncode,
        "samples": [dataclasses.asdict(sample) for sample in watch.samples],
    }
    yield {"name": f"many_trials/{trials}/status", **timed([*program, "tune", "status", str(out)])}
    yield {
        "name": f"many_trials/{trials}/report",
        **timed([*program, "report", str(out), "--out", str(out / "report")]),
    }


def _text(row: dict[str, Any]) -> str:
    """A row for people: a line for each number, without the samples."""

    def short(value: Any) -> str:
        if isinstance(value, list | tuple):
            return ", ".join(map(short, value))
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    shown = {key: value for key, value in row.items() if key not in ("name", "samples")}
    return "\n".join([row["name"], *(f"  {key:30}  {short(value)}" for key, value in shown.items())])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--trials", type=int, default=200, help="an even number; default 200")
    parser.add_argument("--iterations", type=int, default=2, help="of each trial; default 2")
    parser.add_argument("--steps", type=int, default=100, help="env steps of an iteration; default 100, as shipped 500")
    parser.add_argument("--concurrency", type=int, default=2, help="trials at the same time; default 2")
    parser.add_argument(
        "--limit", type=float, default=3600, metavar="SECONDS", help="stop the sweep then; default 3600"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep the sweep's folder here; else it is thrown away")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="many_trials") as scratch:
        out = (arguments.out or Path(scratch) / "sweep").absolute()
        for row in many_trials(
            arguments.trials,
            out,
            concurrency=arguments.concurrency,
            iterations=arguments.iterations,
            steps=arguments.steps,
            limit_s=arguments.limit,
        ):
            print(json.dumps(row) if arguments.json else _text(row), flush=True)


if __name__ == "__main__":
    main()
