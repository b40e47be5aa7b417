"""Commands to units, as a client sends them, and the orders of the simulator that they are."""

from __future__ import annotations

from typing import Any

from s2clientprotocol import error_pb2

from rllib_reborn.envs.smac.smac_rules import ORDER_ATTACK, ORDER_HEAL, ORDER_MOVE, ORDER_STOP
from rllib_reborn.envs.starcraft.mock_server.world import World

#: The game's numbers of the abilities that there are here, and what they are called.
STOP, MOVE, ATTACK, HEAL = 4, 16, 23, 386
ABILITIES = {STOP: "stop", MOVE: "move", ATTACK: "attack", HEAL: "heal"}

_SUCCESS, _ERROR, _NOT_SUPPORTED = error_pb2.Success, error_pb2.Error, error_pb2.NotSupported


def obey(world: World, action: Any) -> int:
    """Note the orders that an ``Action`` gives to the player's units.

    Returns:
        The ``ActionResult`` that the game would give; ``Success`` alone has changed something.
    """
    if not action.action_raw.HasField("unit_command"):
        return _NOT_SUPPORTED
    command = action.action_raw.unit_command
    units = [world.index_of(tag) for tag in command.unit_tags]
    allies = [unit for unit in units if unit is not None and world.is_ally(unit)]
    if len(allies) != len(units) or not allies:
        return _ERROR
    if command.queue_command:
        return error_pb2.CantQueueThatOrder
    point, target = command.target_world_space_pos, world.index_of(command.target_unit_tag)
    ability = command.ability_id
    if ability == STOP:
        world.order(allies, ORDER_STOP)
    elif ability == MOVE:
        if not command.HasField("target_world_space_pos"):
            return error_pb2.MustTargetWalkableLocation
        world.order(allies, ORDER_MOVE, x=point.x, y=point.y)
    elif ability == ATTACK:
        if target is None or world.is_ally(target):
            return error_pb2.MustTargetEnemyUnits
        world.order(allies, ORDER_ATTACK, target=target)
    elif ability == HEAL:
        if target is None or not world.is_ally(target):
            return error_pb2.MustTargetFriendlyUnits
        if not all(world.can_heal(unit) for unit in allies):
            return _ERROR
        world.order(allies, ORDER_HEAL, target=target)
    else:
        return _NOT_SUPPORTED
    return _SUCCESS
