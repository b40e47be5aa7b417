"""The table of trackers: names, what is missing, and that one that fails leaves the others alone."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.listeners import listeners_of
from rllib_reborn.experiments.load import experiment_from_dict
from rllib_reborn.experiments.run import prepare_run
from rllib_reborn.experiments.schema import Experiment
from rllib_reborn.monitoring import trackers
from tests.monitoring.trackers.event_files import values_in
from tests.monitoring.trackers.runs import a_png, new_run


def experiment(*names: str) -> Experiment:
    return experiment_from_dict(
        {
            "algorithm": "QMIX",
            "env": "matrix/two_step",
            "stop": {"iterations": 2},
            # Other tests of this process may be on a cluster, where metrics are exported.
            "logging": {"trackers": list(names), "prometheus": False},
        }
    )


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == package else find(name, *rest))


def test_a_run_has_the_trackers_that_it_names() -> None:
    made = listeners_of(experiment(*trackers.NAMES), Path("runs/x"))
    assert tuple(tracker.name for tracker in made) == trackers.NAMES == ("tensorboard", "wandb", "mlflow", "csv")
    assert listeners_of(experiment(), Path("runs/x")) == []


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("tensorbord",),
            "logging.trackers.0 is 'tensorbord': input should be 'tensorboard', 'wandb', 'mlflow' or 'csv'",
        ),
        (("csv", "wandb", "csv"), "csv is there more than once"),
    ],
)
def test_names_that_are_unknown_or_doubled_are_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        experiment(*names)


@pytest.mark.parametrize(
    ("name", "package", "remedy"),
    [
        ("wandb", "wandb", r"pip install 'rllib-reborn\[wandb\]'"),
        ("mlflow", "mlflow", r"pip install 'rllib-reborn\[mlflow\]'"),
        ("mlflow", "sqlalchemy", r"pip install 'rllib-reborn\[mlflow\]'"),
        ("tensorboard", "tensorboardX", "pip install tensorboardX"),
    ],
)
def test_a_missing_package_is_a_sentence_before_anything_is_written(
    name: str, package: str, remedy: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without(monkeypatch, package)
    with pytest.raises(ExperimentError, match=f"{package} is not installed, which {name} needs; {remedy}"):
        prepare_run(experiment("csv", name), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_figures_go_to_those_that_show_pictures_and_a_failure_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*given: Any) -> None:
        raise OSError("no server")

    broken = trackers._Kind(trackers._KINDS["csv"].make, log_figures=fails)
    monkeypatch.setitem(trackers._KINDS, "wandb", broken)
    folder = new_run(tmp_path / "run")
    with caplog.at_level(logging.WARNING):
        trackers.log_figures(
            folder, ["csv", "wandb", "tensorboard"], {"report/returns": a_png(tmp_path / "x.png")}, 100
        )
    assert [record.message for record in caplog.records] == [
        "figures could not be added to wandb (OSError: no server)."
    ]
    assert list(values_in(folder / "tensorboard")) == ["report/returns"]
    assert not (folder / "metrics.csv").exists()
