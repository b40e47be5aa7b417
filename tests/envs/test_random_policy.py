"""Random play: only available actions, all of them equally often."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rllib_reborn.envs import random_policy
from rllib_reborn.envs.failure_budget import EnvContractError
from rllib_reborn.envs.random_policy import epsilon_greedy, random_legal_actions, random_policy_returns
from tests.fakes.envs import MaskedWalk


@given(
    hnp.arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 20))),
    st.integers(0, 2**32),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_it_is_the_floor_of_c_times_u_th_available_action(mask, seed):
    rng = np.random.default_rng(seed)
    mask[..., rng.integers(mask.shape[-1])] = True
    uniforms = rng.random(mask.shape[:2])
    uniforms[0, 0] = rng.choice([0.0, np.nextafter(1.0, 0.0)])
    actions = random_legal_actions(mask, uniforms)
    for (game, agent), u in np.ndenumerate(uniforms):
        legal = np.flatnonzero(mask[game, agent])
        assert actions[game, agent] == legal[int(u * len(legal))]


@pytest.mark.parametrize("n_actions", [6, 8, 9, 36])
def test_available_actions_are_equally_likely(n_actions):
    rng = np.random.default_rng(0)
    mask = np.zeros((1, 20000, n_actions), bool)
    mask[..., [1, 3, n_actions - 1]] = True
    actions = random_legal_actions(mask, rng.random((1, 20000)))
    counts = np.bincount(actions[0], minlength=n_actions)
    assert counts.sum() == counts[[1, 3, n_actions - 1]].sum()
    np.testing.assert_allclose(counts[[1, 3, n_actions - 1]] / 20000, 1 / 3, atol=0.015)


def test_returns_of_known_games():
    assert random_policy_returns("matrix/monotonic", 3000, seed=1).mean() == pytest.approx(3.0, abs=0.15)
    returns = random_policy_returns("matrix/two_step", 3000, seed=1, num_envs=7)
    assert len(returns) == 3000
    assert set(returns) == {0.0, 1.0, 7.0, 8.0}
    assert returns.mean() == pytest.approx(0.5 * 7 + 0.5 * 2.5, abs=0.25)


def test_returns_are_a_function_of_the_seed():
    options = {"episodes": 5, "num_envs": 2, "episode_limit": 30}
    first = random_policy_returns("predator_prey/stag_hunt", seed=3, **options)
    np.testing.assert_array_equal(first, random_policy_returns("predator_prey/stag_hunt", seed=3, **options))
    assert set(first) != set(random_policy_returns("predator_prey/stag_hunt", seed=4, **options))
    with pytest.raises(ValueError, match="episodes is 0"):
        random_policy_returns("matrix/climbing", 0)


def test_epsilon_greedy_by_hand():
    greedy = np.array([[0, 0]])
    mask = np.array([[[True, False, True], [True, True, True]]])
    # Agent 0 explores (0.3 < 0.4; 0.75 of two actions: the second); agent 1 does not.
    assert epsilon_greedy(greedy, mask, np.array([[0.3, 0.5]]), 0.4).tolist() == [[2, 0]]
    assert epsilon_greedy(greedy, mask, np.array([[0.0, 0.0]]), 0.0).tolist() == [[0, 0]]


def test_epsilon_greedy_explores_at_its_rate_and_uniformly():
    rng = np.random.default_rng(0)
    mask = np.ones((200, 100, 4), bool)
    mask[..., 1] = False
    actions = epsilon_greedy(np.zeros((200, 100), int), mask, rng.random((200, 100)), 0.3)
    rate = np.bincount(actions.reshape(-1), minlength=4) / actions.size
    # 20,000 draws: a standard deviation is at most 0.004.
    np.testing.assert_allclose(rate, [0.7 + 0.1, 0.0, 0.1, 0.1], atol=0.016)


def test_failed_games_are_not_counted_and_those_that_always_fail_are_given_up(monkeypatch):
    def walk(fault):
        monkeypatch.setattr(random_policy, "make_team_env", lambda name, num_envs: MaskedWalk(num_envs, fault=fault))

    walk("game_failed")
    assert len(random_policy_returns("walk", 6, num_envs=2)) == 6
    walk("games_always_fail")
    with pytest.raises(EnvContractError, match="'walk' failed 20 times without a finished episode"):
        random_policy_returns("walk", 6, num_envs=2)
