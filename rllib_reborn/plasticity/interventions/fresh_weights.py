"""New weights for single neurons, as large as those of the layer they belong to; drawn on the CPU, so equal on all
ranks.

A neuron that is re-initialised gets what its whole layer would have got: the ranges follow from the fans of the layer,
not of the rows that are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from rllib_reborn.plasticity.interventions.edits import refusal
from rllib_reborn.plasticity.neuron_layers import NeuronLayer

#: ``xavier``: Glorot uniform, bias 0 (ReBorn paper, dopamine's ReDo). ``kaiming``: PyTorch's default of Linear and
#: Conv, bias drawn (official ReBorn code; docs/method.md D4).
Initializer = Literal["xavier", "kaiming"]
INITIALIZERS: tuple[Initializer, ...] = ("xavier", "kaiming")


def xavier_uniform(shape: Sequence[int], fan_in: int, fan_out: int, generator: torch.Generator) -> Tensor:
    """``shape``, float32, from U(-b, b) with ``b = sqrt(6 / (fan_in + fan_out))`` of the whole layer (Glorot, 2010)."""
    return _uniform(shape, math.sqrt(6 / (fan_in + fan_out)), generator)


def kaiming_default(shape: Sequence[int], fan_in: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows [K, ...] of ``shape`` and biases [K], float32, both from U(-b, b) with ``b = 1 / sqrt(fan_in)``.

    This is what PyTorch gives a Linear or Conv (Kaiming uniform with a = sqrt(5)). Rows are drawn before biases.
    """
    bound = 1 / math.sqrt(fan_in)
    return _uniform(shape, bound, generator), _uniform(shape[:1], bound, generator)


def fresh_inputs(
    layer: NeuronLayer, count: int, initializer: Initializer, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Input weights [count, ...] and biases [count] for neurons of ``layer``.

    Raises:
        SurgeryRefused: The layer has no input weights of its own.
    """
    if layer.input_weight is None:
        raise refusal(layer)
    weight = layer.input_weight
    shape = (count, *weight.shape[1:])
    per_neuron = weight[0].numel()
    if initializer == "kaiming":
        return kaiming_default(shape, per_neuron, generator)
    kernel = weight[0, 0].numel()  # 1 for a Linear
    return xavier_uniform(shape, per_neuron, weight.shape[0] * kernel, generator), torch.zeros(count)


def fresh_outputs(layer: NeuronLayer, count: int, initializer: Initializer, generator: torch.Generator) -> Tensor:
    """Outgoing weights [out, count, rest] for neurons of ``layer``.

    Raises:
        SurgeryRefused: No weight reads the neurons.
    """
    if layer.output_weight is None:
        raise refusal(layer)
    weight = layer.output_weight
    out, _, rest = layer.columns(weight.detach()).shape
    per_output = weight[0].numel()
    if initializer == "kaiming":
        return _uniform((out, count, rest), 1 / math.sqrt(per_output), generator)
    return xavier_uniform((out, count, rest), per_output, out * weight[0, 0].numel(), generator)


def _uniform(shape: Sequence[int], bound: float, generator: torch.Generator) -> Tensor:
    return (2 * torch.rand(tuple(shape), generator=generator) - 1) * bound
