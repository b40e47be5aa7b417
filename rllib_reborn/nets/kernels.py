"""Products of many rows and the recurrence of a GRU, compiled: everything of a few rows while it is in cache.

The same maths as :mod:`rllib_reborn.nets.cpu_gru` and :mod:`rllib_reborn.nets.dense` do by calls of torch, where every time
step of a GRU costs a dozen calls, and MKL, which runs half-width kernels on an AMD CPU, does the products. Here a product is
made of tiles: some rows times 16 columns that stay in registers while the depth is summed, as BLAS libraries do it; gates
are computed 8 or 16 at a time. All is float32; numbers differ from torch's in the last bits, and equal runs are equal to the
bit.

Importing this module needs numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rllib_reborn.compiled_functions import compiled
from rllib_reborn.nets import tiles
from rllib_reborn.nets.tiles import COLUMNS, ROWS, as_float, as_int, four_rows, one_row, tile, two_rows

_ZERO, _ONE, _TWO = np.float32(0), np.float32(1), np.float32(2)
#: Numbers between rows of a buffer that is read by columns, so that they are not all in the same places of the cache.
_PAD = 16

# Products and sums may be one operation; NaN stays NaN, since the learner must see a gradient that is not finite.
_compiled = compiled(sources=[tiles], fastmath={"contract", "nsz"}, error_model="numpy")


@_compiled
def _add_product(
    out: Any,
    out_at: int,
    out_row: int,
    x: Any,
    x_at: int,
    x_row: int,
    x_column: int,
    w: Any,
    w_at: int,
    w_row: int,
    rows: int,
    depth: int,
    columns: int,
) -> None:
    """``out[r, c] += sum over k of x[r, k] * w[k, c]`` for r < rows, k < depth, c < columns, a multiple of COLUMNS."""
    whole = rows - rows % ROWS
    for c in range(0, columns, COLUMNS):
        for r in range(0, whole, ROWS):
            tile(
                out, out_at + r * out_row + c, out_row, x, x_at + r * x_row, x_row, x_column, w, w_at + c, w_row, depth
            )
        r = whole
        if rows - r >= 4:
            four_rows(
                out, out_at + r * out_row + c, out_row, x, x_at + r * x_row, x_row, x_column, w, w_at + c, w_row, depth
            )
            r += 4
        if rows - r >= 2:
            two_rows(
                out, out_at + r * out_row + c, out_row, x, x_at + r * x_row, x_row, x_column, w, w_at + c, w_row, depth
            )
            r += 2
        if rows > r:
            one_row(
                out, out_at + r * out_row + c, out_row, x, x_at + r * x_row, x_row, x_column, w, w_at + c, w_row, depth
            )


@_compiled
def _fill(to: Any, at: int, rows: int, first: int, numbers: Any) -> None:
    """``numbers`` into columns ``first`` and following of ``rows`` rows from ``at`` on."""
    for i in range(at, at + rows):
        for j in range(numbers.shape[0]):
            to[i, first + j] = numbers[j]


@_compiled
def _add_rows(total: Any, numbers: Any, first: int, rows: int) -> None:
    """To ``total`` the sum of ``rows`` rows of ``numbers`` from ``first`` on, of its first columns."""
    for i in range(first, first + rows):
        for j in range(total.shape[0]):
            total[j] += numbers[i, j]


#: Rows of a product that are done while they are in the fastest cache.
BLOCK = 64


@_compiled
def product(x: Any, weight: Any, bias: Any, out: Any, relu: bool) -> None:
    """``out = x @ weight + bias``, or its ReLU: ``x`` [rows, depth], ``weight`` [depth, width], ``bias`` [width], ``out``
    [rows, width]; float32, contiguous; width is a multiple of COLUMNS."""
    depth, width = weight.shape
    for first in range(0, x.shape[0], BLOCK):
        rows = min(BLOCK, x.shape[0] - first)
        _fill(out, first, rows, 0, bias)
        _add_product(out, first * width, width, x, first * depth, depth, 1, weight, 0, width, rows, depth, width)
        if relu:
            for i in range(first, first + rows):
                for j in range(width):
                    out[i, j] = _ZERO if out[i, j] <= _ZERO else out[i, j]  # NaN stays NaN


@_compiled
def relu_backward(grad: Any, out: Any, by_x: Any) -> None:
    """The gradient of a ReLU's input, written, from that of its output ``out``; it may be the same array."""
    for i in range(grad.shape[0]):
        for j in range(grad.shape[1]):
            by_x[i, j] = _ZERO if out[i, j] <= _ZERO else grad[i, j]


@_compiled
def weight_gradient(x: Any, grad: Any, by_weight: Any, by_bias: Any) -> None:
    """Adds to ``by_weight`` [depth, width] the product of ``x`` [rows, depth] transposed and ``grad`` [rows, width], and to
    ``by_bias`` [width] the sum of ``grad``; float32, contiguous; width is a multiple of COLUMNS."""
    depth, width = by_weight.shape
    of_block = np.empty(width, np.float32)
    for first in range(0, x.shape[0], BLOCK):
        rows = min(BLOCK, x.shape[0] - first)
        _add_product(by_weight, 0, width, x, first * depth, 1, depth, grad, first * width, width, depth, rows, width)
        # Block by block, then over blocks: a sum over all rows at once would round more.
        of_block[:] = 0
        _add_rows(of_block, grad, first, rows)
        for j in range(width):
            by_bias[j] += of_block[j]


_LOW, _HIGH = np.float32(-87), np.float32(88)
_LOG2_E = np.float32(1.4426950408889634)
# ln 2 in two parts, the first of which has zeros at its end: a whole number times it is exact (Cody and Waite).
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.1219444e-4)
# Added to and taken from a number it rounds to the nearest whole one, which is then in the last bits of the sum.
_ROUND = np.float32(1.5 * 2**23)
_ROUND_BITS = np.int32(_ROUND.view(np.int32))
# 1/2!, 1/3!, ...: of exp(r) = 1 + r + r^2/2! + ..., |r| <= ln(2)/2; what is left away is below 2^-27.
_C2, _C3, _C4, _C5, _C6, _C7 = (np.float32(1 / f) for f in (2, 6, 24, 120, 720, 5040))


@_compiled
def exp_parts(y: Any) -> Any:
    """exp(y) = power * (1 + rest), with power = 2^k and 1 + rest = exp(r) for y = k ln(2) + r. Written so that a loop over
    it becomes vectors."""
    y = _LOW if y < _LOW else y  # NaN stays NaN
    y = _HIGH if y > _HIGH else y
    shifted = y * _LOG2_E + _ROUND
    k = shifted - _ROUND
    r = y - k * _LN2_HIGH
    r = r - k * _LN2_LOW
    series = ((((_C7 * r + _C6) * r + _C5) * r + _C4) * r + _C3) * r + _C2
    power = as_float(np.int32((as_int(shifted) - _ROUND_BITS + np.int32(127)) << np.int32(23)))
    return power, series * (r * r) + r


@_compiled
def _sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    power, rest = exp_parts(-x)
    return _ONE / (_ONE + (rest + _ONE) * power)


@_compiled
def _through_gates(gates: Any, at: int, x_n: Any, states: Any, before: int, n_gate: Any, after: int, size: int) -> None:
    """Gates from their sums and h' from h, for ``size`` rows: of ``gates`` and ``n_gate`` from ``at`` on, of ``x_n`` from
    the first, of ``states`` from ``before`` to ``after``."""
    width = states.shape[1]
    for i in range(size):
        for j in range(2 * width):
            gates[at + i, j] = _sigmoid(gates[at + i, j])
        for j in range(width):
            inner = gates[at + i, 2 * width + j]
            n_gate[at + i, j] = _TWO * _sigmoid(_TWO * (x_n[i, j] + gates[at + i, j] * inner)) - _ONE
        for j in range(width):
            n = n_gate[at + i, j]
            states[after + i, j] = n + gates[at + i, width + j] * (states[before + i, j] - n)


@_compiled
def gru_forward(
    x: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, sizes: Any, states: Any, gates: Any, n_gate: Any, keep: bool
) -> None:
    """Hidden states of a whole packed sequence.

    Args:
        x: [rows, input] float32, contiguous as everything here; packed time-major.
        w_ih, w_hh: [input, 3 * hidden] and [hidden, 3 * hidden]: transposed, columns (r, z, n).
        b_ih, b_hh: [3 * hidden].
        sizes: [T] int64, rows of each time step, never increasing; they sum to rows.
        states: [sizes[0] + rows, hidden]: the first ``sizes[0]`` rows are the initial state, the rest is written.
        gates, n_gate: [rows, 3 * hidden] and [rows, hidden], written: r, z and inner; n. See :mod:`.cpu_gru`.
        keep: False: nobody reads ``gates`` and ``n_gate``, which have ``sizes[0]`` rows then.
    """
    inputs, width = x.shape[1], states.shape[1]
    r_and_z, three = 2 * width, 3 * width
    b_r_z, b_n, b_inner = b_ih[:r_and_z] + b_hh[:r_and_z], b_ih[r_and_z:].copy(), b_hh[r_and_z:].copy()
    x_n = np.empty((sizes[0], width), np.float32)
    row, before, after = 0, 0, sizes[0]
    for t in range(sizes.shape[0]):
        size = sizes[t]
        at = row if keep else 0
        _fill(gates, at, size, 0, b_r_z)
        _fill(gates, at, size, r_and_z, b_inner)
        _fill(x_n, 0, size, 0, b_n)
        _add_product(gates, at * three, three, x, row * inputs, inputs, 1, w_ih, 0, three, size, inputs, r_and_z)
        _add_product(x_n, 0, width, x, row * inputs, inputs, 1, w_ih, r_and_z, three, size, inputs, width)
        _add_product(gates, at * three, three, states, before * width, width, 1, w_hh, 0, three, size, width, three)
        _through_gates(gates, at, x_n, states, before, n_gate, after, size)
        row, before, after = row + size, after, after + size


@_compiled
def _back_through_gates(
    grads: Any, grad_out: Any, carried: Any, states: Any, before: int, gates: Any, n_gate: Any, row: int, size: int
) -> None:
    """Gradients of the gates' sums, for ``size`` rows of a time step: ``grads`` columns (r, z, n, inner), and in ``carried``
    what of h's gradient goes past the gates."""
    width = states.shape[1]
    for i in range(size):
        for j in range(width):
            g = carried[i, j] + grad_out[row + i, j]
            r, z, inner = gates[row + i, j], gates[row + i, width + j], gates[row + i, 2 * width + j]
            n = n_gate[row + i, j]
            of_n = g * (_ONE - z) * (_ONE - n * n)
            grads[i, j] = of_n * inner * r * (_ONE - r)
            grads[i, width + j] = g * (states[before + i, j] - n) * z * (_ONE - z)
            grads[i, 2 * width + j] = of_n
            grads[i, 3 * width + j] = of_n * r
            carried[i, j] = g * z


@_compiled
def gru_backward(
    x: Any,
    w_ih: Any,
    w_hh: Any,
    sizes: Any,
    states: Any,
    gates: Any,
    n_gate: Any,
    grad_out: Any,
    grad_x: Any,
    wants_grad_x: bool,
    grad_w_ih: Any,
    grad_w_hh: Any,
    sums: Any,
) -> None:
    """Gradients of :func:`gru_forward`, whose ``x``, ``sizes``, ``states``, ``gates`` and ``n_gate`` (kept) these are.

    Args:
        w_ih, w_hh: [3 * hidden, input] and [3 * hidden, hidden]: not transposed.
        grad_out: [rows, hidden], of the hidden states.
        grad_x: [rows, input], zeros; the gradient of ``x`` is added if ``wants_grad_x``.
        grad_w_ih, grad_w_hh: Zeros of the weights' shapes; their gradients are added.
        sums: [4 * hidden] zeros; gradients of what the biases are added to, (r, z, n, inner), are added.
    """
    inputs, width = x.shape[1], states.shape[1]
    r_and_z, three, stride = 2 * width, 3 * width, 4 * width + _PAD
    grads = np.empty((sizes[0], stride), np.float32)
    carried = np.zeros((sizes[0], width), np.float32)
    of_step = np.empty(4 * width, np.float32)
    row = x.shape[0]
    for t in range(sizes.shape[0] - 1, -1, -1):
        size = sizes[t]
        row -= size
        before = sizes[0] + row - sizes[t - 1] if t else 0
        _back_through_gates(grads, grad_out, carried, states, before, gates, n_gate, row, size)
        if wants_grad_x:
            _add_product(grad_x, row * inputs, inputs, grads, 0, stride, 1, w_ih, 0, inputs, size, three, inputs)
        _add_product(grad_w_ih, 0, inputs, grads, 0, 1, stride, x, row * inputs, inputs, three, size, inputs)
        # W_hh takes the gradients of (r, z, inner).
        _add_product(grad_w_hh, 0, width, grads, 0, 1, stride, states, before * width, width, r_and_z, size, width)
        _add_product(
            grad_w_hh,
            r_and_z * width,
            width,
            grads,
            three,
            1,
            stride,
            states,
            before * width,
            width,
            width,
            size,
            width,
        )
        _add_product(carried, 0, width, grads, 0, stride, 1, w_hh, 0, width, size, r_and_z, width)
        _add_product(carried, 0, width, grads, three, stride, 1, w_hh, r_and_z * width, width, size, width, width)
        # Step by step, then over steps: a sum over all rows at once would round more.
        of_step[:] = 0
        _add_rows(of_step, grads, 0, size)
        for j in range(of_step.shape[0]):
            sums[j] += of_step[j]
