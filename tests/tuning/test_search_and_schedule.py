"""What is run next, and what is stopped: on trials that are only names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from rllib_reborn.tuning.points import Point
from rllib_reborn.tuning.schedule import make_scheduler
from rllib_reborn.tuning.search import KnownRuns, SuggestedRuns
from rllib_reborn.tuning.sweep import Sweep, parse_sweep


def trial(name: str, arm: str = "") -> Any:
    return SimpleNamespace(trial_id=name, config={"arm": arm}, status="RUNNING")


def asha_sweep(mode: str = "max") -> Sweep:
    data = {
        "base": "matrix/two_step/qmix",
        "scheduler": {"kind": "asha", "grace_period": 10, "reduction_factor": 2.0},
        "budget": {"env_steps": 100},
        "mode": mode,
    }
    return parse_sweep(data, "a.yaml")


def asha(mode: str = "max") -> TrialScheduler:
    return make_scheduler(asha_sweep(mode))


@pytest.mark.parametrize(("mode", "stopped"), [("max", "bad"), ("min", "good")])
def test_asha_stops_what_lies_behind_at_a_rung(mode: str, stopped: str) -> None:
    scheduler = asha(mode)
    good, bad = trial("good"), trial("bad")
    values = {"good": 5.0, "bad": 1.0}
    for one in (good, bad):
        scheduler.on_trial_add(None, one)
    for one in sorted((good, bad), key=lambda one: one.trial_id == stopped):
        early = {"env_steps": 5, "objective": values[one.trial_id]}
        assert scheduler.on_trial_result(None, one, early) == TrialScheduler.CONTINUE
        at_rung = {"env_steps": 10, "objective": values[one.trial_id]}
        expected = TrialScheduler.STOP if one.trial_id == stopped else TrialScheduler.CONTINUE
        assert scheduler.on_trial_result(None, one, at_rung) == expected


def test_runs_of_before_the_sweep_went_on_are_compared_with() -> None:
    scheduler = make_scheduler(asha_sweep(), {"lr=1/s0": [(5, 1.0), (10, 7.0), (40, 9.0)]})
    later = trial("later")
    scheduler.on_trial_add(None, later)
    assert scheduler.on_trial_result(None, later, {"env_steps": 10, "objective": 6.0}) == TrialScheduler.STOP
    better = trial("better")
    scheduler.on_trial_add(None, better)
    assert scheduler.on_trial_result(None, better, {"env_steps": 10, "objective": 8.0}) == TrialScheduler.CONTINUE


def test_an_arm_is_never_stopped_and_stops_nothing() -> None:
    scheduler = asha()
    control, searched = trial("control", arm="none"), trial("searched")
    for one in (control, searched):
        scheduler.on_trial_add(None, one)
    best = {"env_steps": 10, "objective": 100.0}
    assert scheduler.on_trial_result(None, control, best) == TrialScheduler.CONTINUE
    behind = {"env_steps": 10, "objective": 0.0}
    assert scheduler.on_trial_result(None, searched, behind) == TrialScheduler.CONTINUE
    assert scheduler.on_trial_result(None, control, {"env_steps": 40, "objective": -1.0}) == TrialScheduler.CONTINUE
    scheduler.on_trial_complete(None, control, best)
    scheduler.on_trial_remove(None, control)
    scheduler.on_trial_error(None, control)


def test_a_run_that_failed_is_no_measure() -> None:
    scheduler = asha("min")
    broken, other = trial("broken"), trial("other")
    for one in (broken, other):
        scheduler.on_trial_add(None, one)
    scheduler.on_trial_complete(None, broken, {"env_steps": 20, "objective": 0.0, "failed": "nan"})
    assert scheduler.on_trial_result(None, other, {"env_steps": 10, "objective": 5.0}) == TrialScheduler.CONTINUE


def test_known_runs_come_in_order_and_end() -> None:
    search = KnownRuns([{"a": 1}, {"a": 2}])
    assert [search.suggest(str(i)) for i in range(3)] == [{"a": 1}, {"a": 2}, Searcher.FINISHED]


class TestOptuna:
    """Suggestions, each with every seed."""

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("optuna", reason="not run: the extra 'optuna' is not installed")

    def search(self, samples: int = 3, started: int = 0, **more: Any) -> SuggestedRuns:
        data = {
            "base": "matrix/two_step/qmix+reborn",
            "space": {"interventions.0.beta": {"uniform": [2.0, 3.0]}, "interventions.0.every": {"integers": [5, 7]}},
            "samples": samples,
            "seeds": [0, 1],
            "searcher": {"kind": "optuna"},
        }
        arguments: dict[str, Any] = {"evaluated": [], "started": started} | more
        return SuggestedRuns(
            parse_sweep(data, "a.yaml"),
            [{"known": True}],
            make_point=lambda values: Point(repr(sorted(values.items())), values),
            config_of=lambda run: {"seed": run.seed, **run.point.values},
            **arguments,
        )

    def test_known_runs_first_then_each_point_with_each_seed(self) -> None:
        search = self.search()
        configs: list[Any] = []
        while len(configs) < 20:
            config = search.suggest(str(len(configs)))
            if config == Searcher.FINISHED:
                break
            configs.append(config)
        assert configs[0] == {"known": True}
        assert [config["seed"] for config in configs[1:]] == [0, 1, 0, 1, 0, 1]
        for first, second in zip(configs[1::2], configs[2::2]):
            assert first | {"seed": 1} == second
            assert 2 <= first["interventions.0.beta"] <= 3
            assert first["interventions.0.every"] in (5, 6, 7)
        assert len({config["interventions.0.beta"] for config in configs[1:]}) == 3

    def test_optuna_learns_the_mean_of_a_points_seeds_once_all_have_ended(self, monkeypatch: Any) -> None:
        search = self.search()
        reports: list[tuple[str, Any, bool]] = []
        monkeypatch.setattr(
            search._optuna,
            "on_trial_complete",
            lambda trial_id, result, error: reports.append((trial_id, result, error)),
        )
        for name in ("known", "a0", "a1", "b0", "b1"):
            search.suggest(name)
        search.on_trial_complete("known", {"objective": 99.0})
        search.on_trial_complete("a0", {"objective": 1.0})
        search.on_trial_complete("b0", None, error=True)
        assert reports == []
        search.on_trial_complete("a1", {"objective": 4.0})
        assert reports == [("a0", {"objective": 2.5}, False)]
        search.on_trial_complete("b1", {"objective": 0.0, "failed": "broke"})
        assert reports[1:] == [("b0", None, True)]

    def test_what_was_chosen_and_evaluated_before_counts(self) -> None:
        values = {"interventions.0.beta": 2.5, "interventions.0.every": 6}
        search = self.search(started=2, evaluated=[(values, 1.0)])
        given = [search.suggest(str(i)) for i in range(4)]
        assert given[0] == {"known": True}
        assert [config["seed"] for config in given[1:3]] == [0, 1]
        assert given[1]["interventions.0.beta"] != 2.5
        assert given[3] == Searcher.FINISHED
