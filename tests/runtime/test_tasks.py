"""Which task is due when, and that a runner plays the one it is asked for, whatever it did before."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rllib_reborn.envs.contract import EnvContractError
from rllib_reborn.replay.episode_replay import EpisodeBlock
from rllib_reborn.runtime import task_pool
from rllib_reborn.runtime.env_creator import create
from rllib_reborn.runtime.exploration import EpsilonSettings
from rllib_reborn.runtime.results import Collected
from rllib_reborn.runtime.runner_pool import RunnerPool
from rllib_reborn.runtime.task_pool import TaskRunnerPool
from rllib_reborn.runtime.task_runner import TaskCollected, TaskEnvRunner
from rllib_reborn.runtime.task_schedule import (
    RestartedEpsilon,
    TaskSchedule,
    TaskSequenceSettings,
    epsilon_of,
)
from tests.algorithms.helpers import WALK, quick

LIMITS = (3, 5)


def schedule(every: int = 100, tasks: int = 2, **settings: Any) -> TaskSchedule:
    return TaskSchedule(tuple("abcde"[:tasks]), TaskSequenceSettings(every_env_steps=every, **settings))


# ------------------------------------------------------------------------------------------------------------- schedule


def test_the_tasks_of_a_run_by_hand():
    repeated, once = schedule(100, 3), schedule(100, 3, repeat=False)
    clocks = (0, 99, 100, 199, 250, 300, 640, 1_000)
    assert [repeated.period_at(clock) for clock in clocks] == [0, 0, 1, 1, 2, 3, 6, 10]
    assert [repeated.task_of(repeated.period_at(clock)) for clock in clocks] == [0, 0, 1, 1, 2, 0, 0, 1]
    assert [once.task_of(once.period_at(clock)) for clock in clocks] == [0, 0, 1, 1, 2, 2, 2, 2]


@given(st.integers(1, 10**6), st.integers(2, 5), st.booleans(), st.lists(st.integers(0, 10**7), min_size=2))
def test_periods_never_fall_and_begin_at_multiples(every, tasks, repeat, clocks):
    one = schedule(every, tasks, repeat=repeat)
    periods = [one.period_at(clock) for clock in sorted(clocks)]
    assert periods == sorted(periods)
    for clock, period in zip(sorted(clocks), periods, strict=True):
        assert period * every <= clock
        assert clock < (period + 1) * every or (not repeat and period == tasks - 1)
        assert 0 <= one.task_of(period) < tasks


def test_epsilon_goes_on_or_begins_anew():
    config = quick(env=[WALK, WALK], epsilon={"start": 1.0, "end": 0.0, "anneal_env_steps": 100})
    counters = SimpleNamespace(period_began=0)
    config.environment(task_sequence={"every_env_steps": 1_000})
    assert type(epsilon_of(config, counters)) is EpsilonSettings
    config.environment(task_sequence={"every_env_steps": 1_000, "epsilon": "restart"})
    restarted = epsilon_of(config, counters)
    assert isinstance(restarted, RestartedEpsilon)
    assert [restarted.at(steps) for steps in (0, 50, 100, 1_040)] == [1.0, 0.5, 0.0, 0.0]
    counters.period_began = 1_024
    assert [restarted.at(steps) for steps in (1_024, 1_074, 2_000)] == [1.0, 0.5, 0.0]


# --------------------------------------------------------------------------------------------------------------- runner


def task_runner(
    num_envs: int = 4, *, worker_index: int = 0, walk: str = WALK, tasks: Any = None, **settings: Any
) -> TaskEnvRunner:
    options = {"tasks": tasks or [{"limit": limit} for limit in LIMITS]}
    config = quick(env=[walk, walk], epsilon={"start": 1.0, "end": 0.0, "anneal_env_steps": 200})
    config.environment(env_config=options, task_sequence={"every_env_steps": 1_000, **settings})
    config.env_runners(num_envs_per_env_runner=num_envs)
    torch.manual_seed(0)
    made = TaskEnvRunner(
        config=config,
        env_creator=lambda context, num_envs, spec: create(config.env, context, num_envs, spec),
        worker_index=worker_index,
        num_workers=worker_index,
    )
    torch.manual_seed(0)
    for p in made.module.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return made


def episodes(collected: Collected) -> list[dict[str, np.ndarray]]:
    assert collected.error is None
    return [episode for block in collected.blocks for episode in block.episodes()]


def ask(made: TaskEnvRunner, period: int, env_steps: int, count: int = 12) -> TaskCollected:
    collected = made.collect(count, env_steps, period=period, period_began=period * 1_000)
    assert isinstance(collected, TaskCollected)
    return collected


def assert_equal(left: list[Any], right: list[Any]) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        for name, array in one.items():
            np.testing.assert_array_equal(array, other[name])


def longest(found: list[dict[str, np.ndarray]]) -> int:
    return max(len(episode["reward"]) for episode in found)


def test_a_runner_plays_the_task_of_the_period_it_is_asked_for():
    made = task_runner()
    for period, limit in ((0, 3), (1, 5), (2, 3), (5, 5)):
        collected = ask(made, period, period * 1_000, 40)
        assert collected.period == period
        assert longest(episodes(collected)) == limit


def test_running_episodes_are_cut_off_where_a_period_begins_and_counted_apart_from_faults():
    made = task_runner()
    first = ask(made, 0, 0, 5)
    running = int((made.games_state()["time"] > 0).sum())
    assert first.cut_off == 0
    assert running > 0
    second = ask(made, 1, 1_000, 5)
    assert second.cut_off == running
    assert second.dropped_episodes == 0
    # A task's episodes are whole: none goes on with what another task began.
    for episode in episodes(second):
        assert episode["terminated"][-1] or len(episode["reward"]) == 5
    assert ask(made, 1, 1_020, 5).cut_off == 0


def test_equal_seeds_and_periods_give_equal_episodes_and_periods_of_one_task_different_ones():
    one, other = task_runner(), task_runner()
    found = []
    for period in (0, 1, 2, 3):
        mine, theirs = (episodes(ask(made, period, period * 1_000)) for made in (one, other))
        assert_equal(mine, theirs)
        found.append(mine)
    for first, second in ((0, 2), (1, 3)):
        assert not np.array_equal(found[first][0]["obs"][0], found[second][0]["obs"][0]), "the same games again"
    # They do not depend on how the period before went.
    another = task_runner()
    ask(another, 0, 0, 5)
    assert_equal(episodes(ask(another, 1, 1_000)), found[1])


@pytest.mark.parametrize("before", [0, 1, 2], ids=["before the switch", "at the switch", "after the switch"])
def test_saved_games_go_on_around_a_switch(before):
    """At the switch: the games are still those of the task before."""
    requests = [(0, 0), (0, 40), (1, 1_000), (1, 1_040), (2, 2_000)]
    made = task_runner()
    for request in requests[: before + 1]:
        ask(made, *request)
    state = made.games_state()
    rest = [episodes(ask(made, *request)) for request in requests[before + 1 :]]
    again = task_runner()
    ask(again, 5, 5_000)  # whatever it did
    assert again.set_games_state(state)
    for request, expected in zip(requests[before + 1 :], rest, strict=True):
        assert_equal(episodes(ask(again, *request)), expected)


def test_a_runner_that_was_started_again_plays_the_present_task():
    for period, limit in ((1, 5), (2, 3)):
        assert longest(episodes(ask(task_runner(worker_index=1), period, period * 1_000, 40))) == limit


def test_games_that_do_not_fit_are_dropped_and_the_present_task_is_played():
    state = None
    made = task_runner()
    ask(made, 1, 1_000)
    state = made.games_state()
    other = task_runner(num_envs=3)
    assert not other.set_games_state(state)
    assert other.take_unfit_games() is state
    assert longest(episodes(ask(other, 0, 2_000, 40))) == 3


def test_an_environment_that_fails_is_made_again_with_the_present_task():
    made = task_runner(tasks=[{"limit": 3}, {"limit": 5, "fault": "raise", "at": 15}])
    assert longest(episodes(ask(made, 0, 0, 40))) == 3
    failing = ask(made, 1, 1_000, 16)
    assert failing.env_failures >= 1
    assert made.env.task == 1
    assert longest(episodes(failing)) == 5


def test_a_task_that_cannot_begin_is_an_error_and_no_other_task_takes_its_place():
    made = task_runner(tasks=[{"limit": 3}, {"limit": 5, "fault": "reset_always"}])
    ask(made, 0, 0)
    collected = made.collect(4, 1_000, period=1, period_began=1_000)
    assert collected.error is not None
    with pytest.raises(EnvContractError, match=r"MaskedWalk.*no new game"):
        collected.error.raise_here()


def test_exploration_begins_anew_with_a_task_where_that_is_asked_for():
    for settings, expected in (({}, 0.0), ({"epsilon": "restart"}, 1.0)):
        made = task_runner(**settings)
        ask(made, 0, 0)
        ask(made, 1, 1_000)
        # After a thousand env steps the schedule of the run has ended; that of the task begins.
        assert made._epsilon.at(1_000) == expected


def test_evaluation_plays_the_task_that_it_is_sent():
    made = task_runner()
    lengths = []
    for task in (0, 1, 0):
        made.switch_task(task)
        lengths.append([outcome.length for outcome in made.evaluate(40, 3)])
    assert max(lengths[0]) == 3 < max(lengths[1])
    assert lengths[0] == lengths[2]


# ----------------------------------------------------------------------------------------------------------------- pool


@dataclasses.dataclass
class Clock:
    period: int | None = None
    period_began: int = 0
    task_name: str | None = None
    env_steps: int = 0
    looked_in: int = -1
    iterations: int = 0


def collected(period: int, episodes: int = 2) -> TaskCollected:
    block = EpisodeBlock(np.ones(episodes, np.int32), {})
    return TaskCollected(1, [block], [None] * episodes, 40, 0, 0, None, period=period)


class Answers:
    """Stands for the parent's requests: what is asked of runners, and what they have ready."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, late: list[list[TaskCollected]] = (), **settings: Any
    ) -> None:
        self.asked: list[dict[str, int]] = []
        self.switches = 0
        self.answers: list[TaskCollected] = []
        self.clock = Clock()
        late = list(late)
        monkeypatch.setattr(RunnerPool, "__init__", lambda pool: None)
        monkeypatch.setattr(RunnerPool, "drain", lambda pool: late.pop(0) if late else [])
        monkeypatch.setattr(RunnerPool, "collect", lambda pool, env_steps: self._collect(pool))
        self.pool = TaskRunnerPool(schedule(100, **settings), self.clock, self._switch)

    def _switch(self) -> None:
        self.switches += 1

    def _collect(self, pool: RunnerPool) -> list[Any]:
        self.asked.append(dict(self.pool.also_asked))
        return self.answers


def test_a_period_begins_with_an_iteration_and_not_within_one(monkeypatch):
    answers = Answers(monkeypatch)
    for iteration, env_steps in ((0, 0), (0, 60), (0, 120), (1, 180), (1, 240), (2, 300)):
        answers.clock.iterations = iteration
        answers.pool.collect(env_steps)
    assert [(one["period"], one["period_began"]) for one in answers.asked] == [
        (0, 0),
        (0, 0),
        (0, 0),
        (1, 180),
        (1, 180),
        (3, 300),
    ]
    assert answers.switches == 2


@pytest.mark.parametrize(
    ("before", "env_steps", "switches", "period"),
    [
        ({}, 0, 0, 0),  # a run that begins
        ({}, 60, 0, 0),  # a fork of a run on the first task alone
        ({}, 160, 1, 1),  # one that comes when the second is due
        ({"period": 1, "task_name": "b"}, 160, 0, 1),  # a run that goes on
        ({"period": 1, "task_name": "a"}, 160, 1, 1),  # a fork that has changed what the second task is
    ],
)
def test_a_fork_whose_task_is_another_one_begins_with_a_switch(monkeypatch, before, env_steps, switches, period):
    answers = Answers(monkeypatch)
    for name, value in before.items():
        setattr(answers.clock, name, value)
    answers.clock.env_steps = env_steps
    monkeypatch.setattr(RunnerPool, "learner_weights", lambda pool: task_pool.Weights({}, 1))
    assert answers.pool.learner_weights().task == period
    answers.pool.collect(env_steps)
    assert (answers.switches, answers.clock.period) == (switches, period)
    assert answers.clock.task_name == "ab"[period]
    answers.clock.iterations += 1
    answers.pool.collect(env_steps + 1)
    assert answers.switches == switches


def test_what_is_under_way_belongs_to_the_period_that_ends(monkeypatch):
    last = [collected(0)]
    answers = Answers(monkeypatch, late=[[], last])
    answers.pool.collect(0)
    answers.clock.iterations = 1
    assert answers.pool.collect(110) is last
    assert (answers.switches, answers.clock.period, len(answers.asked)) == (0, 0, 1)
    answers.pool.collect(150)
    assert (answers.switches, answers.clock.period, answers.clock.period_began) == (1, 1, 150)
    assert len(answers.asked) == 2


@pytest.mark.parametrize(("replay", "kept"), [("keep", 2), ("clear", 0)])
def test_a_late_answer_of_the_task_before_brings_no_episodes_into_an_emptied_replay(monkeypatch, replay, kept):
    answers = Answers(monkeypatch, replay=replay)
    answers.pool.collect(0)
    answers.clock.iterations = 1
    answers.answers = [collected(0), collected(1, 3)]
    late, present = answers.pool.collect(110)
    assert sum(map(len, late.blocks)) == kept
    assert len(late.outcomes) == kept
    assert late.cut_off == 2 - kept
    assert late.env_steps == 40, "they were played"
    assert present is answers.answers[1]


def test_weights_say_on_which_task_they_are_evaluated(monkeypatch):
    assert task_pool.Weights({}, 1).task is None
    answers = Answers(monkeypatch)
    monkeypatch.setattr(RunnerPool, "learner_weights", lambda pool: task_pool.Weights({}, 1))
    assert answers.pool.learner_weights().task == 0, "before anything was collected"
    answers.clock.period = 3
    assert answers.pool.learner_weights().task == 1
