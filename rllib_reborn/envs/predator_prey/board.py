"""Index tables of a board: everything about the grid's shape that can be worked out once.

A board is a flat array of cells with walls around the grid, so that a move is one addition and needs no edge
check::

    row 0            wall wall wall wall wall ...
    row 1            (0,0) (0,1) ... (0,W-1) wall ...       cell (y, x) is number (y + 1) * pitch + x; the
    walls at the ...                                                     end of a row also stand left of the
    next row's first cell row H            (H-1,0) ...             wall ...
    row H+1          wall wall wall wall wall ...
    row H+reach+3    the limbo of whoever has left the game, amid walls

The limbo is so far away that nobody on the grid sees it, and everything there counts as occupied.

Relative positions are differences of cell numbers. The pitch is chosen such that no two relative positions
that matter have the same difference: on a bounded board W + r suffices for those inside a window; on a torus,
where far apart can mean near, all of them must differ: 2W - 1.
"""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.predator_prey.rules import (
    ACTION_NAMES,
    CATCH,
    MOVES,
    N_CHANNELS,
    STAY,
    PredatorPreyRules,
)

#: Occupancy of a cell: 0 free, 1 taken. Two bytes, so that the 4 neighbours of a cell fill one 64-bit word.
OCCUPANCY_DTYPE = np.uint16

#: Multiplying the word of 4 neighbours by this gathers their 4 bits in its top half: lane i (bit 16 i) lands
#: on bit 48 + i, all other products land below bit 36 or beyond bit 63, and none collide.
GATHER_LANES = sum(1 << (48 - 15 * i) for i in range(4))
#: Shift after which the 4 bits stand at bits 4..7, and bits 0..3 are free for a choice number.
GATHER_SHIFT = 44

#: A prey's random choice is a number in 0..11, which splits evenly among 1, 2, 3 or 4 free neighbours.
N_CHOICES = 12
#: The choice number that stands for "does not move".
CHOICE_REST = 12

IntArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]


class BoardTables:
    """The tables of one board; all cell numbers are within one board.

    Attributes:
        size: Cells of a board, walls and limbo included.
        limbo: Cell of those that have left. As observers they look from ``2 * limbo``, from where nobody is
            shown, not even others in limbo.
        cell_of: [H*W], cell number of grid position y * W + x.
        position_of: [size], the inverse; -1 for anything off the grid.
        occupancy: [size], :data:`OCCUPANCY_DTYPE`, an empty board.
        action_step: [A], what an action adds to a cell number on a bounded board.
        neighbours: [size, 5], the cell right, down, left, up and the cell itself, on a torus (limbo stays
            limbo).
        legal: [size, A] bool, the actions open to a predator there, before ``catch`` is looked at: moves that
            stay on the grid (DCG: moves into walls are not available), and ``stay``; in limbo only ``stay``.
        prey_step: [256], the direction 0..3, or 4 for "stays", of a prey, by ``occupied neighbours << 4 |
            choice``.
        pair_range: Number of differences of cell numbers in the two tables below, per channel.
        pair_zero: Where the difference 0 stands in them.
        in_window: [3 * pair_range] bool, by ``channel * pair_range + pair_zero + (cell - observer's cell)``.
        window_byte: The same index -> number in the observation.
    """

    def __init__(self, rules: PredatorPreyRules) -> None:
        height, width, radius = rules.height, rules.width, rules.obs_radius
        pitch = max(2 * width - 1, width + 1) if rules.toroidal else width + radius
        # Rows between the grid and limbo: more than anybody's view spans.
        reach = height if rules.toroidal else radius
        self.size = (height + reach + 5) * pitch
        self.limbo = (height + reach + 3) * pitch
        y, x = np.divmod(np.arange(height * width), width)
        self.cell_of: IntArray = (y + 1) * pitch + x
        self.position_of: IntArray = np.full(self.size, -1, np.intp)
        self.position_of[self.cell_of] = np.arange(height * width)
        self.occupancy = np.ones(self.size, OCCUPANCY_DTYPE)
        self.occupancy[self.cell_of] = 0
        self.action_step: IntArray = np.zeros(len(ACTION_NAMES), np.intp)
        self.action_step[: len(MOVES)] = [down * pitch + right for down, right in MOVES]

        self.neighbours: IntArray = np.repeat(np.arange(self.size)[:, None], 5, axis=1)
        self.legal = np.zeros((self.size, len(ACTION_NAMES)), np.bool_)
        self.legal[:, STAY] = True
        self.legal[self.cell_of, CATCH] = True
        for action, (down, right) in enumerate(MOVES):
            to_y, to_x = y + down, x + right
            wrapped = (to_y % height) * width + to_x % width
            self.neighbours[self.cell_of, action] = self.cell_of[wrapped]
            inside = (to_y >= 0) & (to_y < height) & (to_x >= 0) & (to_x < width)
            self.legal[self.cell_of, action] = inside | rules.toroidal

        self.prey_step = _prey_steps()

        self.pair_zero = 2 * self.size
        self.pair_range = 2 * self.pair_zero
        self.in_window = np.zeros(N_CHANNELS * self.pair_range, np.bool_)
        self.window_byte: IntArray = np.zeros(N_CHANNELS * self.pair_range, np.intp)
        far_y, far_x = np.meshgrid(np.arange(1 - height, height), np.arange(1 - width, width), indexing="ij")
        near_y, near_x = far_y, far_x
        if rules.toroidal:
            near_y = (far_y + height // 2) % height - height // 2
            near_x = (far_x + width // 2) % width - width // 2
        in_sight = (abs(near_y) <= radius) & (abs(near_x) <= radius)
        window_cell = ((near_y + radius) * (2 * radius + 1) + near_x + radius)[in_sight]
        for channel in range(N_CHANNELS):
            index = channel * self.pair_range + self.pair_zero + (far_y * pitch + far_x)[in_sight]
            self.in_window[index] = True
            self.window_byte[index] = window_cell * N_CHANNELS + channel


def wall_windows(rules: PredatorPreyRules, tables: BoardTables) -> npt.NDArray[np.int8]:
    """[size, obs_dim] what a predator on each cell of the board sees of the walls: -1 in the plane of predators on every
    cell of its window off the grid. Zeros in limbo."""
    side = 2 * rules.obs_radius + 1
    shown = np.zeros((tables.size, side, side, N_CHANNELS), np.int8)
    y, x = np.divmod(np.arange(rules.height * rules.width), rules.width)
    reach = np.arange(side) - rules.obs_radius
    to_y, to_x = y[:, None] + reach, x[:, None] + reach
    on_grid = ((to_y >= 0) & (to_y < rules.height))[:, :, None] & ((to_x >= 0) & (to_x < rules.width))[:, None, :]
    shown[tables.cell_of, :, :, 0] = np.where(on_grid, 0, -1)
    return shown.reshape(tables.size, -1)


def _prey_steps() -> IntArray:
    table = np.full(256, STAY, np.intp)
    for occupied in range(16):
        free = [i for i in range(4) if not occupied >> _lane_bit(i) & 1]
        for choice in range(N_CHOICES):
            if free:
                table[occupied << 4 | choice] = free[choice * len(free) // N_CHOICES]
    return table


def _lane_bit(neighbour: int) -> int:
    """Which of the 4 gathered bits belongs to a neighbour; memory order decides."""
    return neighbour if sys.byteorder == "little" else 3 - neighbour
