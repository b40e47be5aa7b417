"""The command line."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import benchmarks.peers
from benchmarks.peers.measure import Amounts, Peer, rows, table
from benchmarks.peers.side import PeerError
from benchmarks.peers.tasks import TASKS

_DEFAULT = Amounts(repeats=3, turns=5, updates=10, env_steps=1_000)
_SMALL = Amounts(repeats=1, turns=2, updates=3, env_steps=200)
#: Env steps that ``--small`` trains on behind ``first``: the least for which something is said of updates.
_SMALL_EPISODES = 20


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=benchmarks.peers.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--epymarl", type=Path, required=True, metavar="PATH", help="a clone of EPyMARL")
    parser.add_argument("--python", type=Path, required=True, metavar="PYTHON", help="a Python that has its packages")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS), help="default all")
    parser.add_argument(
        "--first", type=int, metavar="N", help="env steps at the first reading of the clock; default 2500, rware 17500"
    )
    parser.add_argument("--last", type=int, metavar="N", help="env steps at the second; default 10000, rware 25000")
    for field in dataclasses.fields(Amounts):
        what = {
            "repeats": "pairs of runs",
            "turns": "pairs of updates and of sampling behind each pair of runs",
            "updates": "updates of a turn",
            "env_steps": "env steps of a turn of sampling, at least",
        }[field.name]
        option = "--steps" if field.name == "env_steps" else f"--{field.name}"
        parser.add_argument(
            option, type=int, dest=field.name, metavar="N", help=f"{what}; default {getattr(_DEFAULT, field.name)}"
        )
    parser.add_argument(
        "--patience",
        type=float,
        default=1_800.0,
        metavar="S",
        help="wall seconds that a side may be silent; default 1800",
    )
    parser.add_argument(
        "--small", action="store_true", help=f"a quick try: one pair, {_SMALL_EPISODES} episodes behind --first"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line, and no table")
    return parser


def main(given: Sequence[str] | None = None) -> int:
    """Prints the rows. Returns 1 where a side cannot be measured, with one sentence on standard error."""
    parser = _parser()
    arguments = parser.parse_args(given)
    base = _SMALL if arguments.small else _DEFAULT
    asked = {name: getattr(arguments, name) for name in dataclasses.asdict(base)}
    amounts = dataclasses.replace(base, **{name: value for name, value in asked.items() if value is not None})
    if min(dataclasses.asdict(amounts).values()) < 1 or arguments.patience <= 0:
        parser.error("--repeats, --turns, --updates and --steps must be at least 1, and --patience above 0.")
    tasks = {}
    for name in arguments.tasks:
        task = TASKS[name]
        first = task.first if arguments.first is None else arguments.first
        usual = first + _SMALL_EPISODES * task.time_limit if arguments.small else max(task.last, first + 1)
        last = usual if arguments.last is None else arguments.last
        if not 0 <= first < last:
            parser.error(f"--first {first} and --last {last}: expected 0 <= first < last.")
        tasks[name] = dataclasses.replace(task, first=first, last=last)
    found = []
    try:
        peer = Peer(arguments.epymarl, arguments.python)
        for name, task in tasks.items():
            for row in rows(name, task, peer, amounts, arguments.patience):
                found.append(row)
                print(json.dumps(row), flush=True)
    except PeerError as error:
        print(f"benchmarks.peers: {error}", file=sys.stderr)
        return 1
    if not arguments.json:
        print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
