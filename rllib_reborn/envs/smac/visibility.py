"""SMACv2's extended partial observability: who has spotted which enemy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.random_streams import RandomStreams

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

_SALT = 0x5907


class Visibility:
    """An enemy that nobody has in view is *spotted* by one of the agents that see it; every other agent can see it only
    with probability ``prob``, drawn at that moment. That holds until the spotter or the enemy dies.

    Each look of a battle uses up ``n + m * n`` numbers of its stream, whatever happens.

    Args:
        num_battles, n, m: B, agents, enemies.
        prob: ``prob_obs_enemy``.
        wipe: Keep the original's fault (``CompatFlags.unspotted_wipe``).

    Attributes:
        marks: [B, n, m] bool, whom each agent can see.
        spotter: [B, m] int64, who spotted each enemy; -1: nobody.
    """

    def __init__(self, num_battles: int, n: int, m: int, prob: float, wipe: bool) -> None:
        self._n, self._m, self._prob, self._wipe = n, m, prob, wipe
        self.marks: BoolArray = np.zeros((num_battles, n, m), np.bool_)
        self.spotter: IntArray = np.full((num_battles, m), -1, np.int64)
        self._streams = RandomStreams(num_battles, [0] * num_battles, salt=_SALT)

    def begin(self, rows: IntArray, seeds: list[int]) -> None:
        """Forget what was spotted in ``rows``, whose random streams restart."""
        self.marks[rows] = False
        self.spotter[rows] = -1
        self._streams.keys[rows] = RandomStreams(len(rows), seeds, salt=_SALT).keys
        self._streams.counters[rows] = 0

    def drop_dead(self, alive: BoolArray) -> None:
        """After a step: dead enemies, and those whose spotter is dead, are as good as never spotted.

        Args:
            alive: [B, U].
        """
        n = self._n
        held = self.spotter >= 0
        lost = held & ~np.take_along_axis(alive[:, :n], np.maximum(self.spotter, 0), axis=1)
        lost |= ~alive[:, n:]
        self.spotter[lost] = -1
        self.marks &= ~lost[:, None, :]

    def look(self, rows: IntArray, sees: BoolArray, alive: BoolArray) -> BoolArray:
        """All agents of some battles look round.

        Args:
            rows: [r] the battles.
            sees: [r, n, m] which enemies are within the agents' sight, dead ones too: with the original's fault it
                matters whether somebody sees where they lie.
            alive: [r, n] living agents: only they look.

        Returns:
            [r, n, m] which enemies the agents are shown, if they are within sight.
        """
        mask = np.zeros(len(self.marks), np.bool_)
        mask[rows] = True
        # Draws come by ascending battle number.
        draws = np.empty((len(rows), self._n + self._m * self._n))
        draws[np.argsort(rows)] = self._streams.uniform_at(mask, draws.shape[1])
        place = self.places(draws[:, : self._n])
        lucky = draws[:, self._n :].reshape(-1, self._m, self._n).transpose(0, 2, 1) < self._prob

        sees = sees & alive[:, :, None]
        free = self.spotter[rows] < 0
        # Who comes first among those that see it: [r, m].
        order = np.where(sees, place[:, :, None], self._n)
        first = np.argmin(order, axis=1)
        found = free & sees.any(axis=1)
        is_first = np.arange(self._n)[None, :, None] == first[:, None, :]
        before = self.marks[rows]
        now = before | (found[:, None, :] & (is_first | lucky))
        self.marks[rows] = now
        self.spotter[rows] = np.where(found, first, self.spotter[rows])
        if not self._wipe:
            return now
        # At an agent's turn only those before it have looked; and an enemy that it cannot see wipes those before.
        turn = np.take_along_axis(place, first, axis=1)
        known = before | (now & (place[:, :, None] >= turn[:, None, :]))
        return np.logical_and.accumulate(known[:, :, ::-1], axis=2)[:, :, ::-1]

    def places(self, draws: npt.NDArray[np.float64]) -> IntArray:
        """[r, n] each agent's place in the order of looking, from random numbers [r, n]."""
        return np.argsort(np.argsort(draws, axis=1, kind="stable"), axis=1, kind="stable")

    def get_state(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return {"marks": self.marks.copy(), "spotter": self.spotter.copy(), "streams": self._streams.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`get_state` gave."""
        self.marks[:] = state["marks"]
        self.spotter[:] = state["spotter"]
        self._streams.set_state(state["streams"])
