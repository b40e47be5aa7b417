"""Hostile run folders: metrics, events, config, notes."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rllib_reborn.evaluation.curves import CURVE_COLUMNS, intervention_marks, metric_curve, win_rate_curve
from rllib_reborn.evaluation.dormancy_figures import event_figures
from rllib_reborn.evaluation.groups import config_differences, group_runs
from rllib_reborn.evaluation.runs import RunError, read_run
from rllib_reborn.evaluation.summary import summarise_task
from tests.evaluation.synthetic import check, final, rows, write_run
from tests.fuzzing.changes import a_value, as_json, changed_bytes, changed_tree
from tests.fuzzing.running import Target

_FOLDER = tempfile.TemporaryDirectory(prefix="fuzz_runs_")
_GOOD, _BAD = Path(_FOLDER.name) / "good", Path(_FOLDER.name) / "bad"
_FORK = {
    "source": "runs/a/checkpoints/checkpoint_000001",
    "source_env_steps": 100,
    "fresh": ["replay"],
    "changes": ["a: 1 -> 2"],
}


def _sound(seed: int) -> dict[str, Any]:
    """What the files of a small run hold: rows and events as lists, all else as trees."""
    lines = rows(seed=seed, iterations=4)
    for number, row in enumerate(lines):
        row |= {"iteration": number + 1, "intervention/count": number, "dormancy/mixer/dormant_fraction": 0.25}
    intervention = {
        "event": "intervention",
        "iteration": 2,
        "clock": {"env_steps": 1_000, "updates": 10},
        "kind": "reborn",
        "dry_run": False,
        "neurons": 2,
        "changes": [{"layer": "mixer/a", "width": 4, "neurons": [0, 1], "donors": [1]}],
        "function_drift": 0.1,
        "greedy_actions_changed": None,
    }
    scores = {"mixer/a": [0.0, 4.0, 0.0, 0.0]}
    return {
        "config.yaml": {
            "algorithm": "qmix",
            "env": "predator_prey/small",
            "training": {"lr": 1e-3, "dormancy": {"alpha": 0.1, "beta": 3.0, "layers": "official_code"}},
            "interventions": [{"kind": "reborn", "every": 2_000, "rule": "paper", "partners": [2, 5]}],
            "seed": seed,
        },
        "metrics.jsonl": lines,
        "dormancy/events.jsonl": [check(500, scores), intervention, check(1_500, scores, iteration=3)],
        "final_evaluation.json": final(seed=seed, episodes=3),
        "fork.json": _FORK,
    }


SOUND = _sound(2)
write_run(_GOOD, settings=_sound(1)["config.yaml"], lines=_sound(1)["metrics.jsonl"], end=final(seed=1, episodes=3))
GOOD = read_run(_GOOD)


def make(rng: random.Random) -> dict[str, bytes]:
    """The files of a run, by name, one or two of them changed."""
    made = dict(SOUND_BYTES)
    if rng.random() < 0.7:
        del made["fork.json"]
    if rng.random() < 0.5:
        del made["final_evaluation.json"]
    drawn = rng.random() < 0.04
    for name in rng.choices((*made, "metrics.jsonl", "metrics.jsonl", "metrics.jsonl"), k=rng.randint(1, 2)):
        kind = rng.random()
        if kind < 0.25:
            made[name] = changed_bytes(made[name], rng)
        elif name == "metrics.jsonl" and kind < 0.7:
            # One column of the last row or of all: what is used at many places is hit as often as what is not.
            lines: list[dict[str, Any]] = json.loads(json.dumps(SOUND[name]))
            column, value = rng.choice(list(lines[0])), a_value(rng)
            for row in rng.choice((lines[-1:], lines, lines[1:])):
                row[column] = value if rng.random() < 0.8 else a_value(rng)
            made[name] = _bytes(name, lines)
        else:
            made[name] = _bytes(name, changed_tree(SOUND[name], rng))
    return made | {"drawn": b""} if drawn else made


def _bytes(name: str, content: Any) -> bytes:
    if name.endswith(".jsonl") and isinstance(content, list):
        return b"\n".join(as_json(line) for line in content) + b"\n"
    if name.endswith(".yaml"):
        try:
            return yaml.safe_dump(content).encode("utf-8", "surrogatepass")
        except (yaml.YAMLError, RecursionError, ValueError):
            pass  # JSON is YAML, nearly
    return as_json(content)


def read(files: Mapping[str, bytes]) -> None:
    """As a report reads it beside a good run; of some what it says of both, and what it draws."""
    (_BAD / "dormancy").mkdir(parents=True, exist_ok=True)
    for name in SOUND:
        (_BAD / name).unlink(missing_ok=True)
        if name in files:
            (_BAD / name).write_bytes(files[name])
    run = read_run(_BAD)
    groups, _ = group_runs([GOOD, run])
    config_differences(groups)
    for name in ("train/loss", "eval/win_rate", "intervention/count"):
        run.series(name)
    _ = run.name, run.env_steps, run.wall_time_s, run.evaluations()
    if "drawn" not in files:
        return
    for task in {group.task for group in groups}:
        of_task = [group for group in groups if group.task == task]
        summarise_task(of_task, reps=3)
        for group in of_task:
            if run in group.runs:
                table = metric_curve(group, "eval/return_mean", "evaluation", level=0.95, reps=3)
                assert tuple(table.columns) == CURVE_COLUMNS
                win_rate_curve(group, level=0.95)
                intervention_marks(group)
                event_figures([group], level=0.95, reps=3)


SOUND_BYTES = {name: _bytes(name, content) for name, content in SOUND.items()}
TARGET = Target(make, read, (RunError,))
