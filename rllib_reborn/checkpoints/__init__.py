"""Checkpoint folders that are whole or not there: manifest with checksums, atomic write, fall-back, look-up.

This package knows nothing of what is inside a checkpoint; it never unpickles anything.
"""

from rllib_reborn.checkpoints.manifest import MANIFEST_NAME, CheckpointError, Manifest, verify
from rllib_reborn.checkpoints.resolve import resolve_checkpoint
from rllib_reborn.checkpoints.store import CheckpointStore

__all__ = [
    "MANIFEST_NAME",
    "CheckpointError",
    "CheckpointStore",
    "Manifest",
    "resolve_checkpoint",
    "verify",
]
