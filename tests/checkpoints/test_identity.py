"""A checkpoint is the one that it is said to be: of this run, under its own name, of versions that can read it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rllib_reborn.checkpoints import CheckpointError, check_checkpoint, check_listed, resolve_checkpoint, run_record
from tests.checkpoints.runs import made_up_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made_up_run(tmp_path / "run")
    return tmp_path / "run" / "checkpoints"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another run of the same settings."""
    made_up_run(tmp_path / "other")
    return tmp_path / "other" / "checkpoints"


def test_a_checkpoint_copied_from_another_run_is_refused_and_passed_over(run: Path, other: Path) -> None:
    shutil.copytree(other / "checkpoint_000002", run / "checkpoint_000003")
    (run / "checkpoint_000003").rename(run / "checkpoint_000009")
    shutil.rmtree(run / "checkpoint_000002")
    shutil.copytree(other / "checkpoint_000002", run / "checkpoint_000002")
    with pytest.raises(CheckpointError, match="is of another run than"):
        resolve_checkpoint(run / "checkpoint_000002")
    assert resolve_checkpoint(run.parent) == run / "checkpoint_000001"


def test_a_link_to_a_checkpoint_of_another_run_is_refused(run: Path, other: Path) -> None:
    shutil.rmtree(run / "checkpoint_000002")
    (run / "checkpoint_000002").symlink_to(other / "checkpoint_000002")
    with pytest.raises(CheckpointError, match="is of another run than"):
        resolve_checkpoint(run / "checkpoint_000002")


def test_folders_of_checkpoints_that_were_exchanged_are_refused(run: Path, other: Path) -> None:
    run.rename(run.with_name("aside"))
    other.rename(run)
    run.with_name("aside").rename(other)
    for folder in (run, other):
        with pytest.raises(CheckpointError, match="is of another run than"):
            resolve_checkpoint(folder.parent)


def test_a_renamed_checkpoint_is_refused(run: Path) -> None:
    (run / "checkpoint_000001").rename(run / "checkpoint_000009")
    with pytest.raises(CheckpointError, match="was saved as checkpoint_000001 and renamed"):
        resolve_checkpoint(run / "checkpoint_000009")
    assert resolve_checkpoint(run.parent) == run / "checkpoint_000002"
    link = run / "checkpoint_000007"
    link.symlink_to("checkpoint_000002")
    with pytest.raises(CheckpointError, match="renamed"):
        resolve_checkpoint(link)


def test_two_checkpoints_that_were_exchanged_are_both_refused(run: Path) -> None:
    first, second = run / "checkpoint_000001", run / "checkpoint_000002"
    first.rename(run / "aside")
    second.rename(first)
    (run / "aside").rename(second)
    for path in (first, second):
        with pytest.raises(CheckpointError, match="renamed"):
            resolve_checkpoint(path)


@pytest.mark.parametrize("text", [None, "{}", "", "[[", '{"run_id": 3}'])
def test_a_run_that_does_not_say_which_it_is_has_no_checkpoint(run: Path, text: str | None) -> None:
    record = run.parent / "run.json"
    record.unlink()
    if text is not None:
        record.write_text(text)
    for path in (run.parent, run / "checkpoint_000002"):
        with pytest.raises(CheckpointError, match=r"run\.json .*put back|run\.json is missing.*put it back"):
            resolve_checkpoint(path)


def test_a_checkpoint_on_its_own_is_taken(run: Path, tmp_path: Path) -> None:
    for name in ("best", "checkpoint_000002"):
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        copy = shutil.copytree(run / "checkpoint_000002", tmp_path / "elsewhere" / name)
        assert resolve_checkpoint(copy) == copy


def test_a_checkpoint_of_a_run_whose_manifest_is_gone_is_not_taken_for_one_of_rllib(run: Path) -> None:
    newest = run / "checkpoint_000002"
    (newest / "manifest.json").rename(newest / "rllib_checkpoint.json")
    for check in (check_checkpoint, check_listed, resolve_checkpoint):
        with pytest.raises(CheckpointError, match="no manifest"):
            check(newest)
    (newest / "rllib_checkpoint.json").unlink()
    with pytest.raises(CheckpointError, match="no manifest"):
        resolve_checkpoint(newest)


def test_another_release_of_ray_is_refused_and_another_torch_warned_of(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    versions = run_record.installed_versions()
    for changed, refused in (
        ({"ray": "2.61.0"}, True),
        ({"ray": "3.60.0"}, True),
        ({"ray": versions["ray"] + ".post1"}, False),
        ({"torch": "99.0"}, False),
        ({"rllib_reborn": "99.0"}, False),
    ):
        monkeypatch.setattr(run_record, "installed_versions", lambda changed=changed: versions | changed)
        caplog.clear()
        if refused:
            with pytest.raises(CheckpointError, match=f"written with ray {versions['ray']}, and {changed['ray']} is"):
                resolve_checkpoint(run / "checkpoint_000002")
        else:
            resolve_checkpoint(run / "checkpoint_000002")
            assert "may not repeat to the bit" in caplog.text
