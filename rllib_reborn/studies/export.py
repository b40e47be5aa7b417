"""From a checkpoint to a portable policy on disk."""

from __future__ import annotations

from pathlib import Path

from rllib_reborn.policy import Policy
from rllib_reborn.studies.trained_policy import load_team


def export_policy(checkpoint: str | Path, path: str | Path) -> Policy:
    """Write the team of a checkpoint folder as a portable policy to the new folder ``path``; only give checkpoints that
    you trust: RLlib unpickles them.

    Raises:
        FileNotFoundError, CheckpointError: See :func:`load_team`.
        PolicyError: ``path`` holds something already, or see :func:`policy_from_module`.
    """
    policy = load_team(checkpoint).portable()
    policy.save(path)
    return policy
