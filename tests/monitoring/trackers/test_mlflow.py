"""MLflow's own store on this disk, read back by MLflow's client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.monitoring.trackers import mlflow as tracker_module
from rllib_reborn.monitoring.trackers.mlflow import MLflowTracker, log_figures
from tests.monitoring.trackers.runs import CONFIG, a_png, evaluated, facts, new_run, row, train

mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed: pip install 'rllib-reborn[mlflow]'")
pytest.importorskip("sqlalchemy", reason="sqlalchemy, which MLflow's store on a disk needs, is not installed")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One store for all tests here: MLflow takes seconds to make its tables."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
            patch.delenv(name, raising=False)
        yield tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="module")
def client(home: Path) -> Any:
    train(MLflowTracker(), new_run(home / "first"), [])
    return mlflow.MlflowClient(f"sqlite:///{home}/mlflow.db")


def runs_of(client: Any, experiment: str, folder: Path) -> list[Any]:
    run_id = json.loads((folder / "run.json").read_text())["run_id"]
    ids = [client.get_experiment_by_name(experiment).experiment_id]
    return list(client.search_runs(ids, f"tags.`rllib_reborn.run_id` = '{run_id}'"))


def points(client: Any, run: Any, name: str) -> list[tuple[int, float]]:
    return sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))


def test_metrics_parameters_tags_and_config(client: Any, home: Path) -> None:
    folder = new_run(home / "matrix_qmix_s3")
    train(MLflowTracker(), folder, [row(1, **{"odd/na(me)": 1.0}), evaluated(2)], to_the_end=True)
    (run,) = runs_of(client, "rllib-reborn", folder)
    assert (run.info.run_name, run.info.status) == ("matrix_qmix_s3", "FINISHED")
    assert points(client, run, "train/return_mean") == [(100, 10.0), (200, 20.0)]
    assert points(client, run, "eval/return_mean") == [(200, 2.0)]
    assert points(client, run, "odd/na_me_") == [(100, 1.0)]
    assert points(client, run, "final/return_mean") == [(200, 7.0)]
    assert run.data.params["training.lr"] == "0.001"
    assert run.data.params["interventions.0.kind"] == "reborn"
    assert {name: run.data.tags[name] for name in ("algorithm", "env", "seed")} == {
        "algorithm": "QMIX",
        "env": "matrix/climbing",
        "seed": "3",
    }
    config = Path(run.info.artifact_uri.removeprefix("file://")) / "config.yaml"
    assert "lr: 0.001" in config.read_text()
    assert config.is_relative_to(home / "mlartifacts")


def test_a_resumed_run_goes_on_in_its_run_and_a_fork_is_another(client: Any, home: Path) -> None:
    folder, fork = new_run(home / "resumed"), new_run(home / "fork")
    train(MLflowTracker(), folder, [row(1), row(2), row(3)])
    (run,) = runs_of(client, "rllib-reborn", folder)
    assert run.info.status == "KILLED"
    tracker = MLflowTracker()
    # What may change when a run goes on cannot change there: the parameter stays.
    tracker.on_start(facts(folder, [row(1), row(2)], training=CONFIG["training"] | {"lr": 0.5}, stop={"iterations": 4}))
    for one in (row(3), row(4)):
        tracker.on_iteration(one, ())
    tracker.close()
    (run,) = runs_of(client, "rllib-reborn", folder)
    assert points(client, run, "train/return_mean") == [(100, 10.0), (200, 20.0), (300, 30.0), (400, 40.0)]
    assert (run.data.params["training.lr"], run.data.params["stop.iterations"]) == ("0.001", "4")
    train(MLflowTracker(), fork, [row(3)], before=[row(1), row(2)])
    (other,) = runs_of(client, "rllib-reborn", fork)
    assert other.info.run_id != run.info.run_id
    assert [step for step, _ in points(client, other, "iteration")] == [100, 200, 300]


def test_runs_of_a_sweep_stand_in_its_experiment(client: Any, home: Path) -> None:
    (home / "lr").mkdir()
    (home / "lr" / "sweep.yaml").write_text("{}")
    folder = new_run(home / "lr" / "lr=0.1" / "s3")
    train(MLflowTracker(), folder, [row(1)])
    (run,) = runs_of(client, "lr", folder)
    assert (run.info.run_name, run.data.tags["sweep"]) == ("lr=0.1/s3", "lr")


def test_a_run_that_broke_off_has_failed_and_figures_are_artifacts(client: Any, home: Path) -> None:
    folder = new_run(home / "failed")
    tracker = MLflowTracker()
    tracker.on_start(facts(folder))
    (folder / "error.txt").write_text("Traceback")
    tracker.close()
    log_figures(folder, {"report/returns": a_png(home / "returns.png")}, 100)
    (run,) = runs_of(client, "rllib-reborn", folder)
    assert run.info.status == "FAILED"
    copied = Path(run.info.artifact_uri.removeprefix("file://")) / "report" / "returns.png"
    assert copied.read_bytes() == (home / "returns.png").read_bytes()


def test_a_server_that_is_not_there_keeps_nobody_waiting(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(tracker_module, "TRACKER_CLOSE_S", 0.5)
    tracker = MLflowTracker()
    tracker.on_start(facts(new_run(home / "unreachable"), [row(1)]))
    tracker.on_iteration(row(2), ())
    with pytest.raises(TimeoutError, match=r"not all was sent within 0\.5 s"):
        tracker.close()
