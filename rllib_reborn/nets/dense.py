"""Linear layers and matrix products of whole sequences: torch's own, or for many rows what is faster on this machine.

That is oneDNN where :mod:`rllib_reborn.nets.onednn` takes it, elsewhere the kernels of :mod:`rllib_reborn.nets.compiled`
where numba is installed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.modules.module import _has_any_global_hook

from rllib_reborn.nets import compiled, onednn

#: From so many rows on a layer is worth the detour by way of :class:`_Dense`.
_MANY_ROWS = 512


def has_onednn() -> bool:
    """Whether products here are oneDNN's."""
    return onednn.operator is not None


def product_into(out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
    """:func:`~rllib_reborn.nets.onednn.product`, written to ``out`` [rows, width], whose rows may lie apart."""
    if onednn.operator is not None:
        out.copy_(onednn.product(x, weight, bias))
    elif bias is None:
        torch.mm(x, weight.t(), out=out)
    else:
        torch.addmm(bias, x, weight.t(), out=out)


def add_weight_gradient(total: Tensor, grad: Tensor, x: Tensor) -> None:
    """``total += grad.T @ x``, see :func:`~rllib_reborn.nets.onednn.weight_gradient`."""
    if onednn.operator is None:
        total.addmm_(grad.t(), x)
    else:
        total += onednn.weight_gradient(grad, x)


class _Dense(torch.autograd.Function):
    """:func:`~rllib_reborn.nets.onednn.product` with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return onednn.product(x, weight, bias)

    @staticmethod
    @once_differentiable  # a gradient of this gradient would silently be none
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        return (
            onednn.product(grad, weight.t()) if ctx.needs_input_grad[0] else None,
            onednn.weight_gradient(grad, x) if ctx.needs_input_grad[1] else None,
            grad.sum(0) if ctx.has_bias and ctx.needs_input_grad[2] else None,
        )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``torch.nn.functional.linear``, for many rows on the CPU by way of :func:`~rllib_reborn.nets.onednn.product` or
    :func:`~rllib_reborn.nets.compiled.linear`."""
    if _has_few_rows(x) or not _is_plain(x, weight, bias):
        return functional.linear(x, weight, bias)
    if onednn.operator is None:
        return (
            compiled.linear(x, weight, bias) if compiled.suits_linear(x, weight) else functional.linear(x, weight, bias)
        )
    # oneDNN reads a bias of any other layout wrongly.
    weight, bias = weight.contiguous(), None if bias is None else bias.contiguous()
    if torch.is_grad_enabled():
        out: Tensor = _Dense.apply(x, weight, bias)
        return out
    return onednn.product(x, weight, bias)


def _has_few_rows(x: Tensor) -> bool:
    """Whether no detour is worth it, as in acting: asked first, since all that acting asks costs it something."""
    return x.dim() != 2 or x.shape[0] < (compiled.MANY_ROWS if onednn.operator is None else _MANY_ROWS)


def _is_plain(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether rows are of float32 on the CPU, and there is nothing that torch would refuse or treat in another way."""
    if x.device.type != "cpu":
        return False
    tensors = (x, weight) if bias is None else (x, weight, bias)
    return (
        all(tensor.dtype == torch.float32 for tensor in tensors)
        and 0 < x.shape[1] == weight.shape[1]
        and len(weight) > 0
        and (bias is None or bias.shape == weight.shape[:1])
        and not torch.is_autocast_enabled("cpu")
    )


class Linear(nn.Linear):
    """``nn.Linear`` whose forward pass is :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """``x`` [..., in_features] -> [..., out_features]."""
        return linear(x, self.weight, self.bias)


class DenseStack(nn.Sequential):
    """``nn.Sequential`` that computes a :class:`Linear` and the ReLU behind it together where kernels do: the same bits."""

    def forward(self, x: Tensor) -> Tensor:
        """``x`` [rows, in_features] -> [rows, ...]."""
        if _has_few_rows(x):
            return cast(Tensor, super().forward(x))
        modules = list(self)
        while modules:
            module = modules.pop(0)
            if type(module) is Linear and modules and _may_be_one(module, modules[0], x):
                del modules[0]
                x = compiled.linear(x, module.weight, module.bias, relu=True)
            else:
                x = module(x)
        return x


def _may_be_one(layer: Linear, following: nn.Module, x: Tensor) -> bool:
    """Whether ``following`` is a ReLU that kernels compute together with the layer, and no hook is registered on either."""
    return (
        type(following) is nn.ReLU
        and onednn.operator is None
        and _is_plain(x, layer.weight, layer.bias)
        and compiled.suits_linear(x, layer.weight)
        and not has_hooks([layer, following])
    )


def has_hooks(modules: Iterable[nn.Module]) -> bool:
    """Whether a hook of torch is registered on one of the modules, or on all there are, so that it must be called as a
    module; or its ``forward`` was replaced."""
    return _has_any_global_hook() or any(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "forward" in vars(module)
        for module in modules
    )
