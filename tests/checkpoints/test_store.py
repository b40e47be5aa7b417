"""A checkpoint is whole or not there, damage is found, and the last good one is never given up early."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from rllib_reborn.checkpoints import (
    MANIFEST_NAME,
    CheckpointError,
    CheckpointStore,
    resolve_checkpoint,
    verify,
)
from rllib_reborn.checkpoints.manifest import read


def content(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "learner").mkdir()
        (folder / "learner" / "weights.bin").write_bytes(text.encode() * 100)
        (folder / "state.json").write_text(json.dumps({"text": text}))

    return write


def save(store: CheckpointStore, number: int) -> Path:
    return store.save(content(f"save {number}"), iteration=number, env_steps=number * 10, config_hash="abc")


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "run" / "checkpoints", keep=2)


def test_a_saved_checkpoint_is_found_with_its_facts(store: CheckpointStore) -> None:
    path = save(store, 1)
    assert path.name == "checkpoint_000001"
    found = store.latest_valid()
    assert found is not None
    assert found[0] == path
    manifest = found[1]
    assert (manifest.iteration, manifest.env_steps, manifest.config_hash) == (1, 10, "abc")
    assert set(manifest.files) == {"learner/weights.bin", "state.json"}
    assert manifest.files["learner/weights.bin"].size == 600
    assert set(manifest.versions) == {"rllib_reborn", "ray", "torch"}
    assert manifest.versions["ray"].startswith("2.60")


def test_nothing_saved_yet_is_none(store: CheckpointStore) -> None:
    assert store.latest_valid() is None
    assert store.paths() == []


def test_only_the_newest_are_kept_and_numbers_rise(store: CheckpointStore) -> None:
    for number in range(1, 6):
        save(store, number)
    assert [path.name for path in store.paths()] == ["checkpoint_000004", "checkpoint_000005"]
    assert sorted(path.name for path in store.folder.iterdir()) == ["checkpoint_000004", "checkpoint_000005"]


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES = {
    "flipped": (flip_a_byte, "learner/weights.bin", "checksum"),
    "truncated": (truncate, "learner/weights.bin", "599 bytes instead of 600"),
    "deleted": (Path.unlink, "learner/weights.bin", "is missing"),
    "no manifest": (Path.unlink, MANIFEST_NAME, f"no {MANIFEST_NAME}"),
    "manifest truncated": (truncate, MANIFEST_NAME, "damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_and_the_one_before_is_used(
    store: CheckpointStore, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    do, file, words = DAMAGES[damage]
    first, second = save(store, 1), save(store, 2)
    do(second / file)
    with pytest.raises(CheckpointError, match=words):
        verify(second)
    with caplog.at_level(logging.WARNING):
        found = store.latest_valid()
    assert found is not None
    assert found[0] == first
    assert words in caplog.text
    if file != MANIFEST_NAME:
        assert str(second / file) in caplog.text


def test_every_byte_of_the_manifest_counts(store: CheckpointStore) -> None:
    path = save(store, 1)
    manifest = path / MANIFEST_NAME
    manifest.write_text(manifest.read_text().replace('"env_steps": 10', '"env_steps": 11'))
    with pytest.raises(CheckpointError, match="was changed"):
        read(path)


def test_all_damaged_is_an_error_not_a_fresh_start(store: CheckpointStore) -> None:
    for number in (1, 2):
        flip_a_byte(save(store, number) / "state.json")
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        store.latest_valid()


def test_a_crash_in_the_middle_of_a_save_loses_nothing(store: CheckpointStore) -> None:
    first = save(store, 1)

    def crash(folder: Path) -> None:
        content("half")(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.save(crash, iteration=2, env_steps=20, config_hash="abc")
    found = store.latest_valid()
    assert found is not None
    assert found[0] == first
    assert [path.name for path in store.paths()] == [first.name]
    # The next save, in a new process, sweeps up what the crash left.
    again = save(CheckpointStore(store.folder, keep=2), 3)
    assert sorted(path.name for path in store.folder.iterdir()) == [first.name, again.name]


def test_nothing_is_pruned_before_the_new_one_is_complete(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    first = save(store, 1)

    def write(folder: Path) -> None:
        content("new")(folder)
        verify(first)  # raises if it were gone

    store.save(write, iteration=2, env_steps=20, config_hash="abc")
    assert [path.name for path in store.paths()] == ["checkpoint_000002"]


def test_a_damaged_checkpoint_does_not_push_out_a_good_one(store: CheckpointStore) -> None:
    first, second = save(store, 1), save(store, 2)
    truncate(second / "state.json")
    assert store.latest_valid() is not None
    third = save(store, 3)
    assert [path.name for path in store.paths()] == [first.name, third.name]


def test_keep_of_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        CheckpointStore(tmp_path, keep=0)


class TestResolve:
    """What may be given as CHECKPOINT."""

    def test_checkpoint_run_and_checkpoints_folder_mean_the_same(self, store: CheckpointStore) -> None:
        save(store, 1)
        newest = save(store, 2)
        assert resolve_checkpoint(newest) == newest
        assert resolve_checkpoint(store.folder) == newest
        assert resolve_checkpoint(store.folder.parent) == newest

    def test_a_run_folder_falls_back_and_a_named_checkpoint_does_not(self, store: CheckpointStore) -> None:
        first, second = save(store, 1), save(store, 2)
        truncate(second / "state.json")
        assert resolve_checkpoint(store.folder.parent) == first
        with pytest.raises(CheckpointError, match="bytes instead of"):
            resolve_checkpoint(second)

    def test_missing_file_and_empty_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        (tmp_path / "empty").mkdir()
        for name, words in (("nowhere", "does not exist"), ("file", "is a file"), ("empty", "no checkpoint")):
            with pytest.raises(CheckpointError, match=words):
                resolve_checkpoint(tmp_path / name)

    def test_a_folder_saved_by_tune_is_taken_with_a_warning(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "rllib_checkpoint.json").write_text("{}")
        assert resolve_checkpoint(tmp_path) == tmp_path
        assert "cannot be verified" in caplog.text
