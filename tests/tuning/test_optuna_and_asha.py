"""Optuna and ASHA, whole, from YAML: beta and T move, and the learner applies them."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from rllib_reborn.tuning.campaign import check_sweep, run_sweep
from rllib_reborn.tuning.points import SweepRun
from rllib_reborn.tuning.sweep import Sweep, read_sweep
from rllib_reborn.tuning.sweep_folder import RunState, SweepFolder
from tests.tuning.test_campaign import SETTINGS, Recorder, rows, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long]

BETA, EVERY = "interventions.0.beta", "interventions.0.every"
SAMPLES, BUDGET, GRACE = 5, 384, 128
CONTROL = {"name": "none", "set": {"interventions": []}}
# Evaluations of the two-step game are often equal, and then nobody lies behind.
ASHA = {
    "scheduler": {"kind": "asha", "grace_period": GRACE, "reduction_factor": 2},
    "objective": "train/loss",
    "mode": "min",
}
OPTUNA = {
    "space": {BETA: {"uniform": [1.5, 3.0]}, EVERY: {"integers": [40, 60]}},
    "samples": SAMPLES,
    "searcher": {"kind": "optuna"},
}
GRID = {"space": {BETA: {"grid": [1.5, 2.0, 2.5]}, EVERY: {"grid": [40, 60]}}}


def written(folder: Path, **data: Any) -> Path:
    base = {
        "base": "matrix/two_step/qmix+reborn",
        "set": {key: value for key, value in SETTINGS.items() if key != EVERY} | {"evaluation.interval_env_steps": 64},
        "arms": [CONTROL],
        "budget": {"env_steps": BUDGET},
    }
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump(base | data))
    return file


def applied(folder: SweepFolder, run: SweepRun) -> set[tuple[Any, Any]]:
    """beta and T of each application of ReBorn, by the learner's own events."""
    lines = folder.run_folder(run).dormancy.read_text().splitlines()
    events = [json.loads(line) for line in lines]
    return {(e["settings"]["beta"], e["settings"]["every"]) for e in events if e["event"] == "intervention"}


def check_runs(folder: SweepFolder, sweep: Sweep, *, may_stop: bool, count: int) -> list[SweepRun]:
    """Each run is over, in order, and its learner applied its own values; returns those that were searched."""
    searched = [run for run in folder.runs(sweep) if run.point.arm is None]
    assert len(searched) == count
    for run in folder.runs(sweep):
        found, state = rows(folder.run_folder(run).root), folder.state(run)
        assert [row["iteration"] for row in found] == list(range(1, len(found) + 1))
        if run.point.arm is not None or not may_stop:
            assert state is RunState.DONE, f"{run.name}: only what is searched may be stopped early"
        assert state.is_over
        assert found[-1]["env_steps"] >= (BUDGET if state is RunState.DONE else GRACE)
        if run.point.arm is None:
            values = dict(run.point.values)
            config = yaml.safe_load(folder.run_folder(run).config.read_text())["interventions"][0]
            assert (config["beta"], config["every"]) == (values[BETA], values[EVERY])
            assert applied(folder, run) == {(values[BETA], values[EVERY])}
    assert len({run.point.values[BETA] for run in searched}) > 1
    assert len({run.point.values[EVERY] for run in searched}) > 1
    return searched


def check_results(recorder: Recorder, searched: list[SweepRun]) -> None:
    """What Tune received: always numbers, and the values that the learner applied."""
    for results in recorder.results.values():
        for result in results:
            assert math.isfinite(result["objective"])
            assert None not in result.values()
    for run in searched:
        for result in recorder.results[run.name]:
            assert {key: result[f"applied/{key}"] for key in run.point.values} == dict(run.point.values)


@pytest.mark.parametrize(
    ("data", "may_stop", "count"),
    [
        pytest.param(OPTUNA, False, SAMPLES, id="optuna"),
        pytest.param(OPTUNA | ASHA, True, SAMPLES, id="optuna_asha"),
        pytest.param(GRID | ASHA, True, 6, id="asha"),
    ],
)
def test_values_move_and_the_learner_applies_them(
    ray_session: None, tmp_path: Path, data: dict[str, Any], may_stop: bool, count: int
) -> None:
    sweep, folder, recorder = read_sweep(written(tmp_path, **data)), SweepFolder(tmp_path / "out"), Recorder()
    check_sweep(sweep)
    outcome = run_sweep(sweep, folder, recorder)
    assert sum(outcome.states.values()) == count + 1
    searched = check_runs(folder, sweep, may_stop=may_stop, count=count)
    check_results(recorder, searched)
    if may_stop:
        assert outcome.states[RunState.STOPPED_EARLY] > 0
    for run in searched:
        for value, bounds in ((run.point.values[BETA], (1.5, 3.0)), (run.point.values[EVERY], (40, 60))):
            assert bounds[0] <= value <= bounds[1]
    again = Recorder()
    assert run_sweep(sweep, folder, again).states == outcome.states
    assert again.ends == []


def test_killed_in_the_middle_it_goes_on_with_the_same_points(tmp_path: Path) -> None:
    file, out = written(tmp_path, **OPTUNA, **ASHA, concurrency=1), tmp_path / "out"
    command = [sys.executable, "-m", "rllib_reborn", "tune", str(file), "--out", str(out), "--resume"]
    folder = SweepFolder(out)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        wait_until(lambda: len(folder.chosen_points()) >= 3, process)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=120)
    points = {point.name: dict(point.values) for point in folder.chosen_points()}
    over = [path for name in ("final_evaluation.json", "stopped_early.json") for path in out.glob(f"*/s*/{name}")]
    before = {path: path.read_text() for path in over}
    assert before
    finished = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    check_runs(folder, folder.read(), may_stop=True, count=SAMPLES)
    after = {point.name: dict(point.values) for point in folder.chosen_points()}
    assert {name: after[name] for name in points} == points
    assert {path: path.read_text() for path in over} == before
