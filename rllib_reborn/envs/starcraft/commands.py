"""From orders to what the game is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rllib_reborn.envs.smac.smac_rules import ORDER_ATTACK, ORDER_HEAL, ORDER_MOVE, ORDER_NONE, ORDER_STOP, Orders
from rllib_reborn.envs.starcraft.packages import protocol

#: Order -> the game's number of the ability.
ABILITY = {ORDER_STOP: 4, ORDER_MOVE: 16, ORDER_ATTACK: 23, ORDER_HEAL: 386}


def commands_of(orders: Orders, row: int, tags: Sequence[int]) -> list[Any]:
    """Commands (``raw_pb2.ActionRawUnitCommand``) of one battle.

    Args:
        orders: The agents' orders, [B, n].
        row: Which of the B battles.
        tags: [U] the game's names of the units, allies first.
    """
    make = protocol().raw.ActionRawUnitCommand
    commands = []
    kinds, targets = orders.kind[row].tolist(), orders.target[row].tolist()
    for agent, kind in enumerate(kinds):
        if kind == ORDER_NONE:
            continue
        command = make(ability_id=ABILITY[kind], unit_tags=(tags[agent],), queue_command=False)
        if kind == ORDER_MOVE:
            point = command.target_world_space_pos
            point.x, point.y = float(orders.x[row, agent]), float(orders.y[row, agent])
        elif kind in (ORDER_ATTACK, ORDER_HEAL):
            command.target_unit_tag = tags[targets[agent]]
        commands.append(command)
    return commands
