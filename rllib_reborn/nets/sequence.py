"""Whole-sequence work without padding: the packed layout of a batch of episodes, and a fast GRU over it.

Packed layout: episodes are sorted by length, longest first, and their rows laid out time-major; time step ``t`` holds one
row for each episode that is still running, which is a prefix of the sorted episodes. So nothing is computed for padding,
every matrix product covers a whole sequence, and only the hidden recurrence is a loop.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from rllib_reborn.nets.dense import one_product, product, weight_gradient

#: Rows that the recurrence handles between two products over them.
_BLOCK_ROWS = 2048
#: So many row counts of a time step may be kernels of their own in oneDNN, which keeps 1,024.
_MAX_STEP_SIZES = 128

_MINUS_ONE = torch.tensor(-1.0)
# The derivatives of sigmoid and tanh by their own value, times an incoming gradient, in one pass.
_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


@dataclasses.dataclass(frozen=True)
class PackedLayout:
    """Where the steps of E episodes of lengths ``L_e`` (env steps) lie. An episode has ``L_e + 1`` observations (the last
    one is final) and ``L_e`` transitions.

    Attributes:
        order: [E] sorted position -> episode.
        obs_sizes: Running episodes at each time step, for observations; sums to ``sum(L + 1)``.
        obs_rows: [sum(L+1)] flat index ``episode * (T + 1) + t`` into arrays of shape [E, T + 1, ...].
        step_rows: [sum(L)] flat index ``episode * T + t`` into arrays of shape [E, T, ...].
        now, next: [sum(L)] packed observation row before and after each transition; slices where all lengths are equal,
            which take views instead of copies.
    """

    order: Tensor
    obs_sizes: tuple[int, ...]
    obs_rows: Tensor
    step_rows: Tensor
    now: Tensor | slice
    next: Tensor | slice

    @staticmethod
    def of(lengths: Tensor, horizon: int, device: torch.device) -> PackedLayout:
        """Layout for ``lengths`` [E] (1..horizon each; on the CPU, since sizes are needed as Python numbers).

        Raises:
            ValueError: No episode, or a length outside 1..horizon.
        """
        if len(lengths) == 0:
            raise ValueError("cannot lay out a batch of no episodes.")
        low, high = int(lengths.min()), int(lengths.max())
        if low < 1 or high > horizon:
            raise ValueError(f"episode lengths reach from {low} to {high}; expected 1..{horizon}.")
        return _layout(tuple(lengths.tolist()), horizon, device)


# Where all episodes are of one length, every update asks for the same layout.
@functools.lru_cache(maxsize=1)
def _layout(lengths: tuple[int, ...], horizon: int, device: torch.device) -> PackedLayout:
    sorted_lengths, order = torch.sort(torch.tensor(lengths), descending=True, stable=True)
    time = torch.arange(max(lengths) + 1).unsqueeze(1)
    # [T + 1, E] in sorted order: does the episode have an observation (a transition) at time t?
    has_obs = time <= sorted_lengths
    has_step = time[:-1] < sorted_lengths
    obs_sizes = has_obs.sum(1)
    first = torch.cat([obs_sizes.new_zeros(1), obs_sizes.cumsum(0)[:-1]])
    obs_t, obs_e = has_obs.nonzero(as_tuple=True)
    step_t, step_e = has_step.nonzero(as_tuple=True)
    now: Tensor | slice = (first[step_t] + step_e).to(device)
    following: Tensor | slice = (first[step_t + 1] + step_e).to(device)
    if min(lengths) == max(lengths):
        now, following = slice(0, len(step_t)), slice(len(lengths), None)
    return PackedLayout(
        order=order.to(device),
        obs_sizes=tuple(obs_sizes.tolist()),
        obs_rows=(order[obs_e] * (horizon + 1) + obs_t).to(device),
        step_rows=(order[step_e] * horizon + step_t).to(device),
        now=now,
        next=following,
    )


def gru_sequence(gru: nn.GRU, x: Tensor, batch_sizes: Sequence[int]) -> Tensor:
    """Hidden states of a one-layer GRU over packed sequences, from a zero initial state.

    Args:
        gru: ``nn.GRU(width, hidden)``, one layer, one direction, with biases.
        x: [sum(batch_sizes), width], packed time-major.
        batch_sizes: Rows of each time step, never increasing.

    Returns:
        [sum(batch_sizes), hidden].

    On CUDA this is cuDNN's packed GRU. On the CPU it is :class:`_CpuGru`, which does the same sums with the gradient
    written out: torch's own packed GRU takes five times as long there, since autograd makes a gradient of the whole
    sequence for every time step that it sliced off.
    """
    if x.device.type == "cpu":
        w_ih, w_hh, b_ih, b_hh = gru.parameters()
        if torch.is_grad_enabled():
            hidden: Tensor = _CpuGru.apply(x, w_ih, w_hh, b_ih, b_hh, tuple(batch_sizes))
            return hidden
        return _gru_forward(x, w_ih, w_hh, b_ih, b_hh, tuple(batch_sizes))
    packed, _ = gru(PackedSequence(x, torch.tensor(batch_sizes, dtype=torch.int64)))
    on_cuda: Tensor = packed.data
    return on_cuda


def _blocks(sizes: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """(time steps, rows) of consecutive parts of a packed sequence, of about ``_BLOCK_ROWS`` rows each."""
    first_step = first_row = rows = 0
    for step, size in enumerate(sizes):
        if rows and rows + size > _BLOCK_ROWS:
            yield slice(first_step, step), slice(first_row, first_row + rows)
            first_step, first_row, rows = step, first_row + rows, 0
        rows += size
    yield slice(first_step, len(sizes)), slice(first_row, first_row + rows)


def _step_product(sizes: Sequence[int]) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """How to multiply the rows of one time step. oneDNN compiles a kernel for every row count, so they must be few, in this
    batch and in those to come: multiples of the number of agents up to that of all episodes."""
    possible = max(sizes) // math.gcd(*sizes)
    return one_product if possible <= _MAX_STEP_SIZES else functional.linear


def _forward_weights(w_ih: Tensor, b_ih: Tensor, b_hh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weight [3 * hidden, k] and bias of the input's product, and bias of W h.

    The input's takes both biases of r and z, and is doubled (which is exact) for n: see :func:`_cell`.
    """
    r_and_z = 2 * len(b_ih) // 3
    factor = torch.ones_like(b_ih)
    factor[r_and_z:] = 2
    b_x, b_h = b_ih.clone(), b_hh.clone()
    b_x[:r_and_z] += b_h[:r_and_z]
    b_h[:r_and_z] = 0
    return w_ih * factor.unsqueeze(1), b_x * factor, b_h


def _cell(x_r_z: Tensor, x_n: Tensor, h: Tensor, gates: Tensor, n: Tensor, out: Tensor) -> Tensor:
    """One step: ``gates`` [rows, 3 * hidden] is W h with b_hn and becomes (r, z, inner); ``n`` and ``out`` are written."""
    r, z, inner = gates.chunk(3, dim=1)
    gates.narrow(1, 0, x_r_z.shape[1]).add_(x_r_z).sigmoid_()
    # tanh(a) = 2 sigmoid(2 a) - 1, a quarter of the time of torch's tanh on the CPU; x_n is doubled already.
    torch.addcmul(x_n, r, inner, value=2, out=n).sigmoid_()
    torch.add(_MINUS_ONE, n, alpha=2, out=n)
    return torch.lerp(n, h, z, out=out)


def _gru_forward(
    x: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor,
    b_hh: Tensor,
    sizes: tuple[int, ...],
    keep: tuple[list[Tensor], Tensor] | None = None,
) -> Tensor:
    """The forward pass, in small buffers that stay in cache.

    Args:
        x, w_ih, w_hh, b_ih, b_hh, sizes: As in :class:`_CpuGru`.
        keep: What a backward pass needs: a list that takes (r, z, inner) of each step, and room for n [rows, hidden].
    """
    w_x, b_x, b_h = _forward_weights(w_ih, b_ih, b_hh)
    w_hh = w_hh.contiguous()
    multiply = _step_product(sizes)
    width = w_hh.shape[1]
    out = x.new_empty(len(x), width)
    h = x.new_zeros(sizes[0], width)
    scratch = torch.empty_like(h)
    for steps, rows in _blocks(sizes):
        in_block = sizes[steps]
        projected = product(x[rows], w_x, b_x)
        of_r_z, of_n = projected[:, : 2 * width].split(in_block), projected[:, 2 * width :].split(in_block)
        n_steps = [scratch[:size] for size in in_block] if keep is None else keep[1][rows].split(in_block)
        for x_r_z, x_n, n, out_t, size in zip(of_r_z, of_n, n_steps, out[rows].split(in_block), in_block):
            if len(h) > size:
                h = h[:size]
            # Kept where the product made it, so that nothing is copied.
            gates = multiply(h, w_hh, b_h)
            h = _cell(x_r_z, x_n, h, gates, n, out_t)
            if keep is not None:
                keep[0].append(gates)
    return out


class _CpuGru(torch.autograd.Function):
    """GRU over packed rows with its gradient written out.

    With gates r, z, n and hidden state h (torch's ``nn.GRU``)::

        r, z  = sigmoid(x_r + W_r h + b_r), sigmoid(x_z + W_z h + b_z)
        inner = W_n h + b_hn
        n     = tanh(x_n + b_in + r * inner)
        h'    = (1 - z) * n + z * h

    Work goes by blocks of a few time steps, whose inputs, gradients and products stay in cache: what W_ih makes of the input
    and the gradients of the gates are never written out for the whole sequence. Gradients of a block lie in columns
    (inner, r, z): that is what goes to W_hh; W_ih takes (r, z, n).
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, sizes: tuple[int, ...]
    ) -> Tensor:
        gates: list[Tensor] = []
        n_gate = x.new_empty(len(x), w_hh.shape[1])
        out = _gru_forward(x, w_ih, w_hh, b_ih, b_hh, sizes, (gates, n_gate))
        ctx.save_for_backward(x, w_ih, w_hh, out, n_gate, *gates)
        ctx.sizes = sizes
        return out

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, grad_out: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor, Tensor, Tensor, None]:
        x, w_ih, w_hh, out, n_gate, *gates = ctx.saved_tensors
        sizes: tuple[int, ...] = ctx.sizes
        multiply = _step_product(sizes)
        width = out.shape[1]
        # [width, 3 * width], for columns (inner, r, z).
        w_back = torch.cat([w_hh[2 * width :], w_hh[: 2 * width]]).t().contiguous()
        w_ih_back = w_ih.t().contiguous()
        outputs = out.split(sizes)
        # h before each step: that of the step before, of the episodes still running.
        previous = [out.new_zeros(sizes[0], width)]
        previous += [before[:size] for before, size in zip(outputs[:-1], sizes[1:])]
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        grad_w_ih, by_w_hh = torch.zeros_like(w_ih), torch.zeros_like(w_hh)
        sums_x, sums_h = out.new_zeros(3 * width), out.new_zeros(3 * width)
        carried = out.new_zeros(sizes[0], width)
        whole_work = torch.empty_like(carried)
        for steps, rows in reversed(list(_blocks(sizes))):
            in_block = sizes[steps]
            h_block = torch.cat(previous[steps])
            by_hidden, by_n_block = x.new_empty(len(h_block), 3 * width), torch.empty_like(h_block)
            for size, h, gate, n, grad_t, hidden_t, by_n in zip(
                reversed(in_block),
                reversed(h_block.split(in_block)),
                reversed(gates[steps]),
                reversed(n_gate[rows].split(in_block)),
                reversed(grad_out[rows].split(in_block)),
                reversed(by_hidden.split(in_block)),
                reversed(by_n_block.split(in_block)),
            ):
                carry, work = carried[:size], whole_work[:size]
                r, z, inner = gate.chunk(3, dim=1)
                by_inner, by_r, by_z = hidden_t.chunk(3, dim=1)
                grad = carry.add_(grad_t)
                _sigmoid_backward(torch.sub(h, n, out=work).mul_(grad), z, grad_input=by_z)
                grad_h = torch.mul(grad, z, out=work)
                _tanh_backward(grad.sub_(grad_h), n, grad_input=by_n)
                torch.mul(by_n, r, out=by_inner)
                _sigmoid_backward(torch.mul(by_n, inner, out=by_r), r, grad_input=by_r)
                torch.add(grad_h, multiply(hidden_t, w_back, None), out=carry)
            by_input = torch.cat([by_hidden[:, width:], by_n_block], dim=1)
            if grad_x is not None:
                grad_x[rows] = product(by_input, w_ih_back)
            grad_w_ih += weight_gradient(by_input, x[rows])
            by_w_hh += weight_gradient(by_hidden, h_block)
            sums_x += by_input.sum(0)
            sums_h += by_hidden.sum(0)
        return (
            grad_x,
            grad_w_ih,
            torch.cat([by_w_hh[width:], by_w_hh[:width]]),
            sums_x,
            torch.cat([sums_h[width:], sums_h[:width]]),
            None,
        )
