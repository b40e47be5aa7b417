"""What one has to read to follow one update: our files in which a line runs inside a ``training_step`` with an update.

QMIX on ``predator_prey/small`` in one process, without interventions and checks, warmed up first; imports do not count.
Whole files are counted, with all their lines; once more without ``envs/``, which are there whoever learns.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.before_after.checkout import Tree, add_arguments, make_trees
from benchmarks.before_after.scenarios import scenario

#: One training step a train(), with one update in it.
TRACED = scenario(
    "update_path",
    "QMIX",
    training={"dormancy": None},
    env_runners={"num_envs_per_env_runner": 1},
    evaluation={"interval_env_steps": None},
    env_steps_per_iteration=1,
)


def update_path(tree: Tree) -> list[dict[str, Any]]:
    """``{"file", "lines", "lines_run"}`` of each file.

    Raises:
        RuntimeError: The traced call was not one training step with one update.
    """
    (answer,) = tree.ask("update_path", scenario=TRACED)
    steps, updates = answer["training_steps"], answer["updates"]
    if (steps, updates) != (1, 1):
        raise RuntimeError(f"{tree.name}: traced {steps} training steps with {updates} updates; expected 1 and 1.")
    files: list[dict[str, Any]] = answer["files"]
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    try:
        trees = make_trees(parser.parse_args())
    except ValueError as error:
        parser.error(str(error))
    paths = [update_path(tree) for tree in trees]
    for tree, files in zip(trees, paths, strict=True):
        print(f"{tree.name}: lines of the file, lines that ran, file")
        for one in files:
            print(f"  {one['lines']:5} {one['lines_run']:5}  {one['file']}")
    for what, left_out in (("all", ()), ("without envs/", ("envs/",))):
        before, after = ([one for one in files if not one["file"].startswith(left_out)] for files in paths)
        for unit, old, new in (("files", len(before), len(after)), ("lines", _lines(before), _lines(after))):
            print(f"{unit}, {what}: {old} before, {new} after, ratio {new / old:.2f}")


def _lines(files: list[dict[str, Any]]) -> int:
    return sum(one["lines"] for one in files)


if __name__ == "__main__":
    main()
