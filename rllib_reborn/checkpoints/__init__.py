"""Checkpoint folders that are whole or not there: manifest with checksums, identity, atomic write, fall-back, look-up.

This package knows nothing of what is inside a checkpoint; it never unpickles anything.
"""

from rllib_reborn.checkpoints.manifest import (
    MANIFEST_NAME,
    CheckpointError,
    LogRecord,
    Manifest,
    RunChangedError,
    verify,
)
from rllib_reborn.checkpoints.resolve import (
    check_checkpoint,
    check_listed,
    require_folder,
    resolve_checkpoint,
    use_checkpoint,
)
from rllib_reborn.checkpoints.store import CheckpointStore

__all__ = [
    "MANIFEST_NAME",
    "CheckpointError",
    "CheckpointStore",
    "LogRecord",
    "Manifest",
    "RunChangedError",
    "check_checkpoint",
    "check_listed",
    "require_folder",
    "resolve_checkpoint",
    "use_checkpoint",
    "verify",
]
