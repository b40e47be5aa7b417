"""Small sweeps for clusters, and what their folders must say in the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.tuning.test_campaign import SETTINGS


def write_sweep(path: Path, *, env_steps: int, settings: dict[str, Any], **others: Any) -> Path:
    """A sweep over two values of beta."""
    sweep = {
        "base": "matrix/two_step/qmix+reborn",
        "set": SETTINGS | settings,
        "space": {"interventions.0.beta": {"grid": [1.5, 2.0]}},
        "budget": {"env_steps": env_steps},
        **others,
    }
    path.write_text(yaml.safe_dump(sweep))
    return path


def runs(out: Path) -> list[Path]:
    """Folders of the runs that have begun."""
    return sorted(path.parent for path in out.glob("*/s*/config.yaml"))


def lines(run: Path) -> list[str]:
    """Whole lines of ``metrics.jsonl``."""
    path = run / "metrics.jsonl"
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")] if path.exists() else []


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(run)]


def count_rows(out: Path) -> int:
    """Of all runs together."""
    return sum(len(lines(run)) for run in runs(out))


def check_all_done(out: Path, *, count: int, env_steps: int) -> None:
    """``count`` runs, each at its end, each iteration in one row, with the interventions that its config asks for."""
    assert len(runs(out)) == count
    for run in runs(out):
        assert (run / "final_evaluation.json").exists(), run
        assert not (run / "error.txt").exists(), (run / "error.txt").read_text()
        found = rows(run)
        assert [row["iteration"] for row in found] == list(range(1, len(found) + 1)), run
        steps = [row["env_steps"] for row in found]
        assert steps == sorted(set(steps)), run
        assert steps[-1] >= env_steps
        check_interventions(run)


def check_interventions(run: Path) -> None:
    """What the learner has applied is what the run's config asks for and its folder's name says, each application once."""
    asked = yaml.safe_load((run / "config.yaml").read_text())["interventions"]
    events = [json.loads(line) for line in (run / "dormancy" / "events.jsonl").read_text().splitlines()]
    applied = [event for event in events if event["event"] == "intervention"]
    assert applied, run
    for event in applied:
        assert event["settings"] == asked[event["position"]], run
    updates = [event["clock"]["updates"] for event in applied]
    assert updates == sorted(set(updates)), run
    assert f"beta={asked[0]['beta']:g}" in run.parent.name
    assert rows(run)[-1]["intervention/count"] == len(applied), run
