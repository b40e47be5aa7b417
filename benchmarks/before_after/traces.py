"""Golden traces: metrics rows and plasticity events of tiny runs, of the commit before and of the work tree, to the bit.

Columns ``time/*`` and ``memory/*`` and the ``seconds`` of events differ between equal runs and are left out; everything else
must be equal, or the exit code is 1. No numbers are stored: other CPUs round otherwise.
"""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from typing import Any

from benchmarks.before_after.checkout import Tree, add_arguments, make_trees
from benchmarks.before_after.compare import counts, differences, shows_nothing_of
from benchmarks.before_after.scenarios import all_scenarios

#: Whose networks are counted while it is built.
BUILT = "predator_prey/small/qmix+reborn"


def chosen(only: list[str]) -> list[dict[str, Any]]:
    """Scenarios whose name is, or has a part, among ``only``; all where that is empty.

    Raises:
        ValueError: A part is in no name.
    """
    scenarios = all_scenarios()
    names = [scenario["name"] for scenario in scenarios]
    for part in only:
        if not any(part in name for name in names):
            raise ValueError(f"--only is {part!r}; expected a part of one of: {', '.join(names)}.")
    # A whole name means that scenario alone: qmix/redo is also a part of wqmix/redo.
    return [
        one
        for one in scenarios
        if not only or any(part == one["name"] or (part not in names and part in one["name"]) for part in only)
    ]


def report(scenario: dict[str, Any], before: dict[str, Any], after: dict[str, Any], shown: int) -> bool:
    """Print how a scenario compares; True: equal, and it shows what it is for."""
    name = scenario["name"]
    for tree, answer in (("before", before), ("after", after)):
        if "error" in answer:
            print(f"{name:26} ERROR {tree}\n{answer['error']}")
            return False
    counted = counts(before["rows"])
    summary = ", ".join(f"{count} {what}" for what, count in counted.items() if count)
    found = list(differences(before["rows"], after["rows"], "rows"))
    missing = shows_nothing_of(scenario, counted)
    print(f"{name:26} {'DIFFERENT' if found else 'equal':9} {len(before['rows'])} rows: {summary}", flush=True)
    for sentence in islice(found, shown):
        print(f"    {sentence}")
    if len(found) > shown:
        print(f"    and {len(found) - shown} more differences")
    if missing:
        print(f"    shows nothing of: {', '.join(missing)}; change the scenario")
    return not found and not missing


def compare_traces(before: Tree, after: Tree, scenarios: list[dict[str, Any]], shown: int) -> int:
    """Run and print all scenarios; how many are not equal."""
    answers = [tree.ask("traces", scenarios=scenarios) for tree in (before, after)]
    return sum(
        not report(scenario, earlier, later, shown)
        for scenario, earlier, later in zip(scenarios, *answers, strict=True)
    )


def compare_constructions(before: Tree, after: Tree) -> None:
    """Print how often ``build_algo()`` builds networks in the driver."""
    for tree in (before, after):
        (answer,) = tree.ask("constructions", experiment=BUILT)
        where = ", ".join(answer["callers"])
        print(
            f"networks built by build_algo() of {BUILT}, {tree.name}: {answer['constructions']} ({where})", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="scenarios whose name contains a NAME")
    parser.add_argument("--list", action="store_true", help="print the names of the scenarios and stop")
    parser.add_argument(
        "--shown", type=int, default=1, metavar="N", help="differences printed of a scenario; default 1"
    )
    parser.add_argument("--no-constructions", action="store_true", help="do not count the networks that are built")
    arguments = parser.parse_args()
    try:
        scenarios = chosen(arguments.only)
        if arguments.list:
            print(*(scenario["name"] for scenario in scenarios), sep="\n")
            return
        before, after = make_trees(arguments)
    except ValueError as error:
        parser.error(str(error))
    different = compare_traces(before, after, scenarios, arguments.shown)
    if not arguments.no_constructions:
        compare_constructions(before, after)
    print(f"{len(scenarios) - different} of {len(scenarios)} scenarios equal")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
