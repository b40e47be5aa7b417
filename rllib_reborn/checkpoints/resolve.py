"""What a user may give as CHECKPOINT: a checkpoint folder, or a run folder, i.e. its newest sound one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rllib_reborn.checkpoints import manifest as manifests
from rllib_reborn.checkpoints.manifest import MANIFEST_NAME, CheckpointError, Manifest
from rllib_reborn.checkpoints.run_record import CHECKPOINTS_FOLDER, check_identity, require_manifest_of
from rllib_reborn.checkpoints.store import CheckpointStore

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Every folder that RLlib's own save (and so Tune) writes has this file.
_RLLIB_MARK = "rllib_checkpoint.json"


def check_checkpoint(folder: Path) -> Manifest | None:
    """The manifest of a checkpoint folder that is whole and itself; None, with a logged warning: RLlib or Tune saved it
    without one, so that its files cannot be verified.

    Raises:
        CheckpointError: It is damaged, another run's, renamed, or no checkpoint.
    """
    if not is_checkpoint(folder):
        raise CheckpointError(f"{folder} is no checkpoint; it has no {MANIFEST_NAME}.")
    if not (folder / MANIFEST_NAME).exists():
        require_manifest_of(folder)
        logger.warning("%s has no %s, so its files cannot be verified.", folder, MANIFEST_NAME)
        return None
    manifest = manifests.verify(folder)
    check_identity(folder, manifest)
    return manifest


def check_listed(folder: Path) -> None:
    """As :func:`check_checkpoint` where the folder has a manifest, or should have one; of what ``algo.save_to_path`` wrote
    nothing is known, which is as it should be.

    Raises:
        CheckpointError: It is damaged, another run's, renamed, or its manifest is gone.
    """
    if (folder / MANIFEST_NAME).exists():
        check_checkpoint(folder)
    else:
        require_manifest_of(folder)


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is one checkpoint, and no folder with several."""
    return (folder / MANIFEST_NAME).exists() or (folder / _RLLIB_MARK).exists()


def require_folder(path: Path) -> None:
    """Raise unless ``path`` is a folder.

    Raises:
        CheckpointError: It does not exist, or is a file.
    """
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; give a checkpoint folder or a run folder.")
    if not path.is_dir():
        raise CheckpointError(f"{path} is a file; give a checkpoint folder or a run folder.")


def use_checkpoint(path: Path, use: Callable[[Path], T]) -> tuple[Path, T]:
    """The checkpoint that ``path`` means, and what ``use`` makes of it.

    A checkpoint that is named is this one or none. Of a run folder it is the newest that is whole, itself, and that ``use``
    can use; those passed over are warned of, with the reason.

    Args:
        path: What the user gave.
        use: Is given a checkpoint folder. What it raises is passed on for a checkpoint that is named, and passes over one
            of a run folder.

    Raises:
        CheckpointError: ``path`` does not exist, is no folder, holds no checkpoint, or only such as cannot be used.
    """
    require_folder(path)
    if is_checkpoint(path):
        check_checkpoint(path)
        return path, use(path)
    require_manifest_of(path)
    folder = path / CHECKPOINTS_FOLDER if (path / CHECKPOINTS_FOLDER).is_dir() else path
    newest = CheckpointStore(folder).newest(lambda checkpoint, manifest: (checkpoint, use(checkpoint)))
    if newest is None:
        raise CheckpointError(
            f"{path} holds no checkpoint; give a checkpoint folder, or a run folder with one in its "
            f"'{CHECKPOINTS_FOLDER}'."
        )
    return newest


def resolve_checkpoint(path: Path) -> Path:
    """The folder of the checkpoint that ``path`` means, with every file of it verified.

    A folder that RLlib or Tune saved itself has no manifest; it is taken, with a logged warning that its
    files cannot be verified.

    Raises:
        CheckpointError: As :func:`use_checkpoint`.
    """
    return use_checkpoint(path, lambda checkpoint: None)[0]
