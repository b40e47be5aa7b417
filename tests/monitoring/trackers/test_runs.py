"""Trackers of runs that really train."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.experiments.fork import ForkRequest
from rllib_reborn.experiments.load import experiment_from_dict
from rllib_reborn.experiments.run import execute_run, prepare_run
from tests.monitoring.trackers.event_files import scalars_in

pytestmark = pytest.mark.slow


class Quiet:
    def on_row(self, row: dict[str, Any]) -> None:
        pass

    def on_checkpoint(self, path: Path) -> None:
        pass

    def on_wait(self, reason: str) -> None:
        pass


def train(out: Path, iterations: int, **how: Any) -> None:
    experiment = experiment_from_dict(
        {
            "algorithm": "QMIX",
            "env": "matrix/two_step",
            "stop": {"iterations": iterations},
            "evaluation": {"interval_env_steps": 64, "episodes": 2, "final_episodes": 2},
            "logging": {"report_interval_env_steps": 32, "trackers": ["tensorboard", "csv"]},
        }
    )
    execute_run(prepare_run(experiment, out=out, **how), Quiet())


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def expect_the_rows(folder: Path) -> None:
    """The table has every value of ``metrics.jsonl``, and TensorBoard each of its numbers once, at its env steps."""
    rows = rows_of(folder)
    with (folder / "metrics.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [{name: json.loads(cell) for name, cell in line.items() if cell} for line in lines] == [
        {name: value for name, value in row.items() if value is not None} for row in rows
    ]
    scalars = scalars_in(folder / "tensorboard")
    for name in ("iteration", "train/return_mean", "eval/return_mean"):
        expected = [(row["env_steps"], row[name]) for row in rows if row[name] is not None]
        assert scalars[name] == [(step, pytest.approx(value)) for step, value in expected], name


def test_a_run_that_is_killed_resumed_and_forked(ray_session: None, tmp_path: Path) -> None:
    folder, fork = tmp_path / "run", tmp_path / "fork"
    train(folder, 2)
    expect_the_rows(folder)
    assert [step for step, _ in scalars_in(folder / "tensorboard")["final/return_mean"]] == [
        rows_of(folder)[-1]["env_steps"]
    ]
    shutil.copytree(folder / "checkpoints", tmp_path / "checkpoints")
    train(folder, 4, resume="auto")
    # As if it had been killed two iterations after its checkpoint.
    shutil.rmtree(folder / "checkpoints")
    shutil.copytree(tmp_path / "checkpoints", folder / "checkpoints")
    train(folder, 5, resume="auto")
    assert [row["iteration"] for row in rows_of(folder)] == [1, 2, 3, 4, 5]
    expect_the_rows(folder)
    train(fork, 6, fork=ForkRequest(folder, ()))
    assert len(rows_of(fork)) == 6
    expect_the_rows(fork)
