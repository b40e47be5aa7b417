"""What is seen of predator-prey: observations, state and action mask, drawn from everybody's cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.predator_prey.board import BoardTables, BoolArray, IntArray, wall_windows
from rllib_reborn.envs.predator_prey.rules import ACTION_NAMES, CATCH, MOVES, N_CHANNELS, PredatorPreyRules
from rllib_reborn.envs.team_env import TeamObs


class Sight:
    """Draws into arrays that it owns, which are those that the environment returns.

    Windows are drawn from pairs: for every predator and every entity, the difference of their cell numbers
    tells whether the entity is in the window, and where. That costs less than cutting windows out of a grid,
    as long as boards are not crowded, and the grid need not exist.

    Args:
        rules: The rules.
        tables: The board's tables.
        num_envs: Games, B.

    Attributes:
        seen: The arrays; always the same ones.
    """

    def __init__(self, rules: PredatorPreyRules, tables: BoardTables, num_envs: int) -> None:
        n, m, B = rules.n_predators, rules.n_prey, num_envs
        self._n, self._tables = n, tables
        self._prey_channels = [c for c, count in ((1, rules.n_stags), (2, rules.n_hares)) if count]
        self._radius = rules.obs_radius

        #: What of a window does not move; None: nothing.
        self._walls = wall_windows(rules, tables) if rules.observe_walls else None
        self._obs: npt.NDArray[Any] = np.zeros((B, n, rules.obs_dim), np.int8 if rules.observe_walls else np.uint8)
        self._mask = np.zeros((B, n, len(ACTION_NAMES)), np.bool_)
        # One number more than the states: those who have left are drawn there.
        self._nowhere = B * rules.state_dim
        self._states = np.zeros(self._nowhere + 1, np.uint8)
        self.team_obs = TeamObs(self._obs, self._states[:-1].reshape(B, -1), self._mask)

        kind = np.repeat(np.arange(N_CHANNELS), (n, rules.n_stags, rules.n_hares))
        self._boards: IntArray = np.arange(B) * tables.size
        self._state_index: IntArray = np.full((n + m, B), self._nowhere)
        self._state_start: IntArray = kind[:, None] + np.arange(B) * rules.state_dim
        self._state_cell: IntArray = np.maximum(tables.position_of, 0) * N_CHANNELS
        # Where an entity's kind begins in the pair tables; where a predator's window begins among the
        # observations.
        self._pair_start: IntArray = (kind * tables.pair_range + tables.pair_zero)[:, None]
        window = (np.arange(B) * n + np.arange(n)[:, None]) * rules.obs_dim
        self._pair_window: IntArray = np.repeat(window[:, None], n + m, axis=1).reshape(-1)
        self._pairs: IntArray = np.zeros((n, n + m, B), np.intp)
        self._pair_seen = np.zeros(n * (n + m) * B, np.bool_)
        self._beside = self._cells_beside(self._obs)

    def draw(self, cells: IntArray, gone: BoolArray, eyes: IntArray) -> None:
        """Draw all games.

        Args:
            cells: [E, B] cells, numbered through all boards.
            gone: [E, B] who has left.
            eyes: [n, B] cells from which the predators look.
        """
        self._draw_states(cells, gone)
        local = (cells[: self._n] - self._boards).T
        if self._walls is None:
            self._obs.fill(0)
        else:
            self._walls.take(local, 0, self._obs, "clip")
        self._draw_windows(cells, eyes)
        self._tables.legal.take(local, 0, self._mask, "clip")
        self._mask[:, :, CATCH] &= _any(self._beside)

    def draw_few(self, games: IntArray, cells: IntArray) -> None:
        """Draw the games numbered ``games`` [k], from which nobody has left, at the cost of k; ``cells`` [E,
        k]."""
        local = cells - self._boards[games]
        index = self._state_cell[local] + self._state_start[:, games]
        self._states[self._state_index[:, games]] = 0
        self._states[index] = 1
        self._state_index[:, games] = index

        pairs = (cells + self._pair_start)[None] - cells[: self._n, None, :]
        predator, entity, game = self._tables.in_window[pairs].nonzero()
        windows = np.zeros((len(games), *self._obs.shape[1:]), self._obs.dtype)
        if self._walls is not None:
            windows[:] = self._walls[local[: self._n].T]
        windows[game, predator, self._tables.window_byte[pairs[predator, entity, game]]] = 1
        self._obs[games] = windows

        mask = self._tables.legal[local[: self._n].T]
        mask[:, :, CATCH] &= _any(self._cells_beside(windows))
        self._mask[games] = mask

    def _draw_states(self, cells: IntArray, gone: BoolArray) -> None:
        # Only what changes is touched: everybody's old number is cleared, the new one set.
        flat, index = self._states, self._state_index
        flat[index.reshape(-1)] = 0
        np.subtract(cells, self._boards, out=index)
        self._state_cell.take(index, None, index, "clip")
        index += self._state_start
        np.copyto(index, self._nowhere, where=gone)
        flat[index.reshape(-1)] = 1

    def _draw_windows(self, cells: IntArray, eyes: IntArray) -> None:
        np.subtract(cells + self._pair_start, eyes[:, None, :], out=self._pairs)
        pairs = self._pairs.reshape(-1)
        self._tables.in_window.take(pairs, None, self._pair_seen, "clip")
        inside = self._pair_seen.nonzero()[0]
        index = self._tables.window_byte[pairs[inside]]
        index += self._pair_window[inside]
        self._obs.reshape(-1)[index] = 1

    def _cells_beside(self, windows: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """Views [games, n] of the numbers in ``windows`` [games, n, d] that tell of prey on the 4 cells
        around."""
        side = 2 * self._radius + 1
        windows = windows.reshape(*windows.shape[:2], side, side, N_CHANNELS)
        return [
            windows[:, :, self._radius + down, self._radius + right, channel]
            for channel in self._prey_channels
            for down, right in MOVES
        ]


def _any(flags: list[npt.NDArray[Any]]) -> BoolArray:
    union = flags[0] | flags[1]
    for more in flags[2:]:
        union |= more
    return union.view(np.bool_)
