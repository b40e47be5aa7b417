"""What a client sees of the battle: the simulator's units as the game's raw data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s2clientprotocol import raw_pb2
from s2clientprotocol import sc2api_pb2 as sc_pb

from rllib_reborn.envs.smac.unit_types import KIND, UNIT_TYPES
from rllib_reborn.envs.smac.units import Units

#: The numbers of the two players.
PLAYER, ENEMY = 1, 2

_MEDIVAC = KIND["medivac"]
_MEDIVAC_ENERGY = 200.0
# As the game's, a tag is an index with 18 bits below it; no index is used twice in one game.
_SHIFT = 18
MAX_UNITS = 1000


class Picture:
    """The units of one battle as a ``ResponseObservation`` that is rewritten in place: most of it seldom changes.

    Args:
        units: The units as they are created; one battle.
        n_allies: How many of them, the first ones, are the player's.
        ally_type_ids: Kind -> number of the type, of allies.
        battle: Its number in its game, so that no tag comes twice.
    """

    def __init__(self, units: Units, n_allies: int, ally_type_ids: Mapping[int, int], battle: int) -> None:
        self._cast = [_unit(units, index, index < n_allies, ally_type_ids) for index in range(units.shape[1])]
        for index, unit in enumerate(self._cast):
            unit.tag = (battle * MAX_UNITS + index + 1) << _SHIFT
        self._n_allies = n_allies
        self._index_by_tag = {unit.tag: index for index, unit in enumerate(self._cast)}
        self._message = empty_observation(0)
        self._alive: list[int] = []
        self._shown: list[tuple[int, Any, Any]] = []

    def index_of(self, tag: int) -> int | None:
        """Index of the unit with this tag, alive or not; None where there is none."""
        return self._index_by_tag.get(tag)

    def message(self, units: Units, game_loop: int) -> Any:
        """The observation of now. Copy it: the next one is written into the same message."""
        health, shield, energy = units.health[0].tolist(), units.shield[0].tolist(), units.energy[0].tolist()
        cooldown, x, y = units.cooldown[0].tolist(), units.x[0].tolist(), units.y[0].tolist()
        alive = [index for index, points in enumerate(health) if points > 0]
        if alive != self._alive:
            # The game's data hold the living alone. Allies come backwards, so that clients have to sort them.
            allies = [index for index in reversed(alive) if index < self._n_allies]
            order = allies + alive[len(allies) :]
            raw = self._message.observation.raw_data.units
            del raw[:]
            raw.extend(self._cast[index] for index in order)
            self._shown = [(index, unit, unit.pos) for index, unit in zip(order, raw)]
            self._alive = alive
        for index, unit, place in self._shown:
            unit.health = health[index]
            unit.shield = shield[index]
            unit.energy = energy[index]
            unit.weapon_cooldown = cooldown[index]
            place.x = x[index]
            place.y = y[index]
        self._message.observation.game_loop = game_loop
        return self._message


def empty_observation(game_loop: int) -> Any:
    """A ``ResponseObservation`` of a map on which nobody stands."""
    message = sc_pb.ResponseObservation()
    message.observation.game_loop = game_loop
    message.observation.player_common.player_id = PLAYER
    message.observation.raw_data.SetInParent()
    return message


def _unit(units: Units, index: int, is_ally: bool, ally_type_ids: Mapping[int, int]) -> Any:
    """What never changes of a unit."""
    kind = int(units.kind[0, index])
    unit = raw_pb2.Unit(
        display_type=raw_pb2.Visible,
        alliance=raw_pb2.Self if is_ally else raw_pb2.Enemy,
        unit_type=ally_type_ids[kind] if is_ally else UNIT_TYPES[kind].type_id,
        owner=PLAYER if is_ally else ENEMY,
        build_progress=1.0,
        health_max=float(units.health_max[0, index]),
        shield_max=float(units.shield_max[0, index]),
        energy_max=_MEDIVAC_ENERGY if kind == _MEDIVAC else 0.0,
        is_flying=kind == _MEDIVAC,
    )
    unit.pos.z = 0.0
    return unit
