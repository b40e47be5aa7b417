"""A map's terrain: its size, where units may walk, heights."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True, eq=False)
class Terrain:
    """A map's size, walkable cells and heights.

    Attributes:
        map_x, map_y: Size of the map in cells, >= 1.
        width, height: Size of its playable part; positions in the state are divided by these.
        pathing: [map_x, map_y] bool, whether a ground unit may stand in a cell; the cell of a point is
            ``[int(x), int(y)]``.
        terrain_height: [map_x, map_y] float, 0..1, likewise.

    Raises:
        ValueError: A size is not positive, or an array has another shape.
    """

    map_x: int
    map_y: int
    width: float
    height: float
    pathing: npt.NDArray[np.bool_]
    terrain_height: npt.NDArray[np.floating]

    def __post_init__(self) -> None:
        for name in ("map_x", "map_y", "width", "height"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Terrain.{name} is {getattr(self, name)!r}; expected a number > 0.")
        for name in ("pathing", "terrain_height"):
            shape = getattr(self, name).shape
            if shape != (self.map_x, self.map_y):
                raise ValueError(
                    f"Terrain.{name} has shape {shape}; expected {(self.map_x, self.map_y)} (map_x, map_y)."
                )

    @classmethod
    def flat(cls, map_x: int = 32, map_y: int = 32) -> Terrain:
        """Open ground of one height: every cell can be walked on, all of it is playable."""
        return cls(
            map_x=map_x,
            map_y=map_y,
            width=float(map_x),
            height=float(map_y),
            pathing=np.ones((map_x, map_y), np.bool_),
            terrain_height=np.zeros((map_x, map_y), np.float32),
        )
