"""Looks at battles: all of them, or those that begin anew."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.smac.batch import Batch, Scratch
from rllib_reborn.envs.smac.scene import BoolArray, FloatArray, IntArray, Outputs, Scene
from rllib_reborn.envs.smac.spotting import Spotting
from rllib_reborn.envs.smac.units import Units

#: Numbers in a batch's main arrays, about: 2 MB of them, so that they stay in a core's cache, more or less.
_BATCH_NUMBERS = 500_000


class Observer:
    """Fills the outputs for B battles, in batches.

    Args:
        scene: What is known beside the units.
        spotting: Who has spotted whom, where that matters.

    Attributes:
        outputs: What was seen last.
        last_place: [2, B, U] float32, where units were last seen alive; only under ``Quirks.unspotted_wipe``, by which
            dead enemies within sight still matter.
    """

    def __init__(self, scene: Scene, spotting: Spotting | None) -> None:
        self._scene, self._spotting = scene, spotting
        n, m, B = scene.scenario.n_agents, scene.scenario.n_enemies, len(scene.books.steps)
        self.outputs = Outputs.empty(scene.scenario, scene.layout, B)
        self.last_place: FloatArray | None = None
        if scene.quirks.unspotted_wipe:
            self.last_place = np.zeros((2, B, n + m), np.float32)
        numbers = n * (n + m) * 5 + n * scene.layout.obs_dim
        self._most = max(1, min(B, _BATCH_NUMBERS // numbers))
        self._scratch: dict[int, Scratch] = {}
        #: Batches that write to ``outputs`` itself, and ones of few sizes for chosen battles, whose results are copied.
        self._resident = [self._resident_batch(low, min(B, low + self._most)) for low in range(0, B, self._most)]
        self._visiting: dict[int, Batch] = {}

    def _resident_batch(self, low: int, high: int) -> tuple[slice, Batch]:
        part = Outputs(*(array[low:high] for array in self.outputs))  # type: ignore[arg-type]
        return slice(low, high), Batch(self._scene, part, self._scratch_of(high - low))

    def _visiting_batch(self, size: int) -> Batch:
        if size not in self._visiting:
            own = Outputs.empty(self._scene.scenario, self._scene.layout, size)
            self._visiting[size] = Batch(self._scene, own, self._scratch_of(size))
        return self._visiting[size]

    def _scratch_of(self, size: int) -> Scratch:
        if size not in self._scratch:
            self._scratch[size] = Scratch(self._scene.scenario, size)
        return self._scratch[size]

    def look(self, units: Units) -> None:
        """Look at all battles."""
        shown = self._spot(np.arange(len(self._scene.books.steps)), units)
        for rows, batch in self._resident:
            batch.look(units, rows, None if shown is None else shown[rows])

    def look_at(self, rows: IntArray, units: Units) -> None:
        """Look at some battles (``units`` are those of all)."""
        if len(rows) == len(self._scene.books.steps) and bool((rows == np.arange(len(rows))).all()):
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
        """[r, n, m] which enemies agents are shown where spotting matters, else None."""
        if self._spotting is None:
            return None
        n = self._scene.scenario.n_agents
        x, y = units.x[rows], units.y[rows]
        alive: npt.NDArray[np.bool_] = units.health[rows] > 0
        if self.last_place is not None:
            x, y = self.last_place[:, rows] = np.where(alive, (x, y), self.last_place[:, rows])
        dx, dy = x[:, None, n:] - x[:, :n, None], y[:, None, n:] - y[:, :n, None]
        sees = self._scene.within_sight(dx, dy, dx * dx + dy * dy, rows)
        return self._spotting.look(rows, sees, alive[:, :n])
