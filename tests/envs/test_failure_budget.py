"""How often games may fail: by the share of their env steps, whatever the length of an episode."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_reborn.envs.contract import EnvContractError
from rllib_reborn.envs.failure_budget import FailureBudget

NOBODY, FIRST, BOTH = np.array([False, False]), np.array([True, False]), np.array([True, True])


class Steps:
    """A budget of two games and its clock."""

    def __init__(self) -> None:
        self.budget = FailureBudget("some/game", 2)
        self.env_steps = 0

    def pass_by(self, env_steps: int) -> None:
        self.env_steps += env_steps

    def fail(self, failed: np.ndarray = BOTH, done: np.ndarray = BOTH, *, each_must_finish: bool = True) -> None:
        self.budget.note(done, failed, self.env_steps, each_must_finish=each_must_finish)

    def finish(self) -> None:
        self.fail(NOBODY)


def test_one_percent_of_steps_is_no_reason_however_long_episodes_are():
    """Of episodes of 500 steps one in 150 is finished then."""
    steps = Steps()
    for _ in range(20):
        for _ in range(190):
            steps.pass_by(200)
            steps.fail()
        steps.finish()


@pytest.mark.parametrize(("between", "failures"), [(0, 20), (2, 20), (18, 20), (20, 20)])
def test_a_tenth_of_the_steps_is_given_up_soon(between, failures):
    steps = Steps()
    for _ in range(failures // 2 - 1):
        steps.pass_by(between)
        steps.fail()
    steps.pass_by(between)
    with pytest.raises(
        EnvContractError, match=rf"failed {failures} times in {between * 10} env steps without a finished"
    ):
        steps.fail()


@pytest.mark.parametrize(("ever", "most"), [(False, 400), (True, 2000)])
def test_games_that_never_come_to_an_end_are_given_up(ever, most):
    """Each fails at its step 50: no episode is finished, and nothing would ever be learnt."""
    steps = Steps()
    if ever:
        steps.finish()
    for _ in range(most // 2 - 1):
        steps.pass_by(100)
        steps.fail()
    steps.pass_by(100)
    with pytest.raises(EnvContractError, match=f"failed {most:,} times in {most * 50:,} env steps"):
        steps.fail()


def test_a_call_that_raises_loses_all_games_and_is_judged_alike():
    steps = Steps()
    for _ in range(9):
        steps.pass_by(2)
        steps.budget.all_failed(ValueError("no"), steps.env_steps)
    steps.pass_by(2)
    with pytest.raises(EnvContractError, match=r"failed 20 times in 20 env steps.*, last with ValueError: no; run"):
        steps.budget.all_failed(ValueError("no"), steps.env_steps)
    steps = Steps()
    for _ in range(190):
        steps.pass_by(200)
        steps.budget.all_failed(ValueError("no"), steps.env_steps)


def test_one_game_is_judged_where_each_must_finish():
    steps = Steps()
    for _ in range(300):
        steps.pass_by(2)
        steps.fail(FIRST, BOTH, each_must_finish=False)
    steps = Steps()
    for _ in range(30):
        steps.pass_by(200)
        steps.fail(FIRST)
    steps.finish()
    for _ in range(9):
        steps.pass_by(2)
        steps.fail(FIRST)
    steps.pass_by(2)
    with pytest.raises(EnvContractError, match="game 0 of 2 of 'some/game' failed 10 times in 10 of its steps without"):
        steps.fail(FIRST)
