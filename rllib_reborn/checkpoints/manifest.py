"""The list of a checkpoint's files with their checksums, written last: a checkpoint that has it is complete.

Ray restores eight flipped bytes without a word, and prefers a ``module_state.msgpack`` that somebody has put beside the
``.pkl`` which it wrote itself; with the manifest every change, missing and added file is found before anything is read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import time
from pathlib import Path
from typing import Any

from rllib_reborn._version import __version__
from rllib_reborn.checkpoints.manifest_text import check_fields, digest, read_content
from rllib_reborn.parsing import ParseError, ReadError
from rllib_reborn.short_repr import short_repr

MANIFEST_NAME = "manifest.json"
#: 2: with the run, the checkpoint's own name, and how far ``metrics.jsonl`` and the plasticity events were.
FORMAT = 2
_CHUNK_BYTES = 1 << 20
#: A file system's clock is coarse: what was changed so short a time before it was read may be changed again unnoticed.
_SETTLED_S = 2.0
#: What was verified by this process: folder to a hash of the state of its files, by which any later change is found without
#: reading gigabytes of replay once more.
_VERIFIED: dict[Path, str] = {}


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged or not usable; the message is one sentence for the user."""


class UnreadableError(CheckpointError):
    """A file of a checkpoint cannot be read now; what is in it may be as it was."""


class RunChangedError(CheckpointError):
    """Not the checkpoint but the folder of its run is no longer what it was: no other checkpoint of it would do."""


@dataclasses.dataclass(frozen=True)
class FileRecord:
    """Size in bytes and SHA-256 of one file."""

    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class LogRecord:
    """The lines that a file of rows had when a checkpoint was saved: how many, and the SHA-256 of their bytes."""

    rows: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Saved:
    """What a checkpoint says of the run that saved it.

    Attributes:
        iteration: Iterations of the run when it was saved.
        env_steps: Env steps of the run's complete iterations when it was saved.
        config_hash: Hash of the experiment that wrote it.
        interrupted_env_steps: Further env steps, of an iteration that was interrupted and is completed when the run goes on.
        metrics, events: The rows of ``metrics.jsonl`` and of the plasticity events that belong to it; None: not known.
        eval_return: Mean return of the last evaluation since the checkpoint before; None: there was none.
    """

    iteration: int
    env_steps: int
    config_hash: str
    interrupted_env_steps: int = 0
    metrics: LogRecord | None = None
    events: LogRecord | None = None
    eval_return: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest(Saved):
    """What a checkpoint holds and where it comes from.

    Attributes:
        name: The checkpoint's own, such as ``checkpoint_000003``.
        run_id: Of the run (:mod:`rllib_reborn.checkpoints.run_record`); empty: it was saved by none.
        versions: Versions of ``rllib_reborn``, ``ray`` and ``torch``.
        files: Path below the checkpoint (with ``/``) to its record; the manifest itself is not among them.
    """

    name: str
    run_id: str
    versions: dict[str, str]
    files: dict[str, FileRecord]

    def to_json(self) -> str:
        """JSON text that carries a digest of itself."""
        content: dict[str, Any] = {"format": FORMAT, **dataclasses.asdict(self)}
        return json.dumps({**content, "digest": digest(content)}, indent=1, sort_keys=True)


_TYPES = {field.name: str(field.type) for field in dataclasses.fields(Manifest)}
_OPTIONAL = frozenset(field.name for field in dataclasses.fields(Manifest) if field.default is not dataclasses.MISSING)


def describe(folder: Path, saved: Saved, *, name: str, run_id: str) -> Manifest:
    """The manifest of all files that are in ``folder`` now."""
    files = {
        path.relative_to(folder).as_posix(): FileRecord(path.stat().st_size, file_sha256(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST_NAME
    }
    facts = {field.name: getattr(saved, field.name) for field in dataclasses.fields(Saved)}
    return Manifest(**facts, name=name, run_id=run_id, versions=installed_versions(), files=files)


def read(folder: Path) -> Manifest:
    """The manifest of a checkpoint folder.

    Raises:
        CheckpointError: There is none (an unfinished save, or no checkpoint), or it is damaged.
    """
    path = folder / MANIFEST_NAME
    try:
        content = read_content(path)
        known = content.pop("format", None)
        if known != FORMAT:
            raise CheckpointError(
                f"{path} has the format {short_repr(known)}, which rllib_reborn {__version__} does not know (it knows "
                f"{FORMAT}); use the version that wrote it."
            )
        check_fields(content, _TYPES, _OPTIONAL)
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} has no {MANIFEST_NAME}, so it is an unfinished save or no checkpoint of rllib_reborn."
        ) from None
    except ReadError as error:
        raise UnreadableError(f"{path} {error}; the checkpoint is damaged.") from None
    except ParseError as error:
        raise CheckpointError(f"{path} {error}; the checkpoint is damaged.") from None
    content["files"] = {name: FileRecord(**record) for name, record in content["files"].items()}
    for name in ("metrics", "events"):
        if content.get(name) is not None:
            content[name] = LogRecord(**content[name])
    return Manifest(**content)


def verify(folder: Path) -> Manifest:
    """The manifest of ``folder`` after its files were compared with it: the same ones, and no other file, link or folder.

    A folder that this process has verified before is not read again as long as the file system says that none of its files
    was changed.

    Raises:
        CheckpointError: The manifest is missing or damaged, a file is missing, added, of another size or of other content,
            or cannot be read; the message names the first one.
    """
    manifest = read(folder)
    try:
        _compare(folder, manifest)
    except OSError as error:
        raise UnreadableError(
            f"{error.filename or folder} cannot be read ({error}); the checkpoint is damaged."
        ) from None
    return manifest


def _compare(folder: Path, manifest: Manifest) -> None:
    begun = time.time()
    found = _content(folder, manifest)
    # Names and sizes first: they find most damage without reading gigabytes of replay.
    for name, record in manifest.files.items():
        path = folder / name
        if name not in found:
            raise CheckpointError(f"{path} is missing; the checkpoint is damaged.")
        size = found[name].st_size
        if size != record.size:
            raise CheckpointError(f"{path} has {size:,} bytes instead of {record.size:,}; the checkpoint is damaged.")
    state = _state(manifest, found)
    if _VERIFIED.get(folder.absolute()) == state:
        return
    for name, record in manifest.files.items():
        if file_sha256(folder / name) != record.sha256:
            raise CheckpointError(f"{folder / name} has the wrong checksum; the checkpoint is damaged.")
    if all(stat.st_ctime < begun - _SETTLED_S for stat in found.values()):
        _VERIFIED[folder.absolute()] = state


def _content(folder: Path, manifest: Manifest) -> dict[str, os.stat_result]:
    """The files of a checkpoint by name.

    Raises:
        CheckpointError: There is something that the manifest does not list.
    """
    folders = {parent.as_posix() for name in manifest.files for parent in Path(name).parents}
    found: dict[str, os.stat_result] = {}
    waiting = ["."]
    while waiting:
        here = waiting.pop()
        with os.scandir(folder / here) as entries:
            for entry in entries:
                name = (Path(here) / entry.name).as_posix()
                if entry.is_dir(follow_symlinks=False) and name in folders:
                    waiting.append(name)
                elif entry.is_file(follow_symlinks=False) and (name in manifest.files or name == MANIFEST_NAME):
                    found[name] = entry.stat(follow_symlinks=False)
                elif name in manifest.files or name in folders:
                    kind = "file" if name in manifest.files else "folder"
                    raise CheckpointError(f"{folder / name} is no {kind} as it was; the checkpoint is damaged.")
                else:
                    raise CheckpointError(
                        f"{folder / name} is not in {MANIFEST_NAME}: it was put there afterwards, and what it would do is "
                        "not known; move it elsewhere."
                    )
    return found


def _state(manifest: Manifest, found: dict[str, os.stat_result]) -> str:
    """Another one after any change of any file."""
    stats = [(name, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in sorted(found.items())]
    return hashlib.sha256(f"{manifest.to_json()} {stats}".encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content as hexadecimal text, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def installed_versions() -> dict[str, str]:
    """Versions that decide whether a checkpoint can be read again; read without importing the packages."""
    versions = {"rllib_reborn": __version__}
    for name in ("ray", "torch"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
