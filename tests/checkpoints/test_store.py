"""A checkpoint is whole or not there, damage is found, and the last good one is never given up early."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.checkpoints import (
    MANIFEST_NAME,
    CheckpointError,
    CheckpointStore,
    resolve_checkpoint,
    verify,
)
from rllib_reborn.checkpoints import manifest as manifests
from rllib_reborn.checkpoints.manifest import read
from rllib_reborn.checkpoints.manifest_text import digest as _digest


def content(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "learner").mkdir()
        (folder / "learner" / "weights.bin").write_bytes(text.encode() * 100)
        (folder / "state.json").write_text(json.dumps({"text": text}))

    return write


def save(store: CheckpointStore, number: int, eval_return: float | None = None) -> Path:
    return store.save(
        content(f"save {number}"),
        iteration=number,
        env_steps=number * 10,
        config_hash="abc",
        eval_return=eval_return,
    )


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


ADDITIONS: dict[str, Callable[[Path], Any]] = {
    "what Ray prefers": lambda folder: (folder / "learner" / "module_state.msgpack").write_bytes(b"x"),
    "a hidden file": lambda folder: (folder / "learner" / ".hidden").write_bytes(b""),
    "a second manifest": lambda folder: shutil.copy(folder / MANIFEST_NAME, folder / "learner" / MANIFEST_NAME),
    "an empty folder": lambda folder: (folder / "learner" / "other_policy").mkdir(),
    "a link": lambda folder: (folder / "learner" / "link").symlink_to(folder / "state.json"),
    "a link to a folder": lambda folder: (folder / "again").symlink_to(folder / "learner"),
    "a pipe": lambda folder: os.mkfifo(folder / "pipe"),
}


@pytest.mark.parametrize("addition", ADDITIONS)
def test_whatever_is_added_is_found(store: CheckpointStore, addition: str) -> None:
    first, second = save(store, 1), save(store, 2)
    ADDITIONS[addition](second)
    with pytest.raises(CheckpointError, match=r"is not in manifest\.json"):
        resolve_checkpoint(second)
    assert resolve_checkpoint(store.folder) == first


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_link(path: Path) -> None:
    """To a file of the same content."""
    path.rename(path.parents[3] / "moved")
    path.symlink_to(path.parents[3] / "moved")


@pytest.mark.parametrize("replace", [replace_by_folder, replace_by_link])
@pytest.mark.parametrize("file", ["learner/weights.bin", MANIFEST_NAME])
def test_what_is_no_longer_a_file_is_found(store: CheckpointStore, replace: Callable[[Path], None], file: str) -> None:
    first, second = save(store, 1), save(store, 2)
    replace(second / file)
    with pytest.raises(CheckpointError):
        resolve_checkpoint(second)
    found = store.latest_valid()
    assert found is not None
    assert found[0] == first


def test_a_file_in_the_place_of_a_checkpoint_is_passed_over_and_its_number_not_used(store: CheckpointStore) -> None:
    first = save(store, 1)
    (store.folder / "checkpoint_000002").write_text("")
    found = store.latest_valid()
    assert found is not None
    assert found[0] == first
    assert save(store, 3).name == "checkpoint_000003"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("file", ["weights.bin", MANIFEST_NAME])
def test_a_file_that_cannot_be_read_is_passed_over_with_the_reason(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, file: str, number: int
) -> None:
    first, second = save(store, 1), save(store, 2)
    open_file = Path.open

    def refuse(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == file and second in path.parents:
            raise OSError(number, os.strerror(number), str(path))
        return open_file(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CheckpointError, match=rf"{file} cannot be read\W.*{os.strerror(number)}"):
        resolve_checkpoint(second)
    assert resolve_checkpoint(store.folder) == first
    assert os.strerror(number) in caplog.text


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{}", "[]", "null", '{"format": 2}', "\x00", '{"digest": "x", "files": 3}']
)
def test_a_manifest_that_says_nothing_is_passed_over(store: CheckpointStore, text: str) -> None:
    first, second = save(store, 1), save(store, 2)
    (second / MANIFEST_NAME).write_text(text)
    with pytest.raises(CheckpointError):
        resolve_checkpoint(second)
    assert resolve_checkpoint(store.folder) == first


@pytest.mark.parametrize("change", [{"files": {}, "iteration": None, "more": 1}, {"files": 3}, {"metrics": [1]}])
def test_a_manifest_of_wrong_keys_with_the_right_digest_is_passed_over(
    store: CheckpointStore, change: dict[str, Any]
) -> None:
    first, second = save(store, 1), save(store, 2)
    data = json.loads((second / MANIFEST_NAME).read_text()) | change
    del data["digest"]
    (second / MANIFEST_NAME).write_text(json.dumps({**data, "digest": _digest(data)}))
    with pytest.raises(CheckpointError):
        resolve_checkpoint(second)
    assert resolve_checkpoint(store.folder) == first


def test_an_earlier_format_says_so(store: CheckpointStore) -> None:
    path = save(store, 1)
    data = json.loads((path / MANIFEST_NAME).read_text()) | {"format": 1}
    del data["digest"]
    (path / MANIFEST_NAME).write_text(json.dumps({**data, "digest": _digest(data)}))
    with pytest.raises(CheckpointError, match=r"has the format 1, .* use the version that wrote it"):
        verify(path)


def test_what_was_verified_is_read_again_once_a_file_has_changed(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(store, 1)
    read_files: list[str] = []
    sha256 = manifests.file_sha256
    monkeypatch.setattr(manifests, "file_sha256", lambda file: read_files.append(file.name) or sha256(file))
    monkeypatch.setattr(manifests, "_SETTLED_S", -1.0)  # as if the save were long ago
    verify(path)
    verify(path)
    assert read_files == ["weights.bin", "state.json"]
    file = path / "state.json"
    before = file.stat()
    flip_a_byte(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(CheckpointError, match="checksum"):
        verify(path)


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


def test_a_checkpoint_that_was_damaged_unnoticed_does_not_count_as_one_to_keep(store: CheckpointStore) -> None:
    first, second = save(store, 1), save(store, 2)
    flip_a_byte(second / "learner" / "weights.bin")
    third = save(store, 3)
    assert [path.name for path in store.paths()] == [first.name, third.name]


def test_what_cannot_be_read_now_or_was_put_there_is_neither_counted_nor_removed(
    store: CheckpointStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = CheckpointStore(tmp_path / "other" / "checkpoints")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_text('{"run_id": "other"}')
    foreign = save(other, 1)
    first = save(store, 1)
    (store.folder.parent / "config.yaml").write_text("")
    shutil.copytree(foreign, store.folder / "checkpoint_000002")
    second = save(store, 2)
    open_file = Path.open

    def refuse(path: Path, *args: Any, **kwargs: Any) -> Any:
        if second in path.parents:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return open_file(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        third = save(store, 3)
        assert [path.name[-1] for path in store.paths()] == ["1", "2", "3", "4"]
    fourth = save(store, 4)
    assert [path.name[-1] for path in store.paths()] == ["2", "4", "5"]
    assert (first.exists(), second.exists(), third.exists(), fourth.exists()) == (False, False, True, True)


def test_one_that_could_not_be_restored_does_not_count(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2, unusable=["checkpoint_000002"])
    for number in (1, 2, 3):
        save(store, number)
    assert [path.name[-1] for path in store.paths()] == ["1", "3"]


def test_the_best_is_kept_beside_the_newest(store: CheckpointStore) -> None:
    for number, eval_return in enumerate([3.0, 8.0, None, 2.0, 7.0, None], 1):
        save(store, number, eval_return)
    assert [path.name[-1] for path in store.paths()] == ["2", "5", "6"]
    save(store, 7, 8.0)  # as good, and newer
    assert [path.name[-1] for path in store.paths()] == ["6", "7"]


def test_what_a_full_disk_leaves_is_removed_and_the_next_save_tries_again(store: CheckpointStore) -> None:
    first = save(store, 1)

    def fill(folder: Path) -> None:
        content("half")(folder)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        store.save(fill, iteration=2, env_steps=20, config_hash="abc")
    assert list(store.folder.iterdir()) == [first]
    assert save(store, 3).name == "checkpoint_000002"


def test_what_cannot_be_pruned_is_warned_of_and_the_save_counts(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2):
        save(store, number)

    def refuse(path: Path) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        save(store, 3)
    assert "could not be removed" in caplog.text
    assert [path.name[-1] for path in store.paths()] == ["2", "3"]
    save(store, 4)
    assert sorted(path.name[-1] for path in store.folder.iterdir()) == ["3", "4"]


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


def test_what_a_save_that_was_cut_short_left_behind_is_removed_where_no_other_save_comes(
    store: CheckpointStore,
) -> None:
    for number in range(1, 4):
        save(store, number)
    store.keep = 1
    (store.folder / ".discarded_checkpoint_000001").mkdir()
    (store.folder / ".unfinished_checkpoint_000004").mkdir()
    store.tidy()
    assert [path.name for path in store.folder.iterdir()] == ["checkpoint_000003"]
    (store.folder / "checkpoint_000003" / MANIFEST_NAME).write_text("damaged")
    store.tidy()
    assert len(store.paths()) == 1
    CheckpointStore(store.folder / "none").tidy()
