"""Whole-sequence work without padding: the packed layout of a batch of episodes, and a fast GRU over it.

Packed layout: episodes are sorted by length, longest first, and their rows laid out time-major; time step ``t`` holds one
row for each episode that is still running, which is a prefix of the sorted episodes. So nothing is computed for padding,
every matrix product covers a whole sequence, and only the hidden recurrence is a loop.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils.rnn import PackedSequence


@dataclasses.dataclass(frozen=True)
class PackedLayout:
    """Where the steps of E episodes of lengths ``L_e`` (env steps) lie. An episode has ``L_e + 1`` observations (the last
    one is final) and ``L_e`` transitions.

    Attributes:
        order: [E] sorted position -> episode.
        obs_sizes: Running episodes at each time step, for observations; sums to ``sum(L + 1)``.
        obs_rows: [sum(L+1)] flat index ``episode * (T + 1) + t`` into arrays of shape [E, T + 1, ...].
        step_rows: [sum(L)] flat index ``episode * T + t`` into arrays of shape [E, T, ...].
        now, next: [sum(L)] packed observation row before and after each transition.
    """

    order: Tensor
    obs_sizes: list[int]
    obs_rows: Tensor
    step_rows: Tensor
    now: Tensor
    next: Tensor

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
        sorted_lengths, order = torch.sort(lengths.long(), descending=True, stable=True)
        time = torch.arange(high + 1).unsqueeze(1)
        # [T + 1, E] in sorted order: does the episode have an observation (a transition) at time t?
        has_obs = time <= sorted_lengths
        has_step = time[:-1] < sorted_lengths
        obs_sizes = has_obs.sum(1)
        first = torch.cat([obs_sizes.new_zeros(1), obs_sizes.cumsum(0)[:-1]])
        obs_t, obs_e = has_obs.nonzero(as_tuple=True)
        step_t, step_e = has_step.nonzero(as_tuple=True)
        return PackedLayout(
            order=order.to(device),
            obs_sizes=obs_sizes.tolist(),
            obs_rows=(order[obs_e] * (horizon + 1) + obs_t).to(device),
            step_rows=(order[step_e] * horizon + step_t).to(device),
            now=(first[step_t] + step_e).to(device),
            next=(first[step_t + 1] + step_e).to(device),
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
    written out (see ``benchmarks/learner.py`` for the ratio).
    """
    if x.device.type == "cpu":
        w_ih, w_hh, b_ih, b_hh = gru.parameters()
        projected = linear(x, w_ih, b_ih)
        if torch.is_grad_enabled():
            hidden: Tensor = _CpuGru.apply(projected, w_hh, b_hh, tuple(batch_sizes))
            return hidden
        return _gru_forward(projected, w_hh, b_hh, batch_sizes)
    packed, _ = gru(PackedSequence(x, torch.tensor(batch_sizes, dtype=torch.int64)))
    on_cuda: Tensor = packed.data
    return on_cuda


def _gru_forward(projected: Tensor, w_hh: Tensor, b_hh: Tensor, batch_sizes: Sequence[int]) -> Tensor:
    """The forward pass alone, writing into small reused buffers that stay in cache."""
    hidden_dim = w_hh.shape[1]
    out = projected.new_empty(projected.shape[0], hidden_dim)
    w_t = w_hh.t().contiguous()
    h = projected.new_zeros(batch_sizes[0], hidden_dim)
    recurrent = projected.new_empty(batch_sizes[0], 3 * hidden_dim)
    begin = 0
    for size in batch_sizes:
        end = begin + size
        x_t, h, g = projected[begin:end], h[:size], recurrent[:size]
        torch.addmm(b_hh, h, w_t, out=g)
        gates = g[:, : 2 * hidden_dim]
        gates.add_(x_t[:, : 2 * hidden_dim]).sigmoid_()
        new = g[:, 2 * hidden_dim :]
        new.mul_(gates[:, :hidden_dim]).add_(x_t[:, 2 * hidden_dim :]).tanh_()
        h = torch.lerp(new, h, gates[:, hidden_dim:], out=out[begin:end])
        begin = end
    return out


class _CpuGru(torch.autograd.Function):
    """GRU over packed rows with its gradient written out.

    With gates r, z, n and hidden state h (torch's ``nn.GRU``)::

        r, z = sigmoid(x_r + W_r h + b_r), sigmoid(x_z + W_z h + b_z)
        n    = tanh(x_n + r * (W_n h + b_n))
        h'   = (1 - z) * n + z * h

    Autograd's own backward pass adds up the weight gradient time step by time step and keeps many small tensors alive;
    here it is one product over the whole sequence, and all factors that do not depend on the incoming gradient are
    computed for the whole sequence at once, so that the loop holds four small multiplications and one product.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, projected: Tensor, w_hh: Tensor, b_hh: Tensor, batch_sizes: tuple[int, ...]
    ) -> Tensor:
        rows, hidden_dim = projected.shape[0], w_hh.shape[1]
        out = projected.new_empty(rows, hidden_dim)
        gates = projected.new_empty(rows, 2 * hidden_dim)
        new = projected.new_empty(rows, hidden_dim)
        inner = projected.new_empty(rows, hidden_dim)  # W_n h + b_n
        w_t = w_hh.t().contiguous()
        h = projected.new_zeros(batch_sizes[0], hidden_dim)
        recurrent = projected.new_empty(batch_sizes[0], 3 * hidden_dim)
        begin = 0
        for size in batch_sizes:
            end = begin + size
            x_t, h, g = projected[begin:end], h[:size], recurrent[:size]
            torch.addmm(b_hh, h, w_t, out=g)
            gates_t = gates[begin:end]
            torch.add(x_t[:, : 2 * hidden_dim], g[:, : 2 * hidden_dim], out=gates_t).sigmoid_()
            inner_t = inner[begin:end].copy_(g[:, 2 * hidden_dim :])
            new_t = new[begin:end]
            torch.addcmul(x_t[:, 2 * hidden_dim :], gates_t[:, :hidden_dim], inner_t, out=new_t).tanh_()
            h = torch.lerp(new_t, h, gates_t[:, hidden_dim:], out=out[begin:end])
            begin = end
        ctx.save_for_backward(out, gates, new, inner, w_hh)
        ctx.batch_sizes = batch_sizes
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[override]
        out, gates, new, inner, w_hh = ctx.saved_tensors
        sizes: tuple[int, ...] = ctx.batch_sizes
        rows, hidden_dim = out.shape
        r, z = gates[:, :hidden_dim], gates[:, hidden_dim:]

        # h of the step before, in packed order: the first rows of that step are the episodes still running now.
        previous = torch.empty_like(out)
        previous[: sizes[0]] = 0
        begin, before = sizes[0], 0
        for i in range(1, len(sizes)):
            previous[begin : begin + sizes[i]] = out[before : before + sizes[i]]
            before += sizes[i - 1]
            begin += sizes[i]

        # Derivatives of h' by the pre-activations of z and n, and of n's by r's.
        keep = 1 - z
        by_z = (previous - new).mul_(z).mul_(keep)
        by_new = torch.addcmul(keep, keep * new, new, value=-1)
        by_r = (1 - r).mul_(r).mul_(inner)

        grad_projected = out.new_empty(rows, 3 * hidden_dim)
        grad_recurrent = torch.empty_like(grad_projected)
        grad_h = out.new_zeros(sizes[0], hidden_dim)
        end = rows
        for size in reversed(sizes):
            begin = end - size
            grad = grad_h[:size]
            grad.add_(grad_out[begin:end])
            g = grad_recurrent[begin:end]
            grad_new = grad_projected[begin:end, 2 * hidden_dim :]
            torch.mul(grad, by_new[begin:end], out=grad_new)
            torch.mul(grad_new, by_r[begin:end], out=g[:, :hidden_dim])
            torch.mul(grad, by_z[begin:end], out=g[:, hidden_dim : 2 * hidden_dim])
            torch.mul(grad_new, r[begin:end], out=g[:, 2 * hidden_dim :])
            grad.mul_(z[begin:end]).addmm_(g, w_hh)
            end = begin
        grad_projected[:, : 2 * hidden_dim] = grad_recurrent[:, : 2 * hidden_dim]
        return grad_projected, grad_recurrent.t() @ previous, grad_recurrent.sum(0), None
