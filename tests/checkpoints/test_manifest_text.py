"""A manifest that others wrote: whatever it says, and with a right digest, it is read or refused by one CheckpointError."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.checkpoints import MANIFEST_NAME, CheckpointError, LogRecord
from rllib_reborn.checkpoints.manifest import FORMAT, read

RECORD = {"size": 3, "sha256": "0" * 64}
SOUND: dict[str, Any] = {
    "format": FORMAT,
    "iteration": 1,
    "env_steps": 10,
    "config_hash": "abc",
    "versions": {"ray": "2.60"},
    "files": {"learner/weights.bin": RECORD},
    "interrupted_env_steps": 0,
    "name": "checkpoint_000001",
    "run_id": "0f",
    "metrics": {"rows": 2, "sha256": "1" * 64},
    "events": None,
    "eval_return": 1.5,
}
MAY_BE_MISSING = {"interrupted_env_steps", "metrics", "events", "eval_return"}


def written(folder: Path, content: dict[str, Any]) -> Path:
    """A folder with that manifest, its digest right."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    (folder / MANIFEST_NAME).write_text(json.dumps({**content, "digest": digest}))
    return folder


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in SOUND.items() if key != name}


def test_a_sound_one_is_read_and_a_field_with_a_default_may_be_missing(tmp_path: Path) -> None:
    found = read(written(tmp_path, SOUND))
    assert (found.files["learner/weights.bin"].size, found.metrics, found.events) == (3, LogRecord(2, "1" * 64), None)
    assert read(written(tmp_path, without("interrupted_env_steps"))).interrupted_env_steps == 0


@pytest.mark.parametrize("name", sorted(SOUND.keys() - MAY_BE_MISSING))
def test_a_missing_key(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=name):
        read(written(tmp_path, without(name)))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"iteration": "1"}, "iteration '1'; expected a whole number"),
        ({"iteration": -1}, "iteration -1"),
        ({"iteration": 1.0}, r"iteration 1\.0"),
        ({"env_steps": True}, "env_steps True"),
        ({"env_steps": 10**400}, "env_steps .*401 characters"),
        ({"eval_return": float("inf")}, "eval_return|JSON"),
        ({"eval_return": "1"}, "eval_return '1'; expected a number"),
        ({"metrics": {"rows": 1}}, "metrics .*; expected a count of rows"),
        ({"events": {"rows": -1, "sha256": "1" * 64}}, "events"),
        ({"name": 3}, "name 3"),
        ({"config_hash": None}, "config_hash None; expected a text"),
        ({"versions": ["ray"]}, "versions"),
        ({"versions": {"ray": 2}}, "expected an object of texts"),
        ({"files": []}, "files"),
        ({"files": {"a": {"size": 3}}}, "its size and SHA-256"),
        ({"files": {"a": RECORD | {"mode": 7}}}, "its size and SHA-256"),
        ({"files": {"a": RECORD | {"sha256": 7}}}, "its size and SHA-256"),
        ({"files": {"a": RECORD | {"size": "3"}}}, "its size and SHA-256"),
        ({"owner": "me"}, "unknown key 'owner'"),
        ({"self": "me"}, "unknown key 'self'"),
    ],
)
def test_a_wrong_type_with_a_right_digest(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        read(written(tmp_path, SOUND | changed))


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../other", "a/../../b", "", ".", "./a", "a//b", "a/", "a\\..\\b", "a\0b", ".."]
)
def test_a_name_that_leads_out_of_the_checkpoint(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="expected a path below the checkpoint"):
        read(written(tmp_path, SOUND | {"files": {name: RECORD}}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "deeper than"),
        ('{"a":' * 60 + "1" + "}" * 60, "deeper than"),
        ("[]", "was changed"),
        ('{"digest": 1, "digest": 2}', "'digest' twice"),
        ('{"iteration": ' + "9" * 5_000 + "}", "not JSON"),
        ("\ufeff{}", "not JSON"),
        ("", "not JSON"),
    ],
)
def test_text_that_is_no_manifest(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / MANIFEST_NAME).write_text(text)
    with pytest.raises(CheckpointError, match=words):
        read(tmp_path)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(b"\xff\xfe{}")
    with pytest.raises(CheckpointError, match="not UTF-8"):
        read(tmp_path)


def test_what_is_no_file_or_as_large_as_a_disk_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / MANIFEST_NAME
    with path.open("wb") as file:
        file.truncate(3_000_000_000)
    with pytest.raises(CheckpointError, match="larger than"):
        read(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="no regular file"):
        read(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(CheckpointError, match="no regular file"):
        read(tmp_path)
