"""From what the game reports to arrays: the ground (``ResponseGameInfo``) and the units on it (``ResponseObservation``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.smac.capabilities import agent_order
from rllib_reborn.envs.smac.scenarios import Scenario
from rllib_reborn.envs.smac.terrain import Terrain
from rllib_reborn.envs.smac.unit_types import KIND, KIND_OF_TYPE_ID
from rllib_reborn.envs.smac.units import Units
from rllib_reborn.envs.starcraft.errors import InstallationError
from rllib_reborn.envs.starcraft.installation import HOW_TO_GET_MAPS

#: Arrays of :class:`Units` that the game reports at every look.
_REPORTED = ("x", "y", "health", "shield", "energy", "cooldown", "health_max", "shield_max")

#: Cells of a map in each direction; the game's own limit is 256.
_MOST_CELLS = 1024

#: Owners in raw data: the player who joined, and the computer.
ALLY, ENEMY = 1, 2


def terrain_of(game_info: Any) -> Terrain:
    """The ground of ``ResponseGameInfo.start_raw``.

    Pictures are sent row by row, from y = 0 upwards. Of the pathing grid there are two kinds: one bit a cell, 1 where a
    ground unit may stand; and in old versions of the game one byte a cell, 0 where it may stand, from the largest y
    downwards (as SMAC reads it). Heights are the bytes of ``terrain_height`` over 255, as they are sent.

    Raises:
        InstallationError: The map has no size, its playable area is not on it, or a picture is not of its size or of
            another depth.
    """
    start = game_info.start_raw
    low, high = start.playable_area.p0, start.playable_area.p1
    map_x, map_y = int(start.map_size.x), int(start.map_size.y)
    if not (0 < map_x <= _MOST_CELLS and 0 < map_y <= _MOST_CELLS):
        raise InstallationError(f"the game reports a map of {map_x} x {map_y} cells", "take 4.10 (docs/starcraft.md)")
    if not (0 <= low.x < high.x <= map_x and 0 <= low.y < high.y <= map_y):
        raise InstallationError(
            f"the game reports a playable area from ({low.x}, {low.y}) to ({high.x}, {high.y}) on a map of {map_x} x "
            f"{map_y} cells",
            "take 4.10 (docs/starcraft.md)",
        )
    pathing = _picture(start.pathing_grid, "pathing_grid", map_x, map_y, depths=(1, 8))
    if start.pathing_grid.bits_per_pixel == 8:
        pathing = (pathing == 0)[:, ::-1]
    heights = _picture(start.terrain_height, "terrain_height", map_x, map_y, depths=(8,))
    return Terrain(
        map_x=map_x,
        map_y=map_y,
        width=float(high.x - low.x),
        height=float(high.y - low.y),
        pathing=np.ascontiguousarray(pathing != 0),
        terrain_height=heights.astype(np.float32) / np.float32(255),
    )


def _picture(image: Any, name: str, map_x: int, map_y: int, depths: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """[map_x, map_y] values of an ``ImageData``."""
    data = np.frombuffer(image.data, np.uint8)
    cells = map_x * map_y
    if image.bits_per_pixel not in depths or data.size * 8 < cells * image.bits_per_pixel:
        raise InstallationError(
            f"the game reports a {name} of {data.size} bytes with {image.bits_per_pixel} bits a cell for a map of {map_x} x "
            f"{map_y} cells, as no known version does",
            "take 4.10 (docs/starcraft.md)",
        )
    if image.bits_per_pixel == 1:
        data = np.unpackbits(data)
    return data[:cells].reshape(map_y, map_x).T


class UnitReader:
    """Keeps the units of one battle by the game's names of them (tags).

    Args:
        scenario: Who should stand there.
        units: Where they are written, [B, U].
        row: Which of the B battles this is.
        first_ally_id: The number of the first of ``scenario.ally_ids`` among the map's own unit types; None: the smallest
            that an ally has, as on SMAC's maps.
    """

    def __init__(self, scenario: Scenario, units: Units, row: int = 0, first_ally_id: int | None = None) -> None:
        self._scenario = scenario
        #: See there; known from the first battle on.
        self.first_ally_id = first_ally_id
        #: This battle's row of every array, which are views and stay what they are.
        self._kind = units.kind[row]
        self._columns = [getattr(units, name)[row] for name in _REPORTED]
        self._health, self._shield = units.health[row], units.shield[row]
        #: Tag of each unit, allies first.
        self.tags: tuple[int, ...] = ()
        self._row_of: dict[int, int] = {}

    def everyone_is_there(self, reported: Iterable[Any]) -> bool:
        """Whether ``reported`` (``raw_data.units``) holds as many units of each side as the scenario."""
        owners = [unit.owner for unit in reported]
        return owners.count(ALLY) == self._scenario.n_agents and owners.count(ENEMY) == self._scenario.n_enemies

    def begin(self, reported: Iterable[Any]) -> None:
        """Take the units of a new battle: allies in the agents' order (:func:`agent_order`), enemies as they are reported.

        Raises:
            InstallationError: There are units that the scenario does not have: the map is another one.
        """
        units = list(reported)
        allies = [unit for unit in units if unit.owner == ALLY]
        enemies = [unit for unit in units if unit.owner == ENEMY]
        ally_kinds = self._kinds(allies, self._ally_kinds(allies), self._scenario.ally_types, "an allied")
        enemy_kinds = self._kinds(enemies, KIND_OF_TYPE_ID, self._scenario.enemy_types, "an enemy")
        x, y = [unit.pos.x for unit in allies], [unit.pos.y for unit in allies]
        order = agent_order(self._scenario, ally_kinds, x, y)
        ordered = [*(allies[i] for i in order), *enemies]
        self._kind[:] = [*(ally_kinds[i] for i in order), *enemy_kinds]
        self.tags = tuple(unit.tag for unit in ordered)
        self._row_of = {tag: row for row, tag in enumerate(self.tags)}
        self.update(ordered)

    def update(self, reported: Iterable[Any]) -> None:
        """Take what is reported of the units of this battle; whoever is not reported is dead."""
        row_of = self._row_of
        rows, values = [], []
        for unit in reported:
            row = row_of.get(unit.tag)
            if row is not None:
                pos = unit.pos
                rows.append(row)
                # In the order of _REPORTED.
                values.append(
                    (
                        pos.x,
                        pos.y,
                        unit.health,
                        unit.shield,
                        unit.energy,
                        unit.weapon_cooldown,
                        unit.health_max,
                        unit.shield_max,
                    )
                )
        self._health[:] = 0
        self._shield[:] = 0
        if rows:
            for column, reports in zip(self._columns, np.array(values, np.float32).T):
                column[rows] = reports

    def _ally_kinds(self, allies: list[Any]) -> Mapping[int, int]:
        """The map's own unit type -> kind. Found out once: in later episodes of a game all types need not be there."""
        if self.first_ally_id is None and allies:
            self.first_ally_id = min(unit.unit_type for unit in allies)
        first = self.first_ally_id or 0
        return MappingProxyType({first + place: KIND[name] for place, name in enumerate(self._scenario.ally_ids)})

    def _kinds(
        self, units: list[Any], kind_of: Mapping[int, int], names: tuple[str, ...], whose: str
    ) -> npt.NDArray[np.int64]:
        known = {KIND[name] for name in names}
        kinds = [kind_of.get(unit.unit_type, -1) for unit in units]
        for kind, unit in zip(kinds, units):
            if kind not in known:
                raise InstallationError(
                    f"the map {self._scenario.map_file}.SC2Map has {whose} unit of type {unit.unit_type}, which is none of "
                    f"{', '.join(names)}, so it is not the map of {self._scenario.name}",
                    HOW_TO_GET_MAPS,
                )
        return np.array(kinds, np.int64)
