"""The ten kinds of unit that SMAC and SMACv2 use, as far as observations, masks and rewards need to know them.

Nothing of physics is here: damage, speed and size belong to whoever lets the battle happen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnitType:
    """A kind of unit.

    Attributes:
        name: Lower-case name, e.g. ``"marine"``.
        type_id: StarCraft II's own number of it (enemies carry it; allied units carry a number of the map's own).
        race: ``"T"`` (Terran), ``"P"`` (Protoss) or ``"Z"`` (Zerg).
        max_cooldown: Game loops by which SMAC divides an ally's weapon cooldown; of a Medivac, which has no weapon,
            the energy by which its energy is divided. Not always the game's own figure.
        max_shield: What SMAC divides a shield by; 0 for units without.
        smacv2_range: Reach of attack or heal under SMACv2's ``use_unit_ranges``, before ``min_attack_range``.
        smacv2_sight: Sight under ``use_unit_ranges``.
    """

    name: str
    type_id: int
    race: str
    max_cooldown: float
    max_shield: float = 0.0
    smacv2_range: float
    smacv2_sight: float


#: All kinds in their fixed order; a unit's *kind* is its index here. Sources: ``unit_max_cooldown``,
#: ``unit_max_shield`` of oxwhirl/smac; ``unit_shoot_range``, ``unit_sight_range`` of oxwhirl/smacv2. The spine crawler
#: is never an ally; its cooldown is the original's figure for unknown units, its ranges are the game's.
UNIT_TYPES: tuple[UnitType, ...] = (
    UnitType(name="marine", type_id=48, race="T", max_cooldown=15, smacv2_range=5, smacv2_sight=9),
    UnitType(name="marauder", type_id=51, race="T", max_cooldown=25, smacv2_range=6, smacv2_sight=10),
    UnitType(name="medivac", type_id=54, race="T", max_cooldown=200, smacv2_range=4, smacv2_sight=11),
    UnitType(name="stalker", type_id=74, race="P", max_cooldown=35, max_shield=80, smacv2_range=6, smacv2_sight=10),
    UnitType(name="zealot", type_id=73, race="P", max_cooldown=22, max_shield=50, smacv2_range=0.1, smacv2_sight=9),
    UnitType(name="colossus", type_id=4, race="P", max_cooldown=24, max_shield=150, smacv2_range=7, smacv2_sight=10),
    UnitType(name="zergling", type_id=105, race="Z", max_cooldown=11, smacv2_range=0.1, smacv2_sight=8),
    UnitType(name="hydralisk", type_id=107, race="Z", max_cooldown=10, smacv2_range=5, smacv2_sight=9),
    UnitType(name="baneling", type_id=9, race="Z", max_cooldown=1, smacv2_range=0.25, smacv2_sight=8),
    UnitType(name="spine_crawler", type_id=98, race="Z", max_cooldown=15, smacv2_range=7, smacv2_sight=11),
)

#: Name -> kind.
KIND: Mapping[str, int] = MappingProxyType({unit_type.name: kind for kind, unit_type in enumerate(UNIT_TYPES)})

#: StarCraft II's number -> kind.
KIND_OF_TYPE_ID: Mapping[int, int] = MappingProxyType({unit_type.type_id: k for k, unit_type in enumerate(UNIT_TYPES)})


def kinds_of(names: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """[len(names)] the kinds of the named units."""
    return np.array([KIND[name] for name in names], np.int64)


def table_of(attribute: str) -> npt.NDArray[np.float32]:
    """[number of kinds] one numeric attribute of all kinds, to be indexed by kind."""
    return np.array([getattr(unit_type, attribute) for unit_type in UNIT_TYPES], np.float32)
