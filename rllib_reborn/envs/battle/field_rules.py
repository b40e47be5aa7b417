"""Numbers and switches that both implementations of the physics share. Numbers are float32, as everything they meet."""

from __future__ import annotations

import dataclasses

import numpy as np

from rllib_reborn.envs.battle.pathfinding import Paths
from rllib_reborn.envs.battle.unit_stats import (
    BURST_RADIUS,
    ENERGY_MAX,
    HEAL,
    HEAL_ENERGY,
    LEAST_DAMAGE,
    LINE_HALF_LENGTH,
    LINE_HALF_WIDTH,
    RANDOM_DELAY,
    SHIELD_DELAY,
)

#: Being in reach is judged with this much to spare, so that rounding does not keep a unit walking.
SLACK = np.float32(1e-3)
#: Distances below this have no direction.
TINY = np.float32(1e-6)
#: Loops between two looks around of enemies that attack-move, and of enemies that are sent after the closest ally: the
#: latter is the 0.5 s (of normal speed) of the trigger in SMACv2's map.
SCAN_PERIOD, HUNT_PERIOD = 4, 8
#: Enemies that reach the point they attack-move to stop within this distance of it: they cannot all stand on it.
ARRIVED = np.float32(1.0)
#: An enemy Medivac without a place to go stays this close to the nearest friend with a weapon.
FOLLOW = np.float32(2.0)
#: Centres stay this far inside the map's edge.
EDGE = np.float32(0.5)
#: Of an overlap so much is undone in a loop.
PUSH = np.float32(1.0)
#: A walking unit that has to give way to others slips sideways by this part of the overlap: so units walk around each other.
SLIP = np.float32(0.5)
#: It keeps to the side that it has chosen until it had the way to itself for so many loops: else it would turn back at each
#: bump of a line of units.
SLIP_MEMORY = 16

# Scores of possible targets: squared distance, plus these. The largest squared distance on a map is far below the first.
UNARMED = np.float32(1.0e4)
ATTACKER = np.float32(-1.0e5)
FAR = np.float32(1.0e6)
CANNOT = np.float32(1.0e9)
#: Scores below this are of somebody who may be attacked.
NO_TARGET = np.float32(5.0e5)
#: Squared distances below this are of the living: the dead are put at least ``ASIDE`` away.
NOBODY = np.float32(5.0e7)

#: A weapon's random delay is uniform from the first for the length of the second; drawn from 24 random bits.
DELAY_LOW, DELAY_SPAN = np.float32(RANDOM_DELAY[0]), np.float32(RANDOM_DELAY[1] - RANDOM_DELAY[0])
DELAY_BITS_SHIFT = np.uint64(40)
TO_UNIT = np.float32(2.0**-24)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)

LEAST = np.float32(LEAST_DAMAGE)
HEAL_STEP, HEAL_PRICE = np.float32(HEAL), np.float32(HEAL_ENERGY)
FULL_ENERGY = np.float32(ENERGY_MAX)
SHIELD_WAIT = np.float32(SHIELD_DELAY)
BURST = np.float32(BURST_RADIUS)
LINE_LENGTH, LINE_WIDTH = np.float32(LINE_HALF_LENGTH), np.float32(LINE_HALF_WIDTH)
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)


@dataclasses.dataclass(frozen=True, eq=False)
class FieldRules:
    """What is the same in all loops.

    Attributes:
        hunting: Enemies without a target are sent after the closest ally, wherever it is, and chase it until it dies.
            Otherwise they attack-move to their goal and choose freely.
        has_goal: Whether enemies that do not hunt have a point to go to.
        collisions: Whether units get in each other's way.
        map_x, map_y: Size of the map.
        paths: Walls and ways around them; None on open ground.
    """

    hunting: bool
    has_goal: bool
    collisions: bool
    map_x: int
    map_y: int
    paths: Paths | None

    @property
    def attack_moves(self) -> bool:
        """Whether enemies without a target go somewhere."""
        return self.has_goal and not self.hunting
