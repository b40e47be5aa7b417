"""Run folders and policies of earlier releases are read, with the numbers that they had when they were made."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.checkpoints import CheckpointError, CheckpointStore, check_listed
from rllib_reborn.cli.main import main
from rllib_reborn.policy import Policy
from tests.golden import reading

FOLDER = Path(__file__).parent
VERSIONS = sorted(path.name for path in FOLDER.iterdir() if path.name[:1].isdigit())
#: Of float32 on another machine: products are summed in another order.
NEAR = {"rel": 1e-4, "abs": 1e-5}
#: After further updates such differences have grown.
NEAR_AFTER_TRAINING = {"rel": 1e-2, "abs": 1e-3}


def expected(version: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / version / "expected.json").read_text())
    return found


def assert_near(found: Any, wanted: Any, near: dict[str, float]) -> None:
    """Numbers near each other, all else equal, in nested data."""
    if isinstance(wanted, dict):
        assert isinstance(found, dict)
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            assert_near(found[name], value, near)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for one, value in zip(found, wanted):
            assert_near(one, value, near)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, **near)
    else:
        assert found == wanted


@pytest.fixture
def run(version: str, tmp_path: Path) -> Path:
    return reading.unpack(FOLDER / version / "run.zip", tmp_path)


def ray_of(run: Path) -> str:
    (checkpoint,) = CheckpointStore(run / "checkpoints", keep=1).paths()
    written: str = json.loads((checkpoint / "manifest.json").read_text())["versions"]["ray"]
    return written


def other_ray(run: Path) -> bool:
    """Whether the run's Ray is of another series: a checkpoint is then refused (docs/checkpoints.md)."""
    return ray_of(run).split(".")[:2] != importlib.metadata.version("ray").split(".")[:2]


def test_numbers_that_are_not_near_are_found() -> None:
    assert_near({"a": [1.0, "b"]}, {"a": [1.00001, "b"]}, NEAR)
    for wrong in ({"a": [1.01, "b"]}, {"a": [1.0, "c"]}, {"a": [1.0]}, {"b": [1.0, "b"]}):
        with pytest.raises(AssertionError):
            assert_near(wrong, {"a": [1.0, "b"]}, NEAR)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_policy_values_and_acts_as_it_did(version: str) -> None:
    assert_near(reading.of_policy(Policy.load(FOLDER / version / "policy")), expected(version)["policy"], NEAR)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_run_is_read_as_it_was(version: str, run: Path) -> None:
    assert_near(reading.of_run(run), expected(version)["run"], NEAR)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_run_is_reported(version: str, run: Path, tmp_path: Path) -> None:
    assert main(["report", str(run), "--out", str(tmp_path / "report")]) == 0
    assert "matrix/two_step" in (tmp_path / "report" / "report.md").read_text()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_file_of_a_checkpoint_is_the_one_that_was_written(version: str, run: Path) -> None:
    (checkpoint,) = CheckpointStore(run / "checkpoints", keep=1).paths()
    check_listed(checkpoint)
    (checkpoint / "algorithm_state.pkl").write_bytes(b"another")
    with pytest.raises(CheckpointError):
        check_listed(checkpoint)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_team_of_a_checkpoint_plays_as_it_did(version: str, run: Path) -> None:
    if other_ray(run):
        pytest.skip(f"written with ray {ray_of(run)}, whose pickles another series need not read")
    assert_near(reading.of_checkpoint(run), expected(version)["checkpoint"], NEAR)


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_a_run_is_evaluated(version: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if other_ray(run):
        pytest.skip(f"written with ray {ray_of(run)}, whose pickles another series need not read")
    assert main(["evaluate", str(run), "--episodes", "4"]) == 0
    assert "7" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_training_goes_on_as_it_did(version: str, run: Path) -> None:
    if other_ray(run):
        assert main(["train", str(run / "config.yaml"), "--resume", str(run), "stop.env_steps=640"]) != 0
        return
    wanted = expected(version)["further_training"]
    assert wanted["env_steps"] == reading.FURTHER
    assert_near(reading.of_further_training(run), wanted, NEAR_AFTER_TRAINING)
