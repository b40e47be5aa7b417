"""B battles: units, orders, time. Knows the physics, and nothing of observations and rewards."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from rllib_reborn.compiled_functions import has_numba
from rllib_reborn.envs.battle.field_rules import EDGE, FieldRules
from rllib_reborn.envs.battle.field_state import (
    ANYWHERE,
    ATTACK,
    HEAL,
    IDLE,
    MOVE,
    NOT_WINDING,
    FieldState,
    IntArray,
)
from rllib_reborn.envs.battle.formations import place
from rllib_reborn.envs.battle.pathfinding import find_paths
from rllib_reborn.envs.battle.physics_numpy import NumpyPhysics
from rllib_reborn.envs.battle.terrains import terrain_of
from rllib_reborn.envs.battle.unit_stats import TABLES
from rllib_reborn.envs.random_streams import RandomStreams, stream_keys
from rllib_reborn.envs.smac.capabilities import Capabilities, agent_order
from rllib_reborn.envs.smac.scenarios import Scenario
from rllib_reborn.envs.smac.smac_rules import ORDER_ATTACK, ORDER_HEAL, ORDER_MOVE, ORDER_NONE, ORDER_STOP, Orders
from rllib_reborn.envs.smac.terrain import Terrain
from rllib_reborn.envs.smac.unit_types import kinds_of
from rllib_reborn.envs.smac.units import Units

Backend = Literal["auto", "numpy", "numba"]
BACKENDS = ("auto", "numpy", "numba")

#: Separates the battles' random streams from others of the same seed.
_SALT = 0xBA771E

#: Order -> task; -1 leaves the task as it is.
_TASKS = np.full(5, -1, np.int8)
_TASKS[ORDER_STOP], _TASKS[ORDER_MOVE], _TASKS[ORDER_ATTACK], _TASKS[ORDER_HEAL] = IDLE, MOVE, ATTACK, HEAL
assert _TASKS[ORDER_NONE] == -1


class _Physics(Protocol):
    """What lets time pass."""

    def refresh(self) -> None: ...

    def advance(self, loops: int) -> None: ...


class Battlefield:
    """Battles of one scenario, side by side. Allies do what they are ordered to and nothing else; enemies follow the script.

    A battle's course depends on its units, its seed and its orders, not on the other battles, nor on how the loops are
    dealt out over calls of :meth:`advance`, nor on the backend.

    Args:
        scenario: Who fights whom.
        num_battles: B, >= 1.
        terrain: The ground; None: the simulator's own, see :func:`~rllib_reborn.envs.battle.terrains.terrain_of`.
        backend: ``"numpy"``; ``"numba"`` (needs the extra ``numba``; several times faster); ``"auto"``: numba where it is
            installed.
        collisions: Whether units get in each other's way.

    Attributes:
        terrain: The ground.
        units: The units of all battles; always the same arrays, up to date after every call. Read only.
        backend: ``"numpy"`` or ``"numba"``.

    Raises:
        ValueError: An unknown backend, or no battle.
        ImportError: ``backend="numba"`` without numba.
    """

    def __init__(
        self,
        scenario: Scenario,
        num_battles: int,
        *,
        terrain: Terrain | None = None,
        backend: Backend = "auto",
        collisions: bool = True,
    ) -> None:
        if num_battles < 1:
            raise ValueError(f"num_battles is {num_battles}; expected a whole number >= 1.")
        if backend not in BACKENDS:
            raise ValueError(f"backend is {backend!r}; expected one of {BACKENDS}.")
        self.scenario = scenario
        self.num_battles = num_battles
        self.terrain = terrain_of(scenario) if terrain is None else terrain
        self.backend = ("numba" if has_numba() else "numpy") if backend == "auto" else backend
        n, m = scenario.n_agents, scenario.n_enemies
        self.units = Units.zeros(num_battles, n + m)
        self._state = FieldState(n, m, num_battles)
        self._rules = FieldRules(
            hunting=scenario.enemy_order in ("attack_allies", "attack_nearest"),
            has_goal=scenario.enemy_order == "attack_move",
            collisions=collisions,
            map_x=self.terrain.map_x,
            map_y=self.terrain.map_y,
            paths=_paths_of(self.terrain),
        )
        self._physics: _Physics = _physics(self.backend)(self._state, self._rules)
        self._allied = np.arange(n + m) < n

    # ---------------------------------------------------------------------------------------- setting up

    def spawn(
        self,
        rows: npt.NDArray[np.integer[Any]] | Sequence[int],
        seeds: Sequence[int],
        capabilities: Sequence[Capabilities] | None = None,
        *,
        first_loop: bool = False,
    ) -> None:
        """Begin new battles.

        Allies stand in the order of the agents: by their own type number, x and y.

        Args:
            rows: [k] numbers of the battles.
            seeds: [k] the episodes' seeds, whole numbers >= 0.
            capabilities: [k] teams and places; None where the scenario always has the same.
            first_loop: Whether one game loop passes in these battles alone. That is where SMAC's and SMACv2's episodes
                begin: the game needs a loop to put the units there.

        Raises:
            ValueError: The scenario draws its teams and none were given, or they are of another size.
        """
        columns: IntArray = np.asarray(rows, np.intp)
        if not columns.size:
            return
        if len(columns) == self.num_battles or not first_loop:
            changed = self._place(self._state, columns, seeds, capabilities)
            if changed:
                self._physics.refresh()
            if first_loop:
                self._physics.advance(1)
        else:
            self._spawn_aside(columns, seeds, capabilities)
        self._show(columns)

    def _spawn_aside(
        self, columns: IntArray, seeds: Sequence[int], capabilities: Sequence[Capabilities] | None
    ) -> None:
        """New battles whose first loop passes on a field of their own, so that the others stand still meanwhile."""
        changed = False
        begun = self._usual_start if capabilities is None else None
        if begun is not None:
            changed = self._state.copy_from(columns, begun)
            self._state.counters[columns] = begun.counters
        else:
            for row in range(len(columns)):
                drawn = None if capabilities is None else [capabilities[row]]
                begun = self._after_first_loop(*self._nursery, int(seeds[row]), drawn)
                changed |= self._state.copy_from(columns[row : row + 1], begun)
                self._state.counters[columns[row]] = begun.counters[0]
        self._state.keys[columns] = stream_keys(list(seeds), len(columns), salt=_SALT)
        if changed:
            self._physics.refresh()

    @functools.cached_property
    def _usual_start(self) -> FieldState | None:
        """The field after the first loop, where it is always the same: nothing is drawn, and nobody is in reach, so that
        chance plays no part. Else None."""
        if self.scenario.generated is not None or np.ndim(self.scenario.enemy_target or 0) == 2:
            return None
        state = self._after_first_loop(*self._lone_field(), 0, None)
        return None if (state.cooldown > 0).any() else state

    @functools.cached_property
    def _nursery(self) -> tuple[FieldState, _Physics]:
        return self._lone_field()

    def _lone_field(self) -> tuple[FieldState, _Physics]:
        state = FieldState(self._state.n, self._state.m, 1)
        return state, _physics(self.backend)(state, self._rules)

    def _after_first_loop(
        self, state: FieldState, physics: _Physics, seed: int, capabilities: Sequence[Capabilities] | None
    ) -> FieldState:
        if self._place(state, np.zeros(1, np.intp), [seed], capabilities):
            physics.refresh()
        physics.advance(1)
        return state

    def _place(
        self,
        state: FieldState,
        columns: IntArray,
        seeds: Sequence[int],
        capabilities: Sequence[Capabilities] | None,
    ) -> bool:
        """New battles in ``columns`` of ``state``. Returns whether kinds of units have changed."""
        if capabilities is None:
            if self.scenario.generated is not None:
                raise ValueError(
                    f"{self.scenario.name} draws its teams for every episode; give capabilities (see "
                    "rllib_reborn.envs.smac.capabilities.draw)."
                )
            kinds, places = self._standard
            kinds, places = kinds[:, None], places[:, None]
        else:
            drawn = [self._assemble(each) for each in capabilities]
            kinds = np.stack([kind for kind, _ in drawn], axis=1)
            places = np.stack([where for _, where in drawn], axis=1)
        changed = state.begin(columns, kinds, places[..., 0], places[..., 1])
        state.keys[columns] = stream_keys(list(seeds), len(columns), salt=_SALT)
        target, n = self.scenario.enemy_target, state.n
        if target is not None:
            ends = np.array(target, np.float32).reshape(-1, 2)
            goals = np.repeat(ends[:1], len(columns), axis=0)
            if len(ends) == 2:
                goals += _first_numbers(state, columns)[:, None] * (ends[1] - ends[0])
            state.goal_x[n:, columns], state.goal_y[n:, columns] = goals[:, 0], goals[:, 1]
        return changed

    @functools.cached_property
    def _standard(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        scenario = self.scenario
        return self._arrange(
            kinds_of(scenario.allies),
            kinds_of(scenario.enemies),
            np.array(scenario.ally_spawn),
            np.array(scenario.enemy_spawn),
        )

    def _assemble(self, capabilities: Capabilities) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        given = (len(capabilities.ally_kinds), len(capabilities.enemy_kinds))
        if given != (self._state.n, self._state.m):
            raise ValueError(
                f"capabilities have {given[0]} allies and {given[1]} enemies; {self.scenario.name} has "
                f"{self._state.n} and {self._state.m}."
            )
        return self._arrange(
            capabilities.ally_kinds, capabilities.enemy_kinds, capabilities.ally_xy, capabilities.enemy_xy
        )

    def _arrange(
        self,
        ally_kinds: npt.NDArray[np.int64],
        enemy_kinds: npt.NDArray[np.int64],
        ally_points: npt.NDArray[np.floating],
        enemy_points: npt.NDArray[np.floating],
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """[U] kinds and [U, 2] places, allies in the agents' order."""
        n = self._state.n
        kinds = np.concatenate([ally_kinds, enemy_kinds])
        places = place(np.concatenate([ally_points, enemy_points]), kinds, self._allied, self.terrain)
        order = np.arange(len(kinds))
        order[:n] = agent_order(self.scenario, kinds[:n], places[:n, 0], places[:n, 1])
        return kinds[order], places[order]

    # ---------------------------------------------------------------------------------------- orders and time

    def order(self, orders: Orders) -> None:
        """Tell the allies what to do; it holds until something else is ordered, or its target dies.

        A unit that is ordered to attack chases its target. An order that a unit cannot carry out (an attack on what its
        weapon does not reach in the air, a heal of something mechanical) is refused, as by the game: it goes on with what
        it was doing. Whoever is ordered away before its attack hits calls the attack off, at no cost of cooldown.

        Args:
            orders: [B, n] arrays; orders to the dead are ignored.
        """
        s, n = self._state, self._state.n
        kind = s.kind[:n]
        task = _TASKS[orders.kind.T]
        wanted = np.ascontiguousarray(orders.target.T)
        aimed = task >= ATTACK
        target = np.where(aimed, wanted, 0)
        where = target * s.B + s.battle
        struck = s.kind.reshape(-1)[where]
        attack = task == ATTACK
        able = np.where(
            attack,
            TABLES.damage[kind, struck] > 0,
            TABLES.heals[kind] & TABLES.biological[struck] & (target < n) & (target != s.unit[:n]),
        )
        able &= s.alive.reshape(-1)[where]
        changed = (task >= 0) & s.alive[:n]
        changed &= ~aimed | able
        same = (task == s.task[:n]) & (target == s.target[:n])
        called_off = changed & ~(same & attack) & (s.wind_up[:n] >= 0)
        if called_off.any():
            np.copyto(s.wind_up[:n], NOT_WINDING, where=called_off)
            np.copyto(s.cooldown[:n], 0, where=called_off)
        np.copyto(s.task[:n], task, where=changed)
        np.copyto(s.target[:n], np.where(aimed, target, -1), where=changed)
        np.copyto(s.look[:n], np.where(aimed, where, s.own[:n] + s.own.size), where=changed)
        near = s.reach[:n] + s.radius.reshape(-1)[where]
        near[task == MOVE] = 0
        near[task == IDLE] = ANYWHERE
        np.copyto(s.near[:n], near, where=changed)
        moved = changed & (task == MOVE)
        # Beyond the map's edge there is nowhere to go.
        high_x, high_y = np.float32(self.terrain.map_x) - EDGE, np.float32(self.terrain.map_y) - EDGE
        np.copyto(s.goal_x[:n], np.clip(orders.x.T, EDGE, high_x), where=moved)
        np.copyto(s.goal_y[:n], np.clip(orders.y.T, EDGE, high_y), where=moved)

    def kill(self, row: int, units: npt.NDArray[np.integer[Any]] | Sequence[int]) -> None:
        """Let units of battle ``row`` die; those that are dead stay so. Banelings that are killed so do not burst."""
        s = self._state
        dead = np.asarray(units, np.intp) * s.B + row
        s.mark_dead(dead)
        s.bursting.reshape(-1)[dead] = False
        s.drop_dead_targets()
        self._show(np.array([row]))

    def advance(self, loops: int) -> None:
        """Let game loops pass in all battles: 22.4 of them are a second of play, 8 are a step of SMAC."""
        self._physics.advance(loops)
        self._show(slice(None))

    def targets(self, row: int) -> npt.NDArray[np.int64]:
        """[U] whom each unit of battle ``row`` attacks, heals or follows; -1: nobody."""
        return self._state.target[:, row].copy()

    def _show(self, rows: IntArray | slice) -> None:
        """Bring ``units`` up to date."""
        s, units = self._state, self.units
        if isinstance(rows, slice):
            for name in ("x", "y", "health", "shield", "energy"):
                np.copyto(getattr(units, name), getattr(s, name).T)
            np.maximum(s.cooldown.T, 0, out=units.cooldown)
            return
        for name in ("kind", "x", "y", "health", "shield", "energy", "health_max", "shield_max"):
            getattr(units, name)[rows] = getattr(s, name)[:, rows].T
        units.cooldown[rows] = np.maximum(s.cooldown[:, rows].T, 0)

    # ---------------------------------------------------------------------------------------- state

    def get_state(self) -> dict[str, Any]:
        """All that decides how the battles go on, as arrays."""
        return self._state.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`get_state` gave, of a battlefield of the same scenario and size.

        Raises:
            ValueError: It is of another size.
        """
        self._state.set_state(state)
        self._physics.refresh()
        self._show(np.arange(self.num_battles))


def _first_numbers(state: FieldState, columns: IntArray) -> npt.NDArray[np.float32]:
    """[k] one number in [0, 1) of each battle's stream."""
    streams = RandomStreams(len(columns), 0)
    streams.keys[:], streams.counters[:] = state.keys[columns], state.counters[columns]
    numbers = streams.uniform(1)[:, 0].astype(np.float32)
    state.counters[columns] = streams.counters
    return numbers


def _physics(backend: str) -> Any:
    if backend == "numpy":
        return NumpyPhysics
    try:
        from rllib_reborn.envs.battle.physics_numba import NumbaPhysics
    except ImportError as error:
        raise ImportError(
            "backend='numba' needs numba; install it with: pip install 'rllib-reborn[numba]', or use backend='numpy'."
        ) from error
    return NumbaPhysics


#: Walls -> ways; finding them takes a moment, and all battlefields of a scenario have the same.
_KNOWN_PATHS: dict[bytes, Any] = {}


def _paths_of(terrain: Terrain) -> Any:
    key = np.packbits(terrain.pathing).tobytes() + bytes(str(terrain.pathing.shape), "ascii")
    if key not in _KNOWN_PATHS:
        _KNOWN_PATHS[key] = find_paths(terrain)
    return _KNOWN_PATHS[key]
