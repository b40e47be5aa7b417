"""A run's name, group and id in every tracker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rllib_reborn.monitoring.trackers.identity import identity_of
from tests.monitoring.trackers.runs import new_run


def test_a_run_has_the_id_of_its_record_and_the_name_of_its_folder(tmp_path: Path) -> None:
    folder = new_run(tmp_path / "runs" / "small_qmix_s0")
    found = identity_of(folder)
    assert found.id == json.loads((folder / "run.json").read_text())["run_id"]
    assert (found.name, found.sweep, found.home) == ("small_qmix_s0", None, tmp_path / "runs")
    assert identity_of(folder) == found, "the same when it goes on"
    assert identity_of(new_run(tmp_path / "runs" / "fork")).id != found.id


def test_a_run_of_a_sweep_is_named_by_point_and_seed_and_grouped_by_the_sweep(tmp_path: Path) -> None:
    (tmp_path / "lr").mkdir()
    (tmp_path / "lr" / "sweep.yaml").write_text("{}")
    found = identity_of(new_run(tmp_path / "lr" / "lr=0.1" / "s3"))
    assert (found.name, found.sweep, found.home) == ("lr=0.1/s3", "lr", tmp_path)


def test_a_folder_without_a_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run\.json is missing"):
        identity_of(tmp_path)
