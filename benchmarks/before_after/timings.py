"""The benchmarks of sampling, learner and end to end, of the commit before and of the work tree, in interleaved pairs.

Each run is a process of its tree with that tree's own ``benchmarks``; which tree goes first alternates from pair to pair. A
row passes where the median of its ratios after/before is at most 1.02, or where the interval contains 1.00; exit 1 if one
does not. Nothing else may run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, NamedTuple

from benchmarks.before_after.checkout import Tree, add_arguments, make_trees
from benchmarks.before_after.intervals import Ratio, median_ratio


class Case(NamedTuple):
    """One process: ``python -m benchmarks.MODULE --json --only ONLY --repeats REPEATS``."""

    module: str
    only: str
    repeats: int


CASES = (
    Case("sampling", "/B64", 3),
    Case("sampling", "/B8", 3),
    Case("learner", "/32x25x3/full", 5),
    Case("learner", "qmix/32x200x8/variable", 3),
    Case("learner", "two_learners", 3),
    Case("end_to_end", "one_process", 3),
    Case("end_to_end", "two_learners_overlap", 2),
)
#: Measured values, times first; the first one in a row counts. Rates are turned into times.
TIMES = ("cpu_us", "cpu_ms", "wall_ms")
RATES = ("env_steps_per_s", "updates_per_s")
#: Rows that are called otherwise in the work tree: "module/row" before to "module/row" after.
ROWS: dict[str, str] = {}


def time_of(row: dict[str, Any]) -> float:
    """What a row measures, as a time in any unit.

    Raises:
        ValueError: It has none of the known values.
    """
    for name in TIMES:
        if name in row:
            return float(row[name])
    for name in RATES:
        if name in row:
            return 1 / float(row[name])
    raise ValueError(f"row {row.get('name')!r} has {', '.join(row)}; expected one of {', '.join(TIMES + RATES)}.")


def measure(tree: Tree, cases: list[Case]) -> dict[str, float]:
    """Times of all rows of the cases by their name in the work tree."""
    times = {}
    for case in cases:
        arguments = ["-m", f"benchmarks.{case.module}", "--json", "--only", case.only, "--repeats", str(case.repeats)]
        for line in tree.run(arguments).splitlines():
            if line.startswith("{"):
                row = json.loads(line)
                name = f"{case.module}/{row['name']}"
                times[ROWS.get(name, name) if tree.name == "before" else name] = time_of(row)
    return times


def ratios(before: list[dict[str, float]], after: list[dict[str, float]]) -> dict[str, Ratio]:
    """The ratio of every row, from the times of each pair.

    Raises:
        ValueError: A row was measured in one tree only.
    """
    alone = before[0].keys() ^ after[0].keys()
    if alone:
        raise ValueError(f"rows of one tree only: {', '.join(sorted(alone))}; write their names into ROWS.")
    return {
        name: median_ratio([times[name] for times in before], [times[name] for times in after]) for name in before[0]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--pairs", type=int, default=7, metavar="N", help="default 7, the fewest that mean something")
    parser.add_argument("--only", default="", metavar="NAME", help="cases whose 'module ONLY' contains NAME")
    arguments = parser.parse_args()
    cases = [case for case in CASES if arguments.only in f"{case.module} {case.only}"]
    if not cases:
        parser.error(f"--only is {arguments.only!r}; no case contains it.")
    if arguments.pairs < 1:
        parser.error(f"--pairs is {arguments.pairs}; expected at least 1.")
    try:
        trees = make_trees(arguments)
    except ValueError as error:
        parser.error(str(error))
    measured: dict[str, list[dict[str, float]]] = {tree.name: [] for tree in trees}
    for pair in range(arguments.pairs):
        for tree in trees if pair % 2 == 0 else reversed(trees):
            measured[tree.name].append(measure(tree, cases))
        print(f"pair {pair + 1} of {arguments.pairs} done", file=sys.stderr, flush=True)
    found = ratios(measured["before"], measured["after"])
    print(f"{'row':44} {'ratio':>6}  {'95% interval':16} (after/before, {arguments.pairs} pairs)")
    for name, ratio in found.items():
        verdict = "pass" if ratio.passes else "SLOWER"
        print(f"{name:44} {ratio.median:6.3f}  [{ratio.low:.3f}, {ratio.high:.3f}]   {verdict}")
    sys.exit(0 if all(ratio.passes for ratio in found.values()) else 1)


if __name__ == "__main__":
    main()
