"""What a user may give as CHECKPOINT: a checkpoint folder, or a run folder, i.e. its newest sound one."""

from __future__ import annotations

import logging
from pathlib import Path

from rllib_reborn.checkpoints import manifest as manifests
from rllib_reborn.checkpoints.manifest import MANIFEST_NAME, CheckpointError
from rllib_reborn.checkpoints.store import CheckpointStore

logger = logging.getLogger(__name__)

CHECKPOINTS_FOLDER = "checkpoints"
# Every folder that RLlib's own save (and so Tune) writes has this file.
_RLLIB_MARK = "rllib_checkpoint.json"


def resolve_checkpoint(path: Path) -> Path:
    """The folder of the checkpoint that ``path`` means, with every file of it verified.

    A folder that RLlib or Tune saved itself has no manifest; it is taken, with a logged warning that its
    files cannot be verified.

    Raises:
        CheckpointError: ``path`` does not exist, is no folder, holds no checkpoint, or only damaged ones.
    """
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; give a checkpoint folder or a run folder.")
    if not path.is_dir():
        raise CheckpointError(f"{path} is a file; give a checkpoint folder or a run folder.")
    if (path / MANIFEST_NAME).exists():
        manifests.verify(path)
        return path
    if (path / _RLLIB_MARK).exists():
        logger.warning("%s has no %s, so its files cannot be verified.", path, MANIFEST_NAME)
        return path
    folder = path / CHECKPOINTS_FOLDER if (path / CHECKPOINTS_FOLDER).is_dir() else path
    newest = CheckpointStore(folder).latest_valid()
    if newest is None:
        raise CheckpointError(
            f"{path} holds no checkpoint; give a checkpoint folder, or a run folder with one in its "
            f"'{CHECKPOINTS_FOLDER}'."
        )
    return newest[0]
