"""What each tree's own python runs: trains, counts and traces with that tree's package, and answers in the new words.

Not for people: ``python -P in_tree.py TASK ANSWERS`` with a request as JSON on stdin. TASK is ``imports``, ``traces``,
``constructions`` or ``update_path``. ANSWERS becomes a file of JSON lines; the first says what was imported. Uses public
names only, so that modules may move.
"""

from __future__ import annotations

import json
import runpy
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import ray
import torch

import rllib_reborn
from rllib_reborn.algorithms import ALGORITHMS

# By path: the tree that is asked has no such module, or another one.
WORDS = runpy.run_path(str(Path(__file__).with_name("words.py")))
PACKAGE = Path(rllib_reborn.__file__).resolve().parent
Answer = dict[str, Any]


def unknown_words() -> list[Any]:
    """The words of the settings that this tree does not know."""

    def known(word: Any) -> bool:
        config = ALGORITHMS[word.asks_of]().environment("matrix/two_step")
        try:
            # In one go with older words that the question itself needs.
            config.training(**WORDS["in_old_words"](word.asks, [one for one in unknown if one.new != word.new]))
            config.validate()
        except (TypeError, ValueError):
            return False
        return True

    unknown: list[Any] = []
    for word in WORDS["SETTINGS"]:
        if not known(word):
            unknown.append(word)
    return unknown


def make_config(scenario: dict[str, Any], unknown: list[Any]) -> Any:
    """The config of a scenario, see :mod:`benchmarks.before_after.scenarios`."""
    config = ALGORITHMS[scenario["algorithm"]]().environment(scenario["env"], env_config=scenario["env_config"])
    config.training(**WORDS["in_old_words"](scenario["training"], unknown))
    config.env_runners(**scenario["env_runners"]).learners(**scenario["learners"])
    config.evaluation(**scenario["evaluation"])
    config.reporting(min_sample_timesteps_per_iteration=scenario["env_steps_per_iteration"])
    config.debugging(seed=scenario["seed"], log_level="ERROR")
    return config


def plain(value: Any) -> Any:
    """Numpy's numbers and arrays for JSON."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


# ---------------------------------------------------------------------- tasks


def traces(request: dict[str, Any]) -> Iterator[Answer]:
    """Rows and events of each scenario, or the error that ended it."""
    unknown = unknown_words()
    for scenario in request["scenarios"]:
        try:
            rows = list(trace(scenario, unknown))
        except Exception:
            yield {"name": scenario["name"], "error": traceback.format_exc()}
        else:
            yield {"name": scenario["name"], "rows": rows}


def trace(scenario: dict[str, Any], unknown: list[Any]) -> Iterator[Answer]:
    """``{"team": row, "plasticity": events}`` of every iteration."""
    # Whatever ran before in this process.
    torch.manual_seed(scenario["seed"])
    algorithm = make_config(scenario, unknown).build_algo()
    try:
        for iteration in range(scenario["iterations"]):
            if iteration == scenario["restore_after"]:
                with tempfile.TemporaryDirectory() as folder:
                    algorithm.save_to_path(folder)
                    kind = type(algorithm)
                    algorithm.stop()
                    algorithm = kind.from_checkpoint(folder)
            result = algorithm.train()
            if scenario["wait_for_runners"]:
                # Queued behind all that the runners were asked for: what they answer, and when they took which weights,
                # no longer depends on who is faster.
                algorithm.env_runner_group.foreach_env_runner(lambda runner: None, local_env_runner=False)
            yield {
                "team": WORDS["row_in_new_words"](result["team"]),
                "plasticity": WORDS["events_in_new_words"](result["plasticity"]),
            }
    finally:
        algorithm.stop()


def constructions(request: dict[str, Any]) -> Iterator[Answer]:
    """How often ``build_algo()`` of a shipped experiment builds the team's networks in this process."""
    name = request["experiment"]
    load = import_module("rllib_reborn.experiments.load")
    build = import_module("rllib_reborn.experiments.build")
    try:
        experiment = load.load_experiment(name)
    except Exception:
        experiment = load.load_experiment(WORDS["EXPERIMENTS"][name])
    config = build.build_config(experiment)
    module_class = config.get_default_rl_module_spec().module_class
    owner = next(base for base in module_class.__mro__ if "setup" in vars(base))
    original: Callable[[Any], None] = owner.setup
    callers: list[str] = []

    def counting(self: Any) -> None:
        ours = [frame.filename for frame in traceback.extract_stack() if Path(frame.filename).is_relative_to(PACKAGE)]
        callers.append(str(Path(ours[-1]).relative_to(PACKAGE)) if ours else "rllib")
        original(self)

    owner.setup = counting
    algorithm = config.build_algo()
    owner.setup = original
    algorithm.stop()
    yield {"constructions": len(callers), "callers": callers}


def update_path(request: dict[str, Any]) -> Iterator[Answer]:
    """The files of the package in which a line ran inside one ``training_step`` with an update."""
    algorithm = make_config(request["scenario"], unknown_words()).build_algo()
    try:
        # The second update: what is imported or made at the first is no part of the path.
        updates = 0
        while not updates:
            updates = algorithm.train()["team"]["updates"]
        lines: set[tuple[str, int]] = set()
        steps = 0
        training_step = algorithm.training_step

        def traced() -> Any:
            nonlocal steps
            steps += 1
            with_lines = _line_recorder(lines)
            threading.settrace(with_lines)
            sys.settrace(with_lines)
            try:
                return training_step()
            finally:
                sys.settrace(None)
                threading.settrace(None)

        algorithm.training_step = traced
        updates_of_step = algorithm.train()["team"]["updates"] - updates
    finally:
        algorithm.stop()
    ran = Counter(name for name, _ in lines)
    files = [
        {
            "file": str(Path(name).relative_to(PACKAGE)),
            "lines": len(Path(name).read_text().splitlines()),
            "lines_run": ran[name],
        }
        for name in sorted(ran)
    ]
    yield {"training_steps": steps, "updates": updates_of_step, "files": files}


def _line_recorder(lines: set[tuple[str, int]]) -> Callable[[FrameType, str, Any], Any]:
    """A trace function that adds the (file, line) of every line of the package that runs."""
    package = f"{PACKAGE}/"
    resolved: dict[str, str] = {}

    def on_line(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            lines.add((resolved[frame.f_code.co_filename], frame.f_lineno))
        return on_line

    def on_call(frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if name not in resolved:
            resolved[name] = str(Path(name).resolve())
        # A module's own lines run when it is imported, which is no part of the step.
        inside = resolved[name].startswith(package) and frame.f_code.co_name != "<module>"
        return on_line if inside else None

    return on_call


def imports(request: dict[str, Any]) -> Iterator[Answer]:
    """Nothing beside what every task says first."""
    return iter(())


TASKS: dict[str, Callable[[dict[str, Any]], Iterator[Answer]]] = {
    "imports": imports,
    "traces": traces,
    "constructions": constructions,
    "update_path": update_path,
}


def where_workers_import() -> str:
    """To be run by a Ray worker process."""
    import rllib_reborn

    return str(Path(rllib_reborn.__file__).resolve())


def main() -> None:
    task, answers = sys.argv[1:]
    request = json.load(sys.stdin)
    # A cluster of its own, with more CPUs booked than there are: the runs are tiny, and learners must find a place.
    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        worker = ray.get(ray.remote(where_workers_import).remote())
        imported = {"driver": str(Path(rllib_reborn.__file__).resolve()), "Ray worker": worker}
        with open(answers, "w") as file:
            print(json.dumps({"imported": imported}), file=file, flush=True)
            for answer in TASKS[task](request or {}):
                print(json.dumps(answer, default=plain), file=file, flush=True)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
