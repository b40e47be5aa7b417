"""The list of a checkpoint's files with their checksums, written last: a checkpoint that has it is complete.

Ray restores eight flipped bytes without a word; with the manifest every change of a file is found before it
is read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

from rllib_reborn._version import __version__
from rllib_reborn.checkpoints.manifest_text import check_fields, digest, read_content
from rllib_reborn.parsing import ParseError

MANIFEST_NAME = "manifest.json"
FORMAT = 1
_CHUNK_BYTES = 1 << 20


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged or not usable; the message is one sentence for the user."""


@dataclasses.dataclass(frozen=True)
class FileRecord:
    """Size in bytes and SHA-256 of one file."""

    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a checkpoint holds and where it comes from.

    Attributes:
        iteration: Iterations of the run when it was saved.
        env_steps: Env steps of the run's complete iterations when it was saved.
        config_hash: Hash of the experiment that wrote it.
        versions: Versions of ``rllib_reborn``, ``ray`` and ``torch``.
        files: Path below the checkpoint (with ``/``) to its record; the manifest itself is not among them.
        interrupted_env_steps: Further env steps, of an iteration that was interrupted and is completed when the run goes on.
    """

    iteration: int
    env_steps: int
    config_hash: str
    versions: dict[str, str]
    files: dict[str, FileRecord]
    interrupted_env_steps: int = 0

    def to_json(self) -> str:
        """JSON text that carries a digest of itself."""
        content: dict[str, Any] = {"format": FORMAT, **dataclasses.asdict(self)}
        return json.dumps({**content, "digest": digest(content)}, indent=1, sort_keys=True)


_TYPES = {field.name: str(field.type) for field in dataclasses.fields(Manifest)}
_OPTIONAL = frozenset(field.name for field in dataclasses.fields(Manifest) if field.default is not dataclasses.MISSING)


def describe(
    folder: Path, *, iteration: int, env_steps: int, config_hash: str, interrupted_env_steps: int = 0
) -> Manifest:
    """The manifest of all files that are in ``folder`` now."""
    files = {
        path.relative_to(folder).as_posix(): FileRecord(path.stat().st_size, file_sha256(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST_NAME
    }
    return Manifest(iteration, env_steps, config_hash, installed_versions(), files, interrupted_env_steps)


def read(folder: Path) -> Manifest:
    """The manifest of a checkpoint folder.

    Raises:
        CheckpointError: There is none (an unfinished save, or no checkpoint), or it is damaged.
    """
    path = folder / MANIFEST_NAME
    try:
        content = read_content(path)
        if content.pop("format", None) != FORMAT:
            raise CheckpointError(
                f"{path} has a format that rllib_reborn {__version__} does not know (it knows {FORMAT}); "
                "use the version that wrote it."
            )
        check_fields(content, _TYPES, _OPTIONAL)
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} has no {MANIFEST_NAME}, so it is an unfinished save or no checkpoint of rllib_reborn."
        ) from None
    except ParseError as error:
        raise CheckpointError(f"{path} {error}; the checkpoint is damaged.") from None
    files = {name: FileRecord(**record) for name, record in content.pop("files").items()}
    return Manifest(files=files, **content)


def verify(folder: Path) -> Manifest:
    """The manifest of ``folder`` after every file was compared with it.

    Raises:
        CheckpointError: The manifest is missing or damaged, or a file is missing, of another size or of other
            content; the message names the first one.
    """
    manifest = read(folder)
    # Sizes first: they find most damage without reading gigabytes of replay.
    for name, record in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{path} is missing; the checkpoint is damaged.")
        size = path.stat().st_size
        if size != record.size:
            raise CheckpointError(f"{path} has {size:,} bytes instead of {record.size:,}; the checkpoint is damaged.")
    for name, record in manifest.files.items():
        if file_sha256(folder / name) != record.sha256:
            raise CheckpointError(f"{folder / name} has the wrong checksum; the checkpoint is damaged.")
    return manifest


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
