"""What is known of a run at a moment, as one flat table of numbers: its rows, its events, its state, and a clock."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rllib_reborn.monitoring.listeners import Row, RunFacts

_ACTIVITIES = ("sampling", "learning", "waiting")


class RunNumbers:
    """Takes in what a run lets know, and says how it stands. Starts nothing and measures no time of its own.

    Args:
        num_env_runners: Sampling processes that the run wants.
        now: Seconds of any clock that only goes forward; all later ones are of the same.
    """

    def __init__(self, num_env_runners: int, now: float) -> None:
        # Until the first readings all of them are waited for.
        self._readings: dict[str, float] = {"runners/healthy": 0, "runners/waiting": num_env_runners}
        self._numbers: dict[str, float] = {}
        self._limits: dict[str, float] = {}
        self._seconds_at_row: dict[str, float] = {}
        self._neurons_treated = 0
        self._row_at = self._saved_at = now

    def start(self, run: RunFacts, readings: Mapping[str, float], now: float) -> None:
        """The run is built and restored."""
        stop = run.config.get("stop") or {}
        names = {"env_steps": "env_steps", "iterations": "iteration", "time_s": "time/total_s"}
        self._limits = {column: float(stop[name]) for name, column in names.items() if stop.get(name) is not None}
        self._row_at = self._saved_at = now
        for row in run.rows:
            self._take(row)
        self._count_treated(run.events)
        self.read(readings)
        self._seconds_at_row = self._seconds()

    def read(self, readings: Mapping[str, float]) -> None:
        """The run's present state, see :func:`rllib_reborn.algorithms.value_factorization.readings.readings`."""
        self._readings |= readings

    def row(self, row: Row, events: Sequence[Row], readings: Mapping[str, float], now: float) -> None:
        """An iteration has ended."""
        self._take(row)
        self._count_treated(events)
        self.read(readings)
        seconds, interval = self._seconds(), max(now - self._row_at, 1e-9)
        shares = {
            name: min(1.0, max(0.0, seconds[name] - self._seconds_at_row.get(name, 0.0)) / interval) for name in seconds
        }
        if shares:
            shares["other"] = max(0.0, 1.0 - sum(shares.values()))
        self._numbers |= {f"share/{name}": share for name, share in shares.items()}
        self._seconds_at_row, self._row_at = seconds, now

    def checkpoint(self, now: float) -> None:
        """A checkpoint is complete."""
        self._saved_at = now

    def numbers(self, now: float) -> dict[str, float]:
        """Every number by its name: columns of ``metrics.jsonl``, each with its last value that was known, readings, and

        - ``run/progress``: by the nearest limit of ``stop``, at most 1;
        - ``run/neurons_treated``: in the whole run;
        - ``run/replay_fill``: share of its places;
        - ``run/checkpoint_age_s``, ``run/seconds_since_row``;
        - ``share/sampling``, ``share/learning``, ``share/waiting``, ``share/other`` of the last iteration's time.
        """
        derived: dict[str, float] = {
            "run/neurons_treated": self._neurons_treated,
            "run/checkpoint_age_s": now - self._saved_at,
            "run/seconds_since_row": now - self._row_at,
        }
        if self._limits:
            done = (self._numbers.get(column, 0.0) / limit for column, limit in self._limits.items())
            derived["run/progress"] = min(1.0, max(done))
        if "replay/capacity_episodes" in self._readings:
            derived["run/replay_fill"] = self._readings["replay/episodes"] / self._readings["replay/capacity_episodes"]
        return {**self._numbers, **self._readings, **derived}

    def _take(self, row: Row) -> None:
        self._numbers |= {name: float(value) for name, value in row.items() if _is_number(value)}

    def _count_treated(self, events: Sequence[Row]) -> None:
        for event in events:
            if event["event"] == "intervention" and not event.get("dry_run"):
                self._neurons_treated += event.get("neurons") or 0

    def _seconds(self) -> dict[str, float]:
        return {name: self._readings[f"seconds/{name}"] for name in _ACTIVITIES if f"seconds/{name}" in self._readings}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
