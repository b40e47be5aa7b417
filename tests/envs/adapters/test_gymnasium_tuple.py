"""Gymnasium environments with an entry per agent, and single-agent ones as a team of one."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from rllib_reborn.envs.adapters.gymnasium_tuple import GymnasiumGame
from rllib_reborn.envs.adapters.team_options import TeamOptions


class Pair(gymnasium.Env):
    """Two agents that see the step; ``says`` is what the next step returns after the observations."""

    def __init__(self, actions=(3, 3)):
        self.observation_space = spaces.Tuple([spaces.Box(-9, 99, (1,))] * 2)
        self.action_space = spaces.Tuple([spaces.Discrete(n, start=1) for n in actions])
        self.max_steps = 9
        self.says = ([1.0, 2.0], False, False, {})
        self.received = []

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return ([0.0], [0.0]), {}

    def step(self, actions):
        self.received.append(actions)
        self.t += 1
        return ([self.t], [self.t]), *self.says


def game(env, **options):
    return GymnasiumGame(env, TeamOptions(**({"state": "observations"} | options)))


@pytest.mark.parametrize(
    ("terminated", "truncated", "expected", "mask_sizes"),
    [
        (False, False, (False, False), [3, 3]),
        (True, False, (True, False), [1, 1]),
        (False, True, (False, True), [3, 3]),
        ([True, False], [False, False], (False, False), [1, 3]),
        ([True, False], [False, True], (False, True), [1, 3]),
        (np.array([True, True]), False, (True, False), [1, 1]),
    ],
)
def test_flags_for_all_and_for_each(terminated, truncated, expected, mask_sizes):
    env = Pair()
    team = game(env)
    assert (team.spec.n_agents, team.spec.episode_limit) == (2, 9)
    team.reset(0)
    env.says = ([1.0, 2.0], terminated, truncated, {})
    step = team.step(np.array([0, 2]))
    assert env.received == [(1, 3)]
    assert (step.reward, step.terminated, step.truncated) == (3, *expected)
    assert step.obs.action_mask.sum(axis=1).tolist() == mask_sizes


def test_the_dead_do_their_first_action():
    env = Pair()
    team = game(env)
    team.reset(0)
    env.says = ([1.0, 2.0], [True, False], False, {})
    team.step(np.array([2, 2]))
    step = team.step(np.array([0, 1]))
    assert env.received[1] == (1, 2)
    assert step.reward == 3


def test_masks_in_the_info():
    env = Pair()
    team = game(env)
    team.reset(0)
    env.says = ([1.0, 2.0], False, False, {"action_mask": [[1, 0, 1], [0, 1, 0]]})
    mask = team.step(np.array([0, 0])).obs.action_mask
    assert mask.tolist() == [[True, False, True], [False, True, False]]


@pytest.mark.parametrize(
    ("rewards", "message"),
    [(1.0, "one value as rewards; wrap it"), ([1.0], "returned 1 rewards; expected 2, one per agent")],
)
def test_wrong_rewards(rewards, message):
    env = Pair()
    team = game(env)
    team.reset(0)
    env.says = (rewards, False, False, {})
    with pytest.raises(ValueError, match=message):
        team.step(np.array([0, 0]))


def test_agents_may_be_unlike():
    env = Pair(actions=(3, 2))
    env.observation_space = spaces.Tuple([spaces.Box(-9, 99, (1,)), spaces.Box(-9, 99, (2,))])
    observations = ([5.0], [6.0, 7.0])
    env.reset = lambda *, seed=None, options=None: (observations, {"action_mask": [[1, 0, 1], [0, 1]]})
    env.step = lambda actions: (observations, [1.0, 2.0], False, False, {"action_mask": [[1, 1, 1], [1, 1]]})
    team = game(env)
    first = team.reset(0)
    assert first.obs.tolist() == [[5, 0, 1, 0], [6, 7, 0, 1]]
    assert first.action_mask.tolist() == [[True, False, True], [False, True, False]]
    assert team.step(np.array([0, 1])).obs.action_mask.tolist() == [[True] * 3, [True, True, False]]


def test_spaces_that_do_not_go_together():
    env = Pair()
    env.observation_space = spaces.Box(0, 1, (2, 3))
    with pytest.raises(ValueError, match="Pair has 2 action spaces and the observation space Box"):
        game(env)


def test_a_single_agent_is_a_team_of_one():
    team = game(gymnasium.make("CartPole-v1"))
    assert (team.spec.n_agents, team.spec.obs_dim, team.spec.n_actions, team.spec.episode_limit) == (1, 4, 2, 500)
    first = team.reset(3)
    assert np.array_equal(first.obs[0], gymnasium.make("CartPole-v1").reset(seed=3)[0])
    step = team.step(np.array([1]))
    assert (step.reward, step.terminated, step.truncated) == (1, False, False)


def test_a_time_limit_of_gymnasium_is_a_truncation():
    team = game(gymnasium.make("CartPole-v1", max_episode_steps=2))
    assert team.spec.episode_limit == 2
    team.reset(0)
    assert [team.step(np.array([a]))[2:4] for a in (0, 1)] == [(False, False), (False, True)]
