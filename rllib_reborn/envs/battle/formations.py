"""Where units stand when a battle begins.

The maps' scripts create all units of a kind at one point, and the game puts them side by side around it. How exactly is not
published; here each unit, in the order of creation, takes the free place nearest to its point, so that a team is a dense
clump. Nobody overlaps, and opponents keep a little apart, so that in the first game loop nobody is pushed.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.battle.unit_stats import TABLES
from rllib_reborn.envs.smac.terrain import Terrain

#: Distance between the places that are tried, in cells: a hair more than a quarter, so that units of radius 0.375 stand on
#: every third one without touching.
_STEP = 0.2502
#: Units keep so far apart at least, so that rounding never makes them overlap.
_GAP = 1e-4
#: Farthest place from a unit's point, in cells.
_FARTHEST = 14.0
#: Opponents on one plane keep so far apart, beyond their sizes.
_OPPONENTS_APART = 0.5
#: Centres stay this far inside the map's edge.
_EDGE = 0.5
#: Places are tried in batches: most units find one close by.
_BATCHES = (64, 512, None)


@functools.lru_cache(maxsize=1)
def _offsets() -> npt.NDArray[np.float64]:
    """[C, 2] steps from a point to the places around it, nearest first; equally near ones to the east first, then to the
    north."""
    side = np.arange(-int(_FARTHEST / _STEP), int(_FARTHEST / _STEP) + 1) * _STEP
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    distance = (grid**2).sum(axis=1)
    order = np.lexsort((-grid[:, 1], -grid[:, 0], distance))
    offsets = grid[order][distance[order] <= _FARTHEST**2]
    offsets.flags.writeable = False
    return offsets


def place(
    points: npt.NDArray[np.floating], kinds: npt.NDArray[np.integer], allied: npt.NDArray[np.bool_], terrain: Terrain
) -> npt.NDArray[np.float32]:
    """Put units side by side.

    Args:
        points: [k, 2], where each is created; off the map counts as at its edge.
        kinds: [k].
        allied: [k], which side each is on.
        terrain: The ground.

    Returns:
        [k, 2] places. A unit whose point is free stands on it.

    Raises:
        ValueError: There is no room for a unit within 14 cells of its point.
    """
    radius, plane = TABLES.separation_radius[kinds].astype(np.float64), TABLES.plane[kinds]
    on_ground = TABLES.on_ground[kinds]
    size = np.array([terrain.map_x, terrain.map_y], np.float64)
    placed = np.clip(np.asarray(points, np.float64), _EDGE, size - _EDGE)
    apart = radius[:, None] + radius[None] + _GAP
    apart += _OPPONENTS_APART * (allied[:, None] != allied[None])
    apart[plane[:, None] != plane[None]] = -1
    between = np.hypot(placed[:, None, 0] - placed[None, :, 0], placed[:, None, 1] - placed[None, :, 1])
    clash = np.tril(between < apart, -1).any(axis=1)
    clash |= on_ground & ~_pathable(terrain, placed)
    for unit in range(int(clash.argmax()), len(placed)) if clash.any() else ():
        # A unit that was free may not be any more, once those before it have moved.
        before = slice(0, unit)
        if not clash[unit] and (np.hypot(*(placed[before] - placed[unit]).T) >= apart[unit, before]).all():
            continue
        placed[unit] = _nearest_free(placed[unit], placed[before], apart[unit, before], bool(on_ground[unit]), terrain)
    return placed.astype(np.float32)


def _pathable(terrain: Terrain, places: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    cells = places.astype(np.intp)
    found: npt.NDArray[np.bool_] = terrain.pathing[cells[:, 0], cells[:, 1]]
    return found


def _nearest_free(
    point: npt.NDArray[np.float64],
    others: npt.NDArray[np.float64],
    apart: npt.NDArray[np.float64],
    on_ground: bool,
    terrain: Terrain,
) -> npt.NDArray[np.float64]:
    size = np.array([terrain.map_x, terrain.map_y], np.float64)
    start = 0
    for stop in _BATCHES:
        places = point + _offsets()[start:stop]
        places = places[((places >= _EDGE) & (places <= size - _EDGE)).all(axis=1)]
        if on_ground:
            places = places[_pathable(terrain, places)]
        distance = np.hypot(places[:, None, 0] - others[None, :, 0], places[:, None, 1] - others[None, :, 1])
        free = (distance >= apart).all(axis=1)
        if free.any():
            found: npt.NDArray[np.float64] = places[free.argmax()]
            return found
        start = stop or start
    raise ValueError(
        f"no free place within {_FARTHEST:g} cells of ({point[0]:g}, {point[1]:g}) on this map; give fewer units, or "
        "points with more room."
    )
