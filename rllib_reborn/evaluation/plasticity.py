"""Dormancy and interventions of a group in numbers.

The seed is the unit: every run counts by one number, and intervals are Student's over the seeds. One seed has
none, since neighbouring checks of one run are no independent evidence.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.evaluation.dormancy_events import Drift
from rllib_reborn.evaluation.groups import RunGroup
from rllib_reborn.evaluation.intervention_text import ListedIntervention, in_words, listed_interventions
from rllib_reborn.evaluation.runs import RunRecord
from rllib_reborn.evaluation.statistics import Interval, mean_interval

NETS = ("mixer", "agent")
LAST_CHECKS = 3


@dataclasses.dataclass(frozen=True)
class NetDormancySummary:
    """Dormancy of one network, fractions in 0..1, over seeds.

    Attributes:
        checks: Dormancy checks behind the numbers, all seeds together.
        final: Mean dormant fraction of a run's last three checks (of all where there are fewer).
        peak: Largest dormant fraction of a run.
        overactive_sum: Mean over-active sum of a run's last three checks; ``None`` where not recorded.
    """

    checks: int
    final: Interval
    peak: Interval
    overactive_sum: Interval | None


@dataclasses.dataclass(frozen=True)
class DriftSummary:
    """How far Q_tot lay from that of an untreated copy, in standard deviations of the copy's.

    Attributes:
        updates: Updates since the application; 0: right after it.
        q_drift: Median over the applications of which it was measured.
        untreated: Median of how far the copy moved by itself meanwhile; ``None`` right after the application.
        measured: Of how many applications it was measured.
        not_measured: Of how many it was to be measured and could not be (another application came first).
    """

    updates: int
    q_drift: float | None
    untreated: float | None
    measured: int
    not_measured: int


@dataclasses.dataclass(frozen=True)
class InterventionSummary:
    """What one kind of intervention did in the runs of a group.

    Attributes:
        name: Kind and rule, as labels have them.
        settings: In words; one entry per entry of the config.
        applications: Number in each run, dry runs included.
        neurons: Median over applications of the neurons with new weights (for ReBorn donors included).
        function_drift: Median over applications of the relative change of the values.
        greedy_actions_changed: Median over applications of the share.
        drifts: Right after applications and updates later, in this order; empty where the events have none.
    """

    name: str
    settings: list[str]
    applications: list[int]
    neurons: float | None
    function_drift: float | None
    greedy_actions_changed: float | None
    drifts: list[DriftSummary]


@dataclasses.dataclass(frozen=True)
class PlasticitySummary:
    """Networks that were measured, and interventions in the order of the config."""

    nets: dict[str, NetDormancySummary]
    interventions: list[InterventionSummary]


def summarise_plasticity(group: RunGroup, level: float) -> PlasticitySummary | None:
    """Numbers of a group; ``None`` where nothing was measured and nothing applied."""
    nets = {net: found for net in NETS if (found := _net(group.runs, net, level)) is not None}
    interventions = _interventions(group)
    return PlasticitySummary(nets, interventions) if nets or interventions else None


def dormancy_terms(groups: Sequence[RunGroup]) -> str:
    """One sentence that defines what the dormancy figures show, with the thresholds that the configs give."""
    return (
        "A neuron is dormant where its normalised activation score (mean |activation| over the mean of its layer) is at "
        f"most alpha ({_setting(groups, 'alpha')}) and over-active where it is at least beta "
        f"({_setting(groups, 'beta')}), with fractions pooled over the scored layers ({_setting(groups, 'layers')})."
    )


def dormancy_setting(run: RunRecord, name: str) -> Any:
    """A setting of the run's dormancy check; ``None`` where the config does not have it."""
    training = run.config.get("training")
    check = training.get("dormancy") if isinstance(training, Mapping) else None
    return check.get(name) if isinstance(check, Mapping) else None


def _setting(groups: Sequence[RunGroup], name: str) -> str:
    """What the runs that measured have for it; several values are all named."""
    found = (dormancy_setting(run, name) for group in groups for run in group.runs)
    texts = [f"{x:g}" if isinstance(x, int | float) else str(x) for x in found if x is not None]
    return " or ".join(dict.fromkeys(texts)) or "not recorded"


def _net(runs: Sequence[RunRecord], net: str, level: float) -> NetDormancySummary | None:
    fractions = _values(runs, f"dormancy/{net}/dormant_fraction")
    if not fractions:
        return None
    sums = _values(runs, f"dormancy/{net}/overactive_sum")
    return NetDormancySummary(
        checks=sum(values.size for values in fractions),
        final=_share([_last(values) for values in fractions], level),
        peak=_share([float(values.max()) for values in fractions], level),
        overactive_sum=_share([_last(values) for values in sums], level) if sums else None,
    )


def _values(runs: Sequence[RunRecord], metric: str) -> list[npt.NDArray[np.float64]]:
    """Values at the checks of each run that has any."""
    return [values for run in runs if (values := run.series(metric)[1]).size]


def _last(values: npt.NDArray[np.float64]) -> float:
    return float(values[-LAST_CHECKS:].mean())


def _share(values: Sequence[float], level: float) -> Interval:
    """Interval of a mean of shares, which lies within 0..1."""
    interval = mean_interval(values, level)
    if not interval.known:
        return interval
    return dataclasses.replace(interval, low=max(0.0, interval.low), high=min(1.0, interval.high))


@dataclasses.dataclass(frozen=True)
class _Application:
    kind: str | None
    neurons: float | None
    function_drift: float | None
    greedy_actions_changed: float | None
    drifts: Mapping[int, Drift] = dataclasses.field(default_factory=dict)


def _interventions(group: RunGroup) -> list[InterventionSummary]:
    listed = listed_interventions(group.runs[0].config)
    applied = [_applications(run) for run in group.runs]
    if not listed and not any(applied):
        return []
    by_kind: dict[str, list[ListedIntervention]] = {}
    for one in listed:
        by_kind.setdefault(one.kind, []).append(one)
    # Rows of metrics do not say which of several kinds was applied; then they are reported as one.
    if any(one.kind not in by_kind for of_run in applied for one in of_run):
        return [_summary(listed, applied)]
    return [
        _summary(entries, [[one for one in of_run if one.kind == kind] for of_run in applied])
        for kind, entries in by_kind.items()
    ]


def _summary(entries: Sequence[ListedIntervention], applied: Sequence[Sequence[_Application]]) -> InterventionSummary:
    return InterventionSummary(
        name=" + ".join(dict.fromkeys(one.label() for one in entries)) or "not in the config",
        settings=[in_words(one) for one in entries],
        applications=[len(of_run) for of_run in applied],
        neurons=_median(applied, lambda one: one.neurons),
        function_drift=_median(applied, lambda one: one.function_drift),
        greedy_actions_changed=_median(applied, lambda one: one.greedy_actions_changed),
        drifts=_drifts([one.drifts for of_run in applied for one in of_run]),
    )


def _drifts(drifts: Sequence[Mapping[int, Drift]]) -> list[DriftSummary]:
    found = []
    for updates in sorted({updates for one in drifts for updates in one}):
        of_all = [one[updates] for one in drifts if updates in one]
        moved = [one.q_drift for one in of_all if one.q_drift is not None]
        own = [one.untreated for one in of_all if one.untreated is not None]
        found.append(
            DriftSummary(
                updates=updates,
                q_drift=statistics.median(moved) if moved else None,
                untreated=statistics.median(own) if own else None,
                measured=len(moved),
                not_measured=len(of_all) - len(moved),
            )
        )
    return found


def _applications(run: RunRecord) -> list[_Application]:
    """From the events, or from the rows of metrics where a run has no events."""
    if run.events.applications:
        return [
            _Application(one.kind, one.neurons, one.function_drift, one.greedy_actions_changed, one.drifts)
            for one in run.events.applications
        ]
    counts = run.series("intervention/count")[1]
    if not counts.size:
        return []
    known = {name: run.series(f"intervention/{name}")[1].tolist() for name in _OF_ROWS}
    # One entry per application; of several in one row only the last is recorded, the others stay unknown.
    padded = [[*values[: int(counts[-1])], *[None] * (int(counts[-1]) - len(values))] for values in known.values()]
    return [_Application(None, *values) for values in zip(*padded)]


_OF_ROWS = ("neurons", "function_drift", "greedy_actions_changed")


def _median(applied: Sequence[Sequence[_Application]], value: Callable[[_Application], float | None]) -> float | None:
    known = [x for of_run in applied for one in of_run if (x := value(one)) is not None]
    return statistics.median(known) if known else None
