"""SMAC's and SMACv2's rules on units that a simulator or the game moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.smac.capabilities import Capabilities
from rllib_reborn.envs.smac.layout import (
    ACTION_EAST,
    ACTION_NORTH,
    ACTION_SOUTH,
    ACTION_STOP,
    ACTION_WEST,
    FIRST_LOOK,
    layout_of,
    team_spec,
)
from rllib_reborn.envs.smac.observation_context import EpisodeState, ObservationContext
from rllib_reborn.envs.smac.observer import SmacObserver
from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.reward_tracker import RewardTracker
from rllib_reborn.envs.smac.scenarios import Scenario
from rllib_reborn.envs.smac.terrain import Terrain
from rllib_reborn.envs.smac.unit_slots import UnitSlots
from rllib_reborn.envs.smac.units import Units
from rllib_reborn.envs.smac.visibility import Visibility
from rllib_reborn.envs.team_env import TeamObs, TeamSpec, TeamStep

__all__ = [
    "ORDER_ATTACK",
    "ORDER_HEAL",
    "ORDER_MOVE",
    "ORDER_NONE",
    "ORDER_STOP",
    "Orders",
    "SmacRules",
    "team_spec",
]

#: No new order: the unit goes on with its previous order (or is dead).
ORDER_NONE = 0
ORDER_STOP, ORDER_MOVE, ORDER_ATTACK, ORDER_HEAL = 1, 2, 3, 4

_SALT = 0xA77A


class Orders(NamedTuple):
    """Commands to the agents' units; arrays [B, n], which may be buffers of :class:`SmacRules`."""

    kind: npt.NDArray[np.int8]  #: ``ORDER_*``
    target: npt.NDArray[np.int64]  #: unit 0..U-1 to attack or heal, else -1
    x: npt.NDArray[np.float32]  #: where to move; elsewhere the unit's own place
    y: npt.NDArray[np.float32]


class SmacRules:
    """SMAC's rules and their state for B battles: observations, action masks, commands, rewards, ends of episodes.

    The same code for simulator and game. The caller brings :class:`Units` and carries out the :class:`Orders`::

        obs = rules.begin(rows, units, capabilities, seeds)
        orders = rules.orders(actions)        # carry them out for options.step_mul game loops
        step = rules.score(units)

    The episode limit is a truncation, never a termination. ``info`` of a step has ``won``, ``failed`` (always False here),
    ``dead_allies`` and ``dead_enemies``. A battle that is over and was not restarted plays on without harm: its reward is
    0, its ``terminated``, ``truncated`` and ``won`` stay as they were.

    Args:
        scenario, options: What is played.
        num_battles: B >= 1.
        terrain: The ground.

    Attributes:
        spec: As :func:`team_spec` gives it, too.
        team_obs: The latest observations of all teams; buffers that the next call overwrites.

    Raises:
        ValueError: ``num_battles`` is not a whole number >= 1, or ``options.compat`` does not belong to the scenario.
    """

    def __init__(self, scenario: Scenario, options: SmacOptions, num_battles: int, terrain: Terrain) -> None:
        if not isinstance(num_battles, int) or num_battles < 1:
            raise ValueError(f"num_battles is {num_battles!r}; give a whole number >= 1.")
        self.scenario, self.options, self.num_battles = scenario, options, num_battles
        self.spec: TeamSpec = team_spec(scenario, options)
        self._layout = layout_of(scenario, options)
        compat = options.compat_flags(scenario)
        B, n, m = num_battles, scenario.n_agents, scenario.n_enemies
        self._unit_slots = UnitSlots(scenario, options, B)
        self._reward_tracker = RewardTracker(scenario, options, self._unit_slots, B)
        spots = options.prob_obs_enemy < 1 or compat.unspotted_wipe
        self._visibility = Visibility(B, n, m, options.prob_obs_enemy, compat.unspotted_wipe) if spots else None
        looks = np.zeros((B, n, 2))
        looks[..., 0] = 1
        self._episodes = EpisodeState(
            last_action=np.full((B, n), -1, np.int64), looks=looks, steps=np.zeros(B, np.int64)
        )
        self._context = ObservationContext.of(scenario, options, terrain, self._unit_slots, self._episodes)
        self._observer = SmacObserver(self._context, self._visibility)
        outputs = self._observer.outputs
        self.team_obs = TeamObs(outputs.obs, outputs.state, outputs.action_mask)
        self._streams = RandomStreams(B, [0] * B, salt=_SALT)
        self._x = np.zeros((B, n), np.float32)
        self._y = np.zeros((B, n), np.float32)
        self._begun = np.zeros(B, np.bool_)
        self._all_begun = False
        self._over = np.zeros(B, np.bool_)
        self._ends = np.zeros((3, B), np.bool_)  # terminated, truncated, won of battles that are over
        self._doomed = np.zeros((B, n), np.bool_)
        self._action_tables()

    def _action_tables(self) -> None:
        A, amount = self._layout.n_actions, self.options.move_amount
        self._order_kinds = np.full(A, ORDER_NONE, np.int8)
        self._order_kinds[ACTION_STOP] = ORDER_STOP
        self._order_kinds[ACTION_NORTH : ACTION_WEST + 1] = ORDER_MOVE
        self._order_kinds[self._layout.first_target :] = ORDER_ATTACK
        self._order_targets = np.full(A, -1, np.int64)
        enemies = np.arange(self._layout.n_targets) + self.scenario.n_agents
        self._order_targets[self._layout.first_target :] = enemies
        self._moves = np.zeros((2, A), np.float32)
        self._moves[1, ACTION_NORTH], self._moves[1, ACTION_SOUTH] = amount, -amount
        self._moves[0, ACTION_EAST], self._moves[0, ACTION_WEST] = amount, -amount

    @property
    def doomed(self) -> npt.NDArray[np.bool_] | None:
        """[B, n] units that are to be killed in the next step, ``kill_unit_step_mul`` game loops before its end, as they
        were last seen below their level of health; None without ``options.health``."""
        return None if self.options.health is None else self._doomed

    def begin(
        self,
        rows: npt.NDArray[np.integer] | Sequence[int],
        units: Units,
        capabilities: Sequence[Capabilities] | None,
        seeds: Sequence[int],
    ) -> TeamObs:
        """Start new episodes.

        Args:
            rows: [r] battles that restart.
            units: Those of ALL battles; ``rows`` hold fresh teams, agents in the order of ``agent_order``.
            capabilities: The draws of the battles, one per row; None where nothing but teams and places is drawn.
            seeds: One per row, >= 0: chance within the episode (attacks that fail, who spots whom) comes from it.

        Returns:
            What all battles see; what the others saw is not touched.

        Raises:
            ValueError: A row is not a battle, lengths differ, a unit is not one of the scenario's, or a draw is missing.
        """
        at: npt.NDArray[np.int64] = np.asarray(rows, np.int64)
        if at.ndim != 1 or np.any((at < 0) | (at >= self.num_battles)) or len(np.unique(at)) != len(at):
            raise ValueError(f"rows are {at.tolist()}; expected different numbers in 0..{self.num_battles - 1}.")
        if len(seeds) != len(at):
            raise ValueError(f"{len(seeds)} seeds were given for {len(at)} battles; expected one each.")
        expected = (self.num_battles, self.scenario.n_units)
        if units.shape != expected:
            raise ValueError(f"units have shape {units.shape}; expected {expected} (battles, units).")
        if not len(at):
            return self.team_obs
        self._unit_slots.begin(at, units.kind[at], capabilities)
        self._reward_tracker.begin(at, units)
        episodes = self._episodes
        episodes.last_action[at] = -1
        episodes.looks[at] = (1, 0)
        episodes.steps[at] = 0
        self._streams.keys[at] = RandomStreams(len(at), list(seeds), salt=_SALT).keys
        self._streams.counters[at] = 0
        if self._visibility is not None:
            self._visibility.begin(at, list(seeds))
        self._begun[at] = True
        self._all_begun = bool(self._begun.all())
        self._over[at] = False
        self._ends[:, at] = False
        self._keep(at, units)
        self._observer.look_at(at, units)
        return self.team_obs

    def orders(self, actions: npt.NDArray[np.integer[Any]]) -> Orders:
        """What joint actions tell the units to do.

        Args:
            actions: [B, n], already checked against the mask.
        """
        layout, n = self._layout, self.scenario.n_agents
        chosen: npt.NDArray[np.int64] = actions.astype(np.int64, copy=False)
        self._episodes.last_action[:] = chosen
        kind, target = self._order_kinds[chosen], self._order_targets[chosen]
        x, y = self._moves[0][chosen], self._moves[1][chosen]
        x += self._x
        y += self._y
        if self.scenario.has_medivacs:
            heals = self._unit_slots.medivac & (kind == ORDER_ATTACK)
            kind[heals] = ORDER_HEAL
            target[heals] -= n
        if layout.n_looks:
            looks = chosen - FIRST_LOOK
            battle, agent = np.nonzero((looks >= 0) & (looks < layout.n_looks))
            assert self._context.field_of_view is not None
            self._episodes.looks[battle, agent] = self._context.field_of_view.directions[looks[battle, agent]]
        if self._unit_slots.attack is not None or not self.options.action_mask:
            self._fail(chosen, kind, target)
        return Orders(kind, target, x, y)

    def _fail(self, actions: npt.NDArray[np.int64], kind: npt.NDArray[np.int8], target: npt.NDArray[np.int64]) -> None:
        """Take back attacks and heals that do not succeed, or are out of reach."""
        aimed = target >= 0
        fails = np.zeros(aimed.shape, np.bool_)
        if self._unit_slots.attack is not None:
            fails |= self._streams.uniform(self.scenario.n_agents) > self._unit_slots.attack
        if not self.options.action_mask:
            slots = np.maximum(actions - self._layout.first_target, 0)
            fails |= ~np.take_along_axis(self._observer.outputs.shoot, slots[..., None], axis=2)[..., 0]
        fails &= aimed
        kind[fails] = ORDER_NONE
        target[fails] = -1

    def score(self, units: Units) -> TeamStep:
        """After the battles went on by one step: what it was worth, and what the teams see now (written to ``team_obs``).

        Args:
            units: Those of all battles.

        Raises:
            RuntimeError: A battle was never begun.
        """
        if not self._all_begun:
            row = int(np.flatnonzero(~self._begun)[0])
            raise RuntimeError(f"battle {row} was never begun; call begin for every battle before score.")
        episodes = self._episodes
        outcome = self._reward_tracker.count(units)
        running = ~self._over
        np.add(episodes.steps, running, out=episodes.steps)
        terminated = outcome.won | outcome.lost | outcome.drawn
        truncated = episodes.steps >= self.scenario.episode_limit
        truncated &= ~terminated
        won, reward = outcome.won, outcome.reward.astype(np.float32)
        if not running.all():
            reward *= running
            terminated, truncated, won = np.where(running, (terminated, truncated, won), self._ends)
        self._ends[0], self._ends[1], self._ends[2] = terminated, truncated, won
        np.logical_or(terminated, truncated, out=self._over)
        if self._visibility is not None:
            self._visibility.drop_dead(units.health > 0)
        self._keep(slice(None), units)
        self._observer.look(units)
        dead = np.array((self.scenario.n_agents, self.scenario.n_enemies)) - outcome.living
        info: dict[str, npt.NDArray[Any]] = {
            "won": won,
            "failed": np.zeros(self.num_battles, np.bool_),
            "dead_allies": dead[:, 0].astype(np.int64),
            "dead_enemies": dead[:, 1].astype(np.int64),
        }
        return TeamStep(self.team_obs, reward, terminated, truncated, info)

    def _keep(self, rows: npt.NDArray[np.int64] | slice, units: Units) -> None:
        """Remember what the next orders need of the units in sight now."""
        n = self.scenario.n_agents
        self._x[rows] = units.x[rows, :n]
        self._y[rows] = units.y[rows, :n]
        if self._unit_slots.level is not None:
            health = units.health[rows, :n]
            low = health / units.health_max[rows, :n] < self._unit_slots.level[rows]
            self._doomed[rows] = low & (health > 0)

    def get_state(self) -> dict[str, Any]:
        """All that decides the future but the units, as arrays and plain data."""
        state: dict[str, Any] = {
            "unit_slots": self._unit_slots.get_state(),
            "reward_tracker": self._reward_tracker.get_state(),
            "visibility": None if self._visibility is None else self._visibility.get_state(),
            "streams": self._streams.get_state(),
        }
        state |= {name: array.copy() for name, array in self._arrays().items()}
        return state

    def set_state(self, state: dict[str, Any]) -> TeamObs:
        """Put back what :meth:`get_state` gave; returns what the teams see."""
        self._unit_slots.set_state(state["unit_slots"])
        self._reward_tracker.set_state(state["reward_tracker"])
        if self._visibility is not None:
            self._visibility.set_state(state["visibility"])
        self._streams.set_state(state["streams"])
        for name, array in self._arrays().items():
            if state[name].shape != array.shape:
                raise ValueError(f"the state's {name} has shape {state[name].shape}; expected {array.shape}.")
            array[...] = state[name]
        self._all_begun = bool(self._begun.all())
        return self.team_obs

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        episodes, outputs = self._episodes._asdict(), self._observer.outputs._asdict()
        own = {name: getattr(self, f"_{name}") for name in ("x", "y", "begun", "over", "ends", "doomed")}
        if self._observer.last_place is not None:
            own["last_place"] = self._observer.last_place
        return episodes | outputs | own
