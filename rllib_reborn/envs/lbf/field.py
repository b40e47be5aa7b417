"""The games of level-based foraging as arrays: who and what is where, how players move and how food is loaded.

Array layout: ``[n, B]`` by player and game, in whose rows operations run over all games. Cells are numbered through all B
boards, except where they are said to be a board's own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.lbf.board import BoolArray, FieldTables, IntArray
from rllib_reborn.envs.lbf.rules import LOAD, ForagingRules
from rllib_reborn.envs.lbf.situations import Situations


class Field:
    """The fields of ``num_envs`` games.

    Args:
        rules: The rules.
        num_envs: Games, B.

    Attributes:
        tables: The board's tables.
        boards: [B] first cell of each board.
        cells: [n, B] where the players are.
        levels: [n, B] their levels.
        foods: [B, F] the foods' cells on their boards, rising; limbo for those that were taken.
        food_levels: [B * size] level of the food in a cell, 0 where there is none.
        food_beside: [B * size] the cell of the food beside a cell, 0 where there is none. There is never more than one:
            foods lie too far apart.
        blocked: [B * size] whether nobody can step there: walls and foods.
        left: [B] foods that are left.
        spawned: [B] sum of the levels of all foods at the start.
        board: [B, 3 * (F + n)] int8, row, column and level of every food (-1, -1, 0 for those that were taken, which are the
            last), then of every player.
    """

    def __init__(self, rules: ForagingRules, num_envs: int) -> None:
        self._rules = rules
        self.tables = FieldTables(rules)
        n, n_food, size, B = rules.players, rules.max_num_food, self.tables.size, num_envs
        self.boards: IntArray = np.arange(B) * size
        self.cells: IntArray = np.tile(self.boards + self.tables.cell_of[0], (n, 1))
        self.levels: IntArray = np.zeros((n, B), np.intp)
        self.foods: IntArray = np.full((B, n_food), self.tables.limbo)
        self.food_levels: IntArray = np.zeros(B * size, np.intp)
        self.food_beside: IntArray = np.zeros(B * size, np.intp)
        self.blocked: BoolArray = np.tile(self.tables.walls, B)
        self.left: IntArray = np.zeros(B, np.intp)
        self.spawned: IntArray = np.zeros(B, np.intp)
        self.board = np.zeros((B, rules.board_dim), np.int8)
        self._food_part = self.board[:, : 3 * n_food].reshape(B, n_food, 3)
        self._player_part = self.board[:, 3 * n_food :].reshape(B, n, 3)
        # A place is two bytes, which are fetched as one number.
        self._places = self.tables.place_of.view(np.int16).reshape(size)
        # Scratch memory.
        self._to: IntArray = np.zeros((n, B), np.intp)
        self._stays: BoolArray = np.zeros((n, B), np.bool_)
        self._same: BoolArray = np.zeros((n, n, B), np.bool_)
        self._strength: IntArray = np.zeros(B * size, np.intp)  # all 0 between steps

    def place(self, games: IntArray, situations: Situations, spawned: IntArray) -> None:
        """Put the games numbered ``games`` [k] into situations; ``spawned`` [k]: sum of the levels of all foods at the
        start."""
        players, levels, foods, food_levels = situations
        tables, boards = self.tables, self.boards[games]
        self.spawned[games] = spawned
        self.cells[:, games] = tables.cell_of[players].T + boards
        self.levels[:, games] = levels.T
        self._player_part[games, :, :2] = tables.place_of[tables.cell_of[players]]
        self._player_part[games, :, 2] = levels
        there = foods >= 0
        own = np.where(there, tables.cell_of[foods], tables.limbo)
        self.foods[games] = own
        self.left[games] = there.sum(axis=1)
        self.food_levels.reshape(-1, tables.size)[games] = 0
        self.food_beside.reshape(-1, tables.size)[games] = 0
        self.blocked.reshape(-1, tables.size)[games] = tables.walls
        cells = (own + boards[:, None])[there]
        self.food_levels[cells] = food_levels[there]
        self.blocked[cells] = True
        self.food_beside[cells[:, None] + tables.beside] = cells[:, None]
        self._note_foods(games)

    def move(self, actions: IntArray) -> None:
        """Move all players at once; ``actions`` [n, B]."""
        to, stays, cells = self._to, self._stays, self.cells
        self.tables.step.take(actions, None, to, "clip")
        to += cells
        self.blocked.take(to, None, stays, "clip")
        np.copyto(to, cells, where=stays)
        if len(cells) > 1:
            np.equal(to[:, None], to[None], out=self._same)
            arrivals = np.add.reduce(self._same.view(np.uint8), axis=0, dtype=np.uint8)
            np.greater(arrivals, 1, out=stays)
            np.copyto(to, cells, where=stays)
        self.cells, self._to = to, cells
        np.subtract(to, self.boards, out=cells)  # scratch from here on
        self._player_part[:, :, :2] = self._places[cells.T][:, :, None].view(np.int8)

    def load(self, actions: IntArray) -> npt.NDArray[np.float64] | None:
        """Take the foods whose loaders are strong enough, after :meth:`move`, which does not move those who load.

        Returns:
            [B] the sum of what players are paid; None: nobody loads beside a food.
        """
        loading = actions == LOAD
        if not np.count_nonzero(loading):
            return None
        who = loading.reshape(-1).nonzero()[0]
        food = self.food_beside[self.cells.reshape(-1)[who]]
        beside = food.nonzero()[0]
        if not len(beside):
            return None
        who, food = who[beside], food[beside]
        games = who % len(self.boards)
        level = self.levels.reshape(-1)[who]
        needed = self.food_levels[food]
        np.add.at(self._strength, food, level)
        together = self._strength[food]
        self._strength[food] = 0
        taken = together >= needed
        paid = (level * needed).astype(np.float64)
        if self._rules.normalize_reward:
            paid /= (together * self.spawned[games]).astype(np.float64)
        paid[~taken] = -self._rules.penalty
        if np.count_nonzero(taken):
            self._remove(_each_once(np.sort(food[taken])))
        # In the order of players, as lbforaging's rewards are summed up.
        return np.bincount(games, paid, len(self.boards)).astype(np.float64, copy=False)

    def _remove(self, foods: IntArray) -> None:
        """Take the foods in the cells ``foods`` [k], each once."""
        tables = self.tables
        self.food_levels[foods] = 0
        self.blocked[foods] = False
        self.food_beside[foods[:, None] + tables.beside] = 0
        games, own = np.divmod(foods, tables.size)
        at = (self.foods[games] == own[:, None]).argmax(axis=1)
        self.foods[games, at] = tables.limbo
        np.subtract.at(self.left, games, 1)
        games = _each_once(games)
        remaining = self.foods[games]
        remaining.sort(axis=1)
        self.foods[games] = remaining
        self._note_foods(games)

    def _note_foods(self, games: IntArray) -> None:
        own = self.foods[games]
        self._food_part[games, :, :2] = self.tables.place_of[own]
        self._food_part[games, :, 2] = self.food_levels[own + self.boards[games][:, None]]


def _each_once(rising: IntArray) -> IntArray:
    """The different ones of these numbers, which never fall."""
    first = np.ones(len(rising), np.bool_)
    np.not_equal(rising[1:], rising[:-1], out=first[1:])
    return rising[first]
