"""Sweeps, for real, on the two-step game: run, stopped, killed, gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from rllib_reborn.cli.main import main
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.tuning.campaign import check_sweep, run_sweep
from rllib_reborn.tuning.sweep import Sweep, parse_sweep
from rllib_reborn.tuning.sweep_folder import RunState, SweepFolder
from rllib_reborn.tuning.trainable import SweepTrainable, flat_config

pytestmark = pytest.mark.slow

SETTINGS = {
    "training.learning_starts_episodes": 16,
    "training.batch_episodes": 16,
    "training.updates_per_episode": 0.25,
    "interventions.0.every": 50,
    "evaluation.interval_env_steps": 200,
    "evaluation.final_episodes": 4,
    "checkpoint.interval_env_steps": 100,
    "logging.report_interval_env_steps": 64,
}
BETA = "interventions.0.beta"


def sweep(**data: Any) -> Sweep:
    base = {
        "base": "matrix/two_step/qmix+reborn",
        "set": SETTINGS,
        "space": {BETA: {"grid": [1.5, 2.0]}},
        "budget": {"env_steps": 256},
    }
    return parse_sweep(base | data, "a.yaml")


class Recorder:
    """What a sweep has reported."""

    def __init__(self) -> None:
        self.results: dict[str, list[Mapping[str, Any]]] = {}
        self.ends: list[tuple[str, RunState, str]] = []
        self.waits: list[str] = []
        self.restarts: list[tuple[str, str]] = []
        self.total = 0
        self.states: Mapping[str, RunState] = {}

    def on_start(self, states: Mapping[str, RunState], total: int) -> None:
        self.states, self.total = states, total

    def on_wait(self, reason: str) -> None:
        self.waits.append(reason)

    def on_restart(self, name: str, reason: str) -> None:
        self.restarts.append((name, reason))

    def on_result(self, name: str, result: Mapping[str, Any]) -> None:
        self.results.setdefault(name, []).append(dict(result))

    def on_end(self, name: str, state: RunState, reason: str = "") -> None:
        self.ends.append((name, state, reason))


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def learnt(folder: Path) -> list[dict[str, Any]]:
    """Rows without what may differ between equal runs."""
    return [
        {key: value for key, value in row.items() if not key.startswith(("time/", "memory/"))} for row in rows(folder)
    ]


@pytest.fixture(scope="module")
def done(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepFolder, Recorder]:
    """A whole sweep: two values of beta and the control, with one seed."""
    folder, recorder = SweepFolder(tmp_path_factory.mktemp("sweep") / "out"), Recorder()
    outcome = run_sweep(sweep(arms=[{"name": "none", "set": {"interventions": []}}], concurrency=1), folder, recorder)
    assert outcome.interrupted_by is None
    assert dict(outcome.states) == {RunState.DONE: 3}
    return folder, recorder


def test_each_run_is_an_ordinary_run_folder_with_its_own_settings(done: tuple[SweepFolder, Recorder]) -> None:
    folder, recorder = done
    assert recorder.total == 3
    assert {name for name, state, _ in recorder.ends if state is RunState.DONE} == {
        "beta=1.5/s0",
        "beta=2/s0",
        "none/s0",
    }
    for beta in (1.5, 2.0):
        run = folder.root / f"beta={beta:g}" / "s0"
        config = yaml.safe_load((run / "config.yaml").read_text())
        assert config["interventions"][0]["beta"] == beta
        assert config["checkpoint"]["replay"] == "none"
        events = [json.loads(line) for line in (run / "dormancy" / "events.jsonl").read_text().splitlines()]
        applied = [event for event in events if event["event"] == "intervention"]
        assert applied
        assert {event["settings"]["beta"] for event in applied} == {beta}
        assert [row["iteration"] for row in rows(run)] == list(range(1, len(rows(run)) + 1))
        assert len(list((run / "checkpoints").iterdir())) <= 3
        assert (run / "final_evaluation.json").exists()
    assert not folder.tune.exists()


def test_every_result_has_a_finite_objective_and_what_the_learner_saw(done: tuple[SweepFolder, Recorder]) -> None:
    folder, recorder = done
    for name, results in recorder.results.items():
        assert [result["objective"] for result in results if not isinstance(result["objective"], float)] == []
        measured = [row["eval/return_mean"] for row in rows(folder.root / name) if row["eval/return_mean"] is not None]
        assert results[-1]["objective"] == measured[-1]
        # Played before the first row, and then whenever a row has one.
        assert results[0]["objective_env_steps"] == 0 or results[0]["env_steps"] >= 200
        applied = {result.get(f"applied/{BETA}") for result in results}
        assert applied == ({None} if name == "none/s0" else {float(name.split("=")[1].split("/")[0])})


def test_a_run_of_a_sweep_is_the_run_that_train_makes(done: tuple[SweepFolder, Recorder], tmp_path: Path) -> None:
    folder, _ = done
    config = folder.root / "beta=2" / "s0" / "config.yaml"
    assert main(["train", str(config), "--out", str(tmp_path / "run"), "--quiet"]) == 0
    assert learnt(tmp_path / "run") == learnt(config.parent)
    # What no evaluation has measured stays unknown in its rows.
    assert {row["eval/return_mean"] is None for row in rows(config.parent)} == {True, False}


def test_what_is_done_is_left_alone(done: tuple[SweepFolder, Recorder]) -> None:
    folder, _ = done
    before = {path: path.stat().st_mtime_ns for path in folder.root.glob("*/s0/**/*")}
    recorder = Recorder()
    outcome = run_sweep(folder.read(), folder, recorder)
    assert dict(outcome.states) == {RunState.DONE: 3}
    assert (recorder.results, recorder.ends) == ({}, [])
    assert {path: path.stat().st_mtime_ns for path in folder.root.glob("*/s0/**/*")} == before


def test_status_and_report_of_it(done: tuple[SweepFolder, Recorder], tmp_path: Path, capsys: Any) -> None:
    folder, _ = done
    assert main(["tune", "status", str(folder.root)]) == 0
    printed = capsys.readouterr().out
    assert "3 runs: 3 done" in printed
    assert "beta=1.5/s0" in printed
    assert main(["report", str(folder.root), "--out", str(tmp_path / "report")]) == 0


def test_another_sweep_does_not_go_on_in_its_folder(done: tuple[SweepFolder, Recorder], capsys: Any) -> None:
    folder, _ = done
    with pytest.raises(ExperimentError, match="has another seeds"):
        run_sweep(folder.read().model_copy(update={"seeds": [0, 1]}), folder, Recorder())
    assert main(["tune", str(folder.sweep_file), "--out", str(folder.root)]) == 2
    assert "give --resume to go on with it" in capsys.readouterr().err


def test_a_run_that_fails_is_told_and_tried_again(ray_session: None, tmp_path: Path) -> None:
    folder, recorder = SweepFolder(tmp_path / "out"), Recorder()
    failing = sweep(
        base="tests.fakes.envs:MaskedWalk/qmix",
        set={key: value for key, value in SETTINGS.items() if not key.startswith("interventions")}
        | {"env_config.fault": "nan_reward"},
        space={"training.lr": {"grid": [1e-3]}},
    )
    outcome = run_sweep(failing, folder, recorder)
    assert dict(outcome.states) == {RunState.FAILED: 1}
    [(name, state, reason)] = recorder.ends
    assert (name, state) == ("lr=0.001/s0", RunState.FAILED)
    assert "nan" in reason
    assert "nan" in (folder.root / name / "error.txt").read_text()
    again = Recorder()
    run_sweep(failing, folder, again)
    assert [end[1] for end in again.ends] == [RunState.FAILED]


def test_every_run_is_checked_before_the_first_begins() -> None:
    with pytest.raises(ExperimentError, match=r"run beta=-1/s0: .*beta"):
        check_sweep(sweep(space={BETA: {"grid": [2.0, -1.0]}}))


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_a_driver_that_is_ended_loses_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Ended in the middle, then to the end by the same command: no row twice, what was done stays as it is."""
    out = tmp_path / "out"
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump(sweep(concurrency=1).model_dump(mode="json", exclude_unset=True)))
    command = [sys.executable, "-m", "rllib_reborn", "tune", str(file), "--out", str(out), "--resume"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        wait_until(lambda: len(list(out.glob("beta=2/s0/checkpoints/checkpoint_*"))) > 0, process)
        os.kill(process.pid, number)
        printed, _ = process.communicate(timeout=120)
    if number is signal.SIGTERM and process.returncode:
        assert "stopped by SIGTERM; every run is saved. Go on with:" in printed
    done = {path: path.read_text() for path in out.glob("*/s*/final_evaluation.json")}
    assert len(done) >= 1
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "2 runs: 2 done" in finished.stdout
    for path, text in done.items():
        assert path.read_text() == text
    for run in out.glob("*/s*"):
        assert [row["iteration"] for row in rows(run)] == list(range(1, len(rows(run)) + 1))
        assert rows(run)[-1]["env_steps"] >= 256


def wait_until(condition: Any, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < deadline, "nothing happened within three minutes"
        time.sleep(0.1)


def test_a_process_that_is_not_asked_for_a_step_leaves_the_run_to_another(ray_session: None, tmp_path: Path) -> None:
    """Tune makes a process for a run and may then give the run to an older one that has become free."""
    one, folder = sweep(space={}), SweepFolder(tmp_path / "sweep")
    folder.root.mkdir()
    folder.start(one)
    (run,) = folder.runs(one)
    idle, working = (SweepTrainable(flat_config(folder, run)) for _ in range(2))
    try:
        assert not working.train()["failed"]
    finally:
        for trainable in (idle, working):
            trainable.stop()
