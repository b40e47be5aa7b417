"""How games of level-based foraging start: where players and foods are, and of which levels, out of random bits.

lbforaging tries random cells until one is free. Trying the cells in one random order, each once, gives the same
distribution, and the number of random bits does not depend on what happens.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.lbf.board import FieldTables, IntArray
from rllib_reborn.envs.lbf.rules import LOWEST_PLAYERS, ForagingRules
from rllib_reborn.envs.lbf.situations import Situations

Bits = npt.NDArray[np.uint64]

_POSITION_BITS = np.uint64(2**16 - 1)
_NEVER = np.uint64(2**64 - 1)
_32 = np.uint64(32)


class StartDraws:
    """Draws the starts of games by ``rules``.

    Attributes:
        bits_needed: Numbers of 64 random bits that one start takes.
    """

    def __init__(self, rules: ForagingRules, tables: FieldTables) -> None:
        n, n_food = rules.players, rules.max_num_food
        self._rules, self._tables = rules, tables
        self._cells = len(tables.cell_of)
        self._numbers = np.arange(self._cells, dtype=np.uint64)
        self._player_levels = _range(rules.lowest_players, rules.highest_players)
        self._deal_players = _differ(rules.lowest_players, rules.highest_players)
        # Where the levels of players decide, the highest level of food is not known before.
        self._food_levels = _range(rules.lowest_foods, rules.highest_foods or rules.lowest_foods)
        self._deal_foods = _differ(rules.lowest_foods, rules.highest_foods)
        dealt = n * self._deal_players + n_food * self._deal_foods
        self.bits_needed = self._cells + n + n_food + dealt + n * rules.compat

    def draw(self, bits: Bits, last: IntArray | None) -> Situations:
        """Start k games.

        Args:
            bits: [k, :attr:`bits_needed`] random bits; overwritten.
            last: [k, n] positions at which players stood at the end of the episode before; with ``compat`` none of them
                starts where it, or one behind it, stood. None: there was none.
        """
        cells, n, n_food = self._cells, self._rules.players, self._rules.max_num_food
        rows = np.arange(len(bits))[:, None]
        used = cells + n + n_food
        order, for_players, for_foods = bits[:, :cells], bits[:, cells : cells + n], bits[:, cells + n : used]
        rest = bits[:, used:]
        # The cells in random order: by these numbers, which hold the position in their lowest bits.
        order &= ~_POSITION_BITS
        order |= self._numbers
        if self._rules.compat:
            players, rest = _place_apart(rest[:, :n], cells, last), rest[:, n:]
        else:
            first = np.partition(order, n - 1, axis=1)[:, :n]
            first.sort(axis=1)
            players = (first & _POSITION_BITS).astype(np.intp)
        order[rows, players] = _NEVER

        low, high = self._player_levels
        if self._deal_players:
            dealt, rest = rest[:, :n].argsort(axis=1), rest[:, n:]
            low, high = low[0, dealt], high[0, dealt]
        levels = _between(for_players, low, high)

        low, high = self._food_levels
        if self._deal_foods:
            dealt = rest[:, :n_food].argsort(axis=1)
            low, high = low[0, dealt], high[0, dealt]
        if not self._rules.highest_foods:
            high = np.sort(levels, axis=1)[:, :LOWEST_PLAYERS].sum(axis=1)[:, None]
        if self._rules.force_coop:
            low = high
        foods = _place_foods(order[:, self._tables.inner], self._tables, n_food)
        food_levels = _between(for_foods, low, high)
        food_levels[foods == cells] = 0
        by_place = foods.argsort(axis=1)
        foods = foods[rows, by_place]
        foods[foods == cells] = -1
        return Situations(players, levels, foods, food_levels[rows, by_place])


def _range(low: tuple[int, ...], high: tuple[int, ...]) -> tuple[IntArray, IntArray]:
    return np.array(low, np.intp)[None], np.array(high, np.intp)[None]


def _differ(*levels: tuple[int, ...]) -> bool:
    return any(len(set(each)) > 1 for each in levels)


def _between(bits: Bits, low: IntArray, high: IntArray) -> IntArray:
    """Whole numbers in low..high."""
    drawn = bits >> _32
    drawn *= (high - low + 1).view(np.uint64)
    drawn >>= _32
    return low + drawn.view(np.intp)


def _place_foods(order: Bits, tables: FieldTables, n_food: int) -> IntArray:
    """[k, n_food] positions of foods, the number of cells for those that find no room.

    Args:
        order: [k, I] numbers in whose order the inner positions are tried; overwritten.
        tables: The board's tables.
        n_food: Foods.
    """
    cells = len(tables.cell_of)
    rows = np.arange(len(order))
    foods = np.empty((len(order), n_food), np.intp)
    for i in range(n_food):
        index = order.argmin(axis=1)
        found = order[rows, index]
        foods[:, i] = np.where(found == _NEVER, cells, tables.inner[index])
        # Where there was no room every number is this one already.
        order[rows[:, None], tables.forbids[index]] = _NEVER
    return foods


def _place_apart(bits: Bits, cells: int, last: IntArray | None) -> IntArray:
    """[k, n] positions of players, as lbforaging places them: one after the other, none where one was placed before it, nor
    where it or one behind it stood ``last``."""
    k, n = bits.shape
    rows = np.arange(k)
    players = np.empty((k, n), np.intp)
    for i in range(n):
        free = np.ones((k, cells + 1), np.bool_)  # the last column is that of nobody, -1
        free[rows[:, None], players[:, :i]] = False
        if last is not None:
            free[rows[:, None], last[:, i:]] = False
        count = free[:, :cells].sum(axis=1)[:, None]
        chosen = _between(bits[:, i : i + 1], np.zeros_like(count), count - 1)
        players[:, i] = (free[:, :cells].cumsum(axis=1) > chosen).argmax(axis=1)
    return players
