"""How a run stands, by what it let know and a clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.monitoring import RunFacts
from rllib_reborn.monitoring.run_numbers import RunNumbers

STOP = {"env_steps": 1000, "iterations": 10, "time_s": None}


def facts(**changes: Any) -> RunFacts:
    return RunFacts(Path("runs/x"), {"stop": STOP}, "QMIX", "matrix/climbing", 0, **changes)


def readings(sampling: float = 0.0, learning: float = 0.0, waiting: float = 0.0) -> dict[str, float]:
    return {
        "replay/episodes": 3,
        "replay/capacity_episodes": 12,
        "runners/healthy": 2,
        "runners/waiting": 1,
        "seconds/sampling": sampling,
        "seconds/learning": learning,
        "seconds/waiting": waiting,
    }


def started(now: float = 100.0, **changes: Any) -> RunNumbers:
    numbers = RunNumbers(3, now)
    numbers.start(facts(**changes), readings(), now)
    return numbers


def test_before_the_start_all_runners_are_waited_for() -> None:
    assert RunNumbers(3, 50.0).numbers(57.0) == {
        "runners/healthy": 0,
        "runners/waiting": 3,
        "run/neurons_treated": 0,
        "run/checkpoint_age_s": 7.0,
        "run/seconds_since_row": 7.0,
    }


def test_a_start_begins_both_ages_and_takes_in_the_state() -> None:
    numbers = RunNumbers(3, 50.0)
    numbers.start(facts(), readings(), 100.0)
    found = numbers.numbers(101.0)
    assert (found["run/seconds_since_row"], found["run/checkpoint_age_s"]) == (1.0, 1.0)
    assert (found["runners/healthy"], found["runners/waiting"], found["run/replay_fill"]) == (2, 1, 0.25)
    assert found["run/progress"] == 0.0


def test_ages_begin_again_with_a_row_and_with_a_checkpoint() -> None:
    numbers = started(100.0)
    numbers.row({"iteration": 1, "env_steps": 250}, [], readings(), 110.0)
    numbers.checkpoint(112.0)
    found = numbers.numbers(115.0)
    assert (found["run/seconds_since_row"], found["run/checkpoint_age_s"]) == (5.0, 3.0)


def test_what_a_row_does_not_know_keeps_its_last_value() -> None:
    numbers = started()
    numbers.row(
        {"iteration": 1, "env_steps": 250, "eval/return_mean": 4.0, "eval/returns": [4.0]}, [], readings(), 110.0
    )
    numbers.row({"iteration": 2, "env_steps": 300, "eval/return_mean": None, "won": True}, [], readings(), 120.0)
    found = numbers.numbers(120.0)
    assert (found["env_steps"], found["eval/return_mean"]) == (300.0, 4.0)
    assert "eval/returns" not in found
    assert "won" not in found


@pytest.mark.parametrize(("iteration", "env_steps", "progress"), [(1, 250, 0.25), (5, 250, 0.5), (1, 2000, 1.0)])
def test_progress_is_by_the_nearest_limit(iteration: int, env_steps: int, progress: float) -> None:
    numbers = started()
    numbers.row({"iteration": iteration, "env_steps": env_steps}, [], readings(), 110.0)
    assert numbers.numbers(110.0)["run/progress"] == progress


def test_shares_of_an_iteration() -> None:
    """20 s, of which 5 were sampling, 8 learning, 2 waiting; what was before the first row does not count."""
    numbers = RunNumbers(0, 0.0)
    numbers.start(facts(), readings(sampling=1.0, learning=2.0, waiting=3.0), 100.0)
    assert not [name for name in numbers.numbers(101.0) if name.startswith("share/")]
    numbers.row({"iteration": 1}, [], readings(sampling=6.0, learning=10.0, waiting=5.0), 120.0)
    found = numbers.numbers(121.0)
    shares = {name: found[f"share/{name}"] for name in ("sampling", "learning", "waiting", "other")}
    assert shares == pytest.approx({"sampling": 0.25, "learning": 0.4, "waiting": 0.1, "other": 0.25})
    numbers.row({"iteration": 2}, [], readings(sampling=16.0, learning=10.0, waiting=5.0), 130.0)
    assert numbers.numbers(130.0)["share/sampling"] == 1.0


def test_neurons_treated_over_a_resume_without_dry_runs() -> None:
    applied = [
        {"event": "intervention", "neurons": 5, "dry_run": False},
        {"event": "intervention", "neurons": 7, "dry_run": True},
        {"event": "dormancy", "metrics": {}},
    ]
    numbers = started(rows=[{"env_steps": 500, "train/nonfinite_steps": 2}], events=applied)
    assert numbers.numbers(100.0)["run/neurons_treated"] == 5
    assert numbers.numbers(100.0)["train/nonfinite_steps"] == 2.0
    numbers.row({"iteration": 2}, [{"event": "intervention", "neurons": 4}], readings(), 110.0)
    assert numbers.numbers(110.0)["run/neurons_treated"] == 9
