"""The ``checkpoints/`` folder of a run: a save is whole or not there, the last good one never given up early.

A save goes into a hidden folder beside its final place; its files reach the disk, the manifest is written
last, and one atomic rename makes it visible. Only then are older checkpoints pruned.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from rllib_reborn.checkpoints import manifest as manifests
from rllib_reborn.checkpoints.manifest import MANIFEST_NAME, CheckpointError, Manifest
from rllib_reborn.durability import flush_to_disk

logger = logging.getLogger(__name__)

_NAME = re.compile(r"checkpoint_(\d{6,})")
_UNFINISHED = ".unfinished_"
_DISCARDED = ".discarded_"


class CheckpointStore:
    """Checkpoints of one run, ``checkpoint_000001`` onwards; a number is never used twice.

    One process writes at a time (the run folder's lock sees to it); any number may read.

    Args:
        folder: Where they live; made by the first save.
        keep: Newest checkpoints to keep, ``>= 1``. Default 2: should the newest be damaged, there is another.

    Raises:
        ValueError: ``keep`` is below 1.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"keep is {keep}; expected at least 1 checkpoint.")
        self.folder = folder
        self.keep = keep
        self._damaged: set[str] = set()

    def save(
        self,
        write: Callable[[Path], None],
        *,
        iteration: int,
        env_steps: int,
        config_hash: str,
        interrupted_env_steps: int = 0,
    ) -> Path:
        """Write a new checkpoint and prune old ones.

        Args:
            write: Called with an empty folder; puts the checkpoint's files into it. Whatever it raises is
                passed on, and leaves all earlier checkpoints as they were.
            iteration: Complete iterations of the run so far, kept in the manifest.
            env_steps: Their env steps, kept in the manifest.
            config_hash: Hash of the experiment, kept in the manifest.
            interrupted_env_steps: Env steps of an iteration that was interrupted, kept in the manifest.

        Returns:
            The folder of the finished checkpoint.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()
        final = self.folder / f"checkpoint_{self._last_number() + 1:06d}"
        unfinished = self.folder / f"{_UNFINISHED}{final.name}"
        unfinished.mkdir()
        write(unfinished)
        manifest = manifests.describe(
            unfinished,
            iteration=iteration,
            env_steps=env_steps,
            config_hash=config_hash,
            interrupted_env_steps=interrupted_env_steps,
        )
        for path in unfinished.rglob("*"):
            flush_to_disk(path)
        # The sentinel comes last: a folder that has it has everything it names.
        (unfinished / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
        flush_to_disk(unfinished / MANIFEST_NAME)
        flush_to_disk(unfinished)
        unfinished.rename(final)
        flush_to_disk(self.folder)
        self._prune()
        return final

    def paths(self) -> list[Path]:
        """Folders of all checkpoints, oldest first, sound or not."""
        if not self.folder.is_dir():
            return []
        return sorted(
            (path for path in self.folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()),
            key=_number,
        )

    def latest_valid(self) -> tuple[Path, Manifest] | None:
        """The newest checkpoint whose files are all as they were written, or None where none was saved yet.

        A damaged one is passed over with a logged warning that names the file.

        Raises:
            CheckpointError: There are checkpoints, and every one is damaged.
        """
        problems = []
        for path in reversed(self.paths()):
            try:
                manifest = manifests.verify(path)
            except CheckpointError as error:
                self._damaged.add(path.name)
                logger.warning("%s Trying the checkpoint before it.", error)
                problems.append(str(error))
                continue
            return path, manifest
        if problems:
            raise CheckpointError(f"no checkpoint in {self.folder} is sound; the newest: {problems[0]}")
        return None

    def _last_number(self) -> int:
        paths = self.paths()
        return _number(paths[-1]) if paths else 0

    def _prune(self) -> None:
        """Keep the newest ``keep``; a checkpoint known to be damaged does not count as one."""
        sound = [path for path in self.paths() if path.name not in self._damaged]
        kept = {path.name for path in sound[-self.keep :]}
        for path in self.paths():
            if path.name not in kept:
                # Renamed first: a deletion cut short must not leave half a checkpoint under a good name.
                discarded = path.rename(self.folder / f"{_DISCARDED}{path.name}")
                shutil.rmtree(discarded)

    def _remove_leftovers(self) -> None:
        for path in self.folder.iterdir():
            if path.name.startswith((_UNFINISHED, _DISCARDED)):
                shutil.rmtree(path)


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path} is not named like a checkpoint.")
    return int(match[1])
