"""Metrics of a dormancy check beside the fractions: ranks, gradients and norms; and the names of all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from rllib_reborn.callbacks.ranks import mean_on_all_ranks
from rllib_reborn.plasticity import masks
from rllib_reborn.plasticity.history import metric_names as history_metric_names
from rllib_reborn.plasticity.neuron_layers import NeuronLayer, nets_of
from rllib_reborn.plasticity.scores import (
    feature_ranks,
    gradient_norm,
    grama,
    relative_update_activity,
    update_activity,
    weight_norm,
)
from rllib_reborn.plasticity.statistics import GradientStatistics, LayerStatistics

_OF_LAYER = ("stable_rank", "effective_rank", "stagnant_fraction", "insensitive_fraction")
_OF_NET = ("weight_norm", "gradient_norm")


def metric_names(layers: Sequence[NeuronLayer]) -> list[str]:
    """Every name that a check of ``layers`` gives, sorted."""
    of_layers = [f"dormancy/{layer.key}/{name}" for layer in layers for name in _OF_LAYER]
    of_nets = [f"dormancy/{net}/{name}" for net in nets_of(layers) for name in _OF_NET]
    return sorted([*history_metric_names(layers), *of_layers, *of_nets])


def layer_metrics(
    layers: Sequence[NeuronLayer],
    statistics: Mapping[str, LayerStatistics],
    gradients: Mapping[str, GradientStatistics],
) -> dict[str, float | None]:
    """Ranks of each layer's activations, and shares of its neurons by the gradient of this update.

    Args:
        layers: Layers.
        statistics: Theirs on the scoring batch, by key.
        gradients: Theirs during this update, by key.
    """
    of_all_ranks = {key: mean_on_all_ranks(of_layer.mean_abs) for key, of_layer in gradients.items()}
    metrics: dict[str, float | None] = {}
    for layer in layers:
        features, active = statistics[layer.key].features, statistics[layer.key].active
        ranks = feature_ranks(features) if features is not None else {}
        stagnant = None
        if layer.input_weight is not None and layer.input_weight.grad is not None:
            activity = update_activity(layer.input_weight.detach(), layer.input_weight.grad)
            if bool(activity.isfinite().all()):  # else the step was skipped, and holds no information on single neurons
                stagnant = _share(masks.stagnant(relative_update_activity(activity, active)), active)
        insensitive = None
        if bool(of_all_ranks[layer.key].isfinite().all()):
            insensitive = _share(masks.insensitive(grama(of_all_ranks[layer.key], active)), active)
        values = {
            "stable_rank": ranks.get("stable_rank"),
            "effective_rank": ranks.get("effective_rank"),
            "stagnant_fraction": stagnant,
            "insensitive_fraction": insensitive,
        }
        metrics |= {f"dormancy/{layer.key}/{name}": values[name] for name in _OF_LAYER}
    return metrics


def network_metrics(networks: Mapping[str, nn.Module], names: Sequence[str]) -> dict[str, float | None]:
    """Norms of weights and gradients (after clipping) of the networks ``names``; a gradient that is not finite: None."""
    metrics: dict[str, float | None] = {}
    for name in names:
        norm = gradient_norm(networks[name])
        values = {
            "weight_norm": weight_norm(networks[name]),
            "gradient_norm": norm if norm is not None and math.isfinite(norm) else None,
        }
        metrics |= {f"dormancy/{name}/{key}": values[key] for key in _OF_NET}
    return metrics


def _share(chosen: Tensor, active: Tensor) -> float:
    """Share of the active neurons that are chosen."""
    return float((chosen & active).sum() / active.sum().clamp(min=1))
