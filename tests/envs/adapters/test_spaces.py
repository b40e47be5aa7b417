"""Spaces as vectors: what is written where, padding, agent numbers, storage dtypes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from rllib_reborn.envs.adapters.spaces import ActionRange, action_range, flat_space, team_layout


def flat(space, value):
    layout = flat_space(space, "observation space")
    out = np.full(layout.size, 7, layout.dtype)
    layout.write(value, out)
    return out.tolist()


@pytest.mark.parametrize(
    ("space", "value", "expected"),
    [
        (spaces.Box(-1, 1, (2, 2)), [[0.5, -1], [1, 0]], [0.5, -1, 1, 0]),
        (spaces.Box(-1, 1, ()), np.float32(0.25), [0.25]),
        (spaces.Box(0, 5, (2,), np.int64), np.array([3.0, 5.0], np.float32), [3, 5]),
        (spaces.Discrete(3), 2, [0, 0, 1]),
        (spaces.Discrete(3), np.float32(2), [0, 0, 1]),
        (spaces.Discrete(3, start=5), 5, [1, 0, 0]),
        (spaces.MultiBinary(3), [1, 0, 1], [1, 0, 1]),
        (spaces.MultiDiscrete([2, 3]), [1, 0], [0, 1, 1, 0, 0]),
        (spaces.MultiDiscrete([2, 2], start=[1, 4]), [1, 5], [1, 0, 0, 1]),
        (spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 9, (1,)))), (1, [4.5]), [0, 1, 4.5]),
        (
            spaces.Dict({"b": spaces.Discrete(2), "a": spaces.Dict({"c": spaces.MultiBinary(2)})}),
            {"b": 0, "a": {"c": [0, 1]}},
            [0, 1, 1, 0],  # keys in Gymnasium's order, which is sorted
        ),
        (
            spaces.Dict({"observation": spaces.Box(0, 1, (2,)), "action_mask": spaces.MultiBinary(4)}),
            {"observation": [0.5, 1], "action_mask": [1, 1, 1, 1]},
            [0.5, 1],
        ),
    ],
)
def test_values_become_vectors(space, value, expected):
    assert flat(space, value) == expected


@pytest.mark.parametrize(
    ("space", "dtype"),
    [
        (spaces.Box(0, 255, (2,), np.uint8), "uint8"),
        (spaces.Box(0, 5, (2,), np.int64), "uint8"),
        (spaces.Box(-1, 5, (2,), np.int64), "float32"),
        (spaces.Box(0, 256, (2,), np.int64), "float32"),
        (spaces.Box(0, 5, (2,), np.float32), "float32"),
        (spaces.Tuple((spaces.Discrete(2), spaces.MultiBinary(2))), "uint8"),
        (spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 1, (1,)))), "float32"),
    ],
)
def test_bytes_only_where_every_part_is_of_whole_small_numbers(space, dtype):
    assert flat_space(space, "observation space").dtype == dtype


@pytest.mark.parametrize(
    ("space", "value", "message"),
    [
        (spaces.Box(0, 1, (2,)), [0.5], "it has 1 numbers; its space has 2"),  # would be broadcast
        (spaces.Box(0, 5, (2,), np.int64), [0, 300], "numbers from 0 to 300, outside its space"),  # would be 44
        (spaces.Box(0, 5, (2,), np.int64), [-1, 0], "numbers from -1 to 0, outside"),  # would be 255
        (
            spaces.Box(0, 5, (2,), np.int64),
            [1.0, 3.7],
            "it has 3.7, and its space holds whole numbers; declare a float Box",
        ),
        (spaces.Dict({"x": spaces.Box(0, 1, (1,), np.int8)}), {"x": [0.25]}, "it has 0.25 at 'x', and its space"),
        (spaces.MultiBinary(2), [0.5, 1], "it has 0.5, and its space holds whole"),
        (spaces.Discrete(3), 1.7, "it has 1.7, and its space holds whole numbers; give the number of the choice"),
        (spaces.MultiDiscrete([2, 2]), [1.0, 0.5], "it has 0.5, and its space"),
        (spaces.Discrete(3, start=1), 0, "the choice 0; its space has 1..3"),
        (spaces.MultiDiscrete([2, 2]), [1], "1 choices; its space has 2"),
        (spaces.Dict({"x": spaces.Discrete(2)}), {"y": 1}, "no part at 'x'"),
        (spaces.Dict({"x": spaces.Tuple((spaces.Discrete(2),))}), {"x": (5,)}, "the choice 5 at 'x/0'"),
    ],
)
def test_values_of_another_space_are_refused(space, value, message):
    with pytest.raises(ValueError, match=message):
        flat(space, value)


@pytest.mark.parametrize("space", [spaces.Text(3), spaces.Sequence(spaces.Discrete(2)), None])
def test_other_observation_spaces_are_refused(space):
    with pytest.raises(ValueError, match=r"the observation space of agent 'x' is .* expected a Box"):
        flat_space(space, "observation space of agent 'x'")


def test_an_empty_observation_is_refused():
    with pytest.raises(ValueError, match="which holds no number"):
        flat_space(spaces.Dict({"action_mask": spaces.MultiBinary(2)}), "observation space")


def test_action_spaces():
    assert action_range(spaces.Discrete(4, start=-1), "x") == ActionRange(-1, 4)
    with pytest.raises(
        ValueError, match=r"agent 'x' is Box.*continuous actions are out of scope.*continuous_actions=F"
    ):
        action_range(spaces.Box(-1, 1, (2,)), "x")
    for space in (spaces.MultiDiscrete([2, 2]), spaces.MultiBinary(2)):
        with pytest.raises(
            ValueError, match=r"agent 'x' is Multi.*, 4 combinations of 2 choices; .*'flatten_actions': True"
        ):
            action_range(space, "x")
    with pytest.raises(ValueError, match=r"2,097,152 combinations of 21 choices; expected at most 4,096"):
        action_range(spaces.MultiBinary(21), "x", flatten=True)
    for space in (spaces.Dict({"move": spaces.Discrete(2)}), spaces.Tuple([spaces.Discrete(2)] * 2)):
        with pytest.raises(ValueError, match=r"expected Discrete. Wrap the environment so that each combination"):
            action_range(space, "x", flatten=True)


@pytest.mark.parametrize(
    ("space", "values"),
    [
        (spaces.MultiDiscrete([2, 3]), [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]),
        (spaces.MultiDiscrete([2, 2], start=[5, -1]), [[5, -1], [5, 0], [6, -1], [6, 0]]),
        (spaces.MultiDiscrete([[2], [2]]), [[[0], [0]], [[0], [1]], [[1], [0]], [[1], [1]]]),
        (spaces.MultiBinary(2), [[0, 0], [0, 1], [1, 0], [1, 1]]),
    ],
)
def test_each_combination_of_choices_is_one_action(space, values):
    actions = action_range(space, "x", flatten=True)
    assert actions.count == len(values)
    for number, value in enumerate(values):
        given = actions.of_env(number)
        assert given.tolist() == value
        assert space.contains(given)


@pytest.mark.parametrize(
    "given",
    [
        [0, 1, 0, 0, 1, 0],
        ([1, 1], [0, 1, 0]),
        [np.array([1, 1]), np.array([0, 1, 0])],
        [1, 1, 0, 1, 0],
    ],
    ids=["combinations", "a mask each", "arrays", "masks in a row"],
)
def test_masks_of_joint_choices(given):
    actions = action_range(spaces.MultiDiscrete([2, 3]), "x", flatten=True)
    assert actions.mask(given, "agent 'x'").tolist() == [False, True, False, False, True, False]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([1, 1], r"the action mask of agent 'x' has shape \(2,\); expected \(6,\)"),
        (([1, 1, 1], [1, 1]), r"has shape \(3,\) for choice 0; expected \(2,\)"),
        ([2, 1, 1, 1, 1, 1], "holds 2"),
    ],
)
def test_masks_that_do_not_fit(given, words):
    actions = action_range(spaces.MultiDiscrete([2, 3]), "x", flatten=True)
    with pytest.raises(ValueError, match=words):
        actions.mask(given, "agent 'x'")


def rows(layout, values):
    out = np.zeros((layout.n_agents, layout.obs_dim), layout.obs_dtype)
    for i, value in enumerate(values):
        layout.write(i, value, out[i])
    return out.tolist()


def test_unlike_observations_are_padded_and_numbered():
    layout = team_layout("ab", [spaces.Box(-9, 9, (1,)), spaces.Box(-9, 9, (3,))], [spaces.Discrete(2)] * 2)
    assert (layout.vector_dim, layout.obs_dim, layout.with_ids) == (3, 5, True)
    assert rows(layout, [[5], [6, 7, 8]]) == [[5, 0, 0, 1, 0], [6, 7, 8, 0, 1]]


def test_unlike_actions_are_enough_for_numbers_and_equal_agents_have_none():
    box = spaces.Box(-9, 9, (1,))
    unlike = team_layout("ab", [box] * 2, [spaces.Discrete(2), spaces.Discrete(3)])
    assert (unlike.obs_dim, unlike.n_actions, rows(unlike, [[4], [4]])) == (3, 3, [[4, 1, 0], [4, 0, 1]])
    shifted = team_layout("ab", [box] * 2, [spaces.Discrete(2), spaces.Discrete(2, start=1)])
    assert shifted.with_ids
    alike = team_layout("ab", [box] * 2, [spaces.Discrete(2)] * 2)
    assert (alike.obs_dim, rows(alike, [[4], [5]])) == (1, [[4], [5]])


def test_a_team_is_stored_as_bytes_only_if_all_its_agents_can():
    small, wide = spaces.Discrete(2), spaces.Box(0, 1, (2,))
    actions = [spaces.Discrete(2)] * 2
    assert team_layout("ab", [small, small], actions).obs_dtype == "uint8"
    assert team_layout("ab", [small, wide], actions).obs_dtype == "float32"
