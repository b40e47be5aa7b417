"""Situations of level-based foraging, and whether its rules can bring one about."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rllib_reborn.envs.lbf.board import FieldTables, IntArray, too_close
from rllib_reborn.envs.lbf.rules import ForagingRules


class Situations(NamedTuple):
    """Who and what is where in k games. Positions are ``row * columns + column``."""

    players: IntArray  #: [k, n] positions
    levels: IntArray  #: [k, n] levels of the players
    foods: IntArray  #: [k, F] positions, rising; -1 at the end for foods that are not there
    food_levels: IntArray  #: [k, F], 0 for these


def check_situations(
    situations: Situations, spawned: IntArray, rules: ForagingRules, tables: FieldTables, count: int
) -> None:
    """Raise ValueError, saying what is wrong, unless the situations of ``count`` games are possible.

    Args:
        situations: The situations.
        spawned: [count] sum of the levels of all foods at the start.
        rules: The rules.
        tables: The board's tables.
        count: Games.
    """
    players, levels, foods, food_levels = situations
    for name, array, columns in (
        ("players", players, rules.players),
        ("levels", levels, rules.players),
        ("foods", foods, rules.max_num_food),
        ("food_levels", food_levels, rules.max_num_food),
    ):
        if array.shape != (count, columns):
            raise ValueError(f"state has {name} of shape {array.shape}; expected {(count, columns)}.")
    if spawned.shape != (count,):
        raise ValueError(f"state has spawned of shape {spawned.shape}; expected {(count,)}.")
    cells, there = len(tables.cell_of), foods >= 0
    if players.min() < 0 or players.max() >= cells:
        raise ValueError(f"state has players outside positions 0..{cells - 1}; it is of other rules.")
    if not np.isin(foods[there], tables.inner).all():
        raise ValueError("state has food on the border or off the field; it is of other rules.")
    if levels.min() < 1 or levels.max() > 127 or food_levels.max() > 127 or ((food_levels < 1) & there).any():
        raise ValueError("state has levels outside 1..127; it is of other rules.")
    if (food_levels[~there] != 0).any() or (np.where(there, food_levels, 0).sum(axis=1) > spawned).any():
        raise ValueError("state has levels of foods that are not there, or more than were spawned.")
    # Those that are there rise, and those that are not come last.
    if ((foods[:, 1:] >= 0) & (foods[:, 1:] <= foods[:, :-1])).any() or (there[:, 1:] & ~there[:, :-1]).any():
        raise ValueError("state has foods that do not rise, or two of them in one cell.")
    row, column = np.divmod(foods, rules.field_size[1])
    close = too_close(row[:, :, None] - row[:, None], column[:, :, None] - column[:, None])
    close &= there[:, :, None] & there[:, None] & ~np.eye(foods.shape[1], dtype=np.bool_)
    if close.any():
        raise ValueError("state has foods closer together than foods lie; it is of other rules.")
    if (foods[:, :, None] == players[:, None]).any():
        raise ValueError("state has a player where food is.")
