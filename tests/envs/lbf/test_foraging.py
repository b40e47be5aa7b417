"""Level-based foraging by hand: moves, loading, pay, sight, ends, states."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest

from rllib_reborn.envs import render
from rllib_reborn.envs.checker import check_team_env
from rllib_reborn.envs.lbf.foraging import Foraging
from rllib_reborn.envs.lbf.names import rules_of
from rllib_reborn.envs.registry import make_team_env
from rllib_reborn.envs.team_env import IllegalActionError

NONE, NORTH, SOUTH, WEST, EAST, LOAD = range(6)


def situation(rules, players, levels, foods, steps=0):
    """A game with ``players`` [(row, column), ...] and ``foods`` {(row, column): level}."""
    env = Foraging(rules)
    env.reset(seed=0)
    state, columns = env.get_state(), rules.field_size[1]
    state["players"][:] = [row * columns + column for row, column in players]
    state["levels"][:] = levels
    state["foods"][:], state["food_levels"][:] = -1, 0
    for i, ((row, column), level) in enumerate(sorted(foods.items())):
        state["foods"][:, i], state["food_levels"][:, i] = row * columns + column, level
    state["spawned"][:] = sum(foods.values())
    state["steps"][:] = steps
    return env, env.set_state(state)


def places(env):
    return [divmod(int(position), env.rules.field_size[1]) for position in env.get_state()["players"][0]]


def small(**options):
    return dataclasses.replace(rules_of("6x6-3p-2f"), **options)


class TestMoves:
    def test_north_is_up_and_walls_and_food_stop(self):
        env, _ = situation(small(), [(0, 0), (3, 3), (5, 5)], [1, 1, 1], {(2, 3): 2})
        env.step(np.array([[NORTH, NORTH, EAST]]))
        assert places(env) == [(0, 0), (3, 3), (5, 5)]
        env.step(np.array([[EAST, SOUTH, WEST]]))
        assert places(env) == [(0, 1), (4, 3), (5, 4)]

    def test_two_who_would_meet_stay(self):
        env, _ = situation(small(), [(1, 0), (1, 2), (5, 5)], [1, 1, 1], {(3, 3): 2})
        env.step(np.array([[EAST, WEST, NONE]]))
        assert places(env) == [(1, 0), (1, 2), (5, 5)]

    def test_one_who_stays_keeps_others_out_and_neighbours_may_swap(self):
        env, _ = situation(small(), [(1, 0), (1, 1), (5, 5)], [1, 1, 1], {(3, 3): 2})
        env.step(np.array([[EAST, NONE, NONE]]))
        assert places(env)[:2] == [(1, 0), (1, 1)]
        env.step(np.array([[EAST, WEST, NONE]]))
        assert places(env)[:2] == [(1, 1), (1, 0)]

    def test_a_cell_whose_player_cannot_leave_is_entered_all_the_same(self):
        env, _ = situation(small(), [(1, 0), (1, 1), (1, 3)], [1, 1, 1], {(3, 3): 2})
        env.step(np.array([[EAST, EAST, WEST]]))
        assert places(env) == [(1, 1), (1, 1), (1, 3)]
        env.step(np.array([[NONE, NONE, NONE]]))
        assert places(env) == [(1, 1), (1, 1), (1, 3)]


class TestLoading:
    def test_levels_add_up_and_pay_is_a_share_of_all_food(self):
        foods = {(1, 1): 3, (4, 4): 1}
        env, _ = situation(small(), [(0, 1), (1, 0), (4, 3)], [1, 2, 1], foods)
        out = env.step(np.array([[LOAD, NONE, NONE]]))
        assert out.reward[0] == 0
        out = env.step(np.array([[LOAD, LOAD, NONE]]))
        # (1 + 2) * 3 / ((1 + 2) * 4): a food pays its part of all levels, whoever takes it.
        assert out.reward[0] == pytest.approx(0.75)
        assert (out.obs.obs[0, 0, :6] == [4, 4, 1, -1, -1, 0]).all()
        assert not out.terminated[0]
        out = env.step(np.array([[NONE, NONE, LOAD]]))
        assert out.reward[0] == pytest.approx(0.25)
        assert (out.terminated[0], out.truncated[0], out.info["won"][0]) == (True, False, True)

    @pytest.mark.parametrize(
        ("options", "reward"),
        [({"normalize_reward": False}, 9.0), ({"normalize_reward": False, "reward": "mean"}, 3.0)],
    )
    def test_pay_without_normalisation(self, options, reward):
        env, _ = situation(small(**options), [(0, 1), (1, 0), (4, 3)], [1, 2, 1], {(1, 1): 3})
        assert env.step(np.array([[LOAD, LOAD, NONE]])).reward[0] == reward

    def test_each_who_loads_in_vain_is_punished_and_others_are_not(self):
        env, _ = situation(small(penalty=0.25), [(0, 1), (1, 0), (5, 5)], [1, 1, 1], {(1, 1): 3})
        assert env.step(np.array([[LOAD, LOAD, LOAD]])).reward[0] == -0.5

    def test_two_foods_in_one_step(self):
        env, _ = situation(small(), [(0, 1), (4, 3), (5, 0)], [1, 1, 1], {(1, 1): 1, (4, 4): 1})
        out = env.step(np.array([[LOAD, LOAD, NONE]]))
        assert (out.reward[0], out.info["won"][0]) == (1.0, True)

    def test_where_food_was_one_can_go(self):
        env, _ = situation(small(), [(0, 1), (4, 3), (5, 0)], [1, 1, 1], {(1, 1): 1, (4, 4): 1})
        env.step(np.array([[LOAD, NONE, NONE]]))
        env.step(np.array([[SOUTH, NONE, NONE]]))
        assert places(env)[0] == (1, 1)


class TestEnds:
    @pytest.mark.parametrize("compat", [False, True])
    def test_the_limit(self, compat):
        rules = small(compat=compat, max_episode_steps=5)
        env, _ = situation(rules, [(0, 1), (4, 3), (5, 0)], [1, 1, 1], {(1, 1): 1}, steps=3)
        out = env.step(np.full((1, 3), NONE))
        assert not (out.terminated | out.truncated)[0]
        out = env.step(np.full((1, 3), NONE))
        assert (out.terminated[0], out.truncated[0], out.info["won"][0]) == (compat, not compat, False)

    def test_the_last_food_at_the_limit_is_an_end(self):
        env, _ = situation(small(), [(0, 1), (4, 3), (5, 0)], [1, 1, 1], {(1, 1): 1}, steps=49)
        out = env.step(np.array([[LOAD, NONE, NONE]]))
        assert (out.terminated[0], out.truncated[0], out.info["won"][0]) == (True, False, True)


class TestSight:
    def test_a_list_names_oneself_first(self):
        _, obs = situation(small(), [(0, 1), (4, 3), (5, 0)], [1, 2, 3], {(1, 1): 4, (3, 3): 5})
        foods = [1, 1, 4, 3, 3, 5]
        assert obs.obs[0, 1].tolist() == [*foods, 4, 3, 2, 0, 1, 1, 5, 0, 3]
        assert np.array_equal(obs.state[0], obs.obs[0].reshape(-1))
        _, obs = situation(small(observe_agent_levels=False), [(0, 1), (4, 3), (5, 0)], [1, 2, 3], {(1, 1): 4})
        assert obs.obs[0, 2].tolist() == [1, 1, 4, -1, -1, 0, 5, 0, 0, 1, 4, 3]

    def test_sight_ends_and_places_count_from_its_corner(self):
        _, obs = situation(small(sight=1), [(4, 4), (3, 3), (0, 0)], [1, 2, 3], {(3, 4): 4, (1, 1): 1})
        assert obs.obs[0, 0].tolist() == [0, 1, 4, -1, -1, 0, 1, 1, 1, 0, 0, 2, -1, -1, 0]
        # At (0, 0) the corner is the field's, and players show as far as 2 cells from it.
        assert obs.obs[0, 2].tolist() == [1, 1, 1, -1, -1, 0, 0, 0, 3, -1, -1, 0, -1, -1, 0]
        _, obs = situation(small(sight=1), [(2, 2), (5, 5), (0, 0)], [1, 2, 3], {(3, 4): 4})
        assert obs.obs[0, 2, 6:].tolist() == [0, 0, 3, 2, 2, 1, -1, -1, 0]

    def test_pictures(self):
        rules = small(sight=1, grid_observation=True)
        _, obs = situation(rules, [(0, 0), (1, 1), (1, 1)], [1, 2, 3], {(1, 2): 4})
        levels, foods, free = obs.obs[0, 0].reshape(3, 3, 3).tolist()
        assert levels == [[0, 0, 0], [0, 1, 0], [0, 0, 3]]  # of two in one cell the later one
        assert foods == [[0] * 3] * 3
        assert free == [[0, 0, 0], [0, 0, 1], [0, 1, 0]]
        levels, foods, free = obs.obs[0, 1].reshape(3, 3, 3).tolist()
        assert (levels, foods[1], free[1]) == ([[1, 0, 0], [0, 3, 0], [0, 0, 0]], [0, 0, 4], [1, 0, 0])

    def test_the_board_as_state(self):
        env, obs = situation(
            small(sight=1, state="board", observe_agent_levels=False), [(0, 1), (4, 3), (5, 0)], [1, 2, 3], {(3, 3): 5}
        )
        assert obs.state[0].tolist() == [3, 3, 5, -1, -1, 0, 0, 1, 1, 4, 3, 2, 5, 0, 3]
        assert env.spec.state_dim == 15

    def test_what_is_valid(self):
        rules = small(mask_invalid_actions=True)
        env, obs = situation(rules, [(0, 0), (1, 2), (5, 5)], [1, 1, 1], {(1, 1): 1})
        assert obs.action_mask[0].astype(int).tolist() == [
            [1, 0, 1, 0, 1, 0],
            [1, 1, 1, 0, 1, 1],
            [1, 1, 0, 1, 0, 0],
        ]
        with pytest.raises(IllegalActionError, match="action 5 of agent 0"):
            env.step(np.array([[LOAD, NONE, NONE]]))
        assert Foraging(small()).reset(seed=0).action_mask.all()

    def test_the_first_agents_list_is_a_smaller_state(self):
        env, obs = situation(small(), [(0, 1), (4, 3), (5, 0)], [1, 2, 3], {(3, 3): 5})
        (view,) = env.spec.state_views
        assert view(obs.state)[0].tolist() == obs.obs[0, 0].tolist()  # of a torch tensor it is the same
        assert not Foraging(small(sight=2)).spec.state_views


CHECKED = [
    ("lbf/8x8-2p-3f", {}),
    ("lbf/2s-8x8-4p-3f-coop", {"mask_invalid_actions": True, "penalty": 0.1, "state": "board"}),
    ("lbf/grid-1s-6x6-3p-2f", {"observe_agent_levels": False}),
    ("lbf/5x5-9p-9f", {"max_food_level": 3}),
    ("lbf/5x5-2p-1f", {"players": 1, "field_size": [3, 4]}),
]


@pytest.mark.parametrize(("name", "options"), CHECKED)
def test_the_contract(name, options):
    results = check_team_env(
        make_team_env(name, 3, **options), make=lambda games: make_team_env(name, games, **options)
    )
    assert [result for result in results if result.ok is not True] == []


def test_compat_keeps_the_contract_as_far_as_the_original_can():
    options = {"compat": True}
    results = check_team_env(make_team_env("lbf/5x5-4p-1f", 3, **options))
    assert {result.name for result in results if result.ok is None} == {"determinism", "num_envs"}
    assert [result for result in results if result.ok is False] == []


class TestStates:
    def test_a_state_goes_into_another_environment(self):
        rules = rules_of("2s-6x6-3p-2f")
        env, other = Foraging(rules, 4), Foraging(rules, 4)
        env.reset(seed=3)
        rng = np.random.default_rng(0)
        for _ in range(60):
            out = env.step(rng.integers(0, 6, (4, 3)))
            done = out.terminated | out.truncated
            if done.any():
                env.reset(mask=done)
        state = copy.deepcopy(env.get_state())
        obs = other.set_state(state)
        for _ in range(60):
            actions = rng.integers(0, 6, (4, 3))
            out, twin = env.step(actions), other.step(actions)
            for one, two in zip((*out.obs, *out[1:4]), (*twin.obs, *twin[1:4])):
                assert np.array_equal(one, two)
            done = out.terminated | out.truncated
            if done.any():
                env.reset(mask=done)
                other.reset(mask=done)
        assert obs.obs.shape == (4, 3, 15)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"players": np.zeros((2, 3))}, "players of shape"),
            ({"players": np.full((1, 3), 36)}, "players outside positions 0..35"),
            ({"foods": np.array([[1, -1]])}, "food on the border"),
            ({"foods": np.array([[-1, 8]]), "food_levels": np.array([[0, 2]])}, "foods that do not rise"),
            ({"foods": np.array([[8, 8]])}, "foods that do not rise"),
            ({"foods": np.array([[7, 9]])}, "foods closer together"),
            ({"foods": np.array([[7, 14]])}, "foods closer together"),
            ({"players": np.array([[7, 20, 30]])}, "a player where food is"),
            ({"levels": np.zeros((1, 3))}, "levels outside 1..127"),
            ({"spawned": np.array([1])}, "more than were spawned"),
            ({"spawned": np.zeros(2)}, "spawned of shape"),
        ],
    )
    def test_impossible_states_are_refused(self, change, message):
        env, _ = situation(small(), [(0, 0), (0, 1), (0, 2)], [1, 1, 1], {(1, 1): 1, (3, 4): 2})
        before = copy.deepcopy(env.get_state())
        with pytest.raises(ValueError, match=message):
            env.set_state({**before, **change})
        assert all(np.array_equal(before[key], env.get_state()[key]) for key in ("players", "foods", "steps"))

    def test_one_that_was_never_started_can_be_kept(self):
        env, other = Foraging(small(), 2, seed=5), Foraging(small(), 2)
        other.set_state(env.get_state())
        with pytest.raises(ValueError, match="before reset"):
            other.step(np.zeros((2, 3), np.int64))
        assert np.array_equal(env.reset().obs, other.reset().obs)

    def test_misuse_is_refused(self):
        with pytest.raises(ValueError, match="num_envs is 0"):
            Foraging(small(), 0)
        env = Foraging(small(), 2)
        with pytest.raises(ValueError, match="the first reset must start all games"):
            env.reset(mask=np.array([True, False]))
        with pytest.raises(ValueError, match="reset mask has shape"):
            env.reset(mask=np.array([True]))


def test_players_and_foods_are_drawn_where_they_are():
    env, _ = situation(small(), [(0, 1), (4, 3), (4, 3)], [1, 2, 3], {(1, 1): 4})
    picture = env.render()
    cell = 480 // 6

    def colours(row, column):
        top = render.CAPTION_HEIGHT + row * cell
        area = picture[top + 2 : top + cell - 1, column * cell + 2 : (column + 1) * cell - 1]
        return {tuple(pixel) for pixel in area.reshape(-1, 3).tolist()}

    assert render.BLUE in colours(0, 1)
    assert render.BLUE in colours(4, 3)
    assert render.ORANGE in colours(1, 1)
    assert colours(2, 2) == {render.BACKGROUND}
    env.step(np.array([[EAST, NONE, NONE]]))
    assert (
        render.BLUE
        not in (env.render()[render.CAPTION_HEIGHT : render.CAPTION_HEIGHT + cell, cell : 2 * cell]).tolist()
    )
