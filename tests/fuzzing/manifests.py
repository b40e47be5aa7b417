"""Hostile manifests, most of them with a right digest."""

from __future__ import annotations

import hashlib
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from rllib_reborn.checkpoints import MANIFEST_NAME, CheckpointError
from rllib_reborn.checkpoints.manifest import LogRecord, Saved, describe, read
from tests.fuzzing.changes import as_json, changed_bytes, changed_tree
from tests.fuzzing.running import Target

_ROWS = LogRecord(3, "0" * 64)
SAVED = Saved(iteration=3, env_steps=400, config_hash="0" * 16, metrics=_ROWS, events=_ROWS, eval_return=2.5)
_FOLDER = tempfile.TemporaryDirectory(prefix="fuzz_manifests_")
_PATH = Path(_FOLDER.name) / MANIFEST_NAME


def _sound() -> dict[str, Any]:
    """What a checkpoint of two files says, its digest taken off."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "learner").mkdir()
        for file in ("state.json", "learner/weights.bin"):
            (folder / file).write_text(file)
        manifest = describe(folder, SAVED, name="checkpoint_000003", run_id="0f")
        content: dict[str, Any] = json.loads(manifest.to_json())
    del content["digest"]
    return content


SOUND = _sound()


def make(rng: random.Random) -> bytes:
    """The bytes of one manifest."""
    if rng.random() < 0.2:
        return changed_bytes(_with_digest(SOUND), rng)
    if rng.random() < 0.05:
        return rng.choice((b"[", b'{"a":', b'"', b"9", b"\\", b"{}")) * rng.choice((10, 1_000, 100_000))
    # None of the changes as well: what is sound must be read.
    return _with_digest(changed_tree(SOUND, rng, rng.randint(0, 3)))


def _with_digest(content: Any) -> bytes:
    if not isinstance(content, dict):
        return as_json(content)
    try:
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    except (RecursionError, ValueError):
        canonical = ""
    return as_json(content | {"digest": hashlib.sha256(canonical.encode()).hexdigest()})


def read_one(data: bytes) -> None:
    """As a checkpoint's is read."""
    _PATH.write_bytes(data)
    manifest = read(_PATH.parent)
    for name in manifest.files:
        assert (_PATH.parent / name).resolve().is_relative_to(_PATH.parent.resolve()), name


TARGET = Target(make, read_one, (CheckpointError,))
