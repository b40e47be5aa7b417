"""Numbers of a run's present state that its rows lack."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from rllib_reborn.algorithms.value_factorization.activity_clock import ActivityClock
from rllib_reborn.algorithms.value_factorization.readings import readings


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_round_that_brings_nothing_is_waiting() -> None:
    clock, counters = Clock(), SimpleNamespace(env_steps=10)
    activity = ActivityClock(clock)
    with activity.round_of_sampling(counters):
        clock.now = 2.0
        counters.env_steps = 15
    with activity.round_of_sampling(counters):
        clock.now = 5.0
    with contextlib.suppress(ValueError), activity.round_of_sampling(counters):
        clock.now = 6.0
        raise ValueError("the game failed")
    assert (activity.sampling, activity.waiting, activity.learning) == (2.0, 4.0, 0.0)


@pytest.mark.slow
def test_of_a_real_run() -> None:
    from rllib_reborn import QMIXConfig

    config = (
        QMIXConfig()
        .environment("matrix/climbing")
        .training(learning_starts_episodes=4, batch_episodes=4, buffer_episodes=20)
        .reporting(min_sample_timesteps_per_iteration=16)
    )
    algo: Any = config.build_algo()
    try:
        algo.train()
        found = readings(algo)
        assert 0 < found.pop("replay/episodes") <= 20
        assert found.pop("seconds/sampling") > 0
        assert found.pop("seconds/learning") > 0
        assert found == {
            "replay/capacity_episodes": 20,
            "runners/healthy": 0,
            "runners/waiting": 0,
            "seconds/waiting": 0.0,
        }
    finally:
        algo.stop()
