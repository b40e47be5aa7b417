"""Deaths, masks, and how an episode ends for the team: worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from rllib_reborn.envs.adapters.members import Members
from rllib_reborn.envs.adapters.named_game import Moment
from rllib_reborn.envs.adapters.spaces import team_layout

AGENTS = ("x", "y")
LAYOUT = team_layout(AGENTS, [spaces.Box(-9, 9, (1,))] * 2, [spaces.Discrete(3, start=1), spaces.Discrete(3, start=1)])
NOOP = [True, False, False]


def moment(seen, ended=(), cut=(), present=AGENTS, masks=None, rewards=None):
    observations = {agent: np.array([value]) for agent, value in seen.items()}
    infos = {agent: {"action_mask": mask} for agent, mask in (masks or {}).items()}
    return Moment(observations, rewards or {}, dict.fromkeys(ended, 1), dict.fromkeys(cut, 1), infos, present)


def begun(may_wait=False, **kwargs):
    members = Members(AGENTS, LAYOUT, may_wait=may_wait)
    members.begin(moment({"x": 3, "y": 4}, **kwargs))
    return members


def test_the_living_are_seen_and_act_in_the_values_of_their_spaces():
    members = begun()
    assert members.obs.tolist() == [[3], [4]]
    assert members.mask.all()
    assert members.chosen(np.array([0, 2])) == {"x": 1, "y": 3}


def test_who_dies_early_is_zero_and_is_not_sent():
    members = begun()
    assert members.advance(moment({"x": 5, "y": 6}, ended="x")) == (False, False)
    assert members.obs.tolist() == [[0], [6]]
    assert members.mask.tolist() == [NOOP, [True] * 3]
    assert members.chosen(np.array([0, 1])) == {"y": 2}
    # It stays dead, whatever the game says later.
    assert members.advance(moment({"x": 5, "y": 7})) == (False, False)
    assert members.obs.tolist() == [[0], [7]]


def test_what_was_handed_out_is_not_written_to():
    members = begun()
    before = members.obs
    members.advance(moment({"x": 5, "y": 6}))
    assert before.tolist() == [[3], [4]]


@pytest.mark.parametrize(
    ("first", "last", "expected", "seen"),
    [
        # all terminated, all truncated
        (None, {"ended": "xy"}, (True, False), [[0], [0]]),
        (None, {"cut": "xy"}, (False, True), [[8], [9]]),
        # one terminated while the other is truncated in the same step: RLlib's wrapper never ends such an episode
        (None, {"ended": "x", "cut": "y"}, (False, True), [[0], [9]]),
        # flagged as both counts as terminated
        (None, {"ended": "xy", "cut": "xy"}, (True, False), [[0], [0]]),
        (None, {"ended": "y", "cut": "xy"}, (False, True), [[8], [0]]),
        # an early end, then the limit; an early truncation, then a real end
        ({"ended": "x"}, {"cut": "y"}, (False, True), [[0], [9]]),
        ({"cut": "x"}, {"ended": "y"}, (True, False), [[0], [0]]),
        # flags of the dead count no more
        ({"ended": "x"}, {"cut": "x", "ended": "y"}, (True, False), [[0], [0]]),
        # who leaves without a flag has ended
        (None, {"present": ()}, (True, False), [[0], [0]]),
        (None, {"present": (), "cut": "y"}, (False, True), [[0], [9]]),
    ],
)
def test_how_an_episode_ends(first, last, expected, seen):
    members = begun()
    if first is not None:
        assert members.advance(moment({"x": 5, "y": 6}, **first)) == (False, False)
    assert members.advance(moment({"x": 8, "y": 9}, **last)) == expected
    assert members.obs.tolist() == seen
    assert members.mask.tolist() == [NOOP if row == [0] else [True] * 3 for row in seen]
    assert members.chosen(np.array([0, 0])) == {}


def test_masks_are_taken_and_those_of_a_cut_episode_are_what_is_bootstrapped_over():
    members = begun(masks={"x": [0, 1, 1], "y": [1, 0, 0]})
    assert members.mask.tolist() == [[False, True, True], [True, False, False]]
    members.advance(moment({"x": 1, "y": 2}, cut="xy", masks={"x": [0, 0, 1], "y": [0, 0, 0]}))
    # y, which is done, was left no action; a mask must hold one.
    assert members.mask.tolist() == [[False, False, True], NOOP]


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.float32, object])
def test_zeros_and_ones_of_any_dtype_are_a_mask(dtype):
    members = begun(masks=dict.fromkeys("xy", np.array([0, 1, 1]).astype(dtype)))
    assert members.mask.tolist() == [[False, True, True]] * 2


@pytest.mark.parametrize(
    ("mask", "value"),
    [
        ([0.0, 0.0, -1e9], "-1000000000.0"),  # additive: it would forbid what it allows
        ([0.0, -np.inf, 0.0], "-inf"),
        ([1.0, np.nan, 0.0], "nan"),
        ([0.3, 0.7, 0.0], "0.3"),
        ([1, 2, 0], "2"),
        (["a", "", "b"], "a"),
    ],
)
def test_a_mask_of_other_numbers_is_refused(mask, value):
    message = f"the action mask of agent 'y' holds {value}; give 1 for an action that is allowed, 0 for one that is not"
    with pytest.raises(ValueError, match=message):
        begun(masks={"x": [1, 1, 1], "y": mask})


def test_masks_in_the_observation():
    space = spaces.Dict({"observation": spaces.Box(-9, 9, (1,)), "action_mask": spaces.MultiBinary(2)})
    members = Members("z", team_layout("z", [space], [spaces.Discrete(2)]), may_wait=False)
    seen = {"z": {"observation": np.array([3.0]), "action_mask": np.array([0, 1], np.int8)}}
    members.begin(Moment(seen, {}, {}, {}, {}, "z"))
    assert members.mask.tolist() == [[False, True]]
    assert members.obs.tolist() == [[3]]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"masks": {"x": [1, 1, 1], "y": [0, 0, 0]}}, "agent 'y' is alive and its action mask allows nothing"),
        ({"masks": {"x": [1, 1, 1], "y": [1, 1]}}, r"mask of agent 'y' has shape \(2,\); expected \(3,\)"),
        ({"masks": {"x": [1, 1, 1]}}, "agent 'y' had an action mask before and has none now"),
        ({"seen": {"x": 1}}, "agent 'y' is alive and has no observation"),
        ({"seen": {"x": 1}, "cut": "xy"}, "agent 'y' is truncated and has no observation"),
        ({"seen": {"x": 1, "y": [1, 2]}}, "observation of agent 'y' does not fit: it has 2 numbers"),
    ],
)
def test_faults_of_the_environment_name_the_agent(what, message):
    members = begun(masks={"x": [1, 1, 1], "y": [1, 1, 1]})
    full = {"seen": {"x": 1, "y": 1}, "masks": {"x": [1, 1, 1], "y": [1, 1, 1]}} | what
    with pytest.raises(ValueError, match=message):
        members.advance(moment(full.pop("seen"), **full))


def test_a_game_without_our_agents_is_refused():
    members = Members(AGENTS, LAYOUT, may_wait=False)
    with pytest.raises(ValueError, match=r"none of the agents \['x', 'y'\] is in the game"):
        members.begin(moment({}, present=("z",)))


def test_who_comes_later_joins():
    members = Members(AGENTS, LAYOUT, may_wait=False)
    members.begin(moment({"x": 1}, present=("x",)))
    assert members.mask.tolist() == [[True] * 3, NOOP]
    members.advance(moment({"x": 1, "y": 2}))
    assert members.obs.tolist() == [[1], [2]]
    assert set(members.chosen(np.array([0, 0]))) == {"x", "y"}


def test_who_waits_is_asked_again_when_it_sees_something():
    members = Members(AGENTS, LAYOUT, may_wait=True)
    members.begin(moment({"x": 1}))
    assert members.mask.tolist() == [[True] * 3, NOOP]
    assert members.chosen(np.array([2, 0])) == {"x": 3}
    assert members.advance(moment({"y": 2})) == (False, False)
    assert members.obs.tolist() == [[0], [2]]
    assert members.chosen(np.array([0, 1])) == {"y": 2}
    # x waited when the time was up; y acted, and must show what came of it.
    with pytest.raises(ValueError, match="agent 'y' is truncated and has no observation"):
        members.advance(moment({}, cut="xy"))
