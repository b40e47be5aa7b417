"""What is observed of a warehouse: windows as numbers or as images, and the state."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.rware.board import REQUESTED, Boards, BoolArray, ByteArray, Geometry, IntArray
from rllib_reborn.envs.rware.rules import CELL_NUMBERS, FEATURE_NUMBERS, SELF_NUMBERS, WarehouseRules
from rllib_reborn.envs.team_env import TeamObs

_DIRECTIONS = 4
#: Codes of a shelf: none, one, a requested one.
_SHELF_CODES = 3
#: Codes of a robot: none, and the four directions.
_AGENT_CODES = 5


class WarehouseSight:
    """Draws into arrays that it owns, which are those that the environment returns.

    Args:
        rules: The rules.
        boards: Where everything is.

    Attributes:
        team_obs: The arrays; always the same ones.
        messages: [B * n + 2, m] bits that robots sent; zeros for ``nobody`` and ``wall``.
    """

    def __init__(self, rules: WarehouseRules, boards: Boards) -> None:
        self._rules, self._boards = rules, boards
        B, spec = len(boards.first), rules.spec()
        self._obs: npt.NDArray[Any] = np.zeros((B * rules.n_agents, spec.obs_dim), spec.obs_dtype)
        of_image = rules.state == "image"
        state = np.zeros((B, spec.state_dim), spec.state_dtype) if of_image else self._obs.reshape(B, -1)
        mask = np.ones((B, rules.n_agents, spec.n_actions), np.bool_)  # everything is always allowed
        self.team_obs = TeamObs(self._obs.reshape(B, rules.n_agents, -1), state, mask)
        self.messages = np.zeros((B * rules.n_agents + 2, rules.msg_bits), np.uint8)

        geometry = boards.geometry
        self._inside = np.tile(geometry.place_of >= 0, B)
        reach = np.arange(-rules.sensor_range, rules.sensor_range + 1)
        window = reach[:, None] * geometry.pitch + reach
        #: [4, window] what is added to a robot's cell, by its direction; the same for all where nothing turns.
        self._windows: IntArray = np.repeat(window.reshape(1, -1), _DIRECTIONS, axis=0)
        if rules.has_images:
            if rules.image_observation_directional:
                # What is ahead of the robot comes to the top: down by half a turn, left and right by a quarter.
                turned = [np.rot90(window, quarters).reshape(-1) for quarters in (0, 2, 3, 1)]
                self._windows = np.array(turned)
            self._features = _features(geometry)
            goals = np.zeros(geometry.size, np.uint8)
            goals[geometry.goals] = 1
        else:
            self._own = _own_numbers(rules, geometry, self._obs.dtype)
            self._cells = _cell_numbers(self._obs.dtype)
        self._goal_layer = np.zeros(B * geometry.size, np.uint8)
        self._goal_layer[boards.goals.reshape(-1)] = 1

    def draw(self, games: IntArray | None = None) -> None:
        """Draw the games numbered ``games`` [k]; None: all."""
        n = self._rules.n_agents
        agents = None if games is None else (games[:, None] * n + np.arange(n)).reshape(-1)
        layers = {name: self._layer(name) for name in self._rules.shown_layers}
        rows = self._images(agents, layers) if self._rules.has_images else self._numbers(agents)
        if rows is not self._obs:
            self._obs[slice(None) if agents is None else agents] = rows
        if self._rules.state == "image":
            chosen = slice(None) if games is None else games
            self.team_obs.state[chosen] = self._state(chosen, layers)

    def _numbers(self, agents: IntArray | None) -> npt.NDArray[Any]:
        """[k, d] flattened observations of ``agents`` [k]; None: of all, which are drawn in place."""
        rules, boards, geometry = self._rules, self._boards, self._boards.geometry
        cell, first, direction = boards.cell, boards.agent_first, boards.direction
        loaded = boards.loaded[: boards.nobody]
        rows = self._obs
        if agents is not None:
            cell, first, direction, loaded = cell[agents], first[agents], direction[agents], loaded[agents]
            rows = np.empty((len(agents), rules.obs_dim), self._obs.dtype)
        own = (cell - first) * (2 * _DIRECTIONS) + direction * 2 + loaded
        rows[:, :SELF_NUMBERS] = self._own.take(own, 0)
        window = cell[:, None] + self._windows[0]
        assert geometry.pad >= rules.sensor_range
        if not rules.msg_bits:
            codes = boards.agent_code * np.uint8(_SHELF_CODES)
            codes += boards.shelf_code
            rows[:, SELF_NUMBERS:] = self._cells.take(codes.take(window), 0).reshape(len(rows), -1)
            return rows
        codes = boards.agent_code.take(window) * np.uint8(_SHELF_CODES) + boards.shelf_code.take(window)
        numbers = self._cells.take(codes, 0)
        sent = self.messages[boards.agent_at.take(window)]
        split = CELL_NUMBERS - 2
        parts = (numbers[:, :, :split], sent, numbers[:, :, split:])
        rows[:, SELF_NUMBERS:] = np.concatenate(parts, axis=2).reshape(len(rows), -1)
        return rows

    def _images(self, agents: IntArray | None, layers: dict[str, ByteArray]) -> npt.NDArray[Any]:
        rules, boards = self._rules, self._boards
        chosen = slice(None) if agents is None else agents
        cell, direction = boards.cell[chosen], boards.direction[chosen]
        rows = self._obs if agents is None else np.empty((len(agents), rules.obs_dim), np.uint8)
        at = 0
        if rules.observation_type == "image_dict":
            at = FEATURE_NUMBERS
            loaded = boards.loaded[: boards.nobody][chosen]
            own = (cell - boards.agent_first[chosen]) * (2 * _DIRECTIONS) + direction * 2 + loaded
            rows[:, :at] = self._features.take(own, 0)
        window = self._windows.take(direction, 0)
        window += cell[:, None]
        for name in rules.image_observation_layers:
            rows[:, at : at + rules.window] = layers[name].take(window)
            at += rules.window
        return rows

    def _state(self, games: slice | IntArray, layers: dict[str, ByteArray]) -> ByteArray:
        """[k, s] the layers of the state, without walls, in a row."""
        cell_of = self._boards.geometry.cell_of
        size = self._boards.geometry.size
        parts = [layers[name].reshape(-1, size)[games][:, cell_of] for name in self._rules.state_layers]
        return np.concatenate(parts, axis=1)

    def _layer(self, name: str) -> ByteArray:
        """[B * size] one layer of all boards; 0 for walls."""
        boards = self._boards
        if name == "shelves":
            return (boards.shelf_code > 0).view(np.uint8)
        if name == "requests":
            return (boards.shelf_code == REQUESTED).view(np.uint8)
        if name == "agents":
            return (boards.agent_code > 0).view(np.uint8)
        if name == "accessible":
            free: BoolArray = boards.agent_code == 0
            return (free & self._inside).view(np.uint8)
        if name == "goals":
            return self._goal_layer
        cell = boards.cell
        if self._rules.compat:  # rware writes these two layers with row and column changed over
            geometry = boards.geometry
            y, x = np.divmod(geometry.place_of[cell - boards.agent_first], geometry.width)
            cell = geometry.cell_of[x * geometry.width + y] + boards.agent_first
        elif name == "agent_direction":
            return boards.agent_code
        layer = np.zeros(len(boards.agent_code), np.uint8)
        layer[cell] = boards.direction + 1 if name == "agent_direction" else boards.loaded[: boards.nobody]
        return layer


def _places(geometry: Geometry) -> tuple[IntArray, IntArray, IntArray, IntArray, IntArray]:
    """Of each row of the two tables below: its number, and y, x, direction and load of a robot."""
    place, direction, loaded = np.indices((len(geometry.cell_of), _DIRECTIONS, 2)).reshape(3, -1)
    row = geometry.cell_of[place] * (2 * _DIRECTIONS) + direction * 2 + loaded
    return row, place // geometry.width, place % geometry.width, direction, loaded


def _own_numbers(rules: WarehouseRules, geometry: Geometry, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """[size * 8, 8] what a robot observes of itself, by ``cell * 8 + direction * 2 + loaded``: x, y, loaded, direction
    (one-hot), whether it is on a highway."""
    row, y, x, direction, loaded = _places(geometry)
    table = np.zeros((geometry.size * 2 * _DIRECTIONS, SELF_NUMBERS), dtype)
    scale_x, scale_y = (geometry.width - 1, geometry.height - 1) if rules.normalised_coordinates else (1, 1)
    table[row, 0], table[row, 1] = x / scale_x, y / scale_y
    if rules.compat and rules.observation_type == "dict":
        table[:, :2] = np.floor(table[:, :2])
    table[row, 2] = loaded
    table[row, 3 + direction] = 1
    table[row, 7] = geometry.highway[geometry.cell_of[y * geometry.width + x]]
    return table


def _features(geometry: Geometry) -> ByteArray:
    """[size * 8, 6] what stands beside a robot's image, likewise: direction (one-hot), highway, loaded."""
    row, y, x, direction, loaded = _places(geometry)
    table = np.zeros((geometry.size * 2 * _DIRECTIONS, FEATURE_NUMBERS), np.uint8)
    table[row, direction] = 1
    table[row, 4] = geometry.highway[geometry.cell_of[y * geometry.width + x]]
    table[row, 5] = loaded
    return table


def _cell_numbers(dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """[15, 7] what is observed of a cell, by ``robot's code * 3 + shelf's code``: a robot, its direction (one-hot; "up"
    where there is none, as in rware), a shelf, whether it is requested."""
    agent, shelf = np.divmod(np.arange(_AGENT_CODES * _SHELF_CODES), _SHELF_CODES)
    table = np.zeros((len(agent), CELL_NUMBERS), dtype)
    table[:, 0] = agent > 0
    table[np.arange(len(agent)), np.maximum(agent, 1)] = 1
    table[:, 5] = shelf > 0
    table[:, 6] = shelf == REQUESTED
    return table
