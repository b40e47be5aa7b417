"""Deaths, masks, and how an episode ends for the team: worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from rllib_reborn.envs.adapters.agent_layout import AgentLayout
from rllib_reborn.envs.adapters.multi_agent_game import MultiAgentStep
from rllib_reborn.envs.adapters.spaces import team_layout

AGENTS = ("x", "y")
LAYOUT = team_layout(AGENTS, [spaces.Box(-9, 9, (1,))] * 2, [spaces.Discrete(3, start=1), spaces.Discrete(3, start=1)])
NOOP = [True, False, False]


def moment(values, ended=(), cut=(), present=AGENTS, masks=None, rewards=None):
    observations = {agent: np.array([value]) for agent, value in values.items()}
    infos = {agent: {"action_mask": mask} for agent, mask in (masks or {}).items()}
    return MultiAgentStep(observations, rewards or {}, dict.fromkeys(ended, 1), dict.fromkeys(cut, 1), infos, present)


def begun(may_wait=False, **kwargs):
    layout = AgentLayout(AGENTS, LAYOUT, may_wait=may_wait)
    layout.begin(moment({"x": 3, "y": 4}, **kwargs))
    return layout


def test_the_living_are_seen_and_act_in_the_values_of_their_spaces():
    layout = begun()
    assert layout.obs.tolist() == [[3], [4]]
    assert layout.mask.all()
    assert layout.chosen(np.array([0, 2])) == {"x": 1, "y": 3}


def test_who_dies_early_is_zero_and_is_not_sent():
    layout = begun()
    assert layout.advance(moment({"x": 5, "y": 6}, ended="x")) == (False, False)
    assert layout.obs.tolist() == [[0], [6]]
    assert layout.mask.tolist() == [NOOP, [True] * 3]
    assert layout.chosen(np.array([0, 1])) == {"y": 2}
    # It stays dead while it is left out or flagged again.
    for dead in ({"values": {"y": 7}}, {"values": {"x": 5, "y": 7}, "ended": "x"}):
        assert layout.advance(moment(**dead)) == (False, False)
        assert layout.obs.tolist() == [[0], [7]]


@pytest.mark.parametrize(
    "meanwhile", [{"values": {"y": 7}}, {"values": {"y": 7}, "present": "y"}, {"values": {"x": 5, "y": 7}, "cut": "x"}]
)
def test_who_begins_anew_acts_again(meanwhile):
    layout = begun()
    layout.advance(moment({"x": 5, "y": 6}, ended="x"))
    layout.advance(moment(**meanwhile))
    assert layout.advance(moment({"x": 8, "y": 9})) == (False, False)
    assert (layout.obs.tolist(), layout.mask.tolist()) == ([[8], [9]], [[True] * 3] * 2)
    assert layout.chosen(np.array([1, 2])) == {"x": 2, "y": 3}
    # Its second end counts as the first one did.
    assert layout.advance(moment({"x": 1, "y": 2}, cut="xy")) == (False, True)
    layout.begin(moment({"x": 3, "y": 4}))
    assert layout.advance(moment({"x": 5, "y": 6})) == (False, False)


def test_what_was_handed_out_is_not_written_to():
    layout = begun()
    before = layout.obs
    layout.advance(moment({"x": 5, "y": 6}))
    assert before.tolist() == [[3], [4]]


@pytest.mark.parametrize(
    ("first", "last", "expected", "obs"),
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
        ({"ended": "x"}, {"ended": "x", "cut": "y"}, (False, True), [[0], [9]]),
        ({"cut": "x"}, {"cut": "x", "ended": "y"}, (True, False), [[0], [0]]),
        # flags of the dead count no more
        ({"ended": "x"}, {"cut": "x", "ended": "y"}, (True, False), [[0], [0]]),
        # who leaves without a flag has ended
        (None, {"present": ()}, (True, False), [[0], [0]]),
        (None, {"present": (), "cut": "y"}, (False, True), [[0], [9]]),
    ],
)
def test_how_an_episode_ends(first, last, expected, obs):
    layout = begun()
    if first is not None:
        assert layout.advance(moment({"x": 5, "y": 6}, **first)) == (False, False)
    assert layout.advance(moment({"x": 8, "y": 9}, **last)) == expected
    assert layout.obs.tolist() == obs
    assert layout.mask.tolist() == [NOOP if row == [0] else [True] * 3 for row in obs]
    assert layout.chosen(np.array([0, 0])) == {}


def test_masks_are_taken_and_those_of_a_cut_episode_are_what_is_bootstrapped_over():
    layout = begun(masks={"x": [0, 1, 1], "y": [1, 0, 0]})
    assert layout.mask.tolist() == [[False, True, True], [True, False, False]]
    layout.advance(moment({"x": 1, "y": 2}, cut="xy", masks={"x": [0, 0, 1], "y": [0, 0, 0]}))
    # y, which is done, was left no action; a mask must hold one.
    assert layout.mask.tolist() == [[False, False, True], NOOP]


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.float32, object])
def test_zeros_and_ones_of_any_dtype_are_a_mask(dtype):
    layout = begun(masks=dict.fromkeys("xy", np.array([0, 1, 1]).astype(dtype)))
    assert layout.mask.tolist() == [[False, True, True]] * 2


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


def test_a_mask_of_unequal_rows_is_refused():
    with pytest.raises(
        ValueError, match="the action mask of agent 'y' has rows of unequal lengths; give 1 for an action"
    ):
        begun(masks={"x": [1, 1, 1], "y": [[1], [1, 0]]})


def test_masks_in_the_observation():
    space = spaces.Dict({"observation": spaces.Box(-9, 9, (1,)), "action_mask": spaces.MultiBinary(2)})
    layout = AgentLayout("z", team_layout("z", [space], [spaces.Discrete(2)]), may_wait=False)
    observations = {"z": {"observation": np.array([3.0]), "action_mask": np.array([0, 1], np.int8)}}
    layout.begin(MultiAgentStep(observations, {}, {}, {}, {}, "z"))
    assert layout.mask.tolist() == [[False, True]]
    assert layout.obs.tolist() == [[3]]


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
    layout = begun(masks={"x": [1, 1, 1], "y": [1, 1, 1]})
    full = {"seen": {"x": 1, "y": 1}, "masks": {"x": [1, 1, 1], "y": [1, 1, 1]}} | what
    with pytest.raises(ValueError, match=message):
        layout.advance(moment(full.pop("seen"), **full))


def test_a_game_without_our_agents_is_refused():
    layout = AgentLayout(AGENTS, LAYOUT, may_wait=False)
    with pytest.raises(ValueError, match=r"none of the agents \['x', 'y'\] is in the game"):
        layout.begin(moment({}, present=("z",)))


def test_who_comes_later_joins():
    layout = AgentLayout(AGENTS, LAYOUT, may_wait=False)
    layout.begin(moment({"x": 1}, present=("x",)))
    assert layout.mask.tolist() == [[True] * 3, NOOP]
    layout.advance(moment({"x": 1, "y": 2}))
    assert layout.obs.tolist() == [[1], [2]]
    assert set(layout.chosen(np.array([0, 0]))) == {"x", "y"}


def test_who_waits_is_asked_again_when_it_sees_something():
    layout = AgentLayout(AGENTS, LAYOUT, may_wait=True)
    layout.begin(moment({"x": 1}))
    assert layout.mask.tolist() == [[True] * 3, NOOP]
    assert layout.chosen(np.array([2, 0])) == {"x": 3}
    assert layout.advance(moment({"y": 2})) == (False, False)
    assert layout.obs.tolist() == [[0], [2]]
    assert layout.chosen(np.array([0, 1])) == {"y": 2}
    # x waited when the time was up; y acted, and must show what came of it.
    with pytest.raises(ValueError, match="agent 'y' is truncated and has no observation"):
        layout.advance(moment({}, cut="xy"))
