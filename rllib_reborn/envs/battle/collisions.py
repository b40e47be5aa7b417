"""Units that overlap are pushed apart: the numpy half of the physics that is about pairs of units.

Of two that walk, the one with the shorter way left has the right of way; who stands has it before all who walk. Who has to
give way is pushed out by the whole overlap, and slips around those in its way: to the left if most of them are on the right,
and for a while always to the same side.
Units on different planes (on the ground, striding, flying) do not meet.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.battle.field_rules import HALF, ONE, PUSH, SLIP, SLIP_MEMORY, TINY, ZERO
from rllib_reborn.envs.battle.field_state import BoolArray, FieldState, FloatArray, IntArray
from rllib_reborn.envs.battle.unit_stats import TABLES


class Collisions:
    """Pushes apart the units of all battles.

    Pairs are a unit and the k-th one after it, around the circle of all units, k = 1..U/2: so each pair is there once, and
    all of them are one view of a ring of places.

    Args:
        state: The battles.
    """

    def __init__(self, state: FieldState) -> None:
        self._state = state
        U, B, K = state.U, state.B, state.U // 2
        self._ring_x, self._ring_y = np.zeros((U + K, B), np.float32), np.zeros((U + K, B), np.float32)
        self._next_x, self._next_y = _windows(self._ring_x, U, K), _windows(self._ring_y, U, K)
        self._x, self._y = np.zeros((U, K, B), np.float32), np.zeros((U, K, B), np.float32)
        self._flag = np.zeros((U, K, B), np.bool_)
        self._i: IntArray = np.repeat(np.arange(U), K)
        self._j: IntArray = (self._i + np.tile(np.arange(1, K + 1), U)) % U
        self.refresh()

    def refresh(self) -> None:
        """To be called when kinds of units have changed."""
        s, K, kind = self._state, self._state.U // 2, self._state.kind
        # Where all battles have the same units one column is enough.
        columns = slice(0, 1) if (kind == kind[:, :1]).all() else slice(None)
        radius, plane = TABLES.separation_radius[kind[:, columns]], TABLES.plane[kind[:, columns]]
        touch = radius[self._i] + radius[self._j]  # [U * K, columns]
        touch[plane[self._i] != plane[self._j]] = -1
        touch = touch.reshape(s.U, K, -1)
        if s.U % 2 == 0:
            touch[s.U // 2 :, -1] = -1  # in a ring of even length the pairs of opposites come twice
        self._touch = touch
        self._touch_squared = np.where(touch > 0, touch * touch, -ONE)

    def push(self, walks: BoolArray, want_x: FloatArray, want_y: FloatArray, left: FloatArray) -> None:
        """Push once.

        Args:
            walks: [U, B] who walks in this loop.
            want_x, want_y: [U, B] where they want to go, from where they were.
            left: [U, B] how long a way they had left.
        """
        pairs = self._overlapping()
        if not pairs.size:
            return
        s, U, B = self._state, self._state.U, self._state.B
        x, y = s.x.reshape(-1), s.y.reshape(-1)
        pair, b = pairs // B, pairs % B
        i, j = self._i[pair] * B + b, self._j[pair] * B + b
        touch = self._touch.reshape(U * (U // 2), -1)
        touch = touch[pair, b if touch.shape[1] > 1 else 0]
        distance = np.sqrt(self._x.reshape(-1)[pairs])
        nx, ny = x[j] - x[i], y[j] - y[i]
        apart = distance > TINY
        distance = np.maximum(distance, TINY)
        nx, ny = np.where(apart, nx / distance, ONE), np.where(apart, ny / distance, ZERO)
        overlap = (touch - distance) * PUSH
        walks, left = walks.reshape(-1), left.reshape(-1)
        left_i, left_j = np.where(walks[i], left[i], 0), np.where(walks[j], left[j], 0)
        gives_i, gives_j = left_i > left_j, left_i < left_j
        share_i = HALF + HALF * gives_i - HALF * gives_j
        share_j = ONE - share_i

        want_x, want_y = want_x.reshape(-1), want_y.reshape(-1)
        both = np.concatenate([i, j])
        gives = np.concatenate([gives_i, gives_j])
        on_right = np.concatenate([want_y[i] * nx - want_x[i] * ny, want_x[j] * ny - want_y[j] * nx])
        leftwards = np.bincount(both, on_right * gives * np.concatenate([overlap, overlap]), x.size) >= 0
        who = both[gives]
        slip = np.zeros(both.size, np.float32)
        slip[gives] = np.where(self._keep_side(who, leftwards[who]), SLIP, -SLIP)
        side_i, side_j = slip[: i.size] * overlap, -slip[i.size :] * overlap
        push_i, push_j = -overlap * share_i, overlap * share_j
        push_x = np.concatenate([push_i * nx - side_i * ny, push_j * nx - side_j * ny])
        push_y = np.concatenate([push_i * ny + side_i * nx, push_j * ny + side_j * nx])
        np.add(x, np.bincount(both, push_x, x.size), out=x, casting="same_kind")
        np.add(y, np.bincount(both, push_y, y.size), out=y, casting="same_kind")

    def _keep_side(self, who: IntArray, left: BoolArray) -> BoolArray:
        """Whether units slip to the left: as they did a moment ago, else as ``left`` says."""
        s = self._state
        sides, clocks, now = s.slip_left.reshape(-1), s.slip_clock.reshape(-1), s.clock[who % s.B]
        left = np.where(now - clocks[who] <= SLIP_MEMORY, sides[who], left)
        sides[who], clocks[who] = left, now
        return left

    def _overlapping(self) -> IntArray:
        """Numbers of the overlapping pairs, in [U, K, B]; their squared distances are left in ``_x``."""
        s, U, K = self._state, self._state.U, self._state.U // 2
        dx, dy, ring_x, ring_y = self._x, self._y, self._ring_x, self._ring_y
        np.add(s.x, s.aside, out=ring_x[:U])
        ring_x[U:] = ring_x[:K]
        ring_y[:U] = s.y
        ring_y[U:] = ring_y[:K]
        np.subtract(self._next_x, ring_x[:U, None], out=dx)
        np.subtract(self._next_y, ring_y[:U, None], out=dy)
        np.multiply(dx, dx, out=dx)
        np.multiply(dy, dy, out=dy)
        np.add(dx, dy, out=dx)
        np.less(dx, self._touch_squared, out=self._flag)
        return np.flatnonzero(self._flag)


def _windows(ring: FloatArray, U: int, K: int) -> npt.NDArray[np.float32]:
    """[U, K, B] view: at [i, k] row i + 1 + k of ``ring``."""
    row, column = ring.strides
    return np.lib.stride_tricks.as_strided(ring[1:], (U, K, ring.shape[1]), (row, row, column), writeable=False)
