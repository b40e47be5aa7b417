"""Smaller states, by hand on small boards, and how environments declare them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from rllib_reborn.envs import PredatorPrey, PredatorPreyRules, StateView, TeamSpec, make_team_env, team_spec
from rllib_reborn.envs.same_team import require_same_team
from rllib_reborn.envs.smac.layout import state_feature_names
from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.scenarios import SCENARIOS

SIZES = {"n_agents": 2, "n_actions": 2, "obs_dim": 1, "episode_limit": 5}


def read(rules: PredatorPreyRules, name: str, positions: list[list[int]]) -> list[Any]:
    """The smaller state ``name`` of boards with everybody at ``positions`` (row * width + column, -1: has left)."""
    env = PredatorPrey(rules, len(positions), seed=0)
    env.reset()
    obs = env.set_state(env.get_state() | {"positions": np.array(positions, np.int32)})
    (view,) = [view for view in env.spec.state_views if view.name == name]
    found = view(torch.from_numpy(obs.state).float())
    assert found.shape == (len(positions), view.size)
    assert found.dtype == torch.float32
    return found.tolist()


def board(**changes: Any) -> PredatorPreyRules:
    return PredatorPreyRules(**{"height": 8, "width": 8, "n_predators": 2, "n_stags": 2, "obs_radius": 1} | changes)


def test_pooled_counts_each_kind_in_4_by_4_blocks() -> None:
    # Predators in rows 0 and 1, columns 0 and 1: the first block. Stags at (0, 7) and (7, 6): the last of the first band
    # of rows, and the last one.
    (one, two) = read(board(), "pooled", [[0, 9, 7, 62], [0, 9, -1, 62]])
    blocks = np.array(one).reshape(4, 4, 2)
    assert blocks[0, 0].tolist() == [2, 0]
    assert blocks[0, 3].tolist() == blocks[3, 3].tolist() == [0, 1]
    assert blocks.sum() == 4
    assert (np.array(one) - np.array(two)).reshape(4, 4, 2).nonzero() == (np.array([0]), np.array([3]), np.array([1]))


def test_pooled_where_4_does_not_divide_the_grid() -> None:
    # Bands of rows 0-1, 2-3, 4, 5 (6 = 2 + 2 + 1 + 1), of columns 0-1, 2, 3, 4 (5 = 2 + 1 + 1 + 1).
    rules = board(height=6, width=5, n_stags=1, n_hares=1)
    ((*found,),) = read(rules, "pooled", [[1 * 5 + 1, 4 * 5 + 2, 5 * 5 + 4, 3 * 5 + 3]])
    blocks = np.array(found).reshape(4, 4, 3)
    assert [tuple(at) for at in np.argwhere(blocks)] == [(0, 0, 0), (1, 2, 2), (2, 1, 0), (3, 3, 1)]
    # On 3 x 2 cells the last bands are empty.
    ((*found,),) = read(board(height=3, width=2, n_stags=1), "pooled", [[0, 3, 4]])
    assert [tuple(at) for at in np.argwhere(np.array(found).reshape(4, 4, 2))] == [(0, 0, 0), (1, 1, 0), (2, 0, 1)]


def test_pooled_is_of_order_1_where_there_are_many() -> None:
    rules = board(n_stags=32)
    ((*found,),) = read(rules, "pooled", [[32, 33, *range(32)]])
    blocks = np.array(found).reshape(4, 4, 2)
    assert blocks[2, 0, 0] == 2  # of 2 predators on 16 blocks: as they are
    assert blocks[0, 0, 1] == 4 / 2  # of 32 stags there are 2 in a block on the average


def test_counts_are_shares_of_those_at_the_start() -> None:
    rules = board(n_stags=4, n_hares=2, capture_freezes=True)
    assert read(rules, "counts", [[0, 1, 2, 3, 4, 5, 6, 7], [-1, 1, -1, 3, -1, -1, 6, -1]]) == [
        [1, 1, 1],
        [0.5, 0.25, 0.5],
    ]
    assert read(board(n_stags=0, n_hares=2), "counts", [[0, 1, 2, -1]]) == [[1, 0.5]]


def test_compact_is_places_in_the_order_of_the_cells() -> None:
    # Predators at (1, 2) and (0, 5), given in the other order; one stag at (7, 0), one has left.
    first, second = [0.5 / 8, 5.5 / 8], [1.5 / 8, 2.5 / 8]
    stags = [7.5 / 8, 0.5 / 8, 1, 0, 0, 0]
    assert read(board(), "compact", [[10, 5, -1, 56]]) == [[*first, *second, *stags, 1, 0.5]]
    # Where predators can leave, they too say whether they are there.
    rules = board(capture_freezes=True, n_stags=0, n_hares=1, width=4)
    assert read(rules, "compact", [[-1, 7, 30]]) == [[1.5 / 8, 3.5 / 4, 1, 0, 0, 0, 7.5 / 8, 2.5 / 4, 1, 0.5, 1]]


@pytest.mark.parametrize("name", ["small", "large", "gradps_medium", "stag_hunt"])
def test_every_preset_has_them_with_their_sizes(name: str) -> None:
    env = make_team_env(f"predator_prey/{name}", 3)
    state = torch.from_numpy(env.reset(seed=1).state).float()
    assert [view.name for view in env.spec.state_views] == ["pooled", "compact", "counts"]
    for view in env.spec.state_views:
        found = view(state)
        assert found.shape == (3, view.size)
        assert 0 <= found.min() <= found.max() <= 8
    assert team_spec("predator_prey/small").state_views[0].size == 32


def test_compact_of_a_battle_by_hand() -> None:
    scenario = SCENARIOS["2s3z"]
    names = state_feature_names(scenario, SmacOptions.for_scenario(scenario))
    state = torch.zeros(1, len(names))

    def put(**features: float) -> None:
        for name, value in features.items():
            state[0, names.index(name)] = value

    put(ally_0_health=1.0, ally_0_x=0.5, ally_0_y=-0.5, ally_0_shield=0.5)
    put(ally_3_health=0.5, ally_3_x=0.1, ally_3_y=0.3, ally_3_cooldown=1.0)
    put(enemy_4_health=0.25, enemy_4_x=-0.2, enemy_4_y=0.4, enemy_4_shield=1.0)
    (view,) = team_spec("battle/2s3z").state_views
    ours, theirs = [2 / 5, 1.5 / 5, 0.5 / 5, 0.3, -0.1], [1 / 5, 0.25 / 5, 1 / 5, -0.2, 0.4]
    torch.testing.assert_close(view(state), torch.tensor([[*ours, *theirs]]))
    assert view(torch.zeros(2, len(names))).tolist() == [[0.0] * 10] * 2  # nobody lives: no mean place


def test_compact_of_battles_without_shields_and_of_observations() -> None:
    assert [view.size for view in team_spec("battle/3m").state_views] == [8]
    assert [view.size for view in team_spec("battle/3s_vs_5z").state_views] == [10]
    assert team_spec("battle/3m", obs_instead_of_state=True).state_views == ()
    env = make_team_env("battle/3m", 2)
    (view,) = env.spec.state_views
    found = view(torch.from_numpy(env.reset(seed=0).state))
    assert found[:, [0, 1, 4, 5]].tolist() == [[1.0] * 4] * 2
    assert bool((found[:, 2] < found[:, 6]).all())  # ours begin on the left


def test_columns() -> None:
    view = StateView.of_columns("ends", [2, 0])
    assert view(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])).tolist() == [[3.0, 1.0], [6.0, 4.0]]
    with pytest.raises(ValueError, match=r"columns of 'ends' are \[-1\]; expected whole numbers >= 0"):
        StateView.of_columns("ends", [-1])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "full"}, "StateView.name is 'full'; expected a name"),
        ({"name": "a b"}, "StateView.name is 'a b'; expected a name"),
        ({"size": 0}, "StateView.size of 'mine' is 0; expected a whole number >= 1"),
        ({"function": "no_colon"}, "'no_colon'; expected 'package.module:function'"),
        (
            {"function": "__main__:mine"},
            "'__main__:mine', which learners and checkpoints in other processes cannot find",
        ),
    ],
)
def test_what_a_view_refuses(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        StateView(**{"name": "mine", "size": 1, "function": "a.b:c"} | changes)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("no_such_module_here:f", "there is no module 'no_such_module_here'"),
        ("tests.fakes.envs:nothing", "module 'tests.fakes.envs' has no function 'nothing'"),
    ],
)
def test_a_function_that_is_not_there(function: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        StateView(name="mine", size=1, function=function)(torch.zeros(1, 1))


def test_a_spec_with_views_is_plain_data_and_back() -> None:
    spec = team_spec("predator_prey/small")
    again = TeamSpec(**json.loads(json.dumps(spec.to_dict() | {"agent_ids": (), "agent_groups": ()})))
    assert again.state_views == spec.state_views


def test_views_are_no_part_of_what_makes_two_teams_one() -> None:
    """A checkpoint of a version that knew no smaller states goes on."""
    with_views = TeamSpec(**SIZES, state_dim=3, state_views=(StateView.of_columns("first", [0]),))
    without = TeamSpec(**SIZES, state_dim=3)
    assert with_views == without
    require_same_team(with_views, without, "mine")


def test_a_team_refuses_views_of_one_name_and_of_no_state() -> None:
    view = StateView.of_columns("first", [0])
    for state_dim, views in ((3, (view, view)), (0, (view,))):
        with pytest.raises(
            ValueError, match=r"TeamSpec.state_views is \['first'.* expected different names, and a state"
        ):
            TeamSpec(**SIZES, state_dim=state_dim, state_views=views)
