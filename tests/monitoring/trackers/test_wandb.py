"""What wandb writes offline, read back."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rllib_reborn.monitoring.trackers import wandb as tracker_module
from rllib_reborn.monitoring.trackers import why_unusable
from rllib_reborn.monitoring.trackers.wandb import WandbTracker, log_figures
from tests.monitoring.trackers.runs import a_png, evaluated, facts, new_run, row, train
from tests.monitoring.trackers.wandb_files import WandbFile, files_below

wandb = pytest.importorskip("wandb", reason="wandb is not installed: pip install 'rllib-reborn[wandb]'")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Environment variables of the test alone, which wandb reads once in a process."""
    for name in ("WANDB_DIR", "WANDB_PROJECT", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name.lower()))
    wandb.teardown()
    yield
    wandb.teardown()


def id_of(folder: Path) -> str:
    return str(json.loads((folder / "run.json").read_text())["run_id"])


def written(folder: Path) -> list[WandbFile]:
    """The files of all runs that have ended; wandb's own process may still have been writing."""
    wandb.teardown()
    return files_below(folder / "wandb")


def test_a_run_of_a_sweep_with_rows_config_and_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "env_config.api_key=hush-hush"])
    (tmp_path / "lr").mkdir()
    (tmp_path / "lr" / "sweep.yaml").write_text("{}")
    folder = new_run(tmp_path / "lr" / "lr=0.1" / "s3")
    train(WandbTracker(), folder, [row(1), evaluated(2)], to_the_end=True)
    (found,) = written(folder)
    run = found.run
    assert (run.run_id, run.project, run.display_name, run.run_group) == (
        id_of(folder),
        "rllib-reborn",
        "lr=0.1/s3",
        "lr",
    )
    assert list(run.tags) == ["QMIX", "matrix/climbing", "seed 3"]
    assert found.config["training"] == {"lr": 0.001, "td_lambda": None}
    assert found.config["interventions"] == [{"kind": "reborn", "beta": 3.0}]
    first, second = found.history
    assert (first["_step"], first["env_steps"], first["train/return_mean"]) == (100, 100.0, 10.0)
    assert "eval/return_mean" not in first, "null is left out"
    assert (second["_step"], second["eval/return_mean"]) == (200, 2.0)
    assert sum(second["eval/returns"]["values"]) == 2, "a histogram of two episodes"
    assert found.summary["final/return_mean"] == 7.0
    for path in (folder / "wandb").rglob("*"):
        assert not path.is_file() or b"hush-hush" not in path.read_bytes(), path


def test_a_resumed_run_goes_on_under_its_id_and_a_fork_is_another(tmp_path: Path) -> None:
    folder, fork = new_run(tmp_path / "run"), new_run(tmp_path / "fork")
    train(WandbTracker(), folder, [row(1), row(2), row(3)])
    train(WandbTracker(), folder, [row(3), row(4)], before=[row(1), row(2)])
    before, after = written(folder)
    assert before.run.run_id == after.run.run_id == id_of(folder)
    # It has the third row already, and wandb takes none back.
    assert [[line["_step"] for line in file.history] for file in (before, after)] == [[100, 200, 300], [400]]
    train(WandbTracker(), fork, [row(3)], before=[row(1), row(2)])
    (other,) = written(fork)
    assert other.run.run_id == id_of(fork) != id_of(folder)
    assert [line["_step"] for line in other.history] == [100, 200, 300]


def test_figures_are_images_behind_the_last_row(tmp_path: Path) -> None:
    folder = new_run(tmp_path / "run")
    train(WandbTracker(), folder, [row(1)])
    log_figures(folder, {"report/returns": a_png(tmp_path / "returns.png")}, 100)
    _, found = written(folder)
    assert found.run.run_id == id_of(folder)
    (line,) = found.history
    picture = line["report/returns"]
    assert (line["_step"], picture["_type"], picture["width"], picture["height"]) == (101, "image-file", 4, 3)
    (copied,) = (folder / "wandb").rglob("*.png")
    assert copied.read_bytes() == (tmp_path / "returns.png").read_bytes()


def test_a_server_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_unusable(["wandb"]) is None, "offline needs none"
    monkeypatch.setenv("WANDB_MODE", "online")
    wandb.teardown()
    assert "WANDB_API_KEY" in (why_unusable(["wandb"]) or "")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    wandb.teardown()
    assert why_unusable(["wandb"]) is None


def test_a_server_that_is_not_there_costs_the_time_of_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    wandb.teardown()
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    wandb.teardown()
    monkeypatch.setattr(tracker_module, "TRACKER_START_S", 1.0)
    tracker = WandbTracker()
    with pytest.raises(Exception, match=r"[Tt]imed out|refused"):
        tracker.on_start(facts(new_run(tmp_path / "run")))
    tracker.close()
