"""The loop around ``algo.train()``: one row, then perhaps a checkpoint, then perhaps the end."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from rllib_reborn.checkpoints import CheckpointStore
from rllib_reborn.experiments.interruption import Interruption
from rllib_reborn.experiments.metrics_log import MetricsLog
from rllib_reborn.experiments.schema import CheckpointSection, StopSection
from rllib_reborn.runtime.interruption import InterruptedIterationError

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
        position: How far the run is; at the start that of the checkpoint it goes on from.
        is_saved: Whether that checkpoint is in ``store``.
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
    position: RunPosition = dataclasses.field(default_factory=RunPosition)
    is_saved: bool = True
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
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
            self._saved_at, self._interrupted_env_steps = None, error.env_steps
            raise
        self._interrupted_env_steps = 0
        if self._is_due(before, self.position.env_steps):
            self.save()
        return done

    def save(self) -> None:
        """A checkpoint of all that was trained, unless there is one."""
        if self._saved_at == self.position.iteration:
            return
        path = self.store.save(
            functools.partial(_write_checkpoint, self.algo.save_to_path),
            iteration=self.position.iteration,
            env_steps=self.position.env_steps,
            config_hash=self.config_hash,
            interrupted_env_steps=self._interrupted_env_steps,
        )
        self._saved_at, self._saved_time = self.position.iteration, self.clock()
        self.observer.on_checkpoint(path)

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
        for event in events:
            self.events.append(event)
        self.log.append(row)
        self.position = RunPosition(iteration, int(row["env_steps"]), float(row["time/total_s"] or 0.0))
        self.observer.on_row(row)
        return Iteration(row, events)

    def _broken_off(self, error: Exception) -> TrainingError:
        """What ends training; before, what was trained is saved, unless the error has spoilt it."""
        text = f"training broke off after {self.position.env_steps:,} env steps: {_root_cause(error)}"
        env_steps = getattr(self.algo, "whole_env_steps", None)
        if env_steps is None:
            return TrainingError(text)
        self._saved_at, self._interrupted_env_steps = None, env_steps
        try:
            self.save()
        except Exception as second:
            return TrainingError(f"{text}; what was trained could not be saved: {_root_cause(second)}")
        return TrainingError(f"{text}; what was trained is saved")

    def _is_due(self, before: int, now: int) -> bool:
        interval, seconds = self.checkpointing.interval_env_steps, self.checkpointing.interval_s
        by_steps = interval is not None and now // interval > before // interval
        return by_steps or (seconds is not None and self.clock() - self._saved_time >= seconds)


def _write_checkpoint(save: Callable[[str], str], folder: Path) -> None:
    save(str(folder.absolute()))


def _root_cause(error: BaseException) -> str:
    """Kind and first line of what went wrong; for an error that travelled through Ray, of the original."""
    # Ray's RayTaskError keeps the original in ``cause``; its own text is a whole remote traceback.
    original = getattr(error, "cause", None)
    shown = original if isinstance(original, BaseException) else error
    lines = str(shown).strip().splitlines()
    return f"{type(shown).__name__}: {lines[0] if lines else 'no message'}"
