"""Everything that decides how battles go on, as arrays [U, B]: units first, so that one operation serves all battles and
pairs of units are views."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.battle.unit_stats import ENERGY_REGENERATION, ENERGY_START, SHIELD_REGENERATION, TABLES

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.intp]

#: What a unit is about. A unit with a target looks at it, one without at its goal.
IDLE, MOVE, ATTACK, HEAL = 0, 1, 2, 3
#: Wind-up of a unit that is not attacking just now.
NOT_WINDING = -1.0
#: ``near`` of a unit that is where it wants to be; more than any distance on a map, and finite, because it is multiplied.
ANYWHERE = np.float32(1.0e6)
#: The dead are moved aside by this much, each by another multiple, where pairs of units are compared.
ASIDE = np.float32(1.0e4)
#: A clock before all battles.
_LONG_AGO = -1_000_000

#: What :meth:`FieldState.get_state` holds: all but what follows from it.
_SAVED = (
    "kind",
    "task",
    "target",
    "x",
    "y",
    "goal_x",
    "goal_y",
    "health",
    "shield",
    "energy",
    "cooldown",
    "wind_up",
    "near",
    "shield_wait",
    "alive",
    "bursting",
    "slip_left",
    "slip_clock",
    "clock",
    "keys",
    "counters",
)
#: What is copied from one field to another: also what follows from the kinds, which is dearer to work out than to copy.
_COPIED = (
    *(name for name in _SAVED if name not in ("keys", "counters")),
    "health_max",
    "shield_max",
    "speed",
    "reach",
    "radius",
    "period",
    "wind_up_time",
    "regeneration",
    "shield_rate",
    "energy_rate",
    "aside",
)


class Present(NamedTuple):
    """Which sorts of units there are in any battle, dead or alive: what none of them needs can be left out."""

    shields: bool
    regeneration: bool
    healers: bool
    bursts: bool
    sweeps: bool
    many_hits: bool


class FieldState:
    """The units of B battles, allies first.

    Attributes:
        n, m, U, B: Allies, enemies, both, battles.
        kind: [U, B] intp.
        task: [U, B] int8, of ``IDLE``, ``MOVE``, ``ATTACK``, ``HEAL``.
        target: [U, B] intp, unit that the task is about; -1: none.
        look: [U, B] intp, where to look up the place that the task is about in ``seen_x`` and ``seen_y``: a target's
            place or the unit's own goal. Follows from ``target``; kept up for the numpy physics alone.
        x, y: [U, B] float32; the dead keep their place.
        goal_x, goal_y: [U, B] float32, goal of a unit without target.
        seen_x, seen_y: [2 * U * B] float32, places and goals in one.
        health, shield, energy: [U, B] float32.
        cooldown: [U, B] float32, game loops; between -1 and 0 in the loop in which the weapon becomes ready: so much of
            the loop is taken off the next wait, so that rates of fire are exact.
        wind_up: [U, B] float32, whole loops until the attack hits; ``NOT_WINDING``.
        near: [U, B] float32, distance at which a unit need not come closer; ``ANYWHERE``.
        shield_wait: [U, B] float32, loops until the shield begins to come back, if > 0.
        alive, bursting: [U, B] bool; bursting are Banelings that were killed and burst in the next loop.
        slip_left: [U, B] bool, on which side a unit last went around others in its way.
        slip_clock: [U, B] int64, at what clock that was.
        clock: [B] int64, game loops since the battle began.
        keys, counters: [B] uint64, the battles' random streams (see :mod:`rllib_reborn.envs.random_streams`).
        own, battle, unit: Numbers: of a unit through all battles [U, B], of a battle [B], of a unit [U, 1].
        health_max, shield_max, speed, reach, radius, period, wind_up_time, regeneration, shield_rate, energy_rate:
            [U, B] float32, what follows from the kinds; the rates are 0 for the dead.
        present: What sorts of units there are.
        aside: [U, B] float32, 0 for the living. Follows from ``alive``; kept up for the numpy physics alone.
    """

    def __init__(self, n: int, m: int, num_battles: int) -> None:
        self.n, self.m, self.U, self.B = n, m, n + m, num_battles
        shape = (self.U, num_battles)
        size = self.U * num_battles
        self.own: IntArray = np.arange(size).reshape(shape)  # a unit's number through all battles
        self.battle: IntArray = np.arange(num_battles)
        self.unit: IntArray = np.arange(self.U)[:, None]
        self.kind: IntArray = np.zeros(shape, np.intp)
        self.task = np.zeros(shape, np.int8)
        self.target: IntArray = np.full(shape, -1)
        self.look: IntArray = self.own + size
        self.seen_x, self.seen_y = np.zeros(2 * size, np.float32), np.zeros(2 * size, np.float32)
        self.x, self.goal_x = self.seen_x[:size].reshape(shape), self.seen_x[size:].reshape(shape)
        self.y, self.goal_y = self.seen_y[:size].reshape(shape), self.seen_y[size:].reshape(shape)

        def floats(value: float = 0.0) -> FloatArray:
            return np.full(shape, value, np.float32)

        self.health, self.shield, self.energy = floats(), floats(), floats()
        self.cooldown, self.wind_up, self.near = floats(), floats(NOT_WINDING), floats(float(ANYWHERE))
        self.shield_wait = floats()
        self.alive, self.bursting = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
        self.slip_left, self.slip_clock = np.zeros(shape, np.bool_), np.full(shape, _LONG_AGO)
        self.clock = np.zeros(num_battles, np.int64)
        self.keys, self.counters = np.zeros(num_battles, np.uint64), np.zeros(num_battles, np.uint64)

        self.health_max, self.shield_max = floats(1.0), floats()
        self.speed, self.reach, self.radius = floats(), floats(), floats()
        self.period, self.wind_up_time = floats(), floats()
        self.regeneration, self.shield_rate, self.energy_rate = floats(), floats(), floats()
        self.aside = ASIDE * (self.unit + 1) + floats()
        self._side = (np.arange(self.U) < n).astype(np.intp)[:, None]
        self._note_kinds()

    def begin(self, columns: IntArray, kind: npt.NDArray[np.integer[Any]], x: npt.ArrayLike, y: npt.ArrayLike) -> bool:
        """Whole units at rest in the battles ``columns`` [k]. Returns whether any unit's kind has changed.

        Args:
            columns: Numbers of the battles.
            kind: [U, k].
            x, y: [U, k].
        """
        new_kinds = bool((self.kind[:, columns] != kind).any())
        self.kind[:, columns] = kind
        self.x[:, columns], self.y[:, columns] = x, y
        self.goal_x[:, columns], self.goal_y[:, columns] = x, y
        self.alive[:, columns] = True
        self.bursting[:, columns] = False
        self._derive(columns)
        self.health[:, columns] = self.health_max[:, columns]
        self.shield[:, columns] = self.shield_max[:, columns]
        self.energy[:, columns] = np.where(TABLES.heals[kind], np.float32(ENERGY_START), np.float32(0))
        self.cooldown[:, columns] = 0
        self.wind_up[:, columns] = NOT_WINDING
        self.shield_wait[:, columns] = 0
        self.task[:, columns] = IDLE
        self.target[:, columns] = -1
        self.look[:, columns] = self.own[:, columns] + self.own.size
        self.near[:, columns] = ANYWHERE
        self.slip_left[:, columns] = False
        self.slip_clock[:, columns] = _LONG_AGO
        self.clock[columns] = 0
        self.counters[columns] = 0
        if new_kinds:
            self._note_kinds()
        return new_kinds

    def copy_from(self, columns: IntArray, other: FieldState) -> bool:
        """Put the only battle of ``other`` in the place of the battles ``columns``, but for their random streams. Returns
        whether any unit's kind has changed."""
        new_kinds = bool((self.kind[:, columns] != other.kind).any())
        for name in _COPIED:
            getattr(self, name)[..., columns] = getattr(other, name)
        target = other.target
        self.look[:, columns] = np.where(target >= 0, target * self.B + columns, self.own[:, columns] + self.own.size)
        if new_kinds:
            self._note_kinds()
        return new_kinds

    def _derive(self, columns: IntArray | slice) -> None:
        """What follows from kinds and from who lives."""
        kind, alive = self.kind[:, columns], self.alive[:, columns]
        self.health_max[:, columns] = TABLES.health[self._side, kind]
        self.shield_max[:, columns] = TABLES.shield[kind]
        self.speed[:, columns] = TABLES.speed[self._side, kind]
        self.reach[:, columns] = TABLES.reach[kind]
        self.radius[:, columns] = TABLES.radius[kind]
        self.period[:, columns] = TABLES.period[kind]
        self.wind_up_time[:, columns] = TABLES.wind_up[kind]
        self.regeneration[:, columns] = TABLES.regeneration[kind] * alive
        self.shield_rate[:, columns] = TABLES.has_shield[kind] * np.float32(SHIELD_REGENERATION) * alive
        self.energy_rate[:, columns] = TABLES.heals[kind] * np.float32(ENERGY_REGENERATION) * alive
        self.aside[:, columns] = np.where(alive, np.float32(0), ASIDE * (self.unit + 1))

    def _note_kinds(self) -> None:
        kinds = np.flatnonzero(np.bincount(self.kind.reshape(-1)))
        self.present = Present(
            shields=bool(TABLES.has_shield[kinds].any()),
            regeneration=bool((TABLES.regeneration[kinds] > 0).any()),
            healers=bool(TABLES.heals[kinds].any()),
            bursts=bool(TABLES.bursts[kinds].any()),
            sweeps=bool(TABLES.sweeps[kinds].any()),
            many_hits=bool((TABLES.hits[kinds] > 1).any()),
        )

    def mark_dead(self, dead: IntArray) -> None:
        """Units that have just died; ``dead`` are their numbers through all battles. Call :meth:`drop_dead_targets` next,
        for the units that were attacking them."""
        for array, value in (
            (self.alive, False),
            (self.health, 0.0),
            (self.shield, 0.0),
            (self.cooldown, 0.0),
            (self.wind_up, NOT_WINDING),
            (self.task, IDLE),
            (self.target, -1),
            (self.near, ANYWHERE),
            (self.regeneration, 0.0),
            (self.shield_rate, 0.0),
            (self.energy_rate, 0.0),
        ):
            array.reshape(-1)[dead] = value
        self.look.reshape(-1)[dead] = dead + self.own.size
        self.aside.reshape(-1)[dead] = ASIDE * (dead // self.B + 1)

    def drop_dead_targets(self) -> IntArray:
        """Units whose target is dead stand still and are done with it; an attack that has not hit costs no cooldown.

        Returns:
            Their numbers through all battles.
        """
        flat = np.flatnonzero(self.target >= 0)
        target = self.target.reshape(-1)[flat] * self.B + flat % self.B
        done = flat[~self.alive.reshape(-1)[target]]
        if done.size:
            winding = done[self.wind_up.reshape(-1)[done] >= 0]
            self.cooldown.reshape(-1)[winding] = 0
            self.wind_up.reshape(-1)[done] = NOT_WINDING
            self.task.reshape(-1)[done] = IDLE
            self.target.reshape(-1)[done] = -1
            self.look.reshape(-1)[done] = done + self.own.size
            self.near.reshape(-1)[done] = ANYWHERE
        return done

    def get_state(self) -> dict[str, Any]:
        """Copies of all arrays that decide the future."""
        return {name: getattr(self, name).copy() for name in _SAVED}

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`get_state` gave.

        Raises:
            ValueError: It is of another number of battles or units.
        """
        for name in _SAVED:
            have, given = getattr(self, name), state[name]
            if have.shape != np.shape(given):
                raise ValueError(
                    f"the state's {name} has shape {np.shape(given)}; this field has {have.shape} (units, battles)."
                )
            have[...] = given
        self._derive(slice(None))
        self.look[...] = np.where(self.target >= 0, self.target * self.B + self.battle, self.own + self.own.size)
        self._note_kinds()
