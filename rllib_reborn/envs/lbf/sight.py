"""What players see of level-based foraging: lists of numbers or pictures; beside these the state and the action mask."""

from __future__ import annotations

import abc

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.lbf.board import IntArray
from rllib_reborn.envs.lbf.field import Field
from rllib_reborn.envs.lbf.rules import ACTION_NAMES, LOAD, ForagingRules
from rllib_reborn.envs.team_env import TeamObs

Bytes = npt.NDArray[np.int8]


def make_sight(rules: ForagingRules, field: Field) -> FieldSight:
    """What these rules let players see of ``field``."""
    if rules.grid_observation:
        return _Pictures(rules, field)
    return _WholeList(rules, field) if rules.sees_all else _NearList(rules, field)


class FieldSight(abc.ABC):
    """Draws into arrays that it owns, which are those that the environment returns.

    Args:
        rules: The rules.
        field: The games.

    Attributes:
        team_obs: The arrays; always the same ones.
    """

    def __init__(self, rules: ForagingRules, field: Field) -> None:
        self._rules, self._field = rules, field
        n, B = rules.players, len(field.boards)
        self._all: IntArray = np.arange(B)
        self._obs = np.zeros((B, n, rules.obs_dim), np.int8)
        self._mask = np.ones((B, n, len(ACTION_NAMES)), np.bool_)
        in_a_row = rules.state == "observations"
        self.team_obs = TeamObs(self._obs, self._obs.reshape(B, -1) if in_a_row else field.board, self._mask)

    def draw(self) -> None:
        """Draw all games."""
        self._draw_obs()
        if self._rules.mask_invalid_actions:
            self._draw_mask(self._all)

    def draw_few(self, games: IntArray) -> None:
        """Draw the games numbered ``games`` [k], at the cost of k."""
        self._obs[games] = self._look(games)
        if self._rules.mask_invalid_actions:
            self._draw_mask(games)

    def _draw_obs(self) -> None:
        self._obs[:] = self._look(self._all)

    @abc.abstractmethod
    def _look(self, games: IntArray) -> Bytes:
        """[k, n, d] observations of these games."""

    def _draw_mask(self, games: IntArray) -> None:
        field = self._field
        cells = field.cells[:, games].T
        self._mask[games, :, 1:LOAD] = ~field.blocked[cells[:, :, None] + field.tables.beside]
        self._mask[games, :, LOAD] = field.food_beside[cells] > 0


class _WholeList(FieldSight):
    """Lists of all foods and all players, oneself first: the board's numbers, chosen in another order for each agent."""

    def __init__(self, rules: ForagingRules, field: Field) -> None:
        super().__init__(rules, field)
        n, foods = rules.players, 3 * rules.max_num_food
        parts = []
        for order in _self_first(n):
            numbers = foods + 3 * order[:, None] + np.arange(rules.numbers_of_player)
            parts += [np.arange(foods), numbers.reshape(-1)]
        self._columns: IntArray = np.concatenate(parts)
        self._flat = self._obs.reshape(len(self._obs), -1)

    def _draw_obs(self) -> None:
        self._field.board.take(self._columns, 1, self._flat, "clip")

    def _look(self, games: IntArray) -> Bytes:
        return self._field.board[games].take(self._columns, 1).reshape(len(games), *self._obs.shape[1:])


class _NearList(FieldSight):
    """Lists of the foods and players in sight, moved up, in places counted from the upper left corner of what is in sight.

    Each entry is a number of four bytes: its rank in the list, row, column and level. So one subtraction moves it to the
    corner, the spare bit above each coordinate tells whether it is in sight, and a sort moves those in sight up, in their
    order; those out of sight become numbers with the bytes -1, -1, 0, behind the others of their kind.
    """

    _SPARE, _COORDINATES = np.uint32(0x00808000), np.uint32(0x007F7F00)
    #: Ranks: foods in sight from 0 on, foods out of sight, players in sight from there on, players out of sight.
    _FOOD_GONE, _PLAYER, _PLAYER_GONE = 127, 128, 255

    def __init__(self, rules: ForagingRules, field: Field) -> None:
        super().__init__(rules, field)
        n, n_food, sight = rules.players, rules.max_num_food, rules.sight
        places = field.tables.place_of.astype(np.int64)
        own = np.maximum(places, 0)
        corner = np.maximum(own - sight, 0)
        last = np.array(rules.field_size) - 1
        self._corner = _packed(corner)
        # What is in sight is so far below and right of the corner, at most. Players: see ForagingRules.sight.
        foods, players = np.minimum(own + sight, last) - corner, np.minimum(2 * sight, last - corner)
        limits = [_packed(foods)[:, None].repeat(n_food, 1), _packed(players)[:, None].repeat(n, 1)]
        self._limits = np.concatenate(limits, 1) | self._SPARE  # [size, F + n]
        # Where taken foods are, nobody sees them.
        self._places = _packed(np.where(places < 0, 127, places))
        rank = np.zeros((n, n_food + n), np.uint32)
        rank[:, :n_food] = np.arange(n_food)
        for i, order in enumerate(_self_first(n)):
            rank[i, n_food + order] = self._PLAYER + np.arange(n)
        self._rank = rank << 24
        gone = np.repeat(np.array([self._FOOD_GONE, self._PLAYER_GONE], np.uint32), (n_food, n))
        self._gone = (gone << 24) | np.uint32(0x00FFFF00)

    def _look(self, games: IntArray) -> Bytes:
        field, spare = self._field, self._SPARE
        n_food, k = self._rules.max_num_food, len(games)
        own = (field.cells[:, games] - field.boards[games]).T  # [k, n]
        entries = np.concatenate([field.foods[games], own], 1)  # [k, F + n]
        levels = field.board[games, 2::3].astype(np.uint32)
        entries = (self._places[entries] | levels | spare)[:, None]
        moved = entries - self._corner[own][:, :, None]
        in_sight = (self._limits[own] - (moved & self._COORDINATES)) & moved & spare
        moved &= ~spare
        moved |= self._rank
        keys = np.where(in_sight == spare, moved, self._gone).astype("<u4", copy=False)
        keys.sort(axis=2)
        lists = keys.view(np.int8).reshape(k, *self._rank.shape, 4)[..., 2::-1]
        if self._rules.numbers_of_player == 3:
            return lists.reshape(k, len(self._rank), -1)
        foods, players = lists[:, :, :n_food], lists[:, :, n_food:, :2]
        shape = (k, len(self._rank), -1)
        return np.concatenate([foods.reshape(shape), players.reshape(shape)], 2)


def _packed(places: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """[N] of [N, 2] rows and columns in 0..127: a byte for each, above the lowest."""
    return (places[:, 0] << 16 | places[:, 1] << 8).astype(np.uint32)


class _Pictures(FieldSight):
    """Three pictures of the cells around a player: levels of players (or 1), levels of foods, and 1 where a cell is free."""

    def __init__(self, rules: ForagingRules, field: Field) -> None:
        super().__init__(rules, field)
        rows, columns = rules.field_size
        self._padded = (rows + 2 * rules.sight, columns + 2 * rules.sight)

    def _look(self, games: IntArray) -> Bytes:
        rules, sight, k = self._rules, self._rules.sight, len(games)
        n_food = rules.max_num_food
        entries = self._field.board[games].reshape(k, -1, 3).transpose(1, 0, 2)
        layers = np.zeros((k, 3, *self._padded), np.int8)
        layers[:, 2, sight:-sight, sight:-sight] = 1
        rows = np.arange(k)
        for number, entry in enumerate(entries):
            y, x = entry[:, 0] + sight, entry[:, 1] + sight
            if number < n_food:
                # One that was taken is drawn with level 0 in the border, where no cell is free anyway.
                layers[rows, 1, y, x] = entry[:, 2]
            else:
                # In the order of players: of two in one cell the later one shows.
                layers[rows, 0, y, x] = entry[:, 2] if rules.observe_agent_levels else 1
            layers[rows, 2, y, x] = 0
        side = 2 * sight + 1
        windows = np.lib.stride_tricks.sliding_window_view(layers, (side, side), (2, 3))
        places = entries[n_food:]
        pictures = windows[rows, :, places[:, :, 0], places[:, :, 1]]  # [n, k, 3, side, side]
        return pictures.transpose(1, 0, 2, 3, 4).reshape(k, rules.players, -1)


def _self_first(n: int) -> IntArray:
    """[n, n] for each player the players' numbers, its own first."""
    return np.array([[i, *(j for j in range(n) if j != i)] for i in range(n)], np.intp).reshape(n, n)
