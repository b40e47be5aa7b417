"""Dormancy and interventions in numbers, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_reborn.evaluation.groups import RunGroup, group_runs
from rllib_reborn.evaluation.plasticity import DriftSummary, PlasticitySummary, dormancy_terms, summarise_plasticity
from rllib_reborn.evaluation.runs import read_run
from rllib_reborn.evaluation.statistics import mean_interval

from .synthetic import DORMANCY, REBORN, REDO, application, config, drift_event, write_run

MIXER, AGENT = "dormancy/mixer/dormant_fraction", "dormancy/agent/dormant_fraction"


def group_of(
    folder: Path,
    runs: list[list[dict[str, Any]]],
    events: list[list[dict[str, Any]]] | None = None,
    **settings: Any,
) -> RunGroup:
    records = [
        read_run(
            write_run(
                folder / str(i),
                settings=config(seed=i, **settings),
                lines=[{"env_steps": 10 * (k + 1)} | line for k, line in enumerate(lines)],
                events=None if events is None else events[i],
            )
        )
        for i, lines in enumerate(runs)
    ]
    return group_runs(records)[0][0]


def summary(group: RunGroup) -> PlasticitySummary:
    found = summarise_plasticity(group, 0.95)
    assert found is not None
    return found


def test_final_is_the_mean_of_the_last_three_checks_over_seeds_and_peak_the_largest(tmp_path: Path) -> None:
    first = [{MIXER: x} for x in (0.9, 0.2, None, 0.3, 0.4)]  # last three: 0.3; peak 0.9
    second = [{MIXER: x} for x in (0.1, None, 0.5, 0.5, 0.5)]  # last three: 0.5; peak 0.5
    found = summary(group_of(tmp_path, [first, second])).nets["mixer"]
    assert found.checks == 8
    assert found.final.estimate == pytest.approx(0.4)
    assert found.peak.estimate == pytest.approx(0.7)
    # Student's t at one degree of freedom is huge; a share has no more than 0..1 to be in.
    assert mean_interval([0.3, 0.5]).low < 0
    assert (found.final.low, found.final.high) == (0.0, 1.0)
    assert found.overactive_sum is None


def test_fewer_than_three_checks_and_one_seed(tmp_path: Path) -> None:
    lines = [{MIXER: None}, {MIXER: 0.2, "dormancy/mixer/overactive_sum": 0.5, AGENT: 0.0}, {MIXER: 0.4, AGENT: None}]
    found = summary(group_of(tmp_path, [lines]))
    assert found.nets["mixer"].final.estimate == pytest.approx(0.3)
    assert not found.nets["mixer"].final.known
    assert found.nets["mixer"].overactive_sum is not None
    assert found.nets["mixer"].overactive_sum.estimate == 0.5
    assert found.nets["agent"].final.estimate == 0.0
    assert found.interventions == []


def test_runs_without_checks_are_no_evidence(tmp_path: Path) -> None:
    found = summary(group_of(tmp_path, [[{MIXER: 0.5}], [{MIXER: None}]]))
    assert found.nets["mixer"].final.n == 1


def test_old_runs_have_nothing_to_tell(tmp_path: Path) -> None:
    assert summarise_plasticity(group_of(tmp_path, [[{}]]), 0.95) is None


class TestInterventions:
    def applied(self, neurons: int, kind: str = "reborn", drift: float | None = 0.1) -> dict[str, Any]:
        return application(10, {"mixer/V": (list(range(neurons)), [])}, kind=kind, drift=drift)

    def test_medians_are_over_the_applications_of_all_seeds(self, tmp_path: Path) -> None:
        events = [
            [self.applied(2, drift=0.1), self.applied(4, drift=0.3)],
            [self.applied(9, drift=None)],
        ]
        lines = [[{"intervention/count": n}] for n in (2, 1)]
        (found,) = summary(group_of(tmp_path, lines, events, interventions=[REBORN])).interventions
        assert (found.name, found.applications, found.neurons) == ("ReBorn (paper)", [2, 1], 4)
        assert found.function_drift == pytest.approx(0.2)
        assert found.greedy_actions_changed == pytest.approx(0.02)
        assert found.settings[0].startswith("every 2,000 env steps, on the mixer")

    def test_drifts_are_medians_of_what_was_measured(self, tmp_path: Path) -> None:
        def treated(at: int, moved: float, *later: dict[str, Any]) -> list[dict[str, Any]]:
            return [application(at, {}, updates=at, q_drift=moved), *later]

        events = [
            [*treated(5, 0.1, drift_event(5, 1, 2.0, 0.5), drift_event(5, 10, None)), *treated(8, 0.3)],
            treated(5, 0.2, drift_event(5, 1, 1.0, 0.25), drift_event(5, 10, 0.5, 0.5)),
        ]
        lines = [[{"intervention/count": n}] for n in (2, 1)]
        (found,) = summary(group_of(tmp_path, lines, events, interventions=[REBORN])).interventions
        assert found.drifts == [
            DriftSummary(0, pytest.approx(0.2), None, 3, 0),
            DriftSummary(1, 1.5, 0.375, 2, 0),
            DriftSummary(10, 0.5, 0.5, 1, 1),
        ]

    def test_kinds_are_told_apart_by_the_events(self, tmp_path: Path) -> None:
        events = [[self.applied(2), self.applied(8, kind="redo"), self.applied(6, kind="redo")]]
        group = group_of(tmp_path, [[{"intervention/count": 3}]], events, interventions=[REBORN, REDO])
        reborn, redo = summary(group).interventions
        assert (reborn.name, reborn.applications, reborn.neurons) == ("ReBorn (paper)", [1], 2)
        assert (redo.name, redo.applications, redo.neurons) == ("ReDo", [2], 7)

    def test_without_events_the_rows_tell_and_several_kinds_are_one(self, tmp_path: Path) -> None:
        lines = [
            {"intervention/count": 1, "intervention/neurons": 4, "intervention/function_drift": 0.1},
            {"intervention/count": 1, "intervention/neurons": None, "intervention/function_drift": None},
            {"intervention/count": 3, "intervention/neurons": 6, "intervention/function_drift": 0.3},
        ]
        (found,) = summary(group_of(tmp_path, [lines], interventions=[REBORN, REDO])).interventions
        # Two applications in the third row, of which the last one's numbers are known.
        assert (found.name, found.applications, found.neurons) == ("ReBorn (paper) + ReDo", [3], 5)
        assert found.function_drift == pytest.approx(0.2)
        assert found.greedy_actions_changed is None
        assert len(found.settings) == 2

    def test_an_intervention_that_never_came_is_told_too(self, tmp_path: Path) -> None:
        (found,) = summary(group_of(tmp_path, [[{"intervention/count": 0}]], interventions=[REDO])).interventions
        assert (found.applications, found.neurons, found.function_drift) == ([0], None, None)


def test_thresholds_come_from_the_configs_and_all_are_named(tmp_path: Path) -> None:
    groups = [
        group_of(tmp_path / str(alpha), [[{MIXER: 0.1}]], training={"dormancy": DORMANCY | {"alpha": alpha}})
        for alpha in (0.1, 0.025)
    ]
    text = dormancy_terms(groups)
    assert "at most alpha (0.1 or 0.025)" in text
    assert "at least beta (3)" in text
    assert "(official_code)" in text
    assert "alpha (not recorded)" in dormancy_terms([group_of(tmp_path / "old", [[{}]])])


def test_the_synthetic_events_and_rows_agree(tmp_path: Path) -> None:
    from .synthetic import plasticity, rows

    lines, events = plasticity(lines=rows(), treated=True)
    run = read_run(write_run(tmp_path / "run", lines=lines, events=events))
    fractions = []
    for one in run.events.checks:
        mixer = [layer for key, layer in one.layers.items() if key.startswith("mixer")]
        fractions.append(sum(len(layer.dormant) for layer in mixer) / sum(layer.width for layer in mixer))
    np.testing.assert_allclose(fractions, run.series(MIXER)[1])
    assert len(run.events.applications) == run.metrics["intervention/count"].iloc[-1] == 5
