"""Observations and masks of battles: all of them, or those that start again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.smac.observation_batch import ObservationBatch, Scratch
from rllib_reborn.envs.smac.observation_context import (
    BoolArray,
    FloatArray,
    IntArray,
    ObservationBuffers,
    ObservationContext,
)
from rllib_reborn.envs.smac.units import Units
from rllib_reborn.envs.smac.visibility import Visibility

#: Numbers in a batch's main arrays, about: 2 MB of them, so that they stay in a core's cache, more or less.
_BATCH_NUMBERS = 500_000


class SmacObserver:
    """Fills the outputs for B battles, in batches.

    Args:
        context: What is known beside the units.
        visibility: Who has spotted whom, where that matters.

    Attributes:
        outputs: What was seen last.
        last_place: [2, B, U] float32, where units were last seen alive; only under ``CompatFlags.unspotted_wipe``, by which
            dead enemies within sight still matter.
    """

    def __init__(self, context: ObservationContext, visibility: Visibility | None) -> None:
        self._context, self._visibility = context, visibility
        n, m, B = context.scenario.n_agents, context.scenario.n_enemies, len(context.episodes.steps)
        self.outputs = ObservationBuffers.empty(context.scenario, context.layout, B)
        self.last_place: FloatArray | None = None
        if context.compat.unspotted_wipe:
            self.last_place = np.zeros((2, B, n + m), np.float32)
        numbers = n * (n + m) * 5 + n * context.layout.obs_dim
        self._most = max(1, min(B, _BATCH_NUMBERS // numbers))
        self._scratch: dict[int, Scratch] = {}
        #: Batches that write to ``outputs`` itself, and ones of few sizes for chosen battles, whose results are copied.
        self._resident = [self._resident_batch(low, min(B, low + self._most)) for low in range(0, B, self._most)]
        self._visiting: dict[int, ObservationBatch] = {}

    def _resident_batch(self, low: int, high: int) -> tuple[slice, ObservationBatch]:
        part = ObservationBuffers(*(array[low:high] for array in self.outputs))  # type: ignore[arg-type]
        return slice(low, high), ObservationBatch(self._context, part, self._scratch_of(high - low))

    def _visiting_batch(self, size: int) -> ObservationBatch:
        if size not in self._visiting:
            own = ObservationBuffers.empty(self._context.scenario, self._context.layout, size)
            self._visiting[size] = ObservationBatch(self._context, own, self._scratch_of(size))
        return self._visiting[size]

    def _scratch_of(self, size: int) -> Scratch:
        if size not in self._scratch:
            self._scratch[size] = Scratch(self._context.scenario, size)
        return self._scratch[size]

    def look(self, units: Units) -> None:
        """Look at all battles."""
        shown = self._spot(np.arange(len(self._context.episodes.steps)), units)
        for rows, batch in self._resident:
            batch.look(units, rows, None if shown is None else shown[rows])

    def look_at(self, rows: IntArray, units: Units) -> None:
        """Look at some battles (``units`` are those of all)."""
        if len(rows) == len(self._context.episodes.steps) and bool((rows == np.arange(len(rows))).all()):
            self.look(units)
            return
        shown = self._spot(rows, units)
        done = 0
        while done < len(rows):
            # Few different sizes: the largest, and powers of two.
            size = min(self._most, 1 << (len(rows) - done).bit_length() - 1)
            here, some, batch = slice(done, done + size), rows[done : done + size], self._visiting_batch(size)
            batch.look(units, some, None if shown is None else shown[here])
            for mine, theirs in zip(self.outputs, batch.outputs, strict=True):
                mine[some] = theirs
            done += size

    def _spot(self, rows: IntArray, units: Units) -> BoolArray | None:
        """[r, n, m] which enemies agents are shown where visibility matters, else None."""
        if self._visibility is None:
            return None
        n = self._context.scenario.n_agents
        x, y = units.x[rows], units.y[rows]
        alive: npt.NDArray[np.bool_] = units.health[rows] > 0
        if self.last_place is not None:
            x, y = self.last_place[:, rows] = np.where(alive, (x, y), self.last_place[:, rows])
        dx, dy = x[:, None, n:] - x[:, :n, None], y[:, None, n:] - y[:, :n, None]
        sees = self._context.within_sight(dx, dy, dx * dx + dy * dy, rows)
        return self._visibility.look(rows, sees, alive[:, :n])
