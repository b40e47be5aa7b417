"""The ground of the simulator's scenarios: 32 x 32 cells, open, but for three of SMAC's maps.

``corridor``, ``so_many_baneling`` and ``2c_vs_64zg`` have cliffs in the game. Those maps are their makers' property and are
not copied: the walls here are invented. They stand where the scenario needs them, and nothing else about them is like the
game's.

* ``corridor``: a wall from north-west to south-east behind the allies, with one narrow way through it. In the open they are
  overrun; in the way through they can hold.
* ``so_many_baneling``: such a wall between the enemies and the allies.
* ``2c_vs_64zg``: a thin ridge between the Zerglings and the Colossi, which stride over it; the Zerglings must go around its
  western end.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.smac.scenarios import Scenario
from rllib_reborn.envs.smac.terrain import Terrain

_SIZE = 32
#: Scenario -> where the wall begins and ends, in ``(x + y) / 2``, and half the width of the way through it, in
#: ``|x - y| / 2``.
_WALLS = {"corridor": (14.5, 17.5, 1.3), "so_many_baneling": (16.0, 18.5, 1.8)}
#: The row of cells in which the ridge lies, and its western end.
_RIDGE_ROW, _RIDGE_WEST = 12, 8


def terrain_of(scenario: Scenario) -> Terrain:
    """The ground on which the simulator plays a scenario."""
    wall = _wall(scenario)
    if wall is None:
        return Terrain.flat(_SIZE, _SIZE)
    return Terrain(
        map_x=_SIZE,
        map_y=_SIZE,
        width=float(_SIZE),
        height=float(_SIZE),
        pathing=~wall,
        terrain_height=wall.astype(np.float32),
    )


def _wall(scenario: Scenario) -> npt.NDArray[np.bool_] | None:
    """[32, 32] bool, where the ground is blocked; None: nowhere."""
    if scenario.family != "smac":
        return None
    x, y = np.meshgrid(np.arange(_SIZE) + 0.5, np.arange(_SIZE) + 0.5, indexing="ij")
    if scenario.name == "2c_vs_64zg":
        ridge: npt.NDArray[np.bool_] = (y.astype(int) == _RIDGE_ROW) & (x > _RIDGE_WEST)
        return ridge
    if scenario.name in _WALLS:
        begin, end, half_width = _WALLS[scenario.name]
        along = (x + y) / 2
        wall: npt.NDArray[np.bool_] = (along >= begin) & (along < end) & (np.abs(x - y) / 2 > half_width)
        return wall
    return None
