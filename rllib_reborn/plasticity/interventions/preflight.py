"""Finds before training what an intervention would refuse at its first application, perhaps hours later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import nn

from rllib_reborn.plasticity.interventions.base import Context, Intervention
from rllib_reborn.plasticity.neuron_layers import LayerChoice, NeuronLayer, by_key
from rllib_reborn.plasticity.scope import check_networks
from rllib_reborn.plasticity.statistics import LayerStatistics


class Treatable(Protocol):
    """What is asked of a module: its networks by name, and their layers of neurons."""

    @property
    def algorithm(self) -> str: ...

    def networks(self) -> Mapping[str, nn.Module]: ...

    def neuron_layers(self, choice: LayerChoice = ...) -> list[NeuronLayer]: ...


def first_refusal(interventions: Sequence[Intervention], module: Treatable) -> str | None:
    """Let every intervention plan once, on made-up scores; nothing is written and no random stream moves.

    Returns:
        ``interventions[i]: ...`` with the reason of the first that has nothing in its scope (the mixer of VDN and IQL) or
        refuses these networks; None: all can be applied.
    """
    networks = module.networks()
    device = next((p.device for net in networks.values() for p in net.parameters()), torch.device("cpu"))
    initial = {name: {key: p.detach() for key, p in net.named_parameters()} for name, net in networks.items()}
    for position, intervention in enumerate(interventions):
        try:
            check_networks(intervention.scope, networks, module.algorithm)
        except ValueError as error:
            return f"interventions[{position}]: {intervention.kind} has {error}"
        layers = by_key(intervention.layers_in_scope(module.neuron_layers(intervention.layers), networks))
        if intervention.treats_layers and not layers:
            return f"interventions[{position}]: {_nothing_to_treat(intervention, module, networks)}"
        memory: dict[str, Any] = {}
        if intervention.counts_firing:
            everyone = {key: torch.ones(layer.width, dtype=torch.bool, device=device) for key, layer in layers.items()}
            intervention.note_firing(everyone, memory)
        try:
            intervention.plan(
                Context(
                    layers=layers,
                    statistics={key: _made_up(layer, device) for key, layer in layers.items()},
                    nets=intervention.networks_in_scope(networks),
                    initial=initial,
                    update_activity={key: torch.ones(layer.width, device=device) for key, layer in layers.items()},
                    gradient_activity={key: torch.ones(layer.width, device=device) for key, layer in layers.items()},
                    generator=torch.Generator().manual_seed(0),
                    state=memory,
                    clock={"env_steps": 0, "updates": 0, "episodes": 0, "iterations": 0},
                )
            )
        except ValueError as error:
            return f"interventions[{position}]: {error}"
    return None


def _nothing_to_treat(intervention: Intervention, module: Treatable, networks: Mapping[str, nn.Module]) -> str:
    """Why an intervention that treats layers has none in its scope."""
    others = intervention.layers_in_scope(module.neuron_layers("full"), networks)
    reasons = dict.fromkeys(f"{layer.key}: {layer.reason}" for layer in others if layer.reason)
    why = f" ({next(iter(reasons))})" if reasons else ""
    return (
        f"{intervention.kind} with layers={intervention.layers!r} and scope={intervention.scope!r} has no hidden layer to "
        f"treat in these networks{why}; choose another scope, other networks (training.model, training.mixer), or leave "
        "it out."
    )


def _made_up(layer: NeuronLayer, device: torch.device) -> LayerStatistics:
    """All neurons alike; on the networks' device, as measured ones are."""
    ones = torch.ones(layer.width, device=device)
    return LayerStatistics(
        mean_abs=ones, mean=ones, nonzero=ones, rows=1, features=None, active=layer.active_mask(device)
    )
