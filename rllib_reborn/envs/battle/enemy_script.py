"""What the enemy does: the numpy half of the physics that chooses targets.

An enemy that attack-moves keeps a target that lives and is in reach of its weapon. Otherwise it takes, in this order: the
nearest of the allies that are attacking it, at any distance; the nearest ally with a weapon in its range of acquisition; the
nearest one without; and where there is none, it goes on to its goal. One that hunts (SMACv2; 2c_vs_64zg) chases the ally
that was closest when it last had no target, until that ally dies. Nobody chooses whom its weapon does not reach in the air.

A Medivac keeps a patient in range that needs healing, else takes the nearest one in its range of acquisition, else goes on
like the others; where there is no goal it follows the nearest friend with a weapon.
"""

from __future__ import annotations

import numpy as np

from rllib_reborn.envs.battle.field_rules import (
    ARRIVED,
    ATTACKER,
    CANNOT,
    FAR,
    FOLLOW,
    HUNT_PERIOD,
    NO_TARGET,
    NOBODY,
    SCAN_PERIOD,
    SLACK,
    UNARMED,
    ZERO,
    FieldRules,
)
from rllib_reborn.envs.battle.field_state import (
    ANYWHERE,
    ATTACK,
    HEAL,
    IDLE,
    MOVE,
    BoolArray,
    FieldState,
    FloatArray,
    IntArray,
)
from rllib_reborn.envs.battle.unit_stats import MEDIVAC, TABLES


class EnemyScript:
    """Chooses the enemies' targets in all battles.

    Args:
        state: The battles.
        rules: The rules.
    """

    def __init__(self, state: FieldState, rules: FieldRules) -> None:
        self._state, self._rules = state, rules
        n, m, B = state.n, state.m, state.B
        self._x, self._y = np.zeros((n, m, B), np.float32), np.zeros((n, m, B), np.float32)
        self._flag = np.zeros((n, m, B), np.bool_)
        self.refresh()

    def refresh(self) -> None:
        """To be called when kinds of units have changed."""
        n, kind = self._state.n, self._state.kind
        self._acquire_squared = TABLES.acquire[kind[n:]] ** 2
        self._armed = TABLES.armed[kind[n:]]
        self._healers: IntArray = n + np.flatnonzero(~self._armed.all(axis=1))  # Medivacs in some battle
        cannot = TABLES.damage[kind[None, n:], kind[:n, None]] <= 0
        self._cannot = np.where(cannot, CANNOT, ZERO) if cannot[:, self._armed].any() else None
        unarmed = ~TABLES.armed[kind[:n]]
        self._unarmed = np.where(unarmed, UNARMED, ZERO) if unarmed.any() else None

    def scan(self) -> None:
        """Let the enemies of those battles choose in which it is time to."""
        s, hunting = self._state, self._rules.hunting
        due = s.clock % (HUNT_PERIOD if hunting else SCAN_PERIOD) == 0
        if not np.count_nonzero(due):
            return
        free = self._free()
        free &= due
        if np.count_nonzero(free):
            best, score = self._best_targets()
            found = score < (NOBODY if hunting else NO_TARGET)
            found &= free
            free &= ~found
            j, b = found.nonzero()
            self._aim(j + s.n, b, best[j, b], ATTACK)
            j, b = free.nonzero()
            self._send_on(j + s.n, b)
        if self._healers.size:
            self._scan_healers(due)

    def _free(self) -> BoolArray:
        """[m, B] who may choose: alive, with a weapon, and not with a target that it stays with."""
        s = self._state
        enemy = slice(s.n, None)
        free = s.alive[enemy] & self._armed
        busy = s.task[enemy] == ATTACK
        if not self._rules.hunting:
            where = s.look[enemy]
            dx = s.seen_x.take(where)
            dx -= s.x[enemy]
            dy = s.seen_y.take(where)
            dy -= s.y[enemy]
            dx *= dx
            dy *= dy
            dx += dy
            np.sqrt(dx, out=dx)
            dx -= s.near[enemy]
            in_reach = dx <= SLACK
            in_reach |= s.wind_up[enemy] >= 0
            busy &= in_reach
        free &= ~busy
        return free

    def _best_targets(self) -> tuple[IntArray, FloatArray]:
        """[m, B] the ally that each enemy would attack, and its score."""
        s, n = self._state, self._state.n
        dx, dy = self._x, self._y
        np.subtract((s.x[:n] + s.aside[:n])[:, None], s.x[None, n:], out=dx)
        np.subtract(s.y[:n, None], s.y[None, n:], out=dy)
        dx *= dx
        dy *= dy
        dx += dy
        if self._cannot is not None:
            dx += self._cannot
        if not self._rules.hunting:
            np.greater(dx, self._acquire_squared, out=self._flag)
            np.multiply(self._flag, FAR, out=dy)
            busy = s.task[:n] == ATTACK
            busy &= (s.cooldown[:n] > 0) | (s.wind_up[:n] >= 0)
            i, b = busy.nonzero()
            dy[i, s.target[i, b] - n, b] = ATTACKER
            dx += dy
            if self._unarmed is not None:
                dx += self._unarmed[:, None]
        return dx.argmin(axis=0), dx.min(axis=0)

    def _aim(self, unit: IntArray, battle: IntArray, target: IntArray, task: int) -> None:
        """Give units (pairs of number and battle) a task about targets."""
        s = self._state
        s.task[unit, battle] = task
        s.target[unit, battle] = target
        s.look[unit, battle] = target * s.B + battle
        s.near[unit, battle] = s.reach[unit, battle] + s.radius[target, battle]

    def _send_on(self, unit: IntArray, battle: IntArray) -> None:
        """Enemies without target attack-move to their goal, or stand."""
        s, goes = self._state, self._rules.attack_moves
        s.task[unit, battle] = MOVE if goes else IDLE
        s.target[unit, battle] = -1
        s.look[unit, battle] = s.own[unit, battle] + s.own.size
        s.near[unit, battle] = ARRIVED if goes else ANYWHERE

    def _scan_healers(self, due: BoolArray) -> None:
        s, n = self._state, self._state.n
        rows = self._healers
        at, b = ((s.kind[rows] == MEDIVAC) & s.alive[rows] & due).nonzero()
        if not at.size:
            return
        unit = rows[at]
        kind = s.kind[n:, b]  # [m, k]
        dx = s.x[n:, b] - s.x[unit, b]
        dy = s.y[n:, b] - s.y[unit, b]
        dx *= dx
        dy *= dy
        dx += dy
        friend = s.alive[n:, b] & (np.arange(n, s.U)[:, None] != unit)
        patient = friend & TABLES.biological[kind] & (s.health[n:, b] < s.health_max[n:, b])
        heals = s.task[unit, b] == HEAL
        target = np.where(heals, s.target[unit, b] - n, 0)
        k = np.arange(unit.size)
        kept = heals & patient[target, k]
        kept &= np.sqrt(dx[target, k]) - s.near[unit, b] <= SLACK
        score = np.where(patient, dx, CANNOT)
        best = score.argmin(axis=0)
        found = score[best, k] <= self._acquire_squared[unit - n, b]
        found &= ~kept
        self._aim(unit[found], b[found], best[found] + n, HEAL)
        on = ~kept & ~found
        if self._rules.attack_moves:
            self._send_on(unit[on], b[on])
        else:
            leads = friend[:, on] & TABLES.armed[kind[:, on]]
            self._follow(unit[on], b[on], np.where(leads, dx[:, on], CANNOT))

    def _follow(self, unit: IntArray, battle: IntArray, score: FloatArray) -> None:
        """Medivacs follow the friend of the lowest ``score`` [m, k]."""
        s = self._state
        best = score.argmin(axis=0)
        led = score[best, np.arange(unit.size)] < CANNOT
        self._send_on(unit[~led], battle[~led])
        unit, battle = unit[led], battle[led]
        self._aim(unit, battle, best[led] + s.n, MOVE)
        s.near[unit, battle] = FOLLOW
