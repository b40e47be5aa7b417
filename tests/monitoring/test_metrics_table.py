"""Which numbers of a run become which samples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rllib_reborn.monitoring.alert_rules import Thresholds, alerts
from rllib_reborn.monitoring.metrics_table import METRICS, MOST_TAG_VALUES, RUN_TAGS, metric, samples


def values_of(name: str, numbers: dict[str, float]) -> dict[str, float]:
    return {one.tag: one.value for one in samples(numbers, [metric(name)])}


def test_names_are_what_prometheus_takes_and_each_is_there_once() -> None:
    names = [one.series for one in METRICS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"ray_rllib_reborn_[a-z_]+", name) for name in names)
    assert len({one.source for one in METRICS}) == len(METRICS)


def test_a_tag_of_its_own_goes_with_a_source_of_many() -> None:
    for one in METRICS:
        assert ("*" in one.source) == (one.tag is not None)
        assert one.tags[:3] == RUN_TAGS == ("run", "algorithm", "env")


def test_a_number_without_a_tag() -> None:
    assert values_of("return_mean", {"train/return_mean": -3.5, "eval/return_mean": 2.0}) == {"": -3.5}
    assert values_of("return_mean", {"eval/return_mean": 2.0}) == {}


def test_shares_of_neurons_are_of_nets_and_not_of_layers() -> None:
    numbers = {
        "dormancy/mixer/dormant_fraction": 0.25,
        "dormancy/agent/dormant_fraction": 0.5,
        "dormancy/agent/encoder.0/dormant_fraction": 0.75,
        "dormancy/agent/dead_fraction": 1.0,
    }
    assert values_of("dormant_fraction", numbers) == {"agent": 0.5, "mixer": 0.25}


def test_drift_by_updates_in_their_order_and_no_series_without_end() -> None:
    numbers = {f"intervention/q_drift/{updates}": float(updates) for updates in (100, 0, 9, 20)}
    assert list(values_of("q_drift", numbers)) == ["0", "9", "20", "100"]
    many = {f"intervention/q_drift/{updates}": 1.0 for updates in range(200)}
    assert list(values_of("q_drift", many)) == [str(updates) for updates in range(MOST_TAG_VALUES)]


def test_an_unknown_metric() -> None:
    with pytest.raises(KeyError):
        metric("no_such_metric")


def test_a_run_of_a_sweep_stays_within_100_series() -> None:
    """Whatever it is: every metric, two nets, as many updates of drift as are exported."""
    of_a_tag = {
        "net": ("agent", "mixer"),
        "after_updates": tuple(map(str, range(200))),
        "activity": ("sampling", "learning", "waiting", "other"),
        "state": ("healthy", "waiting"),
    }
    numbers = {
        one.source.replace("*", value): 1.0
        for one in METRICS
        for value in ([""] if one.tag is None else of_a_tag[one.tag])
    }
    series = samples(numbers)
    assert len({(one.metric.name, one.tag) for one in series}) == len(series)
    assert {one.metric for one in series} == set(METRICS)
    assert len(series) == 59 <= 100


def test_the_guide_has_every_metric_and_every_alert() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()
    for one in METRICS:
        assert f"| `{one.name}` | {f'`{one.tag}`' if one.tag else ''} | {one.help} |" in guide
    assert all(f"| `{alert.name}` |" in guide for alert in alerts(Thresholds()))
