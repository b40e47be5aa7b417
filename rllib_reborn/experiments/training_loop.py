"""The loop around ``algo.train()``: one row, then perhaps a checkpoint, then perhaps the end."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from rllib_reborn.checkpoints import CheckpointError, CheckpointStore
from rllib_reborn.experiments.interruption import Interruption
from rllib_reborn.experiments.metrics_log import MetricsLog
from rllib_reborn.experiments.schema import CheckpointSection, StopSection
from rllib_reborn.monitoring import RunListeners
from rllib_reborn.runtime.interruption import InterruptedIterationError

logger = logging.getLogger(__name__)

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

    def on_wait(self, reason: str) -> None:
        """Nothing moves, and why: the cluster has no room yet, or a process does not answer. Called on any thread."""


class Iteration(NamedTuple):
    """What an iteration has left: a row of ``metrics.jsonl``, and the dormancy checks and applications of interventions."""

    row: Row
    events: Sequence[Row]


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
        listeners: Notified of every iteration and checkpoint, after ``observer``.
        position: How far the run is; at the start that of the checkpoint it goes on from.
        is_saved: Whether that checkpoint is in ``store``.
        why_unsound: Why no checkpoint should be made of the state of ``algo``, by the last iteration's row (None: it was
            broken off); None: it is sound.
        clock: Seconds; replaced in tests.
    """

    algo: Trainable
    stop: StopSection
    checkpointing: CheckpointSection
    store: CheckpointStore
    log: MetricsLog
    events: MetricsLog
    config_hash: str
    observer: Observer
    listeners: RunListeners = dataclasses.field(default_factory=RunListeners)
    position: RunPosition = dataclasses.field(default_factory=RunPosition)
    is_saved: bool = True
    why_unsound: Callable[[Row | None], str | None] = lambda row: None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._not_saved: str | None = None
        self._is_retried = False
        self._row: Row | None = None
        self._eval_return: float | None = None
        self._saved_at = (self.position.iteration or None) if self.is_saved else None
        self._saved_time = self.clock()
        self._interrupted_env_steps = 0

    def run(self, interruption: Interruption) -> None:
        """Go on to the end, or until ``interruption``; a checkpoint holds all that was trained, also what belongs to an
        iteration that ``algo`` has broken off.

        Raises:
            TrainingError: As :meth:`advance`.
        """
        while not self.has_ended:
            try:
                self.advance()
            except InterruptedIterationError:
                break
            if interruption.received:
                break
        self.save()

    @property
    def has_ended(self) -> bool:
        """Whether a limit is reached."""
        return self.stop.fraction(**dataclasses.asdict(self.position)) >= 1

    def advance(self) -> Iteration:
        """One iteration, and a checkpoint where one is due.

        Raises:
            InterruptedIterationError: ``algo`` has broken it off. There is no row of it yet; :meth:`save` keeps its part.
            TrainingError: The iteration failed. What was trained is saved where its state is whole; the checkpoints that
                were there stay, and none is made of a broken state.
        """
        before = self.position.env_steps
        try:
            done = self._iterate()
        except InterruptedIterationError as error:
            self._saved_at, self._interrupted_env_steps, self._row = None, error.env_steps, None
            raise
        self._interrupted_env_steps = 0
        if self._is_due(before, self.position.env_steps):
            self.save()
        return done

    def save(self) -> None:
        """A checkpoint of all that was trained, unless there is one, or that is broken, or the disk does not take it: then
        the reason is warned of, the checkpoints that are there stay, and it is tried again after the next iteration (of a
        broken state) or when the next one is due (of the disk). See :attr:`not_written`."""
        if self._saved_at == self.position.iteration:
            self.store.tidy()  # a kill in the middle of that save, or after it
            return
        reason = self.why_unsound(self._row)
        if reason is not None:
            sentence = f"no checkpoint is made after {self.position.env_steps:,} env steps, because {reason}"
            self._note_not_saved(sentence, is_new=not self._is_retried)
            self._is_retried = True
            return
        try:
            path = self.store.save(
                functools.partial(_write_checkpoint, self.algo.save_to_path),
                iteration=self.position.iteration,
                env_steps=self.position.env_steps,
                config_hash=self.config_hash,
                interrupted_env_steps=self._interrupted_env_steps,
                metrics=self.log.record,
                events=self.events.record,
                eval_return=self._eval_return,
            )
        except (OSError, CheckpointError) as error:
            self._saved_time = self.clock()
            self._note_not_saved(
                f"the checkpoint after {self.position.env_steps:,} env steps could not be written to {self.store.folder}: "
                f"{root_cause(error)}"
            )
            return
        self._saved_at, self._saved_time = self.position.iteration, self.clock()
        self._not_saved, self._is_retried, self._eval_return = None, False, None
        self.observer.on_checkpoint(path)
        self.listeners.on_checkpoint(path)

    @property
    def not_written(self) -> list[str]:
        """What of all that was trained is not on the disk, and why, in sentences; empty: all is."""
        found = [] if self._not_saved is None else [self._not_saved]
        for log in (self.events, self.log):
            error = log.flush()
            if error is not None:
                found.append(f"{len(log.waiting)} rows could not be written to {log.path}: {error}")
        return found

    def _note_not_saved(self, sentence: str, *, is_new: bool = True) -> None:
        self._not_saved = sentence
        if is_new:
            logger.warning("%s; the checkpoints that are there stay, and it is tried again.", sentence)

    def _iterate(self) -> Iteration:
        try:
            result = self.algo.train()
        except InterruptedIterationError:
            raise
        except Exception as error:
            raise self._broken_off(error) from error
        iteration = self.position.iteration + 1
        row = {"iteration": iteration, **result["team"]}
        # Events first: a crash in between leaves events of an iteration without a row, which a resume cuts off.
        events = [{"iteration": iteration, **event} for event in result.get("plasticity", ())]
        try:
            for event in events:
                self.events.append(event)
            self.log.append(row)
        except OSError as error:  # for so long that memory is short
            raise TrainingError(
                f"training ends after {row['env_steps']:,} env steps: rows cannot be written: {error}"
            ) from error
        self._row = row
        # Returns on different tasks of a sequence say nothing of which state is the best.
        is_of_one_task = row.get("eval/task") is None
        if is_of_one_task and row.get("eval/return_mean") is not None and math.isfinite(row["eval/return_mean"]):
            self._eval_return = float(row["eval/return_mean"])
        self.position = RunPosition(iteration, int(row["env_steps"]), float(row["time/total_s"] or 0.0))
        self.observer.on_row(row)
        self.listeners.on_iteration(row, events)
        return Iteration(row, events)

    def _broken_off(self, error: Exception) -> TrainingError:
        """What ends training; before, what was trained is saved, unless the error has spoilt it."""
        text = f"training broke off after {self.position.env_steps:,} env steps: {root_cause(error)}"
        env_steps = getattr(self.algo, "whole_env_steps", None)
        if env_steps is None:
            return TrainingError(text)
        self._saved_at, self._interrupted_env_steps, self._row = None, env_steps, None
        try:
            self.save()
        except Exception as second:
            return TrainingError(f"{text}; what was trained could not be saved: {root_cause(second)}")
        return TrainingError(f"{text}; {self._not_saved or 'what was trained is saved'}")

    def _is_due(self, before: int, now: int) -> bool:
        interval, seconds = self.checkpointing.interval_env_steps, self.checkpointing.interval_s
        by_steps = interval is not None and now // interval > before // interval
        return self._is_retried or by_steps or (seconds is not None and self.clock() - self._saved_time >= seconds)


def _write_checkpoint(save: Callable[[str], str], folder: Path) -> None:
    save(str(folder.absolute()))


def root_cause(error: BaseException) -> str:
    """Kind and first line of what went wrong; for an error that travelled through Ray, of the original."""
    # Ray's RayTaskError keeps the original in ``cause``; its own text is a whole remote traceback.
    original = getattr(error, "cause", None)
    shown = original if isinstance(original, BaseException) else error
    lines = str(shown).strip().splitlines()
    return f"{type(shown).__name__}: {lines[0] if lines else 'no message'}"
