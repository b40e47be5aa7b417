"""What a run lets others know while it goes on. None of them can change it, and none can end it by failing."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class RunFacts:
    """What is known of a run when it starts.

    Attributes:
        folder: Its run folder.
        config: Content of ``config.yaml``, as plain data, secrets hidden.
        algorithm, env: Names.
        seed: Of the run.
        rows: Rows of ``metrics.jsonl`` that are already there (a run that goes on), oldest first.
        events: Lines of ``dormancy/events.jsonl`` that are already there, oldest first.
        readings: Numbers of the run's present state that rows lack, by name (see
            :func:`rllib_reborn.algorithms.value_factorization.readings.readings`); may be called on any thread.
    """

    folder: Path
    config: Mapping[str, Any]
    algorithm: str
    env: str
    seed: int
    rows: Sequence[Row] = ()
    events: Sequence[Row] = ()
    readings: Callable[[], Mapping[str, float]] = dict


class RunListener(Protocol):
    """Someone who watches one run. Methods are called on the thread that trains, except :meth:`on_wait`."""

    def on_start(self, run: RunFacts) -> None:
        """The run is built and restored, and its first iteration follows."""

    def on_iteration(self, row: Row, events: Sequence[Row]) -> None:
        """An iteration has ended: its row, and its dormancy checks and applications of interventions. Both are written."""

    def on_checkpoint(self, path: Path) -> None:
        """A checkpoint is complete."""

    def on_wait(self, reason: str) -> None:
        """Nothing moves, and why. Called on any thread, perhaps before :meth:`on_start`."""

    def on_final_evaluation(self, final: Mapping[str, Any]) -> None:
        """Content of ``final_evaluation.json``."""

    def close(self) -> None:
        """The run has ended, whichever way; also called where it never started."""


class RunListeners:
    """All listeners of a run, as one. A listener that raises is warned of once and not called again but to be closed."""

    def __init__(self, listeners: Sequence[RunListener] = ()) -> None:
        self._listening = list(listeners)
        self._failed: list[RunListener] = []

    def on_start(self, run: RunFacts) -> None:
        """See :meth:`RunListener.on_start`."""
        self._notify(lambda listener: listener.on_start(run))

    def on_iteration(self, row: Row, events: Sequence[Row]) -> None:
        """See :meth:`RunListener.on_iteration`."""
        self._notify(lambda listener: listener.on_iteration(row, events))

    def on_checkpoint(self, path: Path) -> None:
        """See :meth:`RunListener.on_checkpoint`."""
        self._notify(lambda listener: listener.on_checkpoint(path))

    def on_wait(self, reason: str) -> None:
        """See :meth:`RunListener.on_wait`."""
        self._notify(lambda listener: listener.on_wait(reason))

    def on_final_evaluation(self, final: Mapping[str, Any]) -> None:
        """See :meth:`RunListener.on_final_evaluation`."""
        self._notify(lambda listener: listener.on_final_evaluation(final))

    def close(self) -> None:
        """Close all, also those that have failed."""
        for listener in [*self._listening, *self._failed]:
            try:
                listener.close()
            except Exception as error:
                _warn(listener, "could not be closed", error)
        self._listening, self._failed = [], []

    def _notify(self, call: Callable[[RunListener], None]) -> None:
        for listener in list(self._listening):
            try:
                call(listener)
            except Exception as error:
                _warn(listener, "is not called again in this run", error)
                self._listening.remove(listener)
                self._failed.append(listener)


def _warn(listener: RunListener, what: str, error: Exception) -> None:
    name = getattr(listener, "name", type(listener).__name__)
    logger.warning("%s %s (%s: %s); training goes on.", name, what, type(error).__name__, error)
