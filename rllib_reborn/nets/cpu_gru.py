"""A GRU over packed sequences on the CPU, with its gradient written out.

torch's own packed GRU takes five times as long there, since autograd makes a gradient of the whole sequence for every time
step that it sliced off. The same sums are done in two ways: compiled, where numba is installed
(:mod:`rllib_reborn.nets.compiled`), and by calls of torch, here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rllib_reborn.nets import compiled
from rllib_reborn.nets.dense import add_weight_gradient, has_onednn, product_into
from rllib_reborn.nets.onednn import sum_by_onednn

#: Rows that the recurrence handles between two products over them.
_BLOCK_ROWS = 1024
#: So many row counts of a time step may be kernels of their own in oneDNN, which keeps 1,024.
_MAX_STEP_SIZES = 128

_MINUS_ONE = torch.tensor(-1.0)
# The derivatives of sigmoid and tanh by their own value, times an incoming gradient, in one pass.
_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


def cpu_gru(x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Hidden states of a one-layer GRU from a zero initial state.

    Args:
        x: [sum(sizes), width], packed time-major, on the CPU.
        w_ih, w_hh, b_ih, b_hh: Parameters of an ``nn.GRU(width, hidden)``.
        sizes: Rows of each time step, never increasing.

    Returns:
        [sum(sizes), hidden].

    Raises:
        ValueError: ``sizes`` are not those of ``x``.
    """
    if sum(sizes) != len(x):
        raise ValueError(f"the rows of the time steps sum to {sum(sizes)}; x has {len(x)}.")
    if compiled.suits_gru(x, w_ih, w_hh):
        return compiled.gru(x, w_ih, w_hh, b_ih, b_hh, sizes)
    if torch.is_grad_enabled():
        hidden: Tensor = _GruByTorch.apply(x, w_ih, w_hh, b_ih, b_hh, sizes)
        return hidden
    return _forward_by_torch(x, w_ih, w_hh, b_ih, b_hh, sizes)


def _blocks(sizes: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """(time steps, rows) of consecutive parts of a packed sequence, of about ``_BLOCK_ROWS`` rows each."""
    first_step = first_row = rows = 0
    for step, size in enumerate(sizes):
        if rows and rows + size > _BLOCK_ROWS:
            yield slice(first_step, step), slice(first_row, first_row + rows)
            first_step, first_row, rows = step, first_row + rows, 0
        rows += size
    yield slice(first_step, len(sizes)), slice(first_row, first_row + rows)


def _step_sum(sizes: Sequence[int]) -> Callable[[Tensor, Tensor, Tensor, Tensor], None]:
    """How to do ``out = total + x @ weight`` for the rows of one time step. oneDNN compiles a kernel for every row count, so
    they must be few, in this batch and in those to come: multiples of the number of agents up to that of all episodes."""
    possible = max(sizes) // math.gcd(*sizes)
    return sum_by_onednn if has_onednn() and possible <= _MAX_STEP_SIZES else _sum_by_torch


def _sum_by_torch(total: Tensor, x: Tensor, weight: Tensor, out: Tensor) -> None:
    torch.addmm(total, x, weight, out=out)


def _forward_by_torch(
    x: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor,
    b_hh: Tensor,
    sizes: tuple[int, ...],
    keep: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The forward pass, in small buffers that stay in cache.

    Args:
        x, w_ih, w_hh, b_ih, b_hh, sizes: As in :class:`_GruByTorch`.
        keep: What a backward pass needs and this one writes: (r, z, inner) [rows, 3 * hidden] and n [rows, hidden].
    """
    width = w_hh.shape[1]
    r_and_z = 2 * width
    # The input's product takes both biases of r and z, and is doubled (which is exact) for n: tanh(a) = 2 sigmoid(2 a) - 1
    # takes a quarter of the time of torch's tanh on the CPU.
    w_r_z, b_r_z = w_ih[:r_and_z], b_ih[:r_and_z] + b_hh[:r_and_z]
    w_n, b_n, b_inner = 2 * w_ih[r_and_z:], 2 * b_ih[r_and_z:], b_hh[r_and_z:]
    w_back = w_hh.t().contiguous()
    add_product = _step_sum(sizes)
    out = x.new_empty(len(x), width)
    blocks = list(_blocks(sizes))
    block_rows = max(rows.stop - rows.start for _, rows in blocks)
    x_n_room = x.new_empty(block_rows, width)
    if keep is None:
        gates_room, n_room = x.new_empty(block_rows, 3 * width), x.new_empty(block_rows, width)
    h = x.new_zeros(sizes[0], width)
    for steps, rows in blocks:
        in_block, x_block = sizes[steps], x[rows]
        gates, n_gate = (gates_room, n_room) if keep is None else (keep[0][rows], keep[1][rows])
        gates, n_gate, x_n = gates[: len(x_block)], n_gate[: len(x_block)], x_n_room[: len(x_block)]
        product_into(gates[:, :r_and_z], x_block, w_r_z, b_r_z)
        gates[:, r_and_z:] = b_inner
        product_into(x_n, x_block, w_n, b_n)
        # Views of all steps at once: one by one they take longer than the sums.
        parts = (gates, gates[:, :r_and_z], gates[:, :width], gates[:, width:r_and_z], gates[:, r_and_z:])
        views = [part.split(in_block) for part in (*parts, x_n, n_gate, out[rows])]
        for size, gate, r_z, r, z, inner, x_n_t, n, out_t in zip(in_block, *views):
            if len(h) > size:
                h = h[:size]
            add_product(gate, h, w_back, gate)
            r_z.sigmoid_()
            torch.addcmul(x_n_t, r, inner, value=2, out=n).sigmoid_()
            torch.add(_MINUS_ONE, n, alpha=2, out=n)
            h = torch.lerp(n, h, z, out=out_t)
    return out


class _GruByTorch(torch.autograd.Function):
    """GRU over packed rows with its gradient written out.

    With gates r, z, n and hidden state h (torch's ``nn.GRU``)::

        r, z  = sigmoid(x_r + W_r h + b_r), sigmoid(x_z + W_z h + b_z)
        inner = W_n h + b_hn
        n     = tanh(x_n + b_in + r * inner)
        h'    = (1 - z) * n + z * h

    and, from the gradient g of h'::

        of z's sum      g (h - n) z (1 - z)              of inner   (of n's sum) r
        of n's sum      g (1 - z) (1 - n^2)              of r's sum (of n's sum) inner r (1 - r)
        of h            g z + W_h (those of inner, r, z)

    Work goes by blocks of a few time steps, whose inputs, gradients and products stay in cache: what W_ih makes of the input
    and the gradients of the gates are never written out for the whole sequence. What of these products does not depend on g
    is taken for a whole block; only four operations are left for every time step.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, sizes: tuple[int, ...]
    ) -> Tensor:
        width = w_hh.shape[1]
        gates, n_gate = x.new_empty(len(x), 3 * width), x.new_empty(len(x), width)
        out = _forward_by_torch(x, w_ih, w_hh, b_ih, b_hh, sizes, (gates, n_gate))
        ctx.save_for_backward(x, w_ih, w_hh, out, gates, n_gate)
        ctx.sizes = sizes
        return out

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, grad_out: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor, Tensor, Tensor, None]:
        x, w_ih, w_hh, out, gates, n_gate = ctx.saved_tensors
        sizes: tuple[int, ...] = ctx.sizes
        add_product = _step_sum(sizes)
        width = out.shape[1]
        w_back = torch.cat([w_hh[2 * width :], w_hh[: 2 * width]])  # rows (inner, r, z)
        outputs = out.split(sizes)
        # h before each step: that of the step before, of the episodes still running.
        previous = [out.new_zeros(sizes[0], width)]
        previous += [before[:size] for before, size in zip(outputs[:-1], sizes[1:])]
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        grad_w_ih, by_w_hh = torch.zeros_like(w_ih), torch.zeros_like(w_hh)
        sums = out.new_zeros(5 * width)
        carried = out.new_zeros(sizes[0], width)
        blocks = list(_blocks(sizes))
        block_rows = max(rows.stop - rows.start for _, rows in blocks)
        # Columns: factors (r, inner r (1 - r), (h - n) z (1 - z), (1 - z) (1 - n^2), z) and gradients (inner, r, z, n, h).
        # W_hh takes the gradients of (inner, r, z), W_ih those of (r, z, n): neighbours in one buffer, so no copies.
        factors_room, grads_room = out.new_empty(2, block_rows, 5, width)
        for steps, rows in reversed(blocks):
            in_block = sizes[steps]
            h_block = torch.cat(previous[steps])
            factors, grads = factors_room[: len(h_block)], grads_room[: len(h_block)]
            _fill_factors(factors, gates[rows], n_gate[rows], h_block)
            flat = grads.view(len(h_block), 5 * width)
            by_hidden, by_input = flat[:, : 3 * width], flat[:, width : 4 * width]
            parts = (factors[:, :2], factors[:, 2:], grads[:, :2], grads[:, 2:], grads[:, 3:4], grads[:, 4], by_hidden)
            views = [reversed(part.split(in_block)) for part in (*parts, grad_out[rows])]
            for size, of_n, of_grad, by_two, by_three, by_n, by_h, hidden_t, grad_t in zip(reversed(in_block), *views):
                grad = carried[:size].add_(grad_t)
                torch.mul(of_grad, grad.unsqueeze(1), out=by_three)
                torch.mul(of_n, by_n, out=by_two)
                add_product(by_h, hidden_t, w_back, grad)
            if grad_x is not None:
                product_into(grad_x[rows], by_input, w_ih.t())
            add_weight_gradient(grad_w_ih, by_input, x[rows])
            add_weight_gradient(by_w_hh, by_hidden, h_block)
            sums += flat.sum(0)
        return (
            grad_x,
            grad_w_ih,
            torch.cat([by_w_hh[width:], by_w_hh[:width]]),
            sums[width : 4 * width],
            torch.cat([sums[width : 3 * width], sums[:width]]),
            None,
        )


def _fill_factors(factors: Tensor, gates: Tensor, n: Tensor, h: Tensor) -> None:
    """What the gradients of a block of steps are multiplied by, see :meth:`_GruByTorch.backward`: ``factors``
    [rows, 5, hidden] from (r, z, inner) [rows, 3 * hidden], n and the h before each step."""
    r, z, inner = gates.chunk(3, dim=1)
    factors[:, 0] = r
    _sigmoid_backward(inner, r, grad_input=factors[:, 1])
    _sigmoid_backward(torch.sub(h, n, out=factors[:, 2]), z, grad_input=factors[:, 2])
    _tanh_backward(torch.sub(1.0, z, out=factors[:, 3]), n, grad_input=factors[:, 3])
    factors[:, 4] = z
