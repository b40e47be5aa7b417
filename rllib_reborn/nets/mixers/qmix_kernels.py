"""QMIX's mixing network, compiled, from the state and the agents' values to Q_tot and back: all layers of a few rows while
they are in cache, in the place of two dozen calls of torch that write and read everything.

What :mod:`rllib_reborn.nets.kernels` says holds here too. The names are those of
:class:`~rllib_reborn.nets.mixers.qmix.QMixer`: ``w_1`` [rows, n * embed] and ``w_final`` [rows, embed] are what its
hypernetworks give, before the absolute is taken; ``pre`` and ``hidden`` [rows, embed] are the mixing neurons before and
behind their ELU; ``v`` [rows, embed] are the hidden neurons of V. All arrays are float32 and contiguous, their widths
multiples of COLUMNS.

Importing this module needs numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rllib_reborn.compiled_functions import compiled
from rllib_reborn.nets import kernels, tiles
from rllib_reborn.nets.kernels import BLOCK, exp_parts, product, relu_backward, weight_gradient
from rllib_reborn.nets.tiles import dot, dot_absolutes

_compiled = compiled(sources=[kernels, tiles], fastmath={"contract", "nsz"}, error_model="numpy")

_ZERO, _ONE = np.float32(0), np.float32(1)


# -------------------------------------------------------------------- the parts


@_compiled
def mix_in(q: Any, w_1: Any, b_1: Any, pre: Any) -> None:
    """``pre`` = |w_1| q + b_1; ``q`` [rows, n]."""
    width = pre.shape[1]
    for i in range(pre.shape[0]):
        for j in range(width):
            pre[i, j] = b_1[i, j]
        for a in range(q.shape[1]):
            q_a, at = q[i, a], a * width
            for j in range(width):
                pre[i, j] += q_a * abs(w_1[i, at + j])


@_compiled
def mix_in_backward(grad: Any, q: Any, w_1: Any, by_q: Any, by_w_1: Any) -> None:
    """Gradients of ``q`` and ``w_1``, written, from that of ``pre``, which is also b_1's."""
    width = grad.shape[1]
    for i in range(grad.shape[0]):
        for a in range(q.shape[1]):
            q_a, at = q[i, a], a * width
            for j in range(width):
                by_w_1[i, at + j] = _signed(grad[i, j] * q_a, w_1[i, at + j])
            by_q[i, a] = dot_absolutes(grad, i * width, w_1, i * w_1.shape[1] + at, width)


@_compiled
def elu(pre: Any, hidden: Any) -> None:
    """``hidden`` = ``pre`` where that is above 0, else exp(pre) - 1."""
    for i in range(pre.shape[0]):
        for j in range(pre.shape[1]):
            power, rest = exp_parts(pre[i, j])
            hidden[i, j] = pre[i, j] if pre[i, j] > _ZERO else power * rest + (power - _ONE)


@_compiled
def elu_backward(grad: Any, pre: Any, by_pre: Any) -> None:
    """The gradient of ``pre``, written, from that of ``hidden``."""
    for i in range(pre.shape[0]):
        for j in range(pre.shape[1]):
            power, rest = exp_parts(pre[i, j])
            by_pre[i, j] = grad[i, j] if pre[i, j] > _ZERO else grad[i, j] * (power * rest + power)


@_compiled
def mix_out(hidden: Any, w_final: Any, v: Any, weight: Any, bias: Any, q_tot: Any) -> None:
    """``q_tot`` [rows] = |w_final| . hidden + weight . v + bias; ``weight`` [embed] and ``bias`` [1] are V's last layer."""
    width = hidden.shape[1]
    for i in range(hidden.shape[0]):
        at = i * width
        q_tot[i] = dot_absolutes(hidden, at, w_final, at, width) + (dot(v, at, weight, 0, width) + bias[0])


@_compiled
def mix_out_backward(
    grad: Any,
    hidden: Any,
    w_final: Any,
    v: Any,
    weight: Any,
    by_hidden: Any,
    by_w_final: Any,
    by_v: Any,
    by_weight: Any,
    by_bias: Any,
) -> None:
    """Gradients from that of ``q_tot``: written, but those of ``weight`` and ``bias`` are added."""
    rows, width = hidden.shape
    of_block = np.empty(width, np.float32)
    for first in range(0, rows, BLOCK):
        # By blocks, then over them: a sum over all rows at once would round more.
        of_block[:] = _ZERO
        of_bias = _ZERO
        for i in range(first, min(first + BLOCK, rows)):
            g = grad[i]
            of_bias += g
            for j in range(width):
                by_hidden[i, j] = g * abs(w_final[i, j])
                by_w_final[i, j] = _signed(g * hidden[i, j], w_final[i, j])
            for j in range(width):
                by_v[i, j] = g * weight[j]
                of_block[j] += g * v[i, j]
        for j in range(width):
            by_weight[j] += of_block[j]
        by_bias[0] += of_bias


@_compiled
def _signed(x: Any, w: Any) -> Any:
    """``x`` times the sign of ``w``, the derivative of its absolute; NaN where ``w`` is."""
    return x if w > _ZERO else (-x if w < _ZERO else x * w)


# -------------------------------------------------------------------- the whole


@_compiled
def mixing(
    state: Any,
    q: Any,
    firsts: Any,
    first_biases: Any,
    seconds: Any,
    second_biases: Any,
    v_weight: Any,
    v_bias: Any,
    made: Any,
    weights: Any,
    pre: Any,
    hidden: Any,
    q_tot: Any,
    keep: bool,
) -> None:
    """Q_tot of all rows.

    Args:
        state: [rows, s]; s may be any number.
        q: [rows, n].
        firsts, first_biases: Weights [s, width], transposed, and biases of the first layers for w_1, w_final, V and b_1.
        seconds, second_biases: Those of the second layers for w_1 and w_final.
        v_weight, v_bias: [embed] and [1], V's last layer.
        made: What the four first layers give, behind their ReLU, written.
        weights: ``w_1`` and ``w_final``, written.
        pre, hidden: Written.
        q_tot: [rows], written.
        keep: False: nobody reads ``made``, ``weights``, ``pre`` and ``hidden``, which have BLOCK rows then.
    """
    for first in range(0, state.shape[0], BLOCK):
        end = min(first + BLOCK, state.shape[0])
        at, to = (first, end) if keep else (0, end - first)
        for layer in range(4):
            product(state[first:end], firsts[layer], first_biases[layer], made[layer][at:to], layer < 3)
        for layer in range(2):
            product(made[layer][at:to], seconds[layer], second_biases[layer], weights[layer][at:to], False)
        mix_in(q[first:end], weights[0][at:to], made[3][at:to], pre[at:to])
        elu(pre[at:to], hidden[at:to])
        mix_out(hidden[at:to], weights[1][at:to], made[2][at:to], v_weight, v_bias, q_tot[first:end])


@_compiled
def mixing_backward(
    grad: Any,
    state: Any,
    q: Any,
    seconds: Any,
    v_weight: Any,
    made: Any,
    weights: Any,
    pre: Any,
    hidden: Any,
    by_q: Any,
    by_firsts: Any,
    by_first_biases: Any,
    by_seconds: Any,
    by_second_biases: Any,
    by_v_weight: Any,
    by_v_bias: Any,
    by_made: Any,
    keep: bool,
) -> None:
    """Gradients of :func:`mixing` from that of ``q_tot``; arguments as there, what was written there (kept) included.

    Args:
        seconds: [width, hidden]: not transposed.
        by_q: Written.
        by_firsts ... by_v_bias: The gradients of weights (those of ``firsts`` and ``seconds`` transposed) and biases are
            added.
        by_made: Gradients of what the first layers give before their ReLU, written.
        keep: False: nobody reads ``by_made``, which has BLOCK rows then.
    """
    n_embed, embed = weights[0].shape[1], hidden.shape[1]
    by_weights = (np.empty((BLOCK, n_embed), np.float32), np.empty((BLOCK, embed), np.float32))
    by_hidden = np.empty((BLOCK, embed), np.float32)
    nothing = (np.zeros(made[0].shape[1], np.float32), np.zeros(made[1].shape[1], np.float32))
    for first in range(0, state.shape[0], BLOCK):
        end = min(first + BLOCK, state.shape[0])
        size = end - first
        at, to = (first, end) if keep else (0, size)
        mix_out_backward(
            grad[first:end],
            hidden[first:end],
            weights[1][first:end],
            made[2][first:end],
            v_weight,
            by_hidden[:size],
            by_weights[1][:size],
            by_made[2][at:to],
            by_v_weight,
            by_v_bias,
        )
        elu_backward(by_hidden[:size], pre[first:end], by_made[3][at:to])
        mix_in_backward(by_made[3][at:to], q[first:end], weights[0][first:end], by_q[first:end], by_weights[0][:size])
        for layer in range(2):
            weight_gradient(
                made[layer][first:end], by_weights[layer][:size], by_seconds[layer], by_second_biases[layer]
            )
            product(by_weights[layer][:size], seconds[layer], nothing[layer], by_made[layer][at:to], False)
        for layer in range(3):
            relu_backward(by_made[layer][at:to], made[layer][first:end], by_made[layer][at:to])
        for layer in range(4):
            weight_gradient(state[first:end], by_made[layer][at:to], by_firsts[layer], by_first_biases[layer])
