"""Settings of what SMACv2 draws for every episode: teams, places, skills. The drawing is in ``capabilities.py``.

Names and meanings are those of SMACv2's ``capability_config`` (Ellis et al., "SMACv2", NeurIPS 2023, and
``distributions.py`` of oxwhirl/smacv2).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from rllib_reborn.envs.smac.unit_types import KIND
from rllib_reborn.suggestions import did_you_mean


def _check_names(owner: str, names: tuple[str, ...]) -> None:
    for name in names:
        if name not in KIND:
            raise ValueError(f"{owner}: there is no unit {name!r}.{did_you_mean(name, KIND)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_share(owner: str, name: str, value: float) -> None:
    if not _is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"{owner}.{name} is {value!r}; expected a number in 0..1.")


def _check_map(owner: str, map_x: float, map_y: float) -> None:
    for name, value in (("map_x", map_x), ("map_y", map_y)):
        if not _is_number(value) or not 4 <= value <= 32:
            raise ValueError(f"{owner}.{name} is {value!r}; expected a number in 4..32, the size of SMACv2's map.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightedTeams:
    """Every unit's type is drawn by weight (``dist_type: weighted_teams``). A team of nothing but ``exceptions`` is drawn
    again. The enemy team is the allied one; the units that it has beyond are drawn likewise (and again while all of
    *them* are exceptions); if it is smaller, it is the beginning of the allied one, exceptions or not.

    Attributes:
        unit_types: Names of the types.
        weights: Their probabilities; they sum to 1.
        exceptions: Types that may not be the whole team (``exception_unit_types``).
    """

    dist_type: ClassVar[str] = "weighted_teams"
    unit_types: tuple[str, ...]
    weights: tuple[float, ...]
    exceptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_names("WeightedTeams", self.unit_types)
        if len(self.weights) != len(self.unit_types):
            raise ValueError(f"WeightedTeams has {len(self.unit_types)} unit types and {len(self.weights)} weights.")
        if not all(map(_is_number, self.weights)):
            raise ValueError(f"WeightedTeams.weights are {self.weights}; expected numbers.")
        if min(self.weights, default=-1) < 0 or abs(sum(self.weights) - 1) > 1e-6:
            raise ValueError(f"WeightedTeams.weights are {self.weights}; expected numbers >= 0 whose sum is 1.")
        _check_exceptions("WeightedTeams", self.unit_types, self.exceptions, self.weights)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AllTeams:
    """Every combination of types is equally likely, whatever the order (``dist_type: all_teams``); both sides get the
    same team, so they must be of one size.

    Attributes:
        unit_types: Names of the types.
        exceptions: Types that may not be the whole team.
    """

    dist_type: ClassVar[str] = "all_teams"
    unit_types: tuple[str, ...]
    exceptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_names("AllTeams", self.unit_types)
        _check_exceptions("AllTeams", self.unit_types, self.exceptions, (1.0,) * len(self.unit_types))


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixedTeams:
    """One of the given teams, all equally likely, in shuffled order, for both sides (``dist_type: fixed``). The
    original's ``test_mode``, which goes through the list, has no place here: a draw depends on its seed alone.

    Attributes:
        teams: The teams: unit names, as many as there are units.
    """

    dist_type: ClassVar[str] = "fixed"
    teams: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if not self.teams:
            raise ValueError("FixedTeams.teams is empty; give at least one team.")
        for team in self.teams:
            _check_names("FixedTeams", team)


def _check_exceptions(
    owner: str, unit_types: tuple[str, ...], exceptions: tuple[str, ...], weights: tuple[float, ...]
) -> None:
    for name in exceptions:
        if name not in unit_types:
            raise ValueError(f"{owner}: the exception {name!r} is not among its unit types {unit_types}.")
    if not any(weight > 0 for name, weight in zip(unit_types, weights) if name not in exceptions):
        raise ValueError(f"{owner}: all unit types {unit_types} are exceptions, so no team could ever be drawn.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReflectPositions:
    """Allies anywhere in the left half (x up to ``map_x / 2 - 1``), enemies at their mirror images; enemies beyond the
    allies' number anywhere in the right half (``dist_type: reflect_position``)."""

    dist_type: ClassVar[str] = "reflect_position"
    map_x: float = 32
    map_y: float = 32

    def __post_init__(self) -> None:
        _check_map("ReflectPositions", self.map_x, self.map_y)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SurroundedPositions:
    """Allies at the centre, enemies in 1 to 4 groups on the map's diagonals (``dist_type: surrounded``)."""

    dist_type: ClassVar[str] = "surrounded"
    map_x: float = 32
    map_y: float = 32

    def __post_init__(self) -> None:
        _check_map("SurroundedPositions", self.map_x, self.map_y)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SurroundedOrReflectedPositions:
    """:class:`ReflectPositions` with probability ``p``, else :class:`SurroundedPositions` (``dist_type:
    surrounded_and_reflect``)."""

    dist_type: ClassVar[str] = "surrounded_and_reflect"
    p: float = 0.5
    map_x: float = 32
    map_y: float = 32

    def __post_init__(self) -> None:
        _check_share("SurroundedOrReflectedPositions", "p", self.p)
        _check_map("SurroundedOrReflectedPositions", self.map_x, self.map_y)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackProbability:
    """Each agent's attacks (and heals) succeed with a probability of its own, uniform in ``low..high`` (``attack`` with
    ``dist_type: per_agent_uniform``). One that fails gives no order: the unit goes on with what it was doing.

    Attributes:
        low, high: Bounds, 0..1.
        observe: Whether team mates see the probability; if not, zeros stand in its place. An agent sees its own.
    """

    dist_type: ClassVar[str] = "per_agent_uniform"
    low: float
    high: float
    observe: bool = True

    def __post_init__(self) -> None:
        _check_bounds("AttackProbability", self.low, self.high, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HealthLevel:
    """Each agent's unit dies once its share of health falls below a level of its own, uniform in ``low..high``
    (``health`` with ``dist_type: per_agent_uniform``). The share that is seen is rescaled: 0 at the level, 1 when
    whole. Who is doomed is judged, as in the original, by what was last observed, and carried out ``kill_unit_step_mul``
    game loops before the end of a step; meanwhile a unit can be seen with a share below 0.

    Attributes:
        low, high: Bounds, 0 <= low <= high < 1.
        observe: Whether team mates see level and health share; if not, zeros stand in their place.
    """

    dist_type: ClassVar[str] = "per_agent_uniform"
    low: float
    high: float
    observe: bool = True

    def __post_init__(self) -> None:
        _check_bounds("HealthLevel", self.low, self.high, 1.0)
        if self.high >= 1:
            raise ValueError(f"HealthLevel.high is {self.high}; expected less than 1, or a whole unit would be dead.")


def _check_bounds(owner: str, low: float, high: float, most: float) -> None:
    if not 0 <= low <= high <= most:
        raise ValueError(f"{owner} has low={low!r}, high={high!r}; expected 0 <= low <= high <= {most:g}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnemyMask:
    """For each pair of agent and enemy it is drawn once per episode whether the agent can make out the enemy's health,
    shield and type (``enemy_mask`` with ``dist_type: mask``); distance and direction are always seen.

    Attributes:
        mask_probability: Probability that they are hidden. **The original has it the other way round**: there it is
            the probability that they are shown; so it is under ``compat="smacv2"``.
    """

    dist_type: ClassVar[str] = "mask"
    mask_probability: float

    def __post_init__(self) -> None:
        _check_share("EnemyMask", "mask_probability", self.mask_probability)


TeamSettings = WeightedTeams | AllTeams | FixedTeams
PositionSettings = ReflectPositions | SurroundedPositions | SurroundedOrReflectedPositions


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratedTeams:
    """What a scenario draws for every episode.

    Attributes:
        teams: How the teams are drawn.
        positions: Where they stand; None: at the scenario's spawn points.
        observe_types: Whether team mates see each other's unit types (``team_gen.observe``); if not, zeros stand in
            their place.
    """

    teams: TeamSettings
    positions: PositionSettings | None = None
    observe_types: bool = True


_TEAMS: Mapping[str, Any] = {kind.dist_type: kind for kind in (WeightedTeams, AllTeams)}
_POSITIONS: Mapping[str, Any] = {
    kind.dist_type: kind for kind in (ReflectPositions, SurroundedPositions, SurroundedOrReflectedPositions)
}
_IGNORED = ("dist_type", "observe", "env_key", "n_units", "n_enemies")


def teams_from_config(config: Mapping[str, Any]) -> TeamSettings:
    """Settings from SMACv2's ``team_gen`` block.

    Raises:
        ValueError: An unknown ``dist_type`` or key, a missing key, or ``test_mode: true``.
    """
    settings = {key: value for key, value in config.items() if key not in _IGNORED}
    dist_type = str(config.get("dist_type"))
    if dist_type == FixedTeams.dist_type:
        if settings.pop("test_mode", False):
            raise ValueError(
                "team_gen.test_mode is true, but a draw here depends on its episode's seed alone; leave it out and give "
                "the seeds of the episodes that you want."
            )
        items = _list("team_gen.items", settings.pop("items", ()))
        settings = {"teams": tuple(_list("a team of team_gen.items", team) for team in items), **settings}
        return _built("team_gen", FixedTeams, settings)
    if dist_type not in _TEAMS:
        known = (*_TEAMS, FixedTeams.dist_type)
        raise ValueError(f"team_gen.dist_type is {dist_type!r}.{did_you_mean(dist_type, known)}")
    renamed = {"exceptions" if key == "exception_unit_types" else key: value for key, value in settings.items()}
    lists = {key: _list(f"team_gen.{key}", value) for key, value in renamed.items()}
    return _built("team_gen", _TEAMS[dist_type], lists)


def positions_from_config(config: Mapping[str, Any]) -> PositionSettings:
    """Settings from SMACv2's ``start_positions`` block.

    Raises:
        ValueError: An unknown ``dist_type`` or key.
    """
    dist_type = str(config.get("dist_type"))
    if dist_type not in _POSITIONS:
        raise ValueError(f"start_positions.dist_type is {dist_type!r}.{did_you_mean(dist_type, _POSITIONS)}")
    settings = {key: value for key, value in config.items() if key not in _IGNORED}
    return _built("start_positions", _POSITIONS[dist_type], settings)


def skill_from_config(name: str, kind: Any, config: Mapping[str, Any]) -> Any:
    """An :class:`AttackProbability`, :class:`HealthLevel` or :class:`EnemyMask` (the ``kind``) from SMACv2's block
    ``name``, or from a mapping of the class's own field names.

    Raises:
        ValueError: Another ``dist_type`` than the kind's, an unknown or missing key, or bounds that are not one number
            each.
    """
    dist_type = config.get("dist_type", kind.dist_type)
    if dist_type != kind.dist_type:
        raise ValueError(f"{name}.dist_type is {dist_type!r}; expected {kind.dist_type!r}.")
    settings: dict[str, Any] = {}
    for key, value in config.items():
        if key in ("lower_bound", "upper_bound"):
            values = list(value) if isinstance(value, list | tuple) else [value]
            if len(values) != 1:
                raise ValueError(f"{name}.{key} is {value!r}; expected one number, or a list of one.")
            settings["low" if key == "lower_bound" else "high"] = values[0]
        elif key == "observe" or key not in _IGNORED:
            settings[key] = value
    if kind is EnemyMask:
        settings.pop("observe", None)
    return _built(name, kind, settings)


def _list(name: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} is {value!r}; expected a list.")
    return tuple(value)


def _built(name: str, kind: Any, settings: Mapping[str, Any]) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in settings:
        if key not in fields:
            raise ValueError(f"{name} has no setting {key!r}.{did_you_mean(key, fields)}")
    missing = [key for key, field in fields.items() if field.default is dataclasses.MISSING and key not in settings]
    if missing:
        raise ValueError(f"{name} lacks {', '.join(missing)}.")
    return kind(**settings)
