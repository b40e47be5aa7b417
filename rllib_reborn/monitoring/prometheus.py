"""Exports a run's numbers to Prometheus, through the agent that Ray has on every node."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import ray
from ray.util.metrics import Gauge

from rllib_reborn.monitoring.listeners import Row, RunFacts
from rllib_reborn.monitoring.metrics_table import METRICS, Metric, samples
from rllib_reborn.monitoring.run_numbers import RunNumbers

logger = logging.getLogger(__name__)

#: Ray forgets a gauge that was not set for two of its export intervals, which are 1 s at least (10 s by default).
REFRESH_S = 1.0
_END_S = 10.0


@dataclasses.dataclass(frozen=True)
class RunTags:
    """Tags of everything that is exported of a run; ``run`` is its folder's whole path, which no other run has."""

    run: str
    algorithm: str
    env: str


class SettableGauge(Protocol):
    """What is needed of Ray's :class:`~ray.util.metrics.Gauge`."""

    def set(self, value: float, tags: dict[str, str]) -> None:
        """The value of the series with these tags."""


def ray_gauge(one: Metric) -> SettableGauge:
    """Ray's gauge of a metric."""
    return Gauge(one.gauge, description=one.help, tag_keys=one.tags)


class PrometheusExport:
    """A listener that keeps gauges at the run's present numbers: a thread sets all of them again every second, so that none
    is forgotten while an iteration lasts. After :meth:`close` they are set no more, and Ray forgets them within two of its
    export intervals.

    Args:
        tags: Of the run.
        num_env_runners: Sampling processes that the run wants.
        make_gauge, is_ray_there, clock, refresh_s: Replaced in tests.
    """

    name = "the export to Prometheus (logging.prometheus)"

    def __init__(
        self,
        tags: RunTags,
        num_env_runners: int,
        *,
        make_gauge: Callable[[Metric], SettableGauge] = ray_gauge,
        is_ray_there: Callable[[], bool] = ray.is_initialized,
        clock: Callable[[], float] = time.monotonic,
        refresh_s: float = REFRESH_S,
    ) -> None:
        self._tags = dataclasses.asdict(tags)
        self._make_gauge, self._is_ray_there = make_gauge, is_ray_there
        self._clock, self._refresh_s = clock, refresh_s
        self._numbers = RunNumbers(num_env_runners, clock())
        self._readings: Callable[[], Mapping[str, float]] = dict
        self._gauges: dict[str, SettableGauge] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def on_start(self, run: RunFacts) -> None:
        """Gauges are there from now on."""
        self._readings = run.readings
        with self._lock:
            self._numbers.start(run, run.readings(), self._clock())
        self._begin()

    def on_iteration(self, row: Row, events: Sequence[Row]) -> None:
        """The row's numbers take the place of those before; the thread exports them within a second."""
        with self._lock:
            self._numbers.row(row, events, self._readings(), self._clock())

    def on_checkpoint(self, path: Path) -> None:
        """Its age begins again."""
        with self._lock:
            self._numbers.checkpoint(self._clock())

    def on_wait(self, reason: str) -> None:
        """A run that waits for room on the cluster is there for Prometheus too: with all of its runners waiting."""
        if self._is_ray_there():
            self._begin()

    def on_final_evaluation(self, final: Mapping[str, Any]) -> None:
        """Nothing: it is in ``final_evaluation.json``, and gauges end with the run."""

    def close(self) -> None:
        """Set nothing any more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(_END_S)

    def refresh(self) -> int:
        """Set every gauge to the present number; returns how many series that are."""
        with self._lock:
            self._numbers.read(self._readings())
            found = samples(self._numbers.numbers(self._clock()), METRICS)
            for one in found:
                gauge = self._gauges.get(one.metric.name)
                if gauge is None:
                    gauge = self._gauges[one.metric.name] = self._make_gauge(one.metric)
                gauge.set(one.value, self._tags if one.metric.tag is None else {**self._tags, one.metric.tag: one.tag})
        return len(found)

    def _begin(self) -> None:
        with self._lock:
            if self._thread is not None or self._ended.is_set():
                return
            self._thread = threading.Thread(target=self._refresh_until_ended, name="prometheus", daemon=True)
            self._thread.start()

    def _refresh_until_ended(self) -> None:
        try:
            while not self._ended.is_set():
                self.refresh()
                self._ended.wait(self._refresh_s)
        except Exception as error:
            logger.warning("%s ends (%s: %s); training goes on.", self.name, type(error).__name__, error)
