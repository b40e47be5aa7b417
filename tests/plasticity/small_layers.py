"""Layers small enough to work out on paper, and statistics of given activations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rllib_reborn.plasticity.interventions.base import Context
from rllib_reborn.plasticity.neuron_layers import NeuronLayer, declare_neurons
from rllib_reborn.plasticity.statistics import LayerStatistics


def network(inputs: int, width: int, outputs: int, activation: nn.Module | None = None) -> nn.Sequential:
    """Linear, activation (ReLU), Linear."""
    return nn.Sequential(nn.Linear(inputs, width), activation or nn.ReLU(), nn.Linear(width, outputs))


def four_neurons() -> nn.Sequential:
    """2 inputs, 4 ReLU neurons, 2 outputs; every weight another small number."""
    net = network(2, 4, 2)
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]))
        net[0].bias.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        net[2].weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]))
        net[2].bias.copy_(torch.tensor([0.5, -0.5]))
    return net


def neurons_of(net: nn.Sequential, net_name: str = "mixer", name: str = "V") -> NeuronLayer:
    return declare_neurons(net_name, name, net[0], net[1], net[2])


def layer_statistics(mean_abs: Tensor, active: Tensor | None = None) -> LayerStatistics:
    """Statistics of neurons that are never negative."""
    everyone = torch.ones(len(mean_abs), dtype=torch.bool)
    return LayerStatistics(mean_abs, mean_abs, (mean_abs > 0).float(), 1, None, everyone if active is None else active)


def observed(h: Tensor) -> LayerStatistics:
    """Statistics of activations [rows, H]."""
    everyone = torch.ones(h.shape[1], dtype=torch.bool)
    return LayerStatistics(h.abs().mean(0), h.mean(0), (h != 0).double().mean(0), len(h), None, everyone)


def context(
    layers: list[NeuronLayer],
    statistics: Mapping[str, LayerStatistics],
    *,
    seed: int = 0,
    state: dict[str, Any] | None = None,
    nets: Mapping[str, nn.Module] | None = None,
    update_activity: Mapping[str, Tensor] | None = None,
    gradient_activity: Mapping[str, Tensor] | None = None,
) -> Context:
    return Context(
        layers={layer.key: layer for layer in layers},
        statistics=statistics,
        nets=nets or {},
        initial={},
        update_activity=update_activity or {},
        gradient_activity=gradient_activity or {},
        generator=torch.Generator().manual_seed(seed),
        state={} if state is None else state,
        clock={},
    )


def bits(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def same_bits(net: nn.Module, before: Mapping[str, Tensor]) -> bool:
    now = net.state_dict()
    return set(now) == set(before) and all(torch.equal(now[name], before[name]) for name in now)


def write_and_check_identity(write: Any, net: nn.Module) -> None:
    """Call ``write()``; no Parameter object, memory, shape, dtype or device may change."""

    def identity() -> list[tuple[Any, ...]]:
        return [
            (n, id(p), p.data_ptr(), p.shape, p.dtype, p.device, p.requires_grad) for n, p in net.named_parameters()
        ]

    before = identity()
    write()
    assert identity() == before
