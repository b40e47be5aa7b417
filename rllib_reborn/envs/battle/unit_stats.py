"""Facts of the ten kinds of unit, in the units of one game loop.

Sources: the game's own data as published in BurnySc2/sc2-techtree (``data.json`` as of patches 4.10 and 4.11: health,
shield, armour, attributes, damage, bonus, attacks, range, period, speed, radius); the unit blocks inside SMAC's and SMACv2's
maps (separation radii, regeneration, what collides with what; allied units there differ in two numbers, see
``ALLY_STATS``); Liquipedia for splash, healing and the Baneling's damage, of which those data have nothing: it is of a later
patch (against light units it has always been 35). The data count in seconds of the game's "normal" speed, of which a second
has 16 loops; SMAC's games run at "faster", 22.4 loops a second, which changes nothing per loop.

Wind-ups ("damage points") are in none of them, so they are our assumptions: Marine 0.05 s, Colossus 1/12 s, none for Zealot,
Stalker, Marauder, Zergling and Baneling, as we remember players' tables; the Hydralisk and the Spine Crawler are given the
engine's default of 1/6 s.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.smac.unit_types import KIND, UNIT_TYPES

#: Game loops in a second of the game's data ("normal" speed).
LOOPS_PER_SECOND = 16

#: Planes on which units get in each other's way: those on the ground; Colossi, which stride over the others; those that fly.
GROUND, STRIDING, FLYING = 0, 1, 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnitStats:
    """One kind of unit. Times are in seconds of normal speed, lengths in cells.

    Attributes:
        health, shield, armour: Points; a shield has no armour of its own.
        attributes: Of ``light``, ``armored``, ``biological``, ``mechanical``, ``massive``, ``structure``.
        damage: Of one hit, before armour; 0: it has no weapon.
        bonus: Added to a hit on units with the attribute ``bonus_against``.
        hits: Hits in one attack; each is reduced by armour.
        range: From edge to edge of the two units' radii.
        period: Between two attacks.
        wind_up: From the start of an attack until it hits; it can be called off until then.
        hits_air: Whether the weapon reaches flying units; a Colossus can be hit by everything.
        speed: Cells per second.
        radius: For distances between edges.
        separation_radius: For units that get in each other's way.
        plane: ``GROUND``, ``STRIDING`` or ``FLYING``.
        health_regeneration: Points per second.
    """

    health: float
    shield: float = 0.0
    armour: float = 0.0
    attributes: tuple[str, ...]
    damage: float = 0.0
    bonus: float = 0.0
    bonus_against: str = ""
    hits: int = 1
    range: float = 0.0
    period: float = 0.0
    wind_up: float = 0.0
    hits_air: bool = False
    speed: float
    radius: float
    separation_radius: float
    plane: int = GROUND
    health_regeneration: float = 0.0


_ZERG_REGENERATION = 35 / 128  # 0.2734 in the data; a power of two below keeps sums exact

STATS: dict[str, UnitStats] = {
    "marine": UnitStats(
        health=45,
        attributes=("light", "biological"),
        damage=6,
        range=5,
        period=0.8608,
        wind_up=0.05,
        hits_air=True,
        speed=2.25,
        radius=0.375,
        separation_radius=0.375,
    ),
    "marauder": UnitStats(
        health=125,
        armour=1,
        attributes=("armored", "biological"),
        damage=10,
        bonus=10,
        bonus_against="armored",
        range=6,
        period=1.5,
        speed=2.25,
        radius=0.5625,
        separation_radius=0.5,
    ),
    "medivac": UnitStats(
        health=150,
        armour=1,
        attributes=("armored", "mechanical"),
        speed=2.5,
        radius=0.75,
        separation_radius=0.75,
        plane=FLYING,
    ),
    "stalker": UnitStats(
        health=80,
        shield=80,
        armour=1,
        attributes=("armored", "mechanical"),
        damage=13,
        bonus=5,
        bonus_against="armored",
        range=6,
        period=1.87,
        hits_air=True,
        speed=2.953125,
        radius=0.625,
        separation_radius=0.625,
    ),
    "zealot": UnitStats(
        health=100,
        shield=50,
        armour=1,
        attributes=("light", "biological"),
        damage=8,
        hits=2,
        range=0.1,
        period=1.2,
        speed=2.25,
        radius=0.5,
        separation_radius=0.375,
    ),
    "colossus": UnitStats(
        health=200,
        shield=150,
        armour=1,
        attributes=("armored", "mechanical", "massive"),
        damage=10,
        bonus=5,
        bonus_against="light",
        hits=2,
        range=7,
        period=1.5,
        wind_up=1 / 12,
        speed=2.25,
        radius=1.0,
        separation_radius=0.75,
        plane=STRIDING,
    ),
    "zergling": UnitStats(
        health=35,
        attributes=("light", "biological"),
        damage=5,
        range=0.1,
        period=0.696,
        speed=2.953125,
        radius=0.375,
        separation_radius=0.375,
        health_regeneration=_ZERG_REGENERATION,
    ),
    "hydralisk": UnitStats(
        health=90,
        attributes=("light", "biological"),
        damage=12,
        range=5,
        period=0.825,
        wind_up=1 / 6,
        hits_air=True,
        speed=2.25,
        radius=0.625,
        separation_radius=0.5,
        health_regeneration=_ZERG_REGENERATION,
    ),
    "baneling": UnitStats(
        health=30,
        attributes=("biological",),
        damage=16,
        bonus=19,
        bonus_against="light",
        range=0.25,
        period=0.8332,
        speed=2.5,
        radius=0.375,
        separation_radius=0.375,
        health_regeneration=_ZERG_REGENERATION,
    ),
    "spine_crawler": UnitStats(
        health=300,
        armour=2,
        attributes=("armored", "biological", "structure"),
        damage=25,
        bonus=5,
        bonus_against="armored",
        range=7,
        period=1.85,
        wind_up=1 / 6,
        speed=0.0,
        radius=1.125,
        separation_radius=1.125,
        health_regeneration=_ZERG_REGENERATION,
    ),
}

#: Where SMAC's own allied units (names ending in ``_RL`` in the map files) differ from the game's.
ALLY_STATS: dict[str, UnitStats] = {
    **STATS,
    "hydralisk": dataclasses.replace(STATS["hydralisk"], health=80),
    "medivac": dataclasses.replace(STATS["medivac"], speed=2.75),
}

#: Least damage of a hit that armour would swallow.
LEAST_DAMAGE = 0.5
#: A weapon's period is lengthened by a random number of loops in this range, drawn for each attack.
RANDOM_DELAY = (-1.0, 2.0)

#: Shields come back this many loops after the last damage, so much in each loop.
SHIELD_DELAY = 10.0 * LOOPS_PER_SECOND
SHIELD_REGENERATION = 2.0 / LOOPS_PER_SECOND

#: A Medivac heals biological friends within this distance (edge to edge), so much in each loop, at this price.
HEAL_RANGE = 4.0
HEAL = 9.0 / LOOPS_PER_SECOND
HEAL_ENERGY = 3.0 / LOOPS_PER_SECOND
ENERGY_START = 50.0
ENERGY_MAX = 200.0
ENERGY_REGENERATION = 0.5625 / LOOPS_PER_SECOND

#: A Baneling hurts all opponents whose edge is within this distance of its centre. It dies with it, and when it is killed
#: it bursts too.
BURST_RADIUS = 2.2
#: A Colossus hurts all opponents on the ground whose edge touches a line through the target, across the direction of fire:
#: half its length, half its width.
LINE_HALF_LENGTH = 1.4
LINE_HALF_WIDTH = 0.15

#: Enemies look for targets within their weapon's range, but at least so far.
LEAST_ACQUIRE_RANGE = 5.0
#: A Medivac looks for patients within this distance (edge to edge of a unit of radius 0.5).
HEAL_ACQUIRE_RANGE = 6.0

FloatTable = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, eq=False)
class Tables:
    """The facts as arrays by kind; those with a leading 2 hold the enemies' at [0] and the allies' at [1].

    Attributes:
        health: [2, K].
        shield, armour, radius, separation_radius: [K].
        speed: [2, K], cells per loop.
        reach: [K], range of weapon or healing plus own radius.
        period: [K], loops.
        wind_up: [K], whole loops; an attack can only hit at the end of one.
        hits: [K] int64.
        damage: [K, K], of one hit of the first on the second, before armour; 0: it cannot hit it.
        regeneration: [K], health per loop.
        has_shield, biological, on_ground: [K] bool; ``on_ground`` is whether pathing binds it.
        plane: [K] int64.
        armed, heals, bursts, sweeps: [K] bool.
        acquire: [K], how far from centre to centre an enemy looks for targets (a Medivac: for patients).
    """

    health: FloatTable
    shield: FloatTable
    armour: FloatTable
    radius: FloatTable
    separation_radius: FloatTable
    speed: FloatTable
    reach: FloatTable
    period: FloatTable
    wind_up: FloatTable
    hits: npt.NDArray[np.int64]
    damage: FloatTable
    regeneration: FloatTable
    has_shield: npt.NDArray[np.bool_]
    biological: npt.NDArray[np.bool_]
    on_ground: npt.NDArray[np.bool_]
    plane: npt.NDArray[np.int64]
    armed: npt.NDArray[np.bool_]
    heals: npt.NDArray[np.bool_]
    bursts: npt.NDArray[np.bool_]
    sweeps: npt.NDArray[np.bool_]
    acquire: FloatTable


def _damage(attacker: UnitStats, target: UnitStats) -> float:
    if target.plane == FLYING and not attacker.hits_air:
        return 0.0
    return attacker.damage + attacker.bonus * (attacker.bonus_against in target.attributes)


def _tables() -> Tables:
    kinds = [STATS[unit_type.name] for unit_type in UNIT_TYPES]
    allies = [ALLY_STATS[unit_type.name] for unit_type in UNIT_TYPES]

    def floats(values: list[float]) -> FloatTable:
        return np.array(values, np.float32)

    def flags(values: list[bool]) -> npt.NDArray[np.bool_]:
        return np.array(values, np.bool_)

    heals = flags([name.name == "medivac" for name in UNIT_TYPES])
    ranges = floats([s.range for s in kinds])
    ranges[heals] = HEAL_RANGE
    radius = floats([s.radius for s in kinds])
    acquire = np.maximum(ranges, np.float32(LEAST_ACQUIRE_RANGE))
    acquire[heals] = HEAL_ACQUIRE_RANGE
    return Tables(
        health=np.stack([floats([s.health for s in side]) for side in (kinds, allies)]),
        shield=floats([s.shield for s in kinds]),
        armour=floats([s.armour for s in kinds]),
        radius=radius,
        separation_radius=floats([s.separation_radius for s in kinds]),
        speed=np.stack([floats([s.speed / LOOPS_PER_SECOND for s in side]) for side in (kinds, allies)]),
        reach=ranges + radius,
        period=floats([s.period * LOOPS_PER_SECOND for s in kinds]),
        wind_up=np.ceil(floats([s.wind_up * LOOPS_PER_SECOND for s in kinds])),
        hits=np.array([s.hits for s in kinds]),
        damage=np.array([[_damage(a, t) for t in kinds] for a in kinds], np.float32),
        regeneration=floats([s.health_regeneration / LOOPS_PER_SECOND for s in kinds]),
        has_shield=flags([s.shield > 0 for s in kinds]),
        biological=flags(["biological" in s.attributes for s in kinds]),
        on_ground=flags([s.plane == GROUND for s in kinds]),
        plane=np.array([s.plane for s in kinds]),
        armed=flags([s.damage > 0 for s in kinds]),
        heals=heals,
        bursts=flags([name.name == "baneling" for name in UNIT_TYPES]),
        sweeps=flags([name.name == "colossus" for name in UNIT_TYPES]),
        # From centre to centre, of a unit of the usual size.
        acquire=acquire + radius + np.float32(0.5),
    )


#: All facts by kind.
TABLES = _tables()
#: Kind of a Medivac, the one unit with energy.
MEDIVAC = KIND["medivac"]
