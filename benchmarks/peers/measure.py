"""Pairs of measurements of both sides, and what is printed of them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.before_after.intervals import median_ratio
from benchmarks.peers.side import PeerError, Side
from benchmarks.peers.tasks import EPYMARL_SETTINGS, SETTINGS, Task

ROOT = Path(__file__).parents[2]
OURS, EPYMARL = "ours", "EPyMARL"
#: Row -> what its cost is counted by, and the factor from seconds to what is printed.
ROWS = {"update": ("updates", 1e3, "ms"), "sampling": ("env_steps", 1e6, "us"), "end_to_end": ("env_steps", 1e6, "us")}


@dataclasses.dataclass(frozen=True)
class Amounts:
    """How much is measured; all at least 1.

    Attributes:
        repeats: Pairs of runs.
        turns: Pairs of ``update`` and ``sampling`` behind each pair of runs.
        updates: Updates of one turn.
        env_steps: Env steps of one turn of sampling, at least.
    """

    repeats: int
    turns: int
    updates: int
    env_steps: int


class Peer:
    """EPyMARL at a path, to be run by a Python.

    Raises:
        PeerError: The path is no EPyMARL.
    """

    def __init__(self, path: Path, python: Path) -> None:
        self.source = path.expanduser().absolute() / "src"
        # Not resolved: the link of a virtual environment is what makes it one.
        self.python = python.expanduser().absolute() if len(python.parts) > 1 else python
        for name in ("main.py", "run.py", "config/algs/qmix.yaml", "config/envs/gymma.yaml"):
            if not (self.source / name).is_file():
                raise PeerError(
                    f"--epymarl {path} is no EPyMARL: it has no src/{name}; clone https://github.com/uoe-agents/epymarl "
                    "and give that folder."
                )


#: Starts a side: ``(which, seed)``.
Start = Callable[[str, int], contextlib.AbstractContextManager[Side]]


def starting(task: Task, peer: Peer, patience_s: float) -> Start:
    """How the sides of a task are started. EPyMARL runs from a copy that is thrown away, because it writes beside itself."""

    @contextlib.contextmanager
    def start(which: str, seed: int) -> Iterator[Side]:
        request: dict[str, Any] = {"first": task.first, "last": task.last}
        if which == OURS:
            request |= {"env": task.env, "settings": [*SETTINGS, f"seed={seed}"]}
            command = [sys.executable, "-m", "benchmarks.peers.our_side", json.dumps(request)]
            with Side(OURS, command, ROOT, patience_s) as side:
                yield side
            return
        request |= {
            "key": task.key,
            "time_limit": task.time_limit,
            "settings": EPYMARL_SETTINGS | {"seed": seed},
            "packages": list(task.packages),
        }
        with tempfile.TemporaryDirectory(prefix="peers_") as folder:
            source = shutil.copytree(peer.source, Path(folder) / "src")
            program = Path(__file__).with_name("epymarl_side.py")
            command = [str(peer.python), str(program), str(source), json.dumps(request)]
            with Side(EPYMARL, command, Path(folder), patience_s, task.packages) as side:
                yield side

    return start


def measured(start: Start, amounts: Amounts) -> tuple[dict[str, list[dict[str, Any]]], dict[str, dict[str, str]]]:
    """Both sides in turn; who begins changes from pair to pair. Standard error hears how far it is.

    Returns:
        Row -> pairs, each ``{"ours": answer, "EPyMARL": answer}``; and versions by side.
    """
    pairs: dict[str, list[dict[str, Any]]] = {name: [] for name in ROWS}
    versions: dict[str, dict[str, str]] = {}
    for repeat in range(amounts.repeats):
        order = (EPYMARL, OURS) if repeat % 2 == 0 else (OURS, EPYMARL)
        with contextlib.ExitStack() as stack:
            sides: dict[str, Side] = {}
            trained: dict[str, Any] = {}
            for which in order:
                sides[which] = stack.enter_context(start(which, repeat))
                versions[which] = sides[which].versions
                trained[which] = sides[which].answer()
                took = 1e6 * trained[which]["cpu_s"] / max(1, trained[which]["env_steps"])
                print(
                    f"pair {repeat + 1} of {amounts.repeats}: {which} {took:.0f} us per env step",
                    file=sys.stderr,
                    flush=True,
                )
            pairs["end_to_end"].append(trained)
            works = {"update": amounts.updates, "sampling": amounts.env_steps}
            for name in works:  # once for nothing: what is made at the first call
                for which in order:
                    sides[which].work(name, 1)
            for _ in range(amounts.turns):
                for name, number in works.items():
                    pairs[name].append({which: sides[which].work(name, number) for which in order})
    return pairs, versions


def row_of(name: str, pairs: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """One row: medians of both sides' costs, and of their ratio with its bounds, ``[median, low, high]``.

    Raises:
        PeerError: A side did nothing of what is counted.
    """
    counted, factor, unit = ROWS[name]
    costs: dict[str, list[float]] = {OURS: [], EPYMARL: []}
    for pair in pairs:
        for which, values in costs.items():
            if pair[which][counted] <= 0:
                raise PeerError(
                    f"{which} did no {counted} in row {name!r}, expected at least 1; measure more with --last, --updates or "
                    "--steps."
                )
            values.append(factor * pair[which]["cpu_s"] / pair[which][counted])
    row: dict[str, Any] = {
        f"ours_{unit}": statistics.median(costs[OURS]),
        f"epymarl_{unit}": statistics.median(costs[EPYMARL]),
        "ratio": list(median_ratio(costs[EPYMARL], costs[OURS])),
        "pairs": len(pairs),
    }
    if name == "end_to_end":
        for which, key in ((OURS, "ours"), (EPYMARL, "epymarl")):
            episodes = sum(pair[which]["episodes"] for pair in pairs)
            row[f"{key}_updates_per_episode"] = sum(pair[which]["updates"] for pair in pairs) / max(1, episodes)
            row[f"{key}_env_steps_per_episode"] = sum(pair[which]["env_steps"] for pair in pairs) / max(1, episodes)
    return row


def rows(task_name: str, task: Task, peer: Peer, amounts: Amounts, patience_s: float) -> list[dict[str, Any]]:
    """The three rows of a task."""
    pairs, versions = measured(starting(task, peer, patience_s), amounts)
    shape = {"env": task.env, "first": task.first, "last": task.last, "threads": 1}
    return [
        {"name": f"{task_name}/{name}", **row_of(name, pairs[name]), **shape, "versions": versions} for name in ROWS
    ]


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Rows for people."""
    lines = [("", "ours", "EPyMARL", "", "ours / EPyMARL")]
    for row in found:
        unit = ROWS[row["name"].split("/")[1]][2]
        what = f"{unit} an update" if unit == "ms" else f"{unit} an env step"
        median, low, high = row["ratio"]
        ours, theirs = (f"{row[f'{side}_{unit}']:.4g}" for side in ("ours", "epymarl"))
        lines.append((row["name"], ours, theirs, what, f"{median:.3f} ({low:.3f} to {high:.3f})"))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in lines)
