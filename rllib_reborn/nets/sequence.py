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
from torch.nn.utils.rnn import PackedSequence

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
    written out: torch's own packed GRU takes five times as long there, since autograd makes a gradient of the whole
    sequence for every time step that it sliced off.
    """
    w_ih, w_hh, b_ih, b_hh = gru.parameters()
    if x.device.type == "cpu":
        # Without the bias: adding it to the whole sequence would cost another pass over it.
        projected = torch.mm(x, w_ih.t())
        if torch.is_grad_enabled():
            hidden: Tensor = _CpuGru.apply(projected, w_hh, b_ih, b_hh, tuple(batch_sizes))
            return hidden
        return _gru_forward(projected, w_hh, b_ih, b_hh, batch_sizes)
    packed, _ = gru(PackedSequence(x, torch.tensor(batch_sizes, dtype=torch.int64)))
    on_cuda: Tensor = packed.data
    return on_cuda


def _cell(
    projected: Tensor, h: Tensor, w_t: Tensor, bias: Tensor, b_n: Tensor, buffer: Tensor, out: Tensor | None
) -> Tensor:
    """One step of the recurrence, in place of ``buffer`` [rows, 3 * hidden]."""
    width = h.shape[1]
    torch.addmm(bias, h, w_t, out=buffer)
    r, z = buffer[:, : 2 * width].add_(projected[:, : 2 * width]).sigmoid_().chunk(2, dim=1)
    n = buffer[:, 2 * width :].mul_(r).add_(projected[:, 2 * width :]).add_(b_n).tanh_()
    return torch.lerp(n, h, z, out=out)


def _step_biases(b_ih: Tensor, b_hh: Tensor) -> tuple[Tensor, Tensor]:
    """Biases as the recurrence uses them: one for (r, z, inner), where r and z take both, and n's own [hidden]."""
    r_and_z = 2 * len(b_ih) // 3
    return torch.cat([b_hh[:r_and_z] + b_ih[:r_and_z], b_hh[r_and_z:]]), b_ih[r_and_z:]


def _gru_forward(projected: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, batch_sizes: Sequence[int]) -> Tensor:
    """The forward pass alone, in one small buffer that stays in cache."""
    width = w_hh.shape[1]
    sizes = list(batch_sizes)
    bias, b_n = _step_biases(b_ih, b_hh)
    w_t = w_hh.t().contiguous()
    out = projected.new_empty(projected.shape[0], width)
    scratch = projected.new_empty(sizes[0], 3 * width)
    h = projected.new_zeros(sizes[0], width)
    for x_t, out_t, size in zip(projected.split(sizes), out.split(sizes), sizes):
        h = _cell(x_t, h[:size], w_t, bias, b_n, scratch[:size], out_t)
    return out


class _CpuGru(torch.autograd.Function):
    """GRU over packed rows with its gradient written out.

    With gates r, z, n and hidden state h (torch's ``nn.GRU``)::

        r, z  = sigmoid(x_r + W_r h + b_r), sigmoid(x_z + W_z h + b_z)
        inner = W_n h + b_hn
        n     = tanh(x_n + b_in + r * inner)
        h'    = (1 - z) * n + z * h

    The weight gradient is one product over the whole sequence, and everything else happens step by step in buffers that
    stay in cache. Columns of the saved values are (r, z, inner, n), those of the gradients (inner, r, z, n): so the first
    three are what goes to W h and the last three what goes to x, both without a copy.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, projected: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, sizes: tuple[int, ...]
    ) -> Tensor:
        rows, width = projected.shape[0], w_hh.shape[1]
        bias, b_n = _step_biases(b_ih, b_hh)
        w_t = w_hh.t().contiguous()
        out = projected.new_empty(rows, width)
        saved = projected.new_empty(rows, 4 * width)
        h = projected.new_zeros(sizes[0], width)
        for x_rz, x_n, out_t, saved_t, size in zip(
            projected[:, : 2 * width].split(sizes),
            projected[:, 2 * width :].split(sizes),
            out.split(sizes),
            saved.split(sizes),
            sizes,
        ):
            h = h[:size]
            torch.addmm(bias, h, w_t, out=saved_t[:, : 3 * width])
            saved_t[:, : 2 * width].add_(x_rz).sigmoid_()
            r, z, inner, n = saved_t.chunk(4, dim=1)
            torch.addcmul(x_n, r, inner, out=n).add_(b_n).tanh_()
            h = torch.lerp(n, h, z, out=out_t)
        ctx.save_for_backward(out, saved, w_hh)
        ctx.sizes = sizes
        return out

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad_out: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        out, saved, w_hh = ctx.saved_tensors
        sizes: tuple[int, ...] = ctx.sizes
        width = out.shape[1]
        w_inner_r_z = torch.cat([w_hh[2 * width :], w_hh[: 2 * width]])
        outputs = out.split(sizes)
        # h before each step: that of the step before, of the episodes still running.
        previous = [out.new_zeros(sizes[0], width)]
        previous += [before[:size] for before, size in zip(outputs[:-1], sizes[1:])]
        gradients = out.new_empty(out.shape[0], 4 * width)
        carried = out.new_zeros(sizes[0], width)
        whole_grad, whole_work = torch.empty_like(carried), torch.empty_like(carried)
        for size, h, saved_t, grad_t, gradient_t in zip(
            reversed(sizes),
            reversed(previous),
            reversed(saved.split(sizes)),
            reversed(grad_out.split(sizes)),
            reversed(gradients.split(sizes)),
        ):
            carry, work = carried[:size], whole_work[:size]
            r, z, inner, n = saved_t.chunk(4, dim=1)
            by_inner, by_r, by_z, by_n = gradient_t.chunk(4, dim=1)
            grad = torch.add(carry, grad_t, out=whole_grad[:size])
            _sigmoid_backward(torch.sub(h, n, out=work).mul_(grad), z, grad_input=by_z)
            torch.mul(grad, z, out=carry)
            _tanh_backward(torch.sub(grad, carry, out=work), n, grad_input=by_n)
            _sigmoid_backward(torch.mul(by_n, inner, out=work), r, grad_input=by_r)
            torch.mul(by_n, r, out=by_inner)
            carry.addmm_(gradient_t[:, : 3 * width], w_inner_r_z)
        sums = out.new_ones(1, len(out)).mm(gradients).squeeze(0)
        by_w = gradients[:, : 3 * width].t().mm(torch.cat(previous))
        return (
            gradients[:, width:],
            torch.cat([by_w[width:], by_w[:width]]),
            sums[width:],
            torch.cat([sums[width : 3 * width], sums[:width]]),
            None,
        )
