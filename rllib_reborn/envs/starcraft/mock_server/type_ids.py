"""Numbers of unit types: the game's own for enemies, and numbers of the maps' own for allies, as SMAC's maps have them
(their allied units are copies that do not act by themselves)."""

from __future__ import annotations

from types import MappingProxyType

from rllib_reborn.envs.smac.scenarios import SMACV2_ALLY_IDS, Scenario
from rllib_reborn.envs.smac.unit_types import KIND, KIND_OF_TYPE_ID, UNIT_TYPES

#: The first number that a map gives to its own units. What it is depends on the game's version and
#: clients have to find out.
FIRST_OWN = 1970

#: How many types of unit the game lists on SMACv2's map, whose own ones are the last of them.
TYPES_ON_SMACV2_MAP = FIRST_OWN + len(SMACV2_ALLY_IDS)

_SMACV2_KINDS = MappingProxyType({FIRST_OWN + i: KIND[name] for i, name in enumerate(SMACV2_ALLY_IDS)})


def ally_type_ids(scenario: Scenario | None) -> dict[int, int]:
    """Kind -> the number that allies of this kind have on a map; None is SMACv2's map."""
    names = SMACV2_ALLY_IDS if scenario is None else scenario.ally_ids
    return {KIND[name]: FIRST_OWN + i for i, name in enumerate(names)}


def kind_of_created(type_id: int, *, for_player: bool) -> int | None:
    """The kind of unit that ``create_unit`` makes on SMACv2's map: the map's own types for the player, the game's for the
    enemy. None where this server has no such unit."""
    return (_SMACV2_KINDS if for_player else KIND_OF_TYPE_ID).get(type_id)


def names_by_type_id() -> dict[int, str]:
    """Number -> name of all units that this server has, allies as SMACv2's map names them."""
    own = {FIRST_OWN + i: f"{name.capitalize()}_RL" for i, name in enumerate(SMACV2_ALLY_IDS)}
    return {unit_type.type_id: unit_type.name.capitalize() for unit_type in UNIT_TYPES} | own
