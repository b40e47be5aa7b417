"""Finds before training what an intervention would refuse at its first application, perhaps hours later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from rllib_reborn.algorithms.value_factorization.team_env_runner import team_spaces
from rllib_reborn.plasticity.interventions import Context
from rllib_reborn.plasticity.statistics import LayerStatistics
from rllib_reborn.plasticity.units import UnitLayer, by_key

if TYPE_CHECKING:
    from rllib_reborn.algorithms.value_factorization.value_factorization import ValueFactorizationConfig


def rehearse(config: ValueFactorizationConfig) -> None:
    """Build the config's networks and let every intervention plan once, on made-up scores; nothing is written, no random
    stream moves, and the networks are thrown away.

    Raises:
        ValueError: ``interventions[i]``: an intervention cannot be prepared, has nothing in its scope (the mixer of VDN and
            IQL), or refuses these networks; with its reason.
    """
    spec = config.get_multi_rl_module_spec(spaces={DEFAULT_MODULE_ID: team_spaces(config.team_spec)})
    try:
        with torch.random.fork_rng(devices=[]):
            module = spec.build()[DEFAULT_MODULE_ID].unwrapped()
    except ValueError as error:  # a method that adds parameters cannot
        raise ValueError(f"interventions: {error}") from error
    nets = {"agent": module.agents, "mixer": module.mixer}
    initial = {net: {name: p.detach() for name, p in of.named_parameters()} for net, of in nets.items()}
    for position, intervention in enumerate(config.parse_interventions()):
        in_scope = {name: net for name, net in nets.items() if intervention.in_scope(name)}
        if not any(list(net.parameters()) for net in in_scope.values()):
            raise ValueError(
                f"interventions[{position}]: {intervention.kind} has scope={intervention.scope!r}, and "
                f"{module.algorithm} has no {intervention.scope} with weights to treat; say scope='agent' to treat the "
                "agents' networks, or leave it out."
            )
        layers = {
            key: layer
            for key, layer in by_key(module.unit_layers(intervention.layers)).items()
            if intervention.in_scope(layer.net)
        }
        try:
            intervention.plan(
                Context(
                    layers=layers,
                    statistics={key: _made_up(layer) for key, layer in layers.items()},
                    nets=in_scope,
                    initial=initial,
                    update_activity={key: torch.ones(layer.width) for key, layer in layers.items()},
                    gradient_activity={key: torch.ones(layer.width) for key, layer in layers.items()},
                    generator=torch.Generator().manual_seed(0),
                    state={},
                    clock={"env_steps": 0, "updates": 0, "episodes": 0, "iterations": 0},
                )
            )
        except ValueError as error:
            raise ValueError(f"interventions[{position}]: {error}") from error


def _made_up(layer: UnitLayer) -> LayerStatistics:
    """All units alike."""
    ones = torch.ones(layer.width)
    return LayerStatistics(mean_abs=ones, mean=ones, nonzero=ones, rows=1, features=None, live=layer.live_mask())
