"""Each alert by ``promtool test rules``: when it fires, and when it does not."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from rllib_reborn.monitoring.alert_rules import Thresholds, alerts, rules_yaml
from rllib_reborn.monitoring.prometheus_config import prometheus_yaml
from tests.monitoring.programs import program

RUN = {"run": "/r/a", "algorithm": "QMIX", "env": "matrix/climbing"}
#: Alert -> ((series, values a minute each), ...), minute, further labels, whether it fires.
CASES: dict[str, list[tuple[dict[str, str], int, dict[str, str], bool]]] = {
    "RllibRebornNoRow": [
        ({"seconds_since_row": "1700+60x10"}, 4, {}, True),
        ({"seconds_since_row": "1700+60x10"}, 1, {}, False),
        # A second process of the run goes on: the old one's gauge stays for some seconds.
        ({"seconds_since_row": "5+1x10"}, 9, {}, False),
    ],
    "RllibRebornRunGone": [
        ({"progress": "0.1+0.1x3 stale _x10"}, 9, {}, True),
        ({"progress": "0.1+0.1x3 stale _x30"}, 30, {}, False),  # forgotten after a quarter of an hour
        ({"progress": "0.1+0.1x9 stale _x10"}, 19, {}, False),  # at its end
        ({"progress": "0.1+0.01x20"}, 15, {}, False),
    ],
    "RllibRebornGradientsSkipped": [
        ({"gradients_skipped": "3x20 4x10"}, 22, {}, True),
        ({"gradients_skipped": "3x40"}, 30, {}, False),
    ],
    "RllibRebornRunnersWaiting": [
        ({'runners{state="waiting"}': "0x3 2x10", 'runners{state="healthy"}': "3x13"}, 11, {}, True),
        ({'runners{state="waiting"}': "0x3 2x10", 'runners{state="healthy"}': "3x13"}, 6, {}, False),
        ({'runners{state="healthy"}': "3x13"}, 11, {}, False),
    ],
    "RllibRebornReplayNotGrowing": [
        ({"replay_episodes": "0+10x5 50x40", "replay_fill": "0.5x45"}, 40, {}, True),
        ({"replay_episodes": "0+10x45", "replay_fill": "0.5x45"}, 40, {}, False),
        ({"replay_episodes": "100x45", "replay_fill": "1x45"}, 40, {}, False),  # full
    ],
    "RllibRebornDormant": [
        (
            {'dormant_fraction{net="mixer"}': "0.6x20", 'dormant_fraction{net="agent"}': "0.4x20"},
            15,
            {"net": "mixer"},
            True,
        ),
        ({'dormant_fraction{net="mixer"}': "0.5x20"}, 15, {}, False),
    ],
    "RllibRebornDiskFilling": [
        ({"ray_node_disk_usage": "95x10", "ray_node_disk_free": "5x10"}, 8, {}, True),
        ({"ray_node_disk_usage": "80x10", "ray_node_disk_free": "20x10"}, 8, {}, False),
    ],
}


def test_every_alert_has_a_case() -> None:
    assert set(CASES) == {alert.name for alert in alerts(Thresholds())}


def series(name: str, labels: dict[str, str]) -> str:
    name, _, own = name.partition("{")
    pairs = [own.rstrip("}")] if own else []
    pairs += [f'{key}="{value}"' for key, value in labels.items()]
    return f"{name if name.startswith('ray_') else f'ray_rllib_reborn_{name}'}{{{', '.join(pairs)}}}"


def case(alert: str, values: dict[str, str], minute: int, further: dict[str, str], fires: bool) -> dict[str, Any]:
    of_node = alert == "RllibRebornDiskFilling"
    labels = {"instance": "10.0.0.1:8080"} if of_node else RUN
    rule = next(one for one in alerts(Thresholds()) if one.name == alert)
    return {
        "interval": "1m",
        "input_series": [{"series": series(name, labels), "values": text} for name, text in values.items()],
        "alert_rule_test": [
            {
                "alertname": alert,
                "eval_time": f"{minute}m",
                "exp_alerts": [{"exp_labels": labels | further | {"severity": rule.severity}}] if fires else [],
            }
        ],
    }


@pytest.mark.parametrize("alert", CASES)
def test_when_it_fires(alert: str, tmp_path: Path) -> None:
    promtool = program("promtool")
    (tmp_path / "rules.yml").write_text(_without_annotations(rules_yaml(Thresholds())))
    tests = [case(alert, *one) for one in CASES[alert]]
    (tmp_path / "tests.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": tests}))
    done = subprocess.run([promtool, "test", "rules", "tests.yml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_files_are_what_prometheus_takes(tmp_path: Path) -> None:
    promtool = program("promtool")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/rllib_reborn.yml").write_text(rules_yaml(Thresholds()))
    (tmp_path / "prometheus.yml").write_text(prometheus_yaml("/tmp/it's/ray"))
    done = subprocess.run([promtool, "check", "config", "prometheus.yml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 rules found" in done.stdout


def _without_annotations(text: str) -> str:
    """Sentences are for people: a test of when they are said does not repeat them."""
    rules = yaml.safe_load(text)
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("annotations", None)
    return yaml.safe_dump(rules)
