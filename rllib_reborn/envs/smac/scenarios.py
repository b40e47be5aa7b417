"""The scenarios of SMAC (Samvelyan et al., 2019) and SMACv2 (Ellis et al., 2023): who fights whom, where, for how long.

Sources: SMAC's table of maps (``smac_maps.py``); spawn points, the order in which units are created and what the enemy is
ordered come from the maps' own scripts (``MapScript.galaxy`` and ``Objects`` of the ``.SC2Map`` files).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from rllib_reborn.envs.smac.generators import (
    GeneratedTeams,
    PositionSettings,
    SurroundedOrReflectedPositions,
    TeamSettings,
    WeightedTeams,
)
from rllib_reborn.suggestions import did_you_mean

Point = tuple[float, float]

#: The enemy's order at the start of an episode:
#: ``attack_move``: go to ``enemy_target`` and attack what is met on the way;
#: ``attack_allies``: attack the allied units as a group, wherever they are;
#: ``attack_nearest``: every half second, each enemy that is idle attacks the ally nearest to it;
#: ``hold``: nothing (it cannot move).
EnemyOrder = Literal["attack_move", "attack_allies", "attack_nearest", "hold"]

#: SMACv2's allied units carry type numbers of the map's own, in this order.
SMACV2_ALLY_IDS = (
    "baneling",
    "colossus",
    "hydralisk",
    "marauder",
    "marine",
    "medivac",
    "stalker",
    "zealot",
    "zergling",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenario:
    """One battle to be fought again and again.

    Attributes:
        name: ``"3m"``, ``"terran_5_vs_5"``, ...
        family: ``"smac"`` (the same units every episode) or ``"smacv2"`` (units and places drawn).
        map_file: Stem of the ``.SC2Map`` file.
        n_agents, n_enemies: Units of each side.
        episode_limit: Steps after which an episode is cut off.
        ally_race, enemy_race: ``"T"``, ``"P"`` or ``"Z"``; a Protoss side has shields.
        type_bits: Numbers of the one-hot of a unit's type; 0 where each side has one type.
        map_type: SMAC's name of the kind of map.
        ally_types, enemy_types: Unit names in the order of the one-hot that tells the type. In SMAC's maps of stalkers
            and zealots the enemies' order is the reverse of the allies' (a deviation, see ``SmacOptions.compat``).
        ally_ids: Unit names in ascending order of the allies' own type numbers: agents are sorted by it.
        allies: Unit name of every agent, in the agents' order; () where teams are drawn.
        enemies: Unit name of every enemy, in the order in which the map creates them; () where teams are drawn.
        ally_spawn, enemy_spawn: Point at which each unit is created, in the same order. Units that are created at one
            point are put side by side by the game. Where places are drawn these are what SMACv2 uses without.
        enemy_order: The enemy's order at the start.
        enemy_target: The point of an ``attack_move``, else None. Where there are two points, the game draws one on the
            line between them at every start.
        generated: What is drawn for every episode, or None.
    """

    name: str
    family: Literal["smac", "smacv2"]
    map_file: str
    n_agents: int
    n_enemies: int
    episode_limit: int
    ally_race: str
    enemy_race: str
    type_bits: int
    map_type: str
    ally_types: tuple[str, ...]
    enemy_types: tuple[str, ...]
    ally_ids: tuple[str, ...]
    allies: tuple[str, ...]
    enemies: tuple[str, ...]
    ally_spawn: tuple[Point, ...]
    enemy_spawn: tuple[Point, ...]
    enemy_order: EnemyOrder
    enemy_target: Point | tuple[Point, Point] | None = None
    generated: GeneratedTeams | None = None

    @property
    def n_units(self) -> int:
        """U: agents and enemies."""
        return self.n_agents + self.n_enemies

    @property
    def ally_shields(self) -> int:
        """1 where allies have shields, else 0."""
        return int(self.ally_race == "P")

    @property
    def enemy_shields(self) -> int:
        """1 where enemies have shields, else 0."""
        return int(self.enemy_race == "P")

    @property
    def has_medivacs(self) -> bool:
        """Whether there can be Medivacs, which heal instead of attacking."""
        return "medivac" in self.ally_types


# ----------------------------------------------------------------------------------------------------------------------
# SMAC

_LEFT, _RIGHT = (9.0, 16.0), (23.0, 16.0)

#: map_type -> allies' types in one-hot order, enemies' types likewise; None: whatever the enemies are.
_ONE_HOTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...] | None]] = {
    "marines": (("marine",), None),
    "stalkers": (("stalker",), None),
    "zealots": (("zealot",), None),
    "hydralisks": (("hydralisk",), None),
    "colossus": (("colossus",), None),
    "stalkers_and_zealots": (("stalker", "zealot"), ("zealot", "stalker")),
    "colossi_stalkers_zealots": (("colossus", "stalker", "zealot"), ("colossus", "stalker", "zealot")),
    "MMM": (("marauder", "marine", "medivac"), ("marauder", "marine", "medivac")),
    "bane": (("baneling", "zergling"), ("baneling", "zergling")),
}

TeamUnits = tuple[tuple[int, str], ...]


def _names(team: TeamUnits) -> tuple[str, ...]:
    return tuple(name for count, name in team for _ in range(count))


def _smac(
    name: str,
    limit: int,
    races: str,
    map_type: str,
    allies: TeamUnits,
    enemies: TeamUnits,
    *,
    ally_spawn: Point | tuple[Point, ...] = _LEFT,
    enemy_spawn: Point | tuple[Point, ...] = _RIGHT,
    enemy_order: EnemyOrder = "attack_move",
    enemy_target: Point | tuple[Point, Point] | None = _LEFT,
) -> Scenario:
    ally_names, enemy_names = _names(allies), _names(enemies)
    ally_types, enemy_types = _ONE_HOTS[map_type]
    return Scenario(
        name=name,
        family="smac",
        map_file=name,
        n_agents=len(ally_names),
        n_enemies=len(enemy_names),
        episode_limit=limit,
        ally_race=races[0],
        enemy_race=races[1],
        type_bits=len(ally_types) if len(ally_types) > 1 else 0,
        map_type=map_type,
        ally_types=ally_types,
        enemy_types=enemy_types or tuple(dict.fromkeys(enemy_names)),
        ally_ids=ally_types,
        allies=ally_names,
        enemies=enemy_names,
        ally_spawn=_each(ally_spawn, len(ally_names)),
        enemy_spawn=_each(enemy_spawn, len(enemy_names)),
        enemy_order=enemy_order,
        enemy_target=enemy_target,
    )


def _each(spawn: Point | tuple[Point, ...], count: int) -> tuple[Point, ...]:
    if isinstance(spawn[0], tuple):
        points: tuple[Point, ...] = spawn  # type: ignore[assignment]
        return points
    point: Point = spawn  # type: ignore[assignment]
    return (point,) * count


def _marines(count: int) -> TeamUnits:
    return ((count, "marine"),)


_STALKERS_3: TeamUnits = ((3, "stalker"),)
_S2_Z3: TeamUnits = ((2, "stalker"), (3, "zealot"))
_S3_Z5: TeamUnits = ((3, "stalker"), (5, "zealot"))
_C1_S3_Z5: TeamUnits = ((1, "colossus"), *_S3_Z5)
_MMM_ALLIES: TeamUnits = ((2, "marauder"), (7, "marine"), (1, "medivac"))
_CORRIDOR_END = (4.47, 4.3298)
_FAR_CORNER = (27.91, 28.24)
_HYDRALISKS_AT = (14.5998, 9.49)

#: The 23 scenarios of SMAC by name.
SMAC_SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        made.name: made
        for made in (
            _smac("3m", 60, "TT", "marines", _marines(3), _marines(3)),
            _smac("8m", 120, "TT", "marines", _marines(8), _marines(8)),
            _smac("25m", 150, "TT", "marines", _marines(25), _marines(25)),
            _smac("5m_vs_6m", 70, "TT", "marines", _marines(5), _marines(6)),
            _smac("8m_vs_9m", 120, "TT", "marines", _marines(8), _marines(9)),
            _smac("10m_vs_11m", 150, "TT", "marines", _marines(10), _marines(11)),
            _smac("27m_vs_30m", 180, "TT", "marines", _marines(27), _marines(30)),
            _smac("MMM", 150, "TT", "MMM", _MMM_ALLIES, ((7, "marine"), (2, "marauder"), (1, "medivac"))),
            _smac("MMM2", 180, "TT", "MMM", _MMM_ALLIES, ((8, "marine"), (3, "marauder"), (1, "medivac"))),
            _smac("2s3z", 120, "PP", "stalkers_and_zealots", _S2_Z3, _S2_Z3),
            _smac("3s5z", 150, "PP", "stalkers_and_zealots", _S3_Z5, _S3_Z5),
            _smac("3s5z_vs_3s6z", 170, "PP", "stalkers_and_zealots", _S3_Z5, ((3, "stalker"), (6, "zealot"))),
            _smac("3s_vs_3z", 150, "PP", "stalkers", _STALKERS_3, ((3, "zealot"),)),
            _smac("3s_vs_4z", 200, "PP", "stalkers", _STALKERS_3, ((4, "zealot"),)),
            _smac("3s_vs_5z", 250, "PP", "stalkers", _STALKERS_3, ((5, "zealot"),)),
            _smac("1c3s5z", 180, "PP", "colossi_stalkers_zealots", _C1_S3_Z5, _C1_S3_Z5),
            _smac(
                "2m_vs_1z",
                150,
                "TP",
                "marines",
                _marines(2),
                ((1, "zealot"),),
                ally_spawn=((13, 12), (19, 12)),
                enemy_spawn=(16, 19),
                enemy_target=((13, 12), (19, 12)),
            ),
            _smac(
                "corridor",
                400,
                "PZ",
                "zealots",
                ((6, "zealot"),),
                ((24, "zergling"),),
                ally_spawn=(19.0397, 19.1198),
                enemy_spawn=_FAR_CORNER,
                enemy_target=_CORRIDOR_END,
            ),
            _smac(
                "6h_vs_8z",
                150,
                "ZP",
                "hydralisks",
                ((6, "hydralisk"),),
                ((8, "zealot"),),
                ally_spawn=_HYDRALISKS_AT,
                enemy_spawn=(14.41, 16.7597),
                enemy_target=_HYDRALISKS_AT,
            ),
            _smac(
                "2s_vs_1sc",
                300,
                "PZ",
                "stalkers",
                ((2, "stalker"),),
                ((1, "spine_crawler"),),
                ally_spawn=((11.1208, 10.338), (16.976, 10.3662)),
                enemy_spawn=(13.92, 20.0397),
                enemy_order="hold",
                enemy_target=None,
            ),
            _smac(
                "so_many_baneling",
                100,
                "PZ",
                "zealots",
                ((7, "zealot"),),
                ((32, "baneling"),),
                ally_spawn=(11.469, 12.0234),
                enemy_spawn=_FAR_CORNER,
                enemy_target=_CORRIDOR_END,
            ),
            _smac(
                "bane_vs_bane",
                200,
                "ZZ",
                "bane",
                ((4, "baneling"), (20, "zergling")),
                ((20, "zergling"), (4, "baneling")),
                ally_spawn=((16, 8),) * 4 + ((16, 11),) * 20,
                enemy_spawn=((16, 21),) * 20 + ((16, 24),) * 4,
                enemy_target=(16, 8),
            ),
            _smac(
                "2c_vs_64zg",
                400,
                "PZ",
                "colossus",
                ((2, "colossus"),),
                ((64, "zergling"),),
                ally_spawn=(16, 16),
                enemy_spawn=(16, 9),
                enemy_order="attack_allies",
                enemy_target=None,
            ),
        )
    }
)

# ----------------------------------------------------------------------------------------------------------------------
# SMACv2

#: race -> letter, types in one-hot order (by falling weight), the types that may not be a whole team.
_SMACV2_RACES: Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "terran": ("T", ("marine", "marauder", "medivac"), ("medivac",)),
    "protoss": ("P", ("stalker", "zealot", "colossus"), ()),
    "zerg": ("Z", ("zergling", "hydralisk", "baneling"), ("baneling",)),
}
_SMACV2_WEIGHTS = (0.45, 0.45, 0.1)
_SMACV2_SIZES = ((5, 5), (10, 10), (10, 11), (20, 20), (20, 23))
_SMACV2_LIMIT = 200
_SMACV2_ALLIES_AT, _SMACV2_ENEMIES_AT = (8.0, 16.0), (24.0, 16.0)


def smacv2_scenario(
    race: str,
    n_agents: int,
    n_enemies: int,
    *,
    teams: TeamSettings | None = None,
    positions: PositionSettings | Literal["standard"] | None = "standard",
    observe_types: bool = True,
) -> Scenario:
    """A scenario of SMACv2's kind, of any size.

    Args:
        race: ``"terran"``, ``"protoss"`` or ``"zerg"``.
        n_agents, n_enemies: Units of each side, >= 1.
        teams: How teams are drawn; None: as in SMACv2's own configs.
        positions: Where they start; None: all allies at (8, 16), all enemies at (24, 16), as SMACv2 without
            ``start_positions``.
        observe_types: Whether team mates see each other's types.

    Raises:
        ValueError: An unknown race, a size below 1, a unit of another race, or teams that cannot have these sizes.
    """
    if race not in _SMACV2_RACES:
        raise ValueError(
            f"race is {race!r}; expected one of {tuple(_SMACV2_RACES)}.{did_you_mean(race, _SMACV2_RACES)}"
        )
    for label, count in (("n_agents", n_agents), ("n_enemies", n_enemies)):
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"{label} is {count!r}; expected a whole number >= 1.")
    letter, types, exceptions = _SMACV2_RACES[race]
    if teams is None:
        teams = WeightedTeams(unit_types=types, weights=_SMACV2_WEIGHTS, exceptions=exceptions)
    _check_teams(teams, race, types, n_agents, n_enemies)
    return Scenario(
        name=f"{race}_{n_agents}_vs_{n_enemies}",
        family="smacv2",
        map_file="32x32_flat",
        n_agents=n_agents,
        n_enemies=n_enemies,
        episode_limit=_SMACV2_LIMIT,
        ally_race=letter,
        enemy_race=letter,
        type_bits=len(types),
        map_type=f"{race}_gen",
        ally_types=types,
        enemy_types=types,
        ally_ids=SMACV2_ALLY_IDS,
        allies=(),
        enemies=(),
        ally_spawn=(_SMACV2_ALLIES_AT,) * n_agents,
        enemy_spawn=(_SMACV2_ENEMIES_AT,) * n_enemies,
        enemy_order="attack_nearest",
        generated=GeneratedTeams(
            teams=teams,
            positions=SurroundedOrReflectedPositions() if positions == "standard" else positions,
            observe_types=observe_types,
        ),
    )


def _check_teams(teams: TeamSettings, race: str, types: tuple[str, ...], n_agents: int, n_enemies: int) -> None:
    used = [name for team in teams.teams for name in team] if hasattr(teams, "teams") else list(teams.unit_types)
    for name in used:
        if name not in types:
            raise ValueError(f"{name!r} is no unit of SMACv2's {race} teams; they have {', '.join(types)}.")
    if isinstance(teams, WeightedTeams):
        return
    if n_agents != n_enemies:
        raise ValueError(
            f"{type(teams).__name__} gives both sides the same team, but there are {n_agents} agents and {n_enemies} "
            "enemies; use WeightedTeams, or equal sizes."
        )
    sizes = {len(team) for team in teams.teams} if hasattr(teams, "teams") else {n_agents}
    if sizes != {n_agents}:
        raise ValueError(f"the fixed teams have {sorted(sizes)} units; expected {n_agents}, the number of agents.")


#: The 15 scenarios of SMACv2 by name.
SMACV2_SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        made.name: made
        for made in (smacv2_scenario(race, n, m) for race in ("terran", "protoss", "zerg") for n, m in _SMACV2_SIZES)
    }
)

#: Every scenario by name, SMAC's first.
SCENARIOS: Mapping[str, Scenario] = MappingProxyType({**SMAC_SCENARIOS, **SMACV2_SCENARIOS})


@functools.cache
def scenario(name: str) -> Scenario:
    """The scenario of that name.

    Raises:
        ValueError: There is none; the message names the nearest.
    """
    if name in SCENARIOS:
        return SCENARIOS[name]
    raise ValueError(f"there is no scenario {name!r}.{did_you_mean(name, SCENARIOS, most=len(SCENARIOS))}")
