"""What the ground is like around a unit, looked up by the cell that it stands in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.smac.terrain import Terrain

#: North, south, east, west, in the order of the actions.
_DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))
#: The 8 points around a unit that ``obs_pathing_grid`` tells of, in units of ``move_amount``; heights add the unit's own.
_AROUND = ((0, 2), (0, -2), (2, 0), (-2, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))


class TerrainTables:
    """Tables of a terrain by cell number ``int(x) * map_y + int(y)``.

    As the originals have it, a point's cell is found by cutting off its decimals. So a point just off the map's low edges,
    above -1, still counts as in the outermost cell.

    Args:
        terrain: The map's ground.
        move_amount: How far moves go; whether one may be made is looked up half as far.
        mirrored_heights: Flip the heights from north to south (a deviation of the originals).

    Attributes:
        around: [cells, 8] float32, whether the points around can be walked on; 1 off the map.
        heights: [cells, 9] float32, their heights and the cell's own; 1 off the map.
    """

    def __init__(self, terrain: Terrain, move_amount: float, mirrored_heights: bool) -> None:
        self._map_x, self._map_y = terrain.map_x, terrain.map_y
        self._pathing = np.ascontiguousarray(terrain.pathing)
        self._half = move_amount / 2
        heights = terrain.terrain_height[:, ::-1] if mirrored_heights else terrain.terrain_height
        x, y = np.divmod(np.arange(terrain.map_x * terrain.map_y), terrain.map_y)
        around = [(int(dx * move_amount), int(dy * move_amount)) for dx, dy in _AROUND]
        self.around = self._table(terrain.pathing.astype(np.float32), x, y, around, 1)
        self.heights = self._table(heights.astype(np.float32), x, y, [*around, (0, 0)], 1)
        self._moves: npt.NDArray[np.bool_] | None = None
        if self._half == int(self._half):
            # int(x + k) = int(x) + k from 0 up; below, -1 is reached only from beyond, and cut to 0 (the table's -1).
            half = int(self._half)
            padded = np.pad(self._pathing, ((1, 0), (1, 0)), mode="edge")
            steps = [(dx * half + 1, dy * half + 1) for dx, dy in _DIRECTIONS]
            self._moves = self._table(padded, x, y, steps, 0).astype(np.bool_)

    @staticmethod
    def _table(
        grid: npt.NDArray[np.generic],
        x: npt.NDArray[np.int64],
        y: npt.NDArray[np.int64],
        offsets: list[tuple[int, int]],
        outside: int,
    ) -> npt.NDArray[np.float32]:
        table = np.full((len(x), len(offsets)), outside, np.float32)
        for column, (dx, dy) in enumerate(offsets):
            px, py = x + dx, y + dy
            inside = (px >= 0) & (px < grid.shape[0]) & (py >= 0) & (py < grid.shape[1])
            table[inside, column] = grid[px[inside], py[inside]]
        return table

    def cells(self, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """Cell numbers of points; points off the map count as in some cell of it."""
        cells = x.astype(np.int64)
        cells *= self._map_y
        cells += y.astype(np.int64)
        return cells

    def may_move(
        self, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], cells: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """[..., 4] whether units at ``x``, ``y`` [...] may be sent north, south, east, west."""
        if self._moves is not None:
            return self._moves.take(cells, axis=0, mode="clip")
        allowed = np.zeros((*x.shape, 4), np.bool_)
        for i, (dx, dy) in enumerate(_DIRECTIONS):
            # In double precision, as the originals: a unit's place is a float32, its sum with the step need not be one.
            px = (x.astype(np.float64) + dx * self._half).astype(np.int64)
            py = (y.astype(np.float64) + dy * self._half).astype(np.int64)
            inside = (px >= 0) & (px < self._map_x) & (py >= 0) & (py < self._map_y)
            allowed[..., i] = inside
            allowed[..., i][inside] = self._pathing[px[inside], py[inside]]
        return allowed
