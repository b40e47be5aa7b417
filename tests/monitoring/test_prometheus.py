"""The thread that keeps gauges: nothing dies in a long iteration, nothing is set after the end."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import pytest

from rllib_reborn.monitoring import RunFacts, RunListeners
from rllib_reborn.monitoring.metrics_table import Metric
from rllib_reborn.monitoring.prometheus import PrometheusExport, RunTags

TAGS = RunTags("/runs/x", "QMIX", "matrix/climbing")
RUN = {"run": "/runs/x", "algorithm": "QMIX", "env": "matrix/climbing"}
PATIENCE_S = 20.0


class Gauges:
    """What was set, in order."""

    def __init__(self, fails: bool = False) -> None:
        self.made: list[Metric] = []
        self.set: list[tuple[str, float, dict[str, str]]] = []
        self.fails = fails

    def __call__(self, one: Metric) -> _Gauge:
        self.made.append(one)
        return _Gauge(self, one)

    def last(self, name: str) -> tuple[float, dict[str, str]]:
        return next((value, tags) for found, value, tags in reversed(self.set) if found == name)


class _Gauge:
    def __init__(self, gauges: Gauges, one: Metric) -> None:
        self._gauges, self._one = gauges, one

    def set(self, value: float, tags: dict[str, str]) -> None:
        if self._gauges.fails:
            raise TypeError("no gauge")
        assert set(tags) == set(self._one.tags)
        self._gauges.set.append((self._one.name, value, tags))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def export(gauges: Gauges, clock: Clock, *, refresh_s: float = 1000.0, ray: bool = True) -> PrometheusExport:
    return PrometheusExport(TAGS, 2, make_gauge=gauges, is_ray_there=lambda: ray, clock=clock, refresh_s=refresh_s)


def facts() -> RunFacts:
    return RunFacts(Path("/runs/x"), {"stop": {"env_steps": 100}}, "QMIX", "matrix/climbing", 0)


def wait_until(gauges: Gauges, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while len(gauges.set) < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "prometheus"]


def test_gauges_are_set_again_without_any_row_and_no_more_after_the_end() -> None:
    gauges, clock = Gauges(), Clock()
    one = export(gauges, clock, refresh_s=0.01)
    one.on_start(facts())
    wait_until(gauges, 1)
    one.on_iteration({"env_steps": 50, "train/return_mean": 3.0}, [])
    clock.now = 104.0
    of_one_refresh = len(gauges.made) + 10
    wait_until(gauges, len(gauges.set) + 3 * of_one_refresh)
    assert gauges.last("return_mean") == (3.0, RUN)
    assert gauges.last("seconds_since_row") == (4.0, RUN)
    one.close()
    assert not threads()
    count = len(gauges.set)
    one.on_wait("nothing")
    time.sleep(0.05)
    assert len(gauges.set) == count
    assert len({made.name for made in gauges.made}) == len(gauges.made)


def test_tags_of_a_metric_of_its_own() -> None:
    gauges = Gauges()
    one = export(gauges, Clock())
    one.on_iteration({"dormancy/mixer/dormant_fraction": 0.5}, [])
    one.refresh()
    assert gauges.last("dormant_fraction") == (0.5, RUN | {"net": "mixer"})


def test_readings_are_of_the_moment() -> None:
    gauges, found = Gauges(), {"runners/healthy": 2.0, "runners/waiting": 0.0}
    one = export(gauges, Clock())
    run = RunFacts(Path("/runs/x"), {}, "QMIX", "matrix/climbing", 0, readings=lambda: found)
    one.on_start(run)
    found["runners/waiting"] = 1.0
    one.refresh()
    one.close()
    assert gauges.last("runners") == (1.0, RUN | {"state": "waiting"})


def test_a_run_that_waits_for_room_has_gauges_once_ray_is_there() -> None:
    gauges = Gauges()
    one = export(gauges, Clock(), ray=False)
    one.on_wait("Ray to start")
    assert not threads()
    one = export(gauges, Clock())
    one.on_wait("waiting for 2 of 2 env runners")
    wait_until(gauges, 2)
    one.close()
    assert gauges.last("runners") == (2.0, RUN | {"state": "waiting"})


def test_a_checkpoint_makes_its_age_new() -> None:
    gauges, clock = Gauges(), Clock()
    one = export(gauges, clock)
    clock.now = 130.0
    one.on_checkpoint(Path("checkpoint_000001"))
    clock.now = 131.5
    one.refresh()
    assert gauges.last("checkpoint_age_seconds")[0] == 1.5


def test_a_gauge_that_fails_ends_the_export_alone(caplog: pytest.LogCaptureFixture) -> None:
    gauges = Gauges(fails=True)
    listeners = RunListeners([export(gauges, Clock(), refresh_s=0.01)])
    with caplog.at_level(logging.WARNING):
        listeners.on_start(facts())
        deadline = time.monotonic() + PATIENCE_S
        while threads() and time.monotonic() < deadline:
            time.sleep(0.005)
        listeners.on_iteration({"env_steps": 1}, [])
        listeners.close()
    assert [record.getMessage() for record in caplog.records] == [
        "the export to Prometheus (logging.prometheus) ends (TypeError: no gauge); training goes on."
    ]
