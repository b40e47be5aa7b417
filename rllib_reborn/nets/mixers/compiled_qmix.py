"""QMIX's mixing network of many rows by :mod:`.qmix_kernels`, where numba is installed: whole, or in parts.

The parts give the same bits as the whole, so that an update during which somebody looks at the neurons, for which torch
must call its modules, is the same as one during which nobody does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from rllib_reborn.nets import compiled, onednn


def _kernels() -> Any:
    from rllib_reborn.nets.mixers import qmix_kernels  # here: it loads numba

    return qmix_kernels


def suits(q: Tensor, state: Tensor, layers: Sequence[nn.Linear]) -> bool:
    """Whether the kernels compute Q_tot of ``q`` [rows, n] and ``state`` [rows, s]. Shapes that do not fit are left to
    torch, which refuses them: the kernels check nothing.

    Args:
        layers: The first layers for w_1, w_final, V and b_1, the second ones for w_1 and w_final, and V's last.
    """
    *firsts, w_1, w_final, last_of_v = layers
    embed = firsts[3].out_features
    return (
        onednn.operator is None
        and q.dim() == state.dim() == 2
        and len(q) == len(state)
        and q.dtype == torch.float32
        and all(layer.bias is not None and layer.weight.dtype == torch.float32 for layer in layers)
        and all(layer.in_features == state.shape[1] for layer in firsts)
        and (w_1.in_features, w_1.out_features) == (firsts[0].out_features, q.shape[1] * embed)
        and (w_final.in_features, w_final.out_features) == (firsts[1].out_features, embed)
        and (last_of_v.in_features, last_of_v.out_features) == (firsts[2].out_features, 1)
        and firsts[2].out_features == embed
        and compiled.suits(state, *(layer.out_features for layer in firsts))
    )


def q_tot(q: Tensor, state: Tensor, layers: Sequence[nn.Linear]) -> Tensor:
    """Q_tot [rows] of what :func:`suits`."""
    parameters = [layer.weight for layer in layers] + [layer.bias for layer in layers]
    if torch.is_grad_enabled():
        out: Tensor = _Mixing.apply(q, state, *parameters)
        return out
    return _forward(q, state, parameters, keep=False)[0]


def _forward(
    q: Tensor, state: Tensor, parameters: Sequence[Tensor], *, keep: bool
) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor, Tensor]:
    """Q_tot, and what :func:`.qmix_kernels.mixing` makes on the way, of all rows if they are kept: ``made``, ``weights``,
    ``pre``, ``hidden``."""
    kernels, arrays = _kernels(), compiled.arrays
    weights, biases = parameters[:7], parameters[7:]
    rows = len(state) if keep else kernels.BLOCK
    made = [state.new_empty(rows, len(weight)) for weight in weights[:4]]
    hyper = [state.new_empty(rows, len(weight)) for weight in weights[4:6]]
    pre, hidden = torch.empty_like(made[3]), torch.empty_like(made[3])
    out = state.new_empty(len(state))
    kernels.mixing(
        *arrays(state, q),
        arrays(*(weight.t() for weight in weights[:4])),
        arrays(*biases[:4]),
        arrays(*(weight.t() for weight in weights[4:6])),
        arrays(*biases[4:6]),
        *arrays(weights[6].view(-1), biases[6]),
        arrays(*made),
        arrays(*hyper),
        *arrays(pre, hidden, out),
        keep,
    )
    return out, made, hyper, pre, hidden


class _Mixing(torch.autograd.Function):
    """Arguments: q, state, the layers' weights, their biases."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, state: Tensor, *parameters: Tensor) -> Tensor:  # type: ignore[override]
        out, made, hyper, pre, hidden = _forward(q, state, parameters, keep=True)
        ctx.save_for_backward(q, state, *parameters[:7], *made, *hyper, pre, hidden)
        return out

    @staticmethod
    @once_differentiable  # a gradient of this gradient would silently be none
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        kernels, arrays = _kernels(), compiled.arrays
        q, state, *saved = ctx.saved_tensors
        weights, made, hyper, (pre, hidden) = saved[:7], saved[7:11], saved[11:13], saved[13:]
        by_weights = [weight.new_zeros(weight.shape[1], weight.shape[0]) for weight in weights[:6]]
        by_weights.append(torch.zeros_like(weights[6]))
        by_biases = [weight.new_zeros(len(weight)) for weight in weights]
        wants_state = ctx.needs_input_grad[1]
        by_made = [one.new_empty(len(one) if wants_state else kernels.BLOCK, one.shape[1]) for one in made]
        by_q = torch.empty_like(q, memory_format=torch.contiguous_format)
        kernels.mixing_backward(
            *arrays(grad, state, q),
            arrays(*weights[4:6]),
            *arrays(weights[6].view(-1)),
            arrays(*made),
            arrays(*hyper),
            *arrays(pre, hidden, by_q),
            arrays(*by_weights[:4]),
            arrays(*by_biases[:4]),
            arrays(*by_weights[4:6]),
            arrays(*by_biases[4:6]),
            *arrays(by_weights[6].view(-1), by_biases[6]),
            arrays(*by_made),
            wants_state,
        )
        by_state = compiled.grad_of_x(torch.cat(by_made, 1), torch.cat(weights[:4])) if wants_state else None
        return by_q, by_state, *(by.t().contiguous() for by in by_weights[:6]), by_weights[6], *by_biases


# -------------------------------------------------------------------- in parts


def mix_in(q: Tensor, w_1: Tensor, b_1: Tensor) -> Tensor:
    """What the mixing neurons take, |w_1| q + b_1: ``q`` [rows, n], ``w_1`` [rows, n * embed], ``b_1`` [rows, embed]."""
    pre: Tensor = _MixIn.apply(q, w_1, b_1)
    return pre


def mix_out(hidden: Tensor, w_final: Tensor, v: Tensor, last_of_v: nn.Linear) -> Tensor:
    """|w_final| . hidden + V: ``hidden``, ``w_final`` and ``v``, the hidden neurons of V, [rows, embed] -> [rows]."""
    out: Tensor = _MixOut.apply(hidden, w_final, v, last_of_v.weight, last_of_v.bias)
    return out


class _MixIn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, w_1: Tensor, b_1: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(q, w_1)
        pre = q.new_empty(b_1.shape)
        _kernels().mix_in(*compiled.arrays(q, w_1, b_1, pre))
        return pre

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        q, w_1 = ctx.saved_tensors
        by_q, by_w_1 = q.new_empty(q.shape), q.new_empty(w_1.shape)
        _kernels().mix_in_backward(*compiled.arrays(grad, q, w_1, by_q, by_w_1))
        return by_q, by_w_1, grad


class ELU(nn.ELU):
    """``nn.ELU``, for many rows by the kernel."""

    def forward(self, x: Tensor) -> Tensor:
        """``x`` [rows, embed] -> [rows, embed]."""
        if x.dim() != 2 or self.alpha != 1 or not compiled.suits(x, x.shape[1]):
            return super().forward(x)
        hidden: Tensor = _Elu.apply(x)
        return hidden


class _Elu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        hidden = x.new_empty(x.shape)
        _kernels().elu(*compiled.arrays(x, hidden))
        return hidden

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        by_x = x.new_empty(x.shape)
        _kernels().elu_backward(*compiled.arrays(grad, x, by_x))
        return by_x


class _MixOut(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, hidden: Tensor, w_final: Tensor, v: Tensor, weight: Tensor, bias: Tensor
    ) -> Tensor:
        ctx.save_for_backward(hidden, w_final, v, weight)
        out = hidden.new_empty(len(hidden))
        _kernels().mix_out(*compiled.arrays(hidden, w_final, v, weight.view(-1), bias, out))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        hidden, w_final, v, weight = ctx.saved_tensors
        by_hidden, by_w_final, by_v = (hidden.new_empty(hidden.shape) for _ in range(3))
        by_weight, by_bias = torch.zeros_like(weight), weight.new_zeros(1)
        made = (by_hidden, by_w_final, by_v, by_weight.view(-1), by_bias)
        _kernels().mix_out_backward(*compiled.arrays(grad, hidden, w_final, v, weight.view(-1), *made))
        return by_hidden, by_w_final, by_v, by_weight, by_bias
