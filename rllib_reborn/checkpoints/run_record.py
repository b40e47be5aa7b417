"""Which run a folder is, and whether a checkpoint is that run's, at its own place, and of versions that can read it.

``run.json`` of a run folder holds a random id that each of its checkpoints holds too: one that was copied from another run,
of the same settings perhaps, is not taken for this one's.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from pathlib import Path

from rllib_reborn.checkpoints.manifest import CheckpointError, Manifest, RunChangedError, installed_versions

logger = logging.getLogger(__name__)

RUN_FILE = "run.json"
CHECKPOINTS_FOLDER = "checkpoints"
CHECKPOINT_NAME = re.compile(r"checkpoint_(\d{6,})")
#: Any of them makes the folder above ``checkpoints/`` the folder of a run.
_MARKS = (RUN_FILE, "config.yaml", "metrics.jsonl")


def new_run_record() -> str:
    """The content of ``run.json`` of a new run."""
    return json.dumps({"run_id": uuid.uuid4().hex}) + "\n"


def run_id(root: Path) -> str | None:
    """The id of the run in a folder; None: it has none.

    Raises:
        RunChangedError: ``run.json`` cannot be read.
    """
    path = root / RUN_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["run_id"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise RunChangedError(f"{path} cannot be read ({error}); put back the one that the run has written.") from None
    if not isinstance(found, str) or not found:
        raise RunChangedError(f"{path} has the run_id {found!r}; put back the file that the run has written.")
    return found


def run_root(checkpoint: Path) -> Path | None:
    """The folder of the run that a checkpoint lies in; None: it lies in none."""
    for path in (checkpoint.absolute(), checkpoint.resolve()):
        root = path.parent.parent
        if path.parent.name == CHECKPOINTS_FOLDER and any((root / mark).exists() for mark in _MARKS):
            return root
    return None


def check_identity(checkpoint: Path, manifest: Manifest) -> None:
    """Raise unless a verified checkpoint is the one that it is said to be. A version with which it may not repeat to the bit
    is warned of.

    Raises:
        CheckpointError: It was renamed, is another run's, or was written by another release of Ray.
        RunChangedError: ``run.json`` is gone.
    """
    name = checkpoint.absolute().name
    if CHECKPOINT_NAME.fullmatch(name) and name != manifest.name:
        raise CheckpointError(f"{checkpoint} was saved as {manifest.name} and renamed; give it that name again.")
    root = run_root(checkpoint)
    if root is not None and run_id(root) != (manifest.run_id or None):
        if run_id(root) is None:
            raise RunChangedError(
                f"{root / RUN_FILE} is missing, which says that {checkpoint} is of this run; put it back, or move the "
                "checkpoint out of the run's folder to use it on its own."
            )
        raise CheckpointError(
            f"{checkpoint} is of another run than {root}; put back the one that belongs there, or move this one out of the "
            "run's folder to use it on its own."
        )
    _check_versions(checkpoint, manifest)


def require_manifest_of(checkpoint: Path) -> None:
    """Raise where a folder is by its place a checkpoint of ``train``, whose manifest is gone.

    Raises:
        CheckpointError: It is.
    """
    if CHECKPOINT_NAME.fullmatch(checkpoint.absolute().name) and run_root(checkpoint) is not None:
        raise CheckpointError(f"{checkpoint} has no manifest.json; it is an unfinished save, or damaged.")


def _check_versions(checkpoint: Path, manifest: Manifest) -> None:
    here, there = installed_versions(), manifest.versions
    # What is in the files is pickled by RLlib, whose classes and states differ between releases.
    if _release(there.get("ray")) != _release(here["ray"]):
        raise CheckpointError(
            f"{checkpoint} was written with ray {there.get('ray')}, and {here['ray']} is installed, whose checkpoints are "
            f"others; use ray {there.get('ray')}."
        )
    others = [
        f"{name} {there.get(name)} (here {version})" for name, version in here.items() if there.get(name) != version
    ]
    if others:
        logger.warning("%s was written with %s; it may not repeat to the bit.", checkpoint, ", ".join(others))


def _release(version: str | None) -> list[str]:
    return str(version).split(".")[:2]
