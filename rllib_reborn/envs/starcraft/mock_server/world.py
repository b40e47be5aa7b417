"""What goes on on a map: SMAC's maps, where both teams come back when nobody is left, and SMACv2's empty one, where the
client creates the units. All that happens is the simulator's doing, in one battle."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from rllib_reborn.envs.battle.battle_env import episode_seed
from rllib_reborn.envs.battle.battlefield import Backend, Battlefield
from rllib_reborn.envs.smac.capabilities import Capabilities
from rllib_reborn.envs.smac.scenarios import SMACV2_SCENARIOS, Scenario
from rllib_reborn.envs.smac.smac_rules import ORDER_NONE, Orders
from rllib_reborn.envs.smac.terrain import Terrain
from rllib_reborn.envs.smac.unit_types import KIND
from rllib_reborn.envs.starcraft.mock_server.picture import ENEMY, MAX_UNITS, PLAYER, Picture, empty_observation
from rllib_reborn.envs.starcraft.mock_server.type_ids import ally_type_ids, kind_of_created

_MEDIVAC = KIND["medivac"]


class CannotCreate(Exception):  # noqa: N818  (it is told to the client)
    """A unit that cannot be created here and now; the message says why."""


class _Created(NamedTuple):
    kind: int
    is_ally: bool
    x: float
    y: float


class World:
    """One map and the battle on it.

    Whatever makes units appear (the start of the game, a map's trigger, the client), they have fought for one game loop
    when they are first seen; so all episodes of a game begin alike.

    Args:
        scenario: A scenario of SMAC; None is SMACv2's map, on which nobody stands until the client creates units.
        seed: Of the game. Its k-th battle has the seed of the k-th episode of a
            :class:`~rllib_reborn.envs.battle.battle_env.BattleTeamEnv` that was reset with ``seed=[seed]``.
        backend: Of the simulator. All give the same battles.
    """

    def __init__(self, scenario: Scenario | None, seed: int, backend: Backend = "numpy") -> None:
        self.seed = seed
        self._backend: Backend = backend
        self.game_loop = 0
        self._scenario = scenario
        self._battles = 0
        self._created: list[_Created] = []
        self._field: Battlefield | None = None
        self._picture: Picture | None = None
        self._orders: Orders | None = None
        if scenario is not None:
            self._begin(Battlefield(scenario, 1, backend=self._backend), None)
            self._pass(1)

    @property
    def terrain(self) -> Terrain:
        """The ground."""
        return Terrain.flat() if self._field is None else self._field.terrain

    # ------------------------------------------------------------------ time

    def step(self, loops: int) -> None:
        """Let game loops pass. Whether new units appear is looked at once, before the first one."""
        if not loops:
            return
        if self._scenario is not None and self._is_empty():
            # A map's trigger takes a game loop to see it and to act.
            assert self._field is not None
            self._begin(self._field, None)
            self.game_loop += 1
            loops -= 1
        elif len({unit.is_ally for unit in self._created}) == 2:
            self._begin_created()
        self._pass(loops)

    def _pass(self, loops: int) -> None:
        self.game_loop += loops
        if self._field is not None and loops:
            self._field.advance(loops)

    def _begin(self, field: Battlefield, capabilities: Sequence[Capabilities] | None) -> None:
        field.spawn(np.zeros(1, np.int64), [episode_seed(self.seed, self._battles)], capabilities)
        self._field = field
        self._battles += 1
        types = ally_type_ids(self._scenario)
        self._picture = Picture(field.units, field.scenario.n_agents, types, self._battles)
        self._orders = None

    def _begin_created(self) -> None:
        allies = [unit for unit in self._created if unit.is_ally]
        enemies = [unit for unit in self._created if not unit.is_ally]
        some = next(iter(SMACV2_SCENARIOS.values()))
        scenario = dataclasses.replace(
            some,
            n_agents=len(allies),
            n_enemies=len(enemies),
            ally_spawn=tuple((unit.x, unit.y) for unit in allies),
            enemy_spawn=tuple((unit.x, unit.y) for unit in enemies),
        )
        created = Capabilities(
            ally_kinds=np.array([unit.kind for unit in allies], np.int64),
            enemy_kinds=np.array([unit.kind for unit in enemies], np.int64),
            ally_xy=np.array(scenario.ally_spawn, np.float32),
            enemy_xy=np.array(scenario.enemy_spawn, np.float32),
        )
        self._created.clear()
        self._begin(Battlefield(scenario, 1, backend=self._backend), [created])

    def _is_empty(self) -> bool:
        return self._field is None or not self._field.units.health.any()

    # ------------------------------------------------------------------ what is seen

    def picture(self) -> Any:
        """A ``ResponseObservation`` of now, to be copied: the next one is written into it."""
        if self._picture is None or self._field is None:
            return empty_observation(self.game_loop)
        return self._picture.message(self._field.units, self.game_loop)

    # ------------------------------------------------------------------ what is done

    def index_of(self, tag: int) -> int | None:
        """Which unit of the simulator this is, allies first; None where nobody alive has this tag."""
        index = None if self._picture is None else self._picture.index_of(tag)
        if index is None or self._field is None or not self._field.units.health[0, index] > 0:
            return None
        return index

    def is_ally(self, index: int) -> bool:
        """Whether it is the player's."""
        assert self._field is not None
        return index < self._field.scenario.n_agents

    def can_heal(self, index: int) -> bool:
        """Whether it is a Medivac."""
        assert self._field is not None
        return int(self._field.units.kind[0, index]) == _MEDIVAC

    def order(self, allies: Iterable[int], kind: int, *, target: int = -1, x: float = 0.0, y: float = 0.0) -> None:
        """Note what some allied units are to do; :meth:`give_orders` then tells them. A later one replaces an earlier one.

        Args:
            allies: Their indices.
            kind: One of the ``ORDER_`` constants.
            target: Index of a unit, where one is needed.
            x, y: Point, where one is needed.
        """
        if self._orders is None:
            assert self._field is not None
            n = self._field.scenario.n_agents
            self._orders = Orders(
                kind=np.full((1, n), ORDER_NONE, np.int8),
                target=np.full((1, n), -1, np.int64),
                x=np.zeros((1, n), np.float32),
                y=np.zeros((1, n), np.float32),
            )
        for ally in allies:
            self._orders.kind[0, ally] = kind
            self._orders.target[0, ally] = target
            self._orders.x[0, ally] = x
            self._orders.y[0, ally] = y

    def give_orders(self) -> None:
        """Tell the units what was noted; those of whom nothing was goes on with what they were doing."""
        if self._orders is not None:
            assert self._field is not None
            self._field.order(self._orders)
            self._orders = None

    def kill(self, tags: Iterable[int]) -> None:
        """Take these units from the map; those that are not there are passed over."""
        found = [index for tag in tags if (index := self.index_of(tag)) is not None]
        if found:
            assert self._field is not None
            self._field.kill(0, np.array(found, np.int64))

    def create(self, type_id: int, owner: int, x: float, y: float) -> None:
        """Create a unit; it appears in the next game loop, or when both sides have one.

        Raises:
            CannotCreate: Another map than SMACv2's, a battle that is not over, an unknown type or owner, or too many.
        """
        if self._scenario is not None:
            raise CannotCreate(f"units can be created on SMACv2's map only; this is {self._scenario.map_file}")
        if owner not in (PLAYER, ENEMY):
            raise CannotCreate(f"owner is {owner}; expected {PLAYER} (the player) or {ENEMY} (the enemy)")
        is_ally = owner == PLAYER
        kind = kind_of_created(type_id, for_player=is_ally)
        if kind is None:
            types = "the last nine of the list of units" if is_ally else "the game's own"
            raise CannotCreate(
                f"the simulator has no unit of type {type_id} for owner {owner}, whose types are {types}"
            )
        if not self._is_empty():
            raise CannotCreate("units can be created when nobody is left on the map; kill those that are there first")
        if len(self._created) == MAX_UNITS:
            raise CannotCreate(f"{MAX_UNITS} units have been created already")
        self._created.append(_Created(kind, is_ally, x, y))
