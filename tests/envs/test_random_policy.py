"""Random play: only available actions, all of them equally often."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rllib_reborn.envs.random_policy import RandomActor, epsilon_greedy, random_legal_actions
from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.team_env import TeamObs


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


def test_the_random_actor_draws_from_its_own_streams_and_begins_again_with_a_seed():
    rng = np.random.default_rng(0)
    mask = rng.random((3, 2, 5)) < 0.5
    mask[..., 0] = True
    obs = TeamObs(np.zeros((3, 2, 1), np.float32), np.zeros((3, 0), np.float32), mask)

    def expected(seed, steps):
        streams = RandomStreams(3, seed, salt=9)
        return [random_legal_actions(mask, streams.uniform(2)).tolist() for _ in range(steps)]

    actor = RandomActor(3, 2, 4, salt=9)
    first = [actor.act(obs).tolist() for _ in range(8)]
    actor.begin(np.array([True, False, True]), None)  # an episode begins: the streams go on
    assert first + [actor.act(obs).tolist() for _ in range(8)] == expected(4, 16)
    actor.begin(None, 5)
    assert [actor.act(obs).tolist() for _ in range(8)] == expected(5, 8)
    assert expected(4, 8) != expected(5, 8)
