"""The reward of a step, and whether the battle is over."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.scenarios import Scenario
from rllib_reborn.envs.smac.unit_slots import UnitSlots
from rllib_reborn.envs.smac.units import Units

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


class ScoredStep(NamedTuple):
    """Reward and end of a step, per battle."""

    reward: npt.NDArray[np.float64]
    won: BoolArray
    lost: BoolArray
    drawn: BoolArray
    living: npt.NDArray[np.float64]  #: [B, 2] allies and enemies that are alive


class RewardTracker:
    """Rewards and ends of B battles, from the changes of health, shields and living units.

    Sums are in double precision: health and shields have few digits, so they are exact and do not depend on order.

    Attributes:
        points: [B, U] float64, health and shield of living units when they were last counted.
        living: [B, 2] float64, allies and enemies that were alive then.
        max_reward: [B] float64, what the battle's rewards are divided by, times ``reward_scale_rate``; NaN before its
            first episode.
    """

    def __init__(self, scenario: Scenario, options: SmacOptions, unit_slots: UnitSlots, num_battles: int) -> None:
        self._scenario, self._options, self._unit_slots = scenario, options, unit_slots
        self._compat = options.compat_flags(scenario)
        n, U = scenario.n_agents, scenario.n_units
        self.points = np.zeros((num_battles, U))
        self.living = np.zeros((num_battles, 2))
        self.max_reward = np.full(num_battles, np.nan)
        self._spare_points = np.zeros((num_battles, U))
        #: [U, 2]: sums over allies and over enemies, by one product.
        self._sides = np.zeros((U, 2))
        self._sides[:n, 0] = 1
        self._sides[n:, 1] = 1

    def begin(self, rows: IntArray, units: Units) -> None:
        """Take note of new episodes in ``rows``; ``units`` are those of all battles."""
        health, shield = units.health[rows].astype(np.float64), units.shield[rows].astype(np.float64)
        alive = health > 0
        self.points[rows] = (health + shield) * alive
        self.living[rows] = alive @ self._sides
        n, m, options = self._scenario.n_agents, self._scenario.n_enemies, self._options
        whole = units.health_max[rows, n:].astype(np.float64) + units.shield_max[rows, n:]
        worth = m * options.reward_death_value + options.reward_win + whole.sum(axis=1)
        if options.reward_scale == "smacv2":
            worth = np.where(np.isnan(self.max_reward[rows]), worth, self.max_reward[rows])
        self.max_reward[rows] = worth

    def count(self, units: Units) -> ScoredStep:
        """What happened since the last count, or the start."""
        options, unit_slots = self._options, self._unit_slots
        alive = units.health > 0
        points = np.add(units.health, units.shield, out=self._spare_points, dtype=np.float64)
        points *= alive
        lost_points = (self.points - points) @ self._sides
        self.points, self._spare_points = points, self.points
        living = alive @ self._sides
        killed = self.living - living
        self.living = living
        fighting = (alive * unit_slots.fighter) @ self._sides if self._scenario.has_medivacs else living
        won, lost, drawn = self._ends(living, fighting)

        if options.reward_sparse:
            reward = won.astype(np.float64) - lost
        else:
            reward = lost_points[:, 1] + options.reward_death_value * killed[:, 1]
            if not options.reward_only_positive:
                ours = lost_points[:, 0] + options.reward_death_value * killed[:, 0]
                reward -= options.reward_negative_scale * ours
            elif self._compat.regeneration_pays:
                np.abs(reward, out=reward)
            else:
                np.maximum(reward, 0, out=reward)
            reward += options.reward_win * won
            if options.reward_defeat:
                reward += options.reward_defeat * lost
        if options.reward_scale and (not options.reward_sparse or self._compat.scaled_sparse_reward):
            reward /= self.max_reward / options.reward_scale_rate
        return ScoredStep(reward, won, lost, drawn, living)

    def _ends(
        self, living: npt.NDArray[np.float64], fighting: npt.NDArray[np.float64]
    ) -> tuple[BoolArray, BoolArray, BoolArray]:
        """[B] won, lost, drawn."""
        compat = self._compat
        if not self._scenario.has_medivacs or not (compat.lone_medivac_win or compat.medivacs_cannot_win):
            ours, theirs = fighting[:, 0] > 0, fighting[:, 1] > 0
            return ours & ~theirs, theirs & ~ours, ~(ours | theirs)
        # The originals ask whether it is lost first; a draw can then no longer be.
        lost = fighting[:, 0] == 0
        if compat.lone_medivac_win:
            beaten = (living[:, 1] == 0) | ((living[:, 1] == 1) & (fighting[:, 1] == 0))
        else:
            beaten = fighting[:, 1] == 0
        return beaten & ~lost, lost, np.zeros(len(lost), np.bool_)

    def get_state(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return {name: getattr(self, name).copy() for name in ("points", "living", "max_reward")}

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`get_state` gave."""
        for name in ("points", "living", "max_reward"):
            getattr(self, name)[:] = state[name]
