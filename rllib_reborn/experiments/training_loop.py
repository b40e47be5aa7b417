"""The loop around ``algo.train()``: one row, then perhaps a checkpoint, then perhaps the end."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from rllib_reborn.checkpoints import CheckpointStore
from rllib_reborn.experiments.interruption import Interruption
from rllib_reborn.experiments.metrics_log import MetricsLog
from rllib_reborn.experiments.schema import CheckpointSection, StopSection

Row = dict[str, Any]


class Trainable(Protocol):
    """What the loop needs of an RLlib Algorithm."""

    def train(self) -> dict[str, Any]:
        """One iteration; its metrics row stands under ``team``, what plasticity has to tell under ``plasticity``."""

    def save_to_path(self, path: str) -> str:
        """Write the whole state into a folder."""


class Observer(Protocol):
    """What is notified of how training goes: a display, or nothing."""

    def on_row(self, row: Row) -> None:
        """An iteration has ended; its row is on the disk."""

    def on_checkpoint(self, path: Path) -> None:
        """A checkpoint is complete."""


class TrainingError(RuntimeError):
    """Training broke off; the message says where and why in one sentence. The cause is chained."""


@dataclasses.dataclass(frozen=True)
class RunPosition:
    """How far a run is."""

    iteration: int = 0
    env_steps: int = 0
    time_s: float = 0.0


@dataclasses.dataclass
class TrainingLoop:
    """Trains until a limit or an interruption.

    No schedule depends on ``stop``: a run that is stopped early and one that goes on have the same rows up
    to there.

    Attributes:
        algo: What is trained.
        stop: The limits.
        checkpointing: When to save.
        store: Where to.
        log: Where rows go.
        events: Where dormancy checks and applications of interventions go.
        config_hash: Goes into each checkpoint's manifest.
        observer: Notified of every row and checkpoint.
        interruption: Looked at after each iteration.
    """

    algo: Trainable
    stop: StopSection
    checkpointing: CheckpointSection
    store: CheckpointStore
    log: MetricsLog
    events: MetricsLog
    config_hash: str
    observer: Observer
    interruption: Interruption

    def run(self, progress: RunPosition) -> RunPosition:
        """Go on from ``progress`` to the end, which is always a checkpoint.

        Raises:
            TrainingError: An iteration failed. The checkpoints that were there stay; none is made of a
                broken state.
        """
        saved_at: int | None = progress.iteration if progress.iteration else None
        while not self.has_ended(progress):
            before, progress = progress, self._iterate(progress)
            if self._is_due(before.env_steps, progress.env_steps):
                self._save(progress)
                saved_at = progress.iteration
            if self.interruption.received:
                break
        if saved_at != progress.iteration:
            self._save(progress)
        return progress

    def has_ended(self, progress: RunPosition) -> bool:
        """Whether a limit is reached."""
        return self.stop.fraction(**dataclasses.asdict(progress)) >= 1

    def _iterate(self, progress: RunPosition) -> RunPosition:
        try:
            result = self.algo.train()
        except Exception as error:
            raise TrainingError(
                f"training broke off after {progress.env_steps:,} env steps: {_root_cause(error)}"
            ) from error
        iteration = progress.iteration + 1
        row = {"iteration": iteration, **result["team"]}
        # Events first: a crash in between leaves events of an iteration without a row, which a resume cuts off.
        for event in result.get("plasticity", ()):
            self.events.append({"iteration": iteration, **event})
        self.log.append(row)
        self.observer.on_row(row)
        return RunPosition(iteration, int(row["env_steps"]), float(row["time/total_s"] or 0.0))

    def _is_due(self, before: int, now: int) -> bool:
        interval = self.checkpointing.interval_env_steps
        return interval is not None and now // interval > before // interval

    def _save(self, progress: RunPosition) -> None:
        path = self.store.save(
            functools.partial(_write_checkpoint, self.algo.save_to_path),
            iteration=progress.iteration,
            env_steps=progress.env_steps,
            config_hash=self.config_hash,
        )
        self.observer.on_checkpoint(path)


def _write_checkpoint(save: Callable[[str], str], folder: Path) -> None:
    save(str(folder.absolute()))


def _root_cause(error: BaseException) -> str:
    """Kind and first line of what went wrong; for an error that travelled through Ray, of the original."""
    # Ray's RayTaskError keeps the original in ``cause``; its own text is a whole remote traceback.
    original = getattr(error, "cause", None)
    shown = original if isinstance(original, BaseException) else error
    lines = str(shown).strip().splitlines()
    return f"{type(shown).__name__}: {lines[0] if lines else 'no message'}"
