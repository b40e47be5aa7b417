"""The rules of predator-prey for one game, written plainly and slowly: what the fast environment must equal.

It shares nothing with the environment but the rules object, and takes its random numbers as arguments.
"""

from __future__ import annotations

import numpy as np

from rllib_reborn.envs.predator_prey.rules import PredatorPreyRules

MOVES = [(0, 1), (1, 0), (0, -1), (-1, 0)]  # right, down, left, up
STAY, CATCH = 4, 5
PREDATOR, STAG, HARE = 0, 1, 2


class ScalarPredatorPrey:
    def __init__(self, rules: PredatorPreyRules) -> None:
        self.rules = rules
        r = rules
        self.kinds = [PREDATOR] * r.n_predators + [STAG] * r.n_stags + [HARE] * r.n_hares
        self.predators = range(r.n_predators)
        self.prey = range(r.n_predators, len(self.kinds))
        self.at: list[tuple[int, int] | None] = [None] * len(self.kinds)  # None: has left
        self.steps = 0

    def reset(self, bits: list[int]) -> None:
        """``bits``: one 64-bit number per cell; the cells with the smallest high halves are taken, in this
        order."""
        by_number = sorted(range(len(bits)), key=lambda cell: (bits[cell] >> 32, cell))
        self.place([divmod(cell, self.rules.width) for cell in by_number[: len(self.kinds)]])

    def place(self, at: list[tuple[int, int] | None]) -> None:
        self.at = list(at)
        self.steps = 0

    def step(self, actions: list[int], bits: list[int], rests: list[float] | None):
        """``bits``: one 64-bit number per entity; ``rests``: one number in [0, 1) per prey. Returns reward
        and flags."""
        r = self.rules
        reward = r.time_reward

        for i in self._in_order(self.predators, bits):
            if self.at[i] is not None and actions[i] < STAY:
                target = self._neighbour(self.at[i], actions[i])
                if not self._blocks_predator(target):
                    self.at[i] = target

        shares_cell = {j for j in self.prey if self.at[j] in [self.at[i] for i in self.predators]}
        any_caught = False
        for j in self._in_order(self.prey, bits):
            if self.at[j] is None:
                continue
            around = [self._neighbour(self.at[j], d) for d in range(4)]
            catchers = [i for i in self.predators if actions[i] == CATCH and self.at[i] in around and self.at[i]]
            if len(catchers) >= (r.catchers_stag if self.kinds[j] == STAG else r.catchers_hare):
                reward += r.reward_stag if self.kinds[j] == STAG else r.reward_hare
                any_caught = True
                self.at[j] = None
                if r.capture_freezes:
                    for i in catchers:
                        self.at[i] = None
                continue
            if catchers:
                reward += r.miscapture_punishment
            free = [cell for cell in around if cell is not None and cell not in self.at]
            rest_probability = r.rest_probability_stag if self.kinds[j] == STAG else r.rest_probability_hare
            rests_now = rests is not None and rests[j - len(self.predators)] < rest_probability
            if free and not (rests_now and j not in shares_cell):
                twelfth = (bits[j] % 2**32) * 12 // 2**32
                self.at[j] = free[twelfth * len(free) // 12]

        self.steps += 1
        won = all(self.at[j] is None for j in self.prey)
        terminated = won or all(self.at[i] is None for i in self.predators) or (any_caught and r.capture_ends_episode)
        truncated = self.steps >= r.episode_limit and not terminated
        return reward, terminated, truncated, won

    def observations(self) -> np.ndarray:
        radius = self.rules.obs_radius
        windows = np.zeros((len(self.predators), 2 * radius + 1, 2 * radius + 1, 3), np.int8)
        for i in self.predators:
            if self.at[i] is None:
                continue
            for down in range(-radius, radius + 1):
                for right in range(-radius, radius + 1):
                    cell = self._cell(self.at[i][0] + down, self.at[i][1] + right)
                    if cell is None and self.rules.observe_walls:
                        windows[i, down + radius, right + radius, PREDATOR] = -1
                    for other, kind in enumerate(self.kinds):
                        if cell is not None and self.at[other] == cell:
                            windows[i, down + radius, right + radius, kind] = 1
        return windows.reshape(len(self.predators), -1)

    def state(self) -> np.ndarray:
        grid = np.zeros((self.rules.height, self.rules.width, 3), np.uint8)
        for i, kind in enumerate(self.kinds):
            if self.at[i] is not None:
                grid[*self.at[i], kind] = 1
        return grid.reshape(-1)

    def action_mask(self) -> np.ndarray:
        mask = np.zeros((len(self.predators), 6), bool)
        prey_cells = [self.at[j] for j in self.prey if self.at[j] is not None]
        for i in self.predators:
            mask[i, STAY] = True
            if self.at[i] is not None:
                around = [self._neighbour(self.at[i], d) for d in range(4)]
                mask[i, :4] = [cell is not None for cell in around]
                mask[i, CATCH] = any(cell in prey_cells for cell in around)
        return mask

    def _in_order(self, entities: range, bits: list[int]) -> list[int]:
        return sorted(entities, key=lambda e: (bits[e] >> 32 & 0x7FFFFFFF, e))

    def _cell(self, y: int, x: int) -> tuple[int, int] | None:
        """The cell, wrapped on a torus; None off a bounded grid."""
        if self.rules.toroidal:
            return y % self.rules.height, x % self.rules.width
        inside = 0 <= y < self.rules.height and 0 <= x < self.rules.width
        return (y, x) if inside else None

    def _neighbour(self, cell: tuple[int, int], direction: int) -> tuple[int, int] | None:
        return self._cell(cell[0] + MOVES[direction][0], cell[1] + MOVES[direction][1])

    def _blocks_predator(self, cell: tuple[int, int] | None) -> bool:
        who = range(len(self.kinds)) if self.rules.prey_block_predators else self.predators
        return cell in [self.at[i] for i in who]
