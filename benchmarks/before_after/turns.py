"""Learner, sampling and end to end, of the commit before and of the work tree: a living process of each, in turns.

As :mod:`.timings`, which starts every process anew for each pair; all rows here take some ten minutes. A pair is a turn of
each, and who goes first alternates. A row passes where the median of its ratios after/before is at most 1.02, or where the
interval contains 1.00; exit 1 if one does not. Nothing else may run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.before_after.checkout import Tree, add_arguments, make_trees
from benchmarks.before_after.intervals import median_ratio

SCRIPT = Path(__file__).with_name("turn_taker.py")
ALGORITHMS = ("iql", "vdn", "qmix", "wqmix", "qplex", "resq", "dmix", "rmix")
#: Row -> what :mod:`.turn_taker` does, and pairs.
ROWS: dict[str, tuple[list[str], int]] = {
    **{f"learner/{name}/32x25x3": (["learner", name, "32x25x3", "full"], 21) for name in ALGORITHMS},
    "learner/qmix/32x200x8/variable": (["learner", "qmix", "32x200x8", "variable"], 15),
    "learner/qmix/32x200x8/full": (["learner", "qmix", "32x200x8", "full"], 11),
    **{
        f"sampling/{row}": (["sampling", row], 21)
        for row in ("stag_hunt/B64", "stag_hunt/B8", "predator_prey_small/B64")
    },
    "end_to_end/one_process": (["one_process"], 7),
    "end_to_end/two_learners_overlap": (["overlapped"], 9),
    "two_learners/32x200x8": (["two_learners", "32x200x8"], 9),
    "two_learners/32x25x3": (["two_learners", "32x25x3"], 15),
}


class TurnTaker:
    """A process of a tree that is ready for turns.

    Raises:
        RuntimeError: It ended.
    """

    def __init__(self, tree: Tree, work: list[str]) -> None:
        self.name, self.seconds = f"{tree.name}: {' '.join(work)}", list[float]()
        # -P: the folder of the script, which is the work tree's, does not go on the path of the other tree.
        self._process = subprocess.Popen(
            [str(tree.python), "-P", str(SCRIPT), *work],
            cwd=tree.root,
            env=tree.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._answer("ready")

    def turn(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.seconds.append(float(self._answer("seconds").split()[1]))

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def _answer(self, beginning: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:  # what Ray prints comes between
            if line.startswith(beginning):
                return line
        raise RuntimeError(f"{self.name} ended with {self._process.wait(timeout=60)}; run it alone to see why.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--pairs", type=int, metavar="N", help="default: 7 to 21, by the row")
    parser.add_argument("--only", default="", metavar="NAME", help="rows whose name contains NAME")
    arguments = parser.parse_args()
    rows = {name: row for name, row in ROWS.items() if arguments.only in name}
    if not rows:
        parser.error(f"--only is {arguments.only!r}; no row contains it.")
    if arguments.pairs is not None and arguments.pairs < 1:
        parser.error(f"--pairs is {arguments.pairs}; expected at least 1.")
    try:
        trees = make_trees(arguments)
    except ValueError as error:
        parser.error(str(error))
    passes = True
    print(f"{'row':34} {'before':>9} {'after':>9}  after/before, 95% interval")
    for name, (work, pairs) in rows.items():
        before, after = (TurnTaker(tree, work) for tree in trees)
        for pair in range(arguments.pairs or pairs):
            for side in (before, after) if pair % 2 == 0 else (after, before):
                side.turn()
        before.end()
        after.end()
        ratio = median_ratio(before.seconds, after.seconds)
        passes &= ratio.passes
        ms = [1e3 * statistics.median(side.seconds) for side in (before, after)]
        verdict = "pass" if ratio.passes else "SLOWER"
        print(
            f"{name:34} {ms[0]:9.4g} {ms[1]:9.4g}  {ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] {verdict}",
            flush=True,
        )
    sys.exit(0 if passes else 1)


if __name__ == "__main__":
    main()
