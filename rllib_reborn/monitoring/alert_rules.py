"""Recording and alert rules for Prometheus, as data and as its YAML."""

from __future__ import annotations

import dataclasses

import yaml

from rllib_reborn.monitoring.expressions import RUN_LABELS, by_run, selected

#: What the recording rules make.
DORMANT, SINCE_ROW, PROGRESS = (
    f"run:rllib_reborn_{name}:max" for name in ("dormant_fraction", "seconds_since_row", "progress")
)
#: Disks are full at so large a share.
_DISK = 0.9
#: A replay that has not grown for so long, a run that was there so long ago.
_WINDOW = "15m"
#: Of a run's way; one that is there no more was not at its end before.
_NEAR_THE_END = 0.9


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """When people are called.

    Attributes:
        no_row_minutes: Minutes without a row.
        dormant_fraction: Share of a network's neurons that are dormant, between 0 and 1.
    """

    no_row_minutes: float = 30.0
    dormant_fraction: float = 0.5

    def __post_init__(self) -> None:
        if not self.no_row_minutes > 0:
            raise ValueError(f"no_row_minutes is {self.no_row_minutes!r}; expected more than 0.")
        if not 0 < self.dormant_fraction < 1:
            raise ValueError(f"dormant_fraction is {self.dormant_fraction!r}; expected a share between 0 and 1.")


@dataclasses.dataclass(frozen=True)
class Alert:
    """One alert; ``lasting``: how long ``expression`` must hold, ``summary``: a sentence with labels of what it is about."""

    name: str
    expression: str
    lasting: str
    severity: str
    summary: str


def recordings() -> dict[str, str]:
    """Expressions by the name under which Prometheus keeps their results."""
    return {
        DORMANT: by_run("dormant_fraction"),
        SINCE_ROW: by_run("seconds_since_row"),
        PROGRESS: by_run("progress"),
    }


def alerts(thresholds: Thresholds) -> tuple[Alert, ...]:
    """All alerts."""
    skipped, episodes = selected("gradients_skipped"), selected("replay_episodes")
    waiting, progress = selected("runners", 'state="waiting"'), selected("progress")
    seconds = 60 * thresholds.no_row_minutes
    return (
        Alert(
            "RllibRebornNoRow",
            f"{SINCE_ROW} > {seconds:g}",
            "1m",
            "critical",
            f"{{{{ $labels.run }}}} has written no row for {thresholds.no_row_minutes:g} minutes.",
        ),
        Alert(
            "RllibRebornRunGone",
            # Not 1: the last row of a run that ends at once after it is never exported.
            f"max by ({RUN_LABELS}) (last_over_time({progress}[{_WINDOW}])) < {_NEAR_THE_END:g} unless {PROGRESS}",
            "1m",
            "warning",
            "{{ $labels.run }} is gone after {{ $value | humanizePercentage }} of its way: stopped, or killed.",
        ),
        Alert(
            "RllibRebornGradientsSkipped",
            f"max by ({RUN_LABELS}) ({skipped}) > min by ({RUN_LABELS}) (min_over_time({skipped}[{_WINDOW}]))",
            "0m",
            "warning",
            "{{ $labels.run }} has skipped updates, since their gradient was not finite: {{ $value }} in all.",
        ),
        Alert(
            "RllibRebornRunnersWaiting",
            f"max by ({RUN_LABELS}) ({waiting}) > 0",
            "5m",
            "warning",
            "{{ $value }} env runners of {{ $labels.run }} wait to be started: is there room on the cluster?",
        ),
        Alert(
            "RllibRebornReplayNotGrowing",
            f"max by ({RUN_LABELS}) (max_over_time({episodes}[{_WINDOW}])) == "
            f"min by ({RUN_LABELS}) (min_over_time({episodes}[{_WINDOW}])) "
            f"and {by_run('replay_fill')} < 1",
            _WINDOW,
            "warning",
            "The replay of {{ $labels.run }} stays at {{ $value }} episodes, and is not full.",
        ),
        Alert(
            "RllibRebornDormant",
            f"{DORMANT} > {thresholds.dormant_fraction:g}",
            "10m",
            "info",
            "{{ $value | humanizePercentage }} of the neurons of the {{ $labels.net }} of {{ $labels.run }} are dormant.",
        ),
        Alert(
            "RllibRebornDiskFilling",
            "max by (instance) (ray_node_disk_usage / (ray_node_disk_usage + ray_node_disk_free)) > " + f"{_DISK:g}",
            "5m",
            "critical",
            "The disk of Ray's folder on {{ $labels.instance }} is {{ $value | humanizePercentage }} full.",
        ),
    )


def rules_yaml(thresholds: Thresholds) -> str:
    """A rules file of Prometheus."""
    groups = [
        {
            "name": "rllib_reborn_runs",
            "rules": [{"record": name, "expr": expression} for name, expression in recordings().items()],
        },
        {
            "name": "rllib_reborn_alerts",
            "rules": [
                {
                    "alert": alert.name,
                    "expr": alert.expression,
                    "for": alert.lasting,
                    "labels": {"severity": alert.severity},
                    "annotations": {"summary": alert.summary},
                }
                for alert in alerts(thresholds)
            ],
        },
    ]
    return yaml.safe_dump({"groups": groups}, sort_keys=False, width=125)
