"""What all benchmarks share: command line, timing in process CPU time, JSON lines."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Before numpy and torch start their thread pools: every number here is for one thread per process.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

#: A benchmark's rows by name; a row is made by calling it with the number of repeats.
Rows = Mapping[str, Callable[[int], dict[str, Any]]]


def cpu_seconds(work: Callable[[], object]) -> float:
    """Process CPU seconds (all threads, user and system) that ``work()`` takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def interleaved(
    repeats: int, *, clock: Callable[[], float] = time.process_time, **works: Callable[[], object]
) -> dict[str, float]:
    """Median seconds of each work, all warmed up once and then run in turn, so that what disturbs the machine disturbs
    them alike. ``clock`` counts this process's CPU seconds (all threads, user and system); what works in several
    processes needs a wall clock."""
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            start = clock()
            work()
            times[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def peak_mb(work: Callable[[], object]) -> float:
    """Most resident memory that ``work()`` takes beyond what this process has now, in MB; for a process that has just been
    started, because allocators keep what they once had."""
    status = Path("/proc/self/status")

    def kilobytes(name: str) -> int:
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(f"{name}:"))

    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    start = kilobytes("VmRSS")
    work()
    return (kilobytes("VmHWM") - start) / 1024


def main(description: str, rows: Rows, *, repeats: int) -> None:
    """Run the rows (``--only`` a part of their name) and print one line each: JSON with ``--json``, else for people."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--only", default="", metavar="NAME", help="run only rows whose name contains NAME")
    parser.add_argument("--repeats", type=int, default=repeats, help=f"default {repeats}")
    arguments = parser.parse_args()
    chosen = {name: row for name, row in rows.items() if arguments.only in name}
    if not chosen:
        parser.error(f"no row contains {arguments.only!r}; there are: {', '.join(rows)}")
    for name, row in chosen.items():
        result = {"name": name, **row(arguments.repeats)}
        if arguments.json:
            print(json.dumps(result), flush=True)
        else:
            print(name, *(f"{key}={_short(value)}" for key, value in result.items() if key != "name"), flush=True)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
