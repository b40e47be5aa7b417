"""One game loop of all battles as a few dozen array operations.

What happens in a loop, in this order:

1. Every few loops the enemies choose whom to attack, and their Medivacs whom to heal (:mod:`.enemy_script`).
2. Distances to what each unit is about. A unit in reach of its target whose weapon is ready begins an attack: its
   cooldown starts, and after the wind-up the attack hits, wherever the target is by then.
3. All attacks that hit in this loop are resolved together (:mod:`.attacks`).
4. Medivacs heal; shields, Zerg and energy come back.
5. Who is not in reach, and not winding up, moves straight on at full speed (no turning, no acceleration), around walls.
6. Units that overlap are pushed apart (:mod:`.collisions`). Walls and the map's edge hold them.

A loop depends on the state alone, and each battle on its own part of it. The operations are float32 and of a fixed order,
so that :mod:`.physics_numba`, which goes through the same steps battle by battle, gives the same bits.
Damage, healing and regeneration are multiples of small powers of two, so their sums are exact in any order.
"""

from __future__ import annotations

import numpy as np

from rllib_reborn.envs.battle.attacks import resolve_attacks
from rllib_reborn.envs.battle.collisions import Collisions
from rllib_reborn.envs.battle.enemy_script import EnemyScript
from rllib_reborn.envs.battle.field_rules import (
    DELAY_BITS_SHIFT,
    DELAY_LOW,
    DELAY_SPAN,
    EDGE,
    FULL_ENERGY,
    GOLDEN,
    HEAL_PRICE,
    HEAL_STEP,
    SLACK,
    TINY,
    TO_UNIT,
    FieldRules,
)
from rllib_reborn.envs.battle.field_state import ATTACK, HEAL, NOT_WINDING, FieldState, FloatArray, IntArray
from rllib_reborn.envs.battle.pathfinding import Paths
from rllib_reborn.envs.battle.unit_stats import TABLES
from rllib_reborn.envs.random_streams import mix64


class NumpyPhysics:
    """Advances a :class:`~rllib_reborn.envs.battle.field_state.FieldState`.

    Args:
        state: The battles.
        rules: The rules.
    """

    def __init__(self, state: FieldState, rules: FieldRules) -> None:
        self._state, self._rules = state, rules
        self._script = EnemyScript(state, rules)
        self._collisions = Collisions(state) if rules.collisions and state.U > 1 else None
        shape = (state.U, state.B)
        self._dx, self._dy, self._distance, self._gap, self._step = (np.zeros(shape, np.float32) for _ in range(5))
        self._reached, self._flag, self._walks = (np.zeros(shape, np.bool_) for _ in range(3))
        self._look_x, self._look_y = np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    def refresh(self) -> None:
        """To be called when kinds of units have changed."""
        self._script.refresh()
        if self._collisions is not None:
            self._collisions.refresh()

    def advance(self, loops: int) -> None:
        """Play ``loops`` game loops."""
        s = self._state
        for _ in range(loops):
            self._script.scan()
            self._measure()
            still = self._fight()
            if s.present.healers:
                self._heal()
            self._recover()
            self._walk(still)
            if self._collisions is not None:
                self._collisions.push(self._walks, self._dx, self._dy, self._gap)
            self._stay_inside()
            s.clock += 1
            s.counters += np.uint64(s.U)

    def _measure(self) -> None:
        """From every unit to what it is about: ``dx``, ``dy``, ``distance``, ``gap`` to what it calls near, ``reached``."""
        s = self._state
        s.seen_x.take(s.look, out=self._look_x, mode="clip")
        s.seen_y.take(s.look, out=self._look_y, mode="clip")
        np.subtract(self._look_x, s.x, out=self._dx)
        np.subtract(self._look_y, s.y, out=self._dy)
        distance, step = self._distance, self._step
        np.multiply(self._dx, self._dx, out=distance)
        np.multiply(self._dy, self._dy, out=step)
        np.add(distance, step, out=distance)
        np.sqrt(distance, out=distance)
        np.subtract(distance, s.near, out=self._gap)
        np.less_equal(self._gap, SLACK, out=self._reached)

    def _fight(self) -> IntArray | None:
        """Attacks begin and hit. Returns who stops for the rest of this loop: the dead, and who loses its target."""
        s, flag = self._state, self._flag
        np.maximum(s.cooldown, 0, out=s.cooldown)
        np.greater(s.cooldown, 0, out=flag)
        np.subtract(s.cooldown, flag, out=s.cooldown)
        np.less_equal(s.cooldown, 0, out=flag)
        np.logical_and(flag, self._reached, out=flag)
        np.logical_and(flag, s.task == ATTACK, out=flag)
        begins = np.flatnonzero(flag)
        if begins.size:
            s.wind_up.reshape(-1)[begins] = s.wind_up_time.reshape(-1)[begins]
            s.cooldown.reshape(-1)[begins] += s.period.reshape(-1)[begins] + self._delays(begins)
        np.equal(s.wind_up, 0, out=flag)
        hits = np.flatnonzero(flag)
        np.subtract(s.wind_up, 1, out=s.wind_up)
        np.maximum(s.wind_up, NOT_WINDING, out=s.wind_up)
        bursts = np.flatnonzero(s.bursting) if s.present.bursts else hits[:0]
        if not hits.size and not bursts.size:
            return None
        dead = resolve_attacks(s, hits, bursts)
        if not dead.size:
            return None
        s.mark_dead(dead)
        return np.concatenate([dead, s.drop_dead_targets()])

    def _delays(self, units: IntArray) -> FloatArray:
        """Random part of the cooldown: each unit has its own number in each loop."""
        s = self._state
        unit, battle = units // s.B, units % s.B
        counter = s.counters[battle] + unit.astype(np.uint64)
        counter += np.uint64(1)
        counter *= GOLDEN
        counter += s.keys[battle]
        uniform = (mix64(counter) >> DELAY_BITS_SHIFT).astype(np.float32)
        uniform *= TO_UNIT
        uniform *= DELAY_SPAN
        uniform += DELAY_LOW
        return uniform

    def _heal(self) -> None:
        s = self._state
        flag = s.task == HEAL
        flag &= self._reached
        flag &= s.energy >= HEAL_PRICE
        healers = np.flatnonzero(flag)
        if not healers.size:
            return
        patient = s.target.reshape(-1)[healers] * s.B + healers % s.B
        health, most = s.health.reshape(-1), s.health_max.reshape(-1)
        able = (health[patient] < most[patient]) & (health[patient] > 0)
        healers, patient = healers[able], patient[able]
        np.add.at(health, patient, HEAL_STEP)
        health[patient] = np.minimum(health[patient], most[patient])
        s.energy.reshape(-1)[healers] -= HEAL_PRICE

    def _recover(self) -> None:
        s, step, flag = self._state, self._step, self._flag
        if s.present.shields:
            np.subtract(s.shield_wait, 1, out=s.shield_wait)
            np.less_equal(s.shield_wait, 0, out=flag)
            np.multiply(s.shield_rate, flag, out=step)
            np.add(s.shield, step, out=s.shield)
            np.minimum(s.shield, s.shield_max, out=s.shield)
        if s.present.regeneration:
            np.add(s.health, s.regeneration, out=s.health)
            np.minimum(s.health, s.health_max, out=s.health)
        if s.present.healers:
            np.add(s.energy, s.energy_rate, out=s.energy)
            np.minimum(s.energy, FULL_ENERGY, out=s.energy)

    def _walk(self, still: IntArray | None) -> None:
        s, walks, step, distance = self._state, self._walks, self._step, self._distance
        if still is not None:
            self._reached.reshape(-1)[still] = True
        np.less(s.wind_up, 0, out=walks)
        np.greater(walks, self._reached, out=walks)
        if self._rules.paths is not None:
            self._look_x[...] = s.x  # where they were, for those who end in a wall
            self._look_y[...] = s.y
            self._take_detours(self._rules.paths)
        if self._collisions is not None:
            self._sidestep()
        np.minimum(s.speed, self._gap, out=step)
        np.multiply(step, walks, out=step)
        np.maximum(distance, TINY, out=distance)
        np.divide(step, distance, out=step)
        np.multiply(self._dx, step, out=distance)
        np.add(s.x, distance, out=s.x)
        np.multiply(self._dy, step, out=distance)
        np.add(s.y, distance, out=s.y)

    def _take_detours(self, paths: Paths) -> None:
        """Units on the ground whose straight way is blocked head for the next corner on their way."""
        s = self._state
        walkers = np.flatnonzero(self._walks & TABLES.on_ground[s.kind])
        if not walkers.size:
            return
        x, y = s.x.reshape(-1)[walkers], s.y.reshape(-1)[walkers]
        dx, dy = self._dx.reshape(-1), self._dy.reshape(-1)
        where = paths.waypoint[paths.cell(x, y), paths.cell(x + dx[walkers], y + dy[walkers])]
        around = where >= 0
        walkers, where = walkers[around], where[around]
        away_x, away_y = paths.corner_x[where] - x[around], paths.corner_y[where] - y[around]
        dx[walkers], dy[walkers] = away_x, away_y
        distance = np.sqrt(away_x * away_x + away_y * away_y)
        self._distance.reshape(-1)[walkers] = distance
        self._gap.reshape(-1)[walkers] = distance

    def _sidestep(self) -> None:
        """Who had to give way in the loop before walks square to its way now, to the side that it has chosen."""
        s = self._state
        who = np.flatnonzero(self._walks & (s.slip_clock == s.clock - 1))
        if not who.size:
            return
        dx, dy = self._dx.reshape(-1), self._dy.reshape(-1)
        left = s.slip_left.reshape(-1)[who]
        dx[who], dy[who] = np.where(left, -dy[who], dy[who]), np.where(left, dx[who], -dx[who])

    def _stay_inside(self) -> None:
        s, rules = self._state, self._rules
        for place, size in ((s.x, rules.map_x), (s.y, rules.map_y)):
            np.maximum(place, EDGE, out=place)
            np.minimum(place, np.float32(size) - EDGE, out=place)
        if rules.paths is not None:
            self._slide(rules.paths)

    def _slide(self, paths: Paths) -> None:
        """Who would end inside a wall keeps what it can of its way: one coordinate, or stays."""
        s = self._state
        x, y = s.x.reshape(-1), s.y.reshape(-1)
        inside = ~paths.open.take(paths.cell(s.x, s.y))
        inside &= TABLES.on_ground[s.kind]
        who = np.flatnonzero(inside)
        if not who.size:
            return
        old_x, old_y = self._look_x.reshape(-1)[who], self._look_y.reshape(-1)[who]
        keeps_x = paths.open.take(paths.cell(x[who], old_y))
        keeps_y = ~keeps_x & paths.open.take(paths.cell(old_x, y[who]))
        x[who] = np.where(keeps_x, x[who], old_x)
        y[who] = np.where(keeps_y, y[who], old_y)
