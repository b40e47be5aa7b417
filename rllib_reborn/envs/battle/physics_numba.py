"""The physics of :mod:`rllib_reborn.envs.battle.physics_numpy`, compiled; same bits. Importing this module needs numba."""

from __future__ import annotations

from typing import Any

import numpy as np

from rllib_reborn.envs.battle import field_rules as fr
from rllib_reborn.envs.battle import field_state as fs
from rllib_reborn.envs.battle.numba_kernels import advance_battles
from rllib_reborn.envs.battle.unit_stats import TABLES


class NumbaPhysics:
    """Advances a :class:`~rllib_reborn.envs.battle.field_state.FieldState`.

    Args:
        state: The battles.
        rules: The rules.
    """

    def __init__(self, state: fs.FieldState, rules: fr.FieldRules) -> None:
        self._state, self._rules = state, rules
        paths = rules.paths
        none = np.zeros(1, np.float32)
        self._ground: tuple[Any, ...] = (
            np.float32(rules.map_x) - fr.EDGE,
            np.float32(rules.map_y) - fr.EDGE,
            paths is not None,
            rules.map_y,
            np.ones(1, np.bool_) if paths is None else paths.open,
            np.full((1, 1), -1, np.int16) if paths is None else paths.waypoint,
            none if paths is None else paths.corner_x,
            none if paths is None else paths.corner_y,
        )
        s = state
        self._arrays: tuple[Any, ...] = (
            s.kind,
            s.task,
            s.target,
            (s.alive, s.bursting),
            (
                s.x, s.y, s.goal_x, s.goal_y, s.health, s.shield, s.energy, s.cooldown, s.wind_up, s.near,
                s.shield_wait,
            ),
            (
                s.health_max, s.shield_max, s.speed, s.reach, s.radius, s.period, s.wind_up_time, s.regeneration,
                s.shield_rate, s.energy_rate,
            ),
            s.slip_left,
            s.slip_clock,
            s.clock,
            s.keys,
            s.counters,
        )  # fmt: skip
        self._tables: tuple[Any, ...] = (
            TABLES.damage,
            TABLES.armour,
            TABLES.hits,
            TABLES.separation_radius,
            TABLES.plane,
            TABLES.on_ground,
            TABLES.armed,
            TABLES.heals,
            TABLES.biological,
            TABLES.bursts,
            TABLES.sweeps,
            TABLES.acquire,
        )

    def refresh(self) -> None:
        """To be called when kinds of units have changed; nothing is kept that depends on them."""

    def advance(self, loops: int) -> None:
        """Play ``loops`` game loops."""
        s, rules = self._state, self._rules
        advance_battles(
            loops, s.n, s.m, rules.hunting, rules.attack_moves, rules.collisions, s.present.shields,
            s.present.regeneration, s.present.healers, *self._ground, *self._arrays, *self._tables,
        )  # fmt: skip
