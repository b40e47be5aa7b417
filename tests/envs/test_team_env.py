"""The contract's own helpers."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_reborn.envs.team_env import TeamSpec, check_actions

MASK = np.array([[[True, False, True], [True, True, True]], [[False, True, True], [True, False, False]]])


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.int8, np.uint64])
def test_allowed_actions_pass(dtype):
    check_actions(np.array([[2, 1], [1, 0]], dtype), MASK, 2)
    check_actions(np.array([[2, 1], [1, 0]], dtype).T.copy().T, MASK, 2)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([[1, 0], [1, 0]], r"action 1 of agent 0 in game 0 is not allowed; allowed are \[0, 2\]"),
        ([[0, 0], [1, 1]], r"action 1 of agent 1 in game 1 is not allowed; allowed are \[0\]"),
        ([[0, 3], [1, 0]], "action 3 of agent 1 in game 0"),
        ([[0, 0], [-1, 0]], "action -1 of agent 0 in game 1"),
        ([[0, 0]], r"shape \(1, 2\); expected \(2, 2\)"),
        ([[0.0, 0.0], [1.0, 0.0]], "dtype float64; expected whole numbers"),
    ],
)
def test_other_actions_are_named(actions, message):
    with pytest.raises(ValueError, match=message):
        check_actions(np.array(actions), MASK, 2)


def test_every_single_action_is_judged_by_its_mask():
    for game in range(2):
        for agent in range(2):
            for action in range(-4, 8):
                actions = np.array([[0, 0], [1, 0]])
                actions[game, agent] = action
                if 0 <= action < 3 and MASK[game, agent, action]:
                    check_actions(actions, MASK, 2)
                else:
                    with pytest.raises(ValueError, match=f"action {action} of agent {agent} in game {game} "):
                        check_actions(actions, MASK, 2)


def test_spec_gives_itself_back_and_groups():
    spec = TeamSpec(n_agents=3, n_actions=2, obs_dim=4, state_dim=0, episode_limit=9, agent_groups=("b", "a", "b"))
    assert TeamSpec(**spec.to_dict()) == spec
    assert spec.group_indices == (0, 1, 0)
    assert spec.agent_ids == ("agent_0", "agent_1", "agent_2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_actions": 1}, "n_actions is 1; expected a whole number >= 2"),
        ({"obs_dtype": "float64"}, "obs_dtype is 'float64'"),
        ({"agent_ids": ("a",)}, "agent_ids has 1 entries"),
        ({"agent_ids": ("a", "a")}, "repeated names"),
    ],
)
def test_spec_refuses_what_cannot_be(change, message):
    sizes = {"n_agents": 2, "n_actions": 2, "obs_dim": 1, "state_dim": 1, "episode_limit": 1}
    with pytest.raises(ValueError, match=message):
        TeamSpec(**(sizes | change))
