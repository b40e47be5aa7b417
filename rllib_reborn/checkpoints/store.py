"""The ``checkpoints/`` folder of a run: a save is whole or not there, the last good one never given up early.

A save goes into a hidden folder beside its final place; its files reach the disk, the manifest is written
last, and one atomic rename makes it visible. Only then are older checkpoints pruned, and never the best one: that with the
highest return in the last evaluation before it.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

from rllib_reborn.checkpoints import manifest as manifests
from rllib_reborn.checkpoints.manifest import (
    MANIFEST_NAME,
    CheckpointError,
    LogRecord,
    Manifest,
    RunChangedError,
    Saved,
    UnreadableError,
)
from rllib_reborn.checkpoints.run_record import CHECKPOINT_NAME, check_identity, run_id
from rllib_reborn.durability import flush_to_disk

logger = logging.getLogger(__name__)

T = TypeVar("T")

_UNFINISHED = ".unfinished_"
_DISCARDED = ".discarded_"


class CheckpointStore:
    """Checkpoints of one run, ``checkpoint_000001`` onwards; a number is never used twice.

    One process writes at a time (the run folder's lock sees to it); any number may read.

    Args:
        folder: Where they live; made by the first save.
        keep: Newest good checkpoints to keep, ``>= 1``, beside the best. Default 2: should the newest be damaged, there is
            another.
        unusable: Names of checkpoints that are whole and turned out not to be restorable, so that they do not count.

    Raises:
        ValueError: ``keep`` is below 1.
    """

    def __init__(self, folder: Path, keep: int = 2, unusable: Collection[str] = ()) -> None:
        if keep < 1:
            raise ValueError(f"keep is {keep}; expected at least 1 checkpoint.")
        self.folder = folder
        self.keep = keep
        self.unusable = frozenset(unusable)

    def save(
        self,
        write: Callable[[Path], None],
        *,
        iteration: int,
        env_steps: int,
        config_hash: str,
        interrupted_env_steps: int = 0,
        metrics: LogRecord | None = None,
        events: LogRecord | None = None,
        eval_return: float | None = None,
    ) -> Path:
        """Write a new checkpoint and prune old ones.

        Args:
            write: Called with an empty folder; puts the checkpoint's files into it. Whatever it raises is
                passed on, and leaves all earlier checkpoints as they were.
            iteration, env_steps, config_hash, interrupted_env_steps, metrics, events, eval_return: Of the run, kept in the
                manifest, see :class:`~rllib_reborn.checkpoints.manifest.Saved`.

        Returns:
            The folder of the finished checkpoint.

        Raises:
            OSError: The disk is full, cannot be written, ...; nothing of the attempt is left where that can be removed.
        """
        facts = Saved(
            iteration,
            env_steps,
            config_hash,
            interrupted_env_steps,
            metrics,
            events,
            eval_return,
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()
        final = self.folder / f"checkpoint_{self._last_number() + 1:06d}"
        unfinished = self.folder / f"{_UNFINISHED}{final.name}"
        unfinished.mkdir()
        try:
            write(unfinished)
            self._complete(unfinished, facts, final.name)
            unfinished.rename(final)
        except Exception:
            # A full disk is full of this, too.
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        flush_to_disk(self.folder)
        self._prune(final)
        return final

    def paths(self) -> list[Path]:
        """All checkpoints, oldest first, sound or not; what has such a name and is no folder is one that is not sound.

        Raises:
            CheckpointError: The folder cannot be read.
        """
        try:
            found = [path for path in self.folder.iterdir() if CHECKPOINT_NAME.fullmatch(path.name)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CheckpointError(f"{self.folder} cannot be read ({error}).") from None
        return sorted(found, key=_number)

    def newest(self, use: Callable[[Path, Manifest], T], passed_over: Collection[str] = ()) -> T | None:
        """What ``use`` makes of the newest checkpoint that is whole, this run's, and that ``use`` does not fail on; None
        where none was saved yet.

        Whatever is wrong with one, it is passed over with a logged warning that says what.

        Args:
            use: Is given a checkpoint and its manifest.
            passed_over: Names of checkpoints that are not looked at.

        Raises:
            CheckpointError: There are checkpoints, and none of them can be used.
            RunChangedError: The folder of the run is no longer what it was.
        """
        problems = []
        for path in reversed(self.paths()):
            if path.name in passed_over:
                problems.append(f"{path} was tried.")
                continue
            try:
                return use(path, _sound(path))
            except RunChangedError:
                raise
            except Exception as error:  # whatever it is, the one before may be good
                reason = (
                    str(error) if isinstance(error, CheckpointError) else f"{path} cannot be used ({_short(error)})."
                )
                logger.warning("%s Trying the checkpoint before it.", reason)
                problems.append(reason)
        if problems:
            raise CheckpointError(f"no checkpoint in {self.folder} is sound; the newest: {problems[0]}")
        return None

    def latest_valid(self, passed_over: Collection[str] = ()) -> tuple[Path, Manifest] | None:
        """The newest checkpoint whose files are all as they were written, by this run, or None where none was saved yet.

        Raises:
            CheckpointError: There are checkpoints, and every one is damaged or passed over.
        """
        return self.newest(lambda path, manifest: (path, manifest), passed_over)

    def tidy(self) -> None:
        """Remove what a save that was cut short has left behind, where no further save does it. What cannot be removed, or
        is not sound, stays."""
        with contextlib.suppress(CheckpointError, OSError):
            paths = self.paths()
            self._remove_leftovers()
            if paths:
                self._prune(paths[-1])

    def _complete(self, unfinished: Path, facts: Saved, name: str) -> None:
        """Put the manifest beside the files, once they are on the disk."""
        run = run_id(self.folder.parent) or ""
        manifest = manifests.describe(unfinished, facts, name=name, run_id=run)
        for path in unfinished.rglob("*"):
            flush_to_disk(path)
        # The sentinel comes last: a folder that has it has everything it names.
        (unfinished / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
        flush_to_disk(unfinished / MANIFEST_NAME)
        flush_to_disk(unfinished)

    def _last_number(self) -> int:
        paths = self.paths()
        return _number(paths[-1]) if paths else 0

    def _prune(self, saved: Path) -> None:
        """Keep the newest ``keep`` good ones, ``saved`` among them, and the best; what cannot be removed now is later."""
        older = [path for path in self.paths() if path != saved]
        if not older:
            return
        good, left = {saved: manifests.read(saved)}, set()
        for path in reversed(older):
            try:
                good[path] = manifests.verify(path)
                check_identity(path, good[path])
            except UnreadableError:
                left.add(path)  # perhaps only now
            except CheckpointError:
                if good.pop(path, None) is not None:
                    left.add(path)  # sound, and another run's or renamed: somebody has put it there
        kept = {*[path for path in good if path.name not in self.unusable][: self.keep], *_best(good), *left}
        for path in older:
            if path not in kept:
                try:
                    # Renamed first: a deletion cut short must not leave half a checkpoint under a good name.
                    _remove(path.rename(self.folder / f"{_DISCARDED}{path.name}"))
                except OSError as error:
                    logger.warning("%s is no longer needed and could not be removed: %s.", path, error)

    def _remove_leftovers(self) -> None:
        for path in self.folder.iterdir():
            if path.name.startswith((_UNFINISHED, _DISCARDED)):
                _remove(path)


def _sound(path: Path) -> Manifest:
    manifest = manifests.verify(path)
    check_identity(path, manifest)
    return manifest


def _best(good: dict[Path, Manifest]) -> list[Path]:
    """The one with the highest return; of equal ones the newest."""
    returns = {path: one.eval_return for path, one in good.items() if one.eval_return is not None}
    return [max(returns, key=lambda path: returns[path])] if returns else []  # the newest comes first


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _short(error: Exception) -> str:
    """Kind and first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def _number(path: Path) -> int:
    match = CHECKPOINT_NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path} is not named like a checkpoint.")
    return int(match[1])
