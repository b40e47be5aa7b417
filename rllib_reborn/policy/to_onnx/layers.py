"""Layers of torch as nodes of ONNX."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from rllib_reborn.nets.dense import DenseStack, Linear
from rllib_reborn.nets.hidden_activation import CReLU, NormalisedActivation
from rllib_reborn.policy.errors import PolicyError
from rllib_reborn.policy.to_onnx.graph import Graph

#: Modules that do nothing but call others, one after the other.
_IN_A_ROW = (nn.Sequential, DenseStack, NormalisedActivation)


def layer(graph: Graph, module: nn.Module, x: str, path: str) -> str:
    """What ``module`` makes of rows.

    Args:
        graph: Is added to.
        module: Linear, ReLU, CReLU, LayerNorm, Conv2d, Identity, or several in a row.
        x: [rows, width]; pictures of a Conv2d [rows, channels, height, width].
        path: Of the module in the policy, which names its weights.

    Raises:
        PolicyError: It is another module.
    """
    kind = type(module)
    if kind in _IN_A_ROW:
        for name, part in module.named_children():
            x = layer(graph, part, x, f"{path}.{name}")
        return x
    if kind in (Linear, nn.Linear):
        linear = cast(nn.Linear, module)
        return graph.linear(x, linear.weight, linear.bias, (f"{path}.weight", f"{path}.bias"))
    if kind is nn.ReLU:
        return graph.add("Relu", x)
    if kind is CReLU:
        return _crelu(graph, x)
    if kind is nn.LayerNorm:
        return _layer_norm(graph, cast(nn.LayerNorm, module), x, path)
    if kind is nn.Conv2d:
        return _convolution(graph, cast(nn.Conv2d, module), x, path)
    if kind is nn.Identity:
        return x
    raise PolicyError(
        f"{path} is a {kind.__name__}, which is not known how to write as ONNX; export without --onnx, the plain policy "
        "has it."
    )


def gru_step(graph: Graph, gru: nn.GRU, x: str, hidden: str, path: str) -> str:
    """One step: ``x`` [rows, in], ``hidden`` [rows, h] -> [rows, h], as ``torch.gru_cell`` has it: reset, update and new
    gate in this order, and the reset gate applied behind the product with the hidden state.

    Not ONNX's own GRU, which reads whole sequences and has the gates in another order.
    """
    h = gru.hidden_size
    of_input, of_hidden = (
        graph.linear(
            value,
            cast(Tensor, getattr(gru, f"weight_{kind}_l0")),
            cast(Tensor, getattr(gru, f"bias_{kind}_l0")),
            (f"{path}.weight_{kind}_l0", f"{path}.bias_{kind}_l0"),
        )
        for kind, value in (("ih", x), ("hh", hidden))
    )

    def gate(number: int) -> tuple[str, str]:
        return tuple(graph.columns(part, number * h, (number + 1) * h, 1) for part in (of_input, of_hidden))  # type: ignore[return-value]

    reset = graph.add("Sigmoid", graph.add("Add", *gate(0)))
    update = graph.add("Sigmoid", graph.add("Add", *gate(1)))
    own, remembered = gate(2)
    new = graph.add("Tanh", graph.add("Add", own, graph.add("Mul", reset, remembered)))
    # (1 - update) * new + update * hidden
    return graph.add("Add", new, graph.add("Mul", update, graph.add("Sub", hidden, new)))


def _crelu(graph: Graph, x: str) -> str:
    """The two outputs of a neuron are neighbours."""
    both = [graph.add("Unsqueeze", z, graph.constant([2])) for z in (x, graph.add("Neg", x))]
    return graph.add("Flatten", graph.add("Relu", graph.add("Concat", *both, axis=2)), axis=1)


def _layer_norm(graph: Graph, module: nn.LayerNorm, x: str, path: str) -> str:
    if len(module.normalized_shape) != 1 or module.weight is None:
        raise PolicyError(
            f"{path} normalises several dimensions or has no scale, which is not known how to write as ONNX."
        )
    bias = torch.zeros_like(module.weight) if module.bias is None else module.bias
    parts = graph.constant(module.weight, f"{path}.weight"), graph.constant(bias, f"{path}.bias")
    return graph.add("LayerNormalization", x, *parts, axis=-1, epsilon=module.eps)


def _convolution(graph: Graph, module: nn.Conv2d, x: str, path: str) -> str:
    parts = [graph.constant(module.weight, f"{path}.weight")]
    if module.bias is not None:
        parts.append(graph.constant(module.bias, f"{path}.bias"))
    if isinstance(module.padding, str) or module.padding_mode != "zeros":
        raise PolicyError(f"{path} pads by name or otherwise than with zeros, which is not known how to write as ONNX.")
    return graph.add(
        "Conv",
        x,
        *parts,
        kernel_shape=module.kernel_size,
        strides=module.stride,
        dilations=module.dilation,
        group=module.groups,
        pads=[*module.padding, *module.padding],
    )
