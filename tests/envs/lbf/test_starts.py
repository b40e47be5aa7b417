"""How games start: by the package's rules, and with its distribution."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from rllib_reborn.envs.lbf.board import FieldTables
from rllib_reborn.envs.lbf.foraging import Foraging
from rllib_reborn.envs.lbf.names import rules_of
from rllib_reborn.envs.lbf.situations import Situations, check_situations
from tests.envs.lbf.package import needs_package, package_game

#: Of fixed seeds, so that it passes always or never.
ENOUGH = 0.001


def starts(rules, count, seed=0, batch=500):
    """Players [N, n], levels [N, n], foods [N, F] and their levels [N, F], of ours."""
    env = Foraging(rules, batch)
    env.reset(seed=seed)
    parts = []
    for _ in range(count // batch):
        state = env.get_state()
        parts.append([state[name] for name in ("players", "levels", "foods", "food_levels")])
        env.reset()
    return [np.concatenate(each) for each in zip(*parts)]


def package_starts(rules, count, forget=True):
    """The same of lbforaging; ``forget``: each episode as if it were the first."""
    game, columns = package_game(rules), rules.field_size[1]
    game._make_gym_obs = lambda: None
    game.reset(seed=0)
    rows = []
    for _ in range(count):
        if forget:
            for player in game.players:
                player.position = None
        game.reset()
        places = [row * columns + column for row, column in (player.position for player in game.players)]
        flat = game.field.reshape(-1)
        foods = np.flatnonzero(flat).tolist()
        gone = rules.max_num_food - len(foods)
        rows.append(
            (
                places,
                [int(player.level) for player in game.players],
                foods + [-1] * gone,
                flat[foods].tolist() + [0] * gone,
            )
        )
    return [np.array(each) for each in zip(*rows)]


def p_value(ours, theirs):
    """Of the hypothesis that both come from one distribution; rows are drawn things, compared as wholes."""
    ours, theirs = (np.reshape(array, (len(array), -1)) for array in (ours, theirs))
    kinds, index = np.unique(np.concatenate([ours, theirs]), axis=0, return_inverse=True)
    index = index.reshape(-1)
    table = np.stack([np.bincount(part, minlength=len(kinds)) for part in np.split(index, [len(ours)])])
    return chi2_contingency(table).pvalue


@pytest.mark.parametrize(
    "options",
    [
        {"field_size": (5, 6), "players": 2, "max_num_food": 2},
        {"field_size": (5, 6), "players": 3, "max_num_food": 1, "force_coop": True, "max_player_level": [1, 1, 3]},
        {
            "field_size": (5, 6),
            "players": 2,
            "max_num_food": 2,
            "min_food_level": [1, 2],
            "max_food_level": [2, 4],
            "min_player_level": [1, 3],
            "max_player_level": [2, 3],
        },
    ],
)
def test_starts_are_distributed_as_the_packages(options):
    needs_package()
    rules = dataclasses.replace(rules_of("5x5-2p-2f"), **options)
    ours, theirs = starts(rules, 20_000), package_starts(rules, 2_000)
    players, levels, foods, food_levels = zip(ours, theirs)
    assert p_value(*foods) > ENOUGH
    assert p_value(players[0][:, 0], players[1][:, 0]) > ENOUGH
    assert p_value(players[0][:, 1], players[1][:, 1]) > ENOUGH
    distance = [each[:, 0] - each[:, 1] for each in players]
    assert p_value(*distance) > ENOUGH
    assert p_value(*(np.concatenate(both, 1) for both in zip(levels, food_levels))) > ENOUGH
    # Foods and players together: whether the first player stands where food may lie.
    assert p_value(*((a[:, :1] == np.arange(30)) @ (np.arange(30) > 6) + b[:, 0] for a, b in zip(players, foods))) > (
        ENOUGH
    )


def test_a_wrong_distribution_is_found():
    rules = rules_of("5x5-2p-2f")
    others = dataclasses.replace(rules, max_player_level=[1, 2])
    assert p_value(starts(rules, 3_000)[1], starts(others, 3_000)[1]) < 1e-9


def test_with_compat_nobody_starts_where_it_or_one_behind_it_stood():
    needs_package()
    rules = dataclasses.replace(rules_of("5x5-4p-1f"), field_size=(4, 4), compat=True)
    ours, theirs = starts(rules, 3_000)[0].reshape(6, 500, 4), package_starts(rules, 1_500, forget=False)[0]
    where = {}
    for name, players in (("ours", ours), ("theirs", theirs)):
        same = players[1:, ..., :, None] == players[:-1, ..., None, :]
        where[name] = same.reshape(-1, 4, 4).sum(0)
        assert not np.triu(where[name]).any()
    # Where those before it stood may be taken.
    before = [where[name][np.tril_indices(4, -1)] for name in where]
    assert all((counts > 30).all() for counts in before)
    assert chi2_contingency(before).pvalue > ENOUGH
    assert not Foraging(rules).repeatable


def test_without_compat_the_episode_before_plays_no_part():
    env = Foraging(rules_of("5x5-4p-1f"), 3)
    first = env.reset(seed=4).obs.copy()
    env.reset()
    assert np.array_equal(env.reset(seed=4).obs, first)


@pytest.mark.parametrize("name", ["5x5-9p-9f", "19x19-2p-9f-coop", "2s-6x6-5p-3f"])
def test_starts_keep_the_rules(name):
    rules = rules_of(name)
    players, levels, foods, food_levels = starts(rules, 1_000, batch=500)
    spawned = food_levels.sum(1)
    tables = FieldTables(rules)
    check_situations(Situations(players, levels, foods, food_levels), spawned, rules, tables, len(players))
    ordered = np.sort(players, 1)
    assert (ordered[:, 1:] != ordered[:, :-1]).all()
    highest = np.sort(levels, 1)[:, :3].sum(1, keepdims=True)
    assert (food_levels <= highest).all()
    if rules.force_coop:
        assert ((food_levels == highest) | (foods < 0)).all()
    if name == "5x5-9p-9f":  # nine foods have no room on the nine cells inside
        assert set((foods >= 0).sum(1).tolist()) <= {1, 2}
