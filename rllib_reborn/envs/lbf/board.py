"""Index tables of a board: everything about its shape that can be worked out once.

A board is a flat array of cells with walls around the field, so that a move is one addition and needs no edge check: cell
(row, column) is number ``(row + 1) * pitch + column``, and the wall that ends a row also stands left of the next one's first
cell. One more cell behind the last wall, the limbo, is where food lies that was taken: behind all others in their order.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.lbf.rules import ACTION_NAMES, MOVES, ForagingRules

IntArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]


class FieldTables:
    """The tables of one board; cells are numbered within it.

    Attributes:
        size: Cells of a board, walls and limbo included.
        limbo: Cell of the foods that were taken.
        cell_of: [rows * columns], cell of position ``row * columns + column``.
        position_of: [size], the inverse; -1 for walls and limbo.
        place_of: [size, 2] int8, row and column; -1, -1 for walls and limbo.
        walls: [size] bool, where nobody can go: walls and limbo.
        step: [A], what an action adds to a cell.
        beside: [4], what leads to the four cells beside one.
        inner: [I] positions at which food may lie at the start: all but those on the border.
        forbids: [I, 13] for each of them, indices into ``inner`` of those at which no other food may lie then; some more
            than once, so that all rows are as long.
    """

    def __init__(self, rules: ForagingRules) -> None:
        rows, columns = rules.field_size
        pitch = columns + 1
        self.size = (rows + 2) * pitch + 1
        self.limbo = self.size - 1
        row, column = np.divmod(np.arange(rows * columns), columns)
        self.cell_of: IntArray = (row + 1) * pitch + column
        self.position_of: IntArray = np.full(self.size, -1, np.intp)
        self.position_of[self.cell_of] = np.arange(rows * columns)
        self.place_of = np.full((self.size, 2), -1, np.int8)
        self.place_of[self.cell_of] = np.stack([row, column], 1)
        self.walls: BoolArray = self.position_of < 0
        self.beside: IntArray = np.array([down * pitch + right for down, right in MOVES])
        self.step: IntArray = np.zeros(len(ACTION_NAMES), np.intp)
        self.step[1 : 1 + len(MOVES)] = self.beside
        inside = (row > 0) & (row < rows - 1) & (column > 0) & (column < columns - 1)
        self.inner: IntArray = np.flatnonzero(inside)
        self.forbids = _forbids(row[self.inner], column[self.inner])


def too_close(down: IntArray, right: IntArray) -> BoolArray:
    """Whether a food may not lie so far down and right of another one (or not at all: in its cell)."""
    down, right = abs(down), abs(right)
    around: BoolArray = (down <= 1) & (right <= 1)
    straight: BoolArray = (down + right == 2) & (down * right == 0)
    return around | straight


def _forbids(row: IntArray, column: IntArray) -> IntArray:
    table = np.repeat(np.arange(len(row))[:, None], 13, axis=1)
    for i in range(len(row)):
        near = np.flatnonzero(too_close(row - row[i], column - column[i]))
        table[i, : len(near)] = near
    return table
