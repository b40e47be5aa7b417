"""Payoffs and flags of the matrix games, entry by entry."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rllib_reborn.envs.matrix_games import MatrixGame, TwoStepGame
from rllib_reborn.envs.registry import make_team_env

PUBLISHED = {
    "matrix/climbing": [[11, -30, 0], [-30, 7, 6], [0, 0, 5]],
    "matrix/penalty": [[10, 0, -100], [0, 2, 0], [-100, 0, 10]],
    "matrix/nonmonotonic": [[8, -12, -12], [-12, 0, 0], [-12, 0, 0]],
}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_named_games_pay_the_published_numbers(name):
    joint = np.array(list(itertools.product(range(3), repeat=2)))
    env = make_team_env(name, num_envs=9)
    env.reset()
    out = env.step(joint)
    np.testing.assert_array_equal(out.reward.reshape(3, 3), PUBLISHED[name])
    assert out.reward.dtype == np.float32
    assert out.terminated.all()
    assert not out.truncated.any()


def test_monotonic_game_is_a_sum_of_one_term_per_agent():
    payoff = make_team_env("matrix/monotonic").payoff
    np.testing.assert_array_equal(payoff, payoff[:, :1] + payoff[:1, :] - payoff[0, 0])
    assert len(np.unique(payoff)) > 3


def test_three_agents_and_agent_ids():
    payoff = np.arange(8.0).reshape(2, 2, 2)
    env = MatrixGame(payoff, num_envs=2, observation="agent_id")
    obs = env.reset()
    np.testing.assert_array_equal(obs.obs, np.tile(np.eye(3, dtype=np.float32), (2, 1, 1)))
    np.testing.assert_array_equal(obs.state, [[1], [1]])
    assert env.step(np.array([[1, 0, 1], [0, 1, 1]])).reward.tolist() == [5, 3]


def test_constant_observation():
    obs = MatrixGame([[1, 2], [3, 4]], num_envs=3).reset()
    assert obs.obs.shape == (3, 2, 1)
    assert (obs.obs == 1).all()
    assert obs.obs.dtype == np.float32
    assert obs.action_mask.all()


@pytest.mark.parametrize("payoff", [[[1, 2, 3], [4, 5, 6]], [[1.0]], [[1, np.inf], [0, 0]]])
def test_bad_payoffs_are_refused(payoff):
    with pytest.raises(ValueError, match="one axis per agent"):
        MatrixGame(payoff)


def test_bad_observation_is_refused():
    with pytest.raises(ValueError, match="observation is 'id'; give one of"):
        MatrixGame([[1, 2], [3, 4]], observation="id")


def test_two_step_game_pays_what_the_paper_says():
    joint = np.array(list(itertools.product(range(2), repeat=4)))  # both agents' first, then both second actions
    env = TwoStepGame(len(joint))
    obs = env.reset()
    np.testing.assert_array_equal(obs.state, np.tile([1, 0, 0], (16, 1)))
    out = env.step(joint[:, :2])
    assert not out.reward.any()
    assert not out.terminated.any()
    np.testing.assert_array_equal(out.obs.state, np.eye(3)[1 + joint[:, 0]])
    np.testing.assert_array_equal(out.obs.obs[:, 0], out.obs.state)
    np.testing.assert_array_equal(out.obs.obs[:, 1], out.obs.state)
    out = env.step(joint[:, 2:])
    want = [7 if a == 0 else [[0, 1], [1, 8]][c][d] for a, _, c, d in joint]
    np.testing.assert_array_equal(out.reward, want)
    assert out.terminated.all()
    assert not out.truncated.any()
    assert out.reward.max() == 8


def test_games_of_a_batch_are_reset_on_their_own():
    env = TwoStepGame(2)
    env.reset()
    env.step(np.array([[1, 0], [1, 0]]))
    obs = env.reset(mask=np.array([True, False]))
    np.testing.assert_array_equal(obs.state, [[1, 0, 0], [0, 0, 1]])
    out = env.step(np.ones((2, 2), int))
    assert out.reward.tolist() == [0, 8]
    assert out.terminated.tolist() == [False, True]


def test_state_of_games_comes_back():
    env, other = TwoStepGame(2), TwoStepGame(2)
    env.reset()
    env.step(np.array([[1, 0], [0, 0]]))
    np.testing.assert_array_equal(other.set_state(env.get_state()).state, [[0, 0, 1], [0, 1, 0]])
    assert other.step(np.ones((2, 2), int)).reward.tolist() == [8, 7]
    with pytest.raises(ValueError, match="state holds 2 games; this env has 1"):
        TwoStepGame(1).set_state(env.get_state())


def test_calls_in_the_wrong_order_are_refused():
    env = TwoStepGame(2)
    with pytest.raises(ValueError, match="call reset first"):
        env.step(np.zeros((2, 2), int))
    with pytest.raises(ValueError, match="first reset must start all"):
        env.reset(mask=np.array([True, False]))
    env.reset()
    with pytest.raises(ValueError, match="action 2 of agent 1 in game 0"):
        env.step(np.array([[0, 2], [0, 0]]))
