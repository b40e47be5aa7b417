"""Linear layers and GRUs of many rows by compiled kernels, where numba is installed: the extra ``numba``.

:mod:`rllib_reborn.nets.dense` and :mod:`rllib_reborn.nets.cpu_gru` ask here first; QMIX's mixing network is in
:mod:`rllib_reborn.nets.mixers.compiled_qmix`. numba and the kernels are loaded by the
first input that is large enough for them, and compiled once on a machine.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rllib_reborn.compiled_functions import has_numba

#: Inputs of fewer rows are left to torch: those of acting, and of toy games, for which numba would not be worth loading.
MANY_ROWS = 1024
#: Widths must be multiples of this, the columns of a tile of :mod:`rllib_reborn.nets.kernels`.
_COLUMNS = 16


def suits(x: Tensor, *widths: int) -> bool:
    """Whether kernels take ``x`` [rows, ...], for what has these widths."""
    return (
        len(x) >= MANY_ROWS
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not any(width % _COLUMNS for width in widths)
        and not torch.is_autocast_enabled("cpu")
        and torch.get_num_threads() == 1  # the default of learners; only torch makes use of several
        and has_numba()
    )


def _kernels() -> Any:
    from rllib_reborn.nets import kernels  # here: it loads numba

    return kernels


def arrays(*tensors: Tensor) -> tuple[np.ndarray[Any, np.dtype[np.float32]], ...]:
    """The tensors' own memory, of contiguous ones."""
    return tuple([tensor.detach().contiguous().numpy() for tensor in tensors])


# -------------------------------------------------------------------- linear layers


def suits_linear(x: Tensor, weight: Tensor) -> bool:
    """Whether the kernels compute ``x`` [rows, depth] times ``weight`` [width, depth], two matrices of float32 that fit."""
    return suits(x, len(weight))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, *, relu: bool = False) -> Tensor:
    """:func:`~rllib_reborn.nets.dense.linear` of what :func:`suits_linear`, or its ReLU: the bits of torch's ReLU of it."""
    if torch.is_grad_enabled():
        out: Tensor = _CompiledLinear.apply(x, weight, bias, relu)
        return out
    return _product(x, weight.t(), bias, relu=relu)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, *, relu: bool = False) -> Tensor:
    """``x`` [rows, depth] times ``weight`` [depth, width]."""
    width = weight.shape[1]
    out = x.new_empty(len(x), width)
    _kernels().product(*arrays(x, weight, x.new_zeros(width) if bias is None else bias, out), relu)
    return out


def grad_of_x(grad: Tensor, weight: Tensor) -> Tensor:
    """``grad`` [rows, width] times ``weight`` [width, depth]; the width is a multiple of a tile's, the depth any number."""
    return grad.mm(weight) if weight.shape[1] % _COLUMNS else _product(grad, weight, None)


class _CompiledLinear(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool
    ) -> Tensor:
        out = _product(x, weight.t(), bias, relu=relu)
        ctx.save_for_backward(x, weight, *([out] if relu else []))
        ctx.has_bias = bias is not None
        return out

    @staticmethod
    @once_differentiable  # a gradient of this gradient would silently be none
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, *of_relu = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, _ = ctx.needs_input_grad
        grad = grad.contiguous()
        if of_relu:
            of_out, grad = grad, torch.empty_like(grad)
            _kernels().relu_backward(*arrays(of_out, *of_relu, grad))
        grad_x = by_weight = by_bias = None
        if wants_x:
            grad_x = grad_of_x(grad, weight)
        if wants_weight:
            transposed, by_bias = x.new_zeros(x.shape[1], len(weight)), x.new_zeros(len(weight))
            _kernels().weight_gradient(*arrays(x, grad, transposed, by_bias))
            by_weight = transposed.t().contiguous()
        elif wants_bias:
            by_bias = grad.sum(0)
        return grad_x, by_weight, by_bias if ctx.has_bias and wants_bias else None, None


# -------------------------------------------------------------------- GRUs


def suits_gru(x: Tensor, w_ih: Tensor, w_hh: Tensor) -> bool:
    """Whether the kernels compute sequences ``x`` [rows, width] with ``w_ih`` [3 * hidden, width] and ``w_hh`` [3 * hidden,
    hidden]. Shapes that do not fit are left to torch, which refuses them: the kernels check nothing."""
    rows, width = w_hh.shape
    return suits(x, x.shape[1], width) and w_ih.shape == (rows, x.shape[1]) and rows == 3 * width


def gru(x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """:func:`~rllib_reborn.nets.cpu_gru.cpu_gru` of what :func:`suits_gru`."""
    if torch.is_grad_enabled():
        hidden: Tensor = _CompiledGru.apply(x, w_ih, w_hh, b_ih, b_hh, sizes)
        return hidden
    return _forward(x, w_ih, w_hh, b_ih, b_hh, sizes, kept_rows=sizes[0])[0][sizes[0] :]


@functools.lru_cache(maxsize=8)  # an update asks several times
def _as_array(sizes: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(sizes, np.int64)


def _forward(
    x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, sizes: tuple[int, ...], *, kept_rows: int
) -> tuple[Tensor, Tensor, Tensor]:
    """States [sizes[0] + rows, hidden] behind the initial one, and gates (r, z, inner) and n of ``kept_rows`` rows: all, or
    those of a time step."""
    width = w_hh.shape[1]
    states = x.new_empty(sizes[0] + len(x), width)
    states[: sizes[0]] = 0
    gates, n_gate = x.new_empty(kept_rows, 3 * width), x.new_empty(kept_rows, width)
    _kernels().gru_forward(
        *arrays(x, w_ih.t(), w_hh.t(), b_ih, b_hh),
        _as_array(sizes),
        *arrays(states, gates, n_gate),
        kept_rows == len(x),
    )
    return states, gates, n_gate


class _CompiledGru(torch.autograd.Function):
    """Forward and backward pass by :mod:`rllib_reborn.nets.kernels`."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, sizes: tuple[int, ...]
    ) -> Tensor:
        states, gates, n_gate = _forward(x, w_ih, w_hh, b_ih, b_hh, sizes, kept_rows=len(x))
        ctx.save_for_backward(x, w_ih, w_hh, states, gates, n_gate)
        ctx.sizes = sizes
        return states[sizes[0] :]

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, grad_out: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor, Tensor, Tensor, None]:
        x, w_ih, w_hh, states, gates, n_gate = ctx.saved_tensors
        width = w_hh.shape[1]
        wants_grad_x = ctx.needs_input_grad[0]
        grad_x = (
            torch.zeros_like(x, memory_format=torch.contiguous_format) if wants_grad_x else x.new_empty(0, x.shape[1])
        )
        grad_w_ih, grad_w_hh, sums = torch.zeros_like(w_ih), torch.zeros_like(w_hh), x.new_zeros(4 * width)
        _kernels().gru_backward(
            *arrays(x, w_ih, w_hh),
            _as_array(ctx.sizes),
            *arrays(states, gates, n_gate, grad_out, grad_x),
            wants_grad_x,
            *arrays(grad_w_ih, grad_w_hh, sums),
        )
        return (
            grad_x if wants_grad_x else None,
            grad_w_ih,
            grad_w_hh,
            sums[: 3 * width],
            torch.cat([sums[: 2 * width], sums[3 * width :]]),
            None,
        )
