"""What a plan reads of a layer's statistics, on the CPU where plans are made; what is not there or not finite is refused."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rllib_reborn.plasticity import scores
from rllib_reborn.plasticity.interventions.edits import SurgeryRefused
from rllib_reborn.plasticity.neuron_layers import NeuronLayer
from rllib_reborn.plasticity.statistics import LayerStatistics


def statistics_of(key: str, statistics: Mapping[str, LayerStatistics]) -> LayerStatistics:
    """Statistics of the layer called ``key``.

    Raises:
        SurgeryRefused: There are none, or activations are infinite or NaN: a diverged network has no dormant neurons, and
            scores of NaN would make all of them look so.
    """
    if key not in statistics:
        raise SurgeryRefused(f"{key}: there are no statistics of it; found {', '.join(statistics) or 'none'}.")
    found = statistics[key]
    if not bool(torch.isfinite(found.mean_abs).all() & torch.isfinite(found.mean).all()):
        raise SurgeryRefused(f"{key}: activations on the scoring batch are not finite; the network has diverged.")
    return found


def activity_of(layer: NeuronLayer, activity: Mapping[str, Tensor], name: str) -> Tensor:
    """[H] what training did to the neurons of ``layer`` since the last time, on the CPU; ``name`` is for messages.

    Raises:
        SurgeryRefused: There is none, it is of another width, or it is infinite or NaN.
    """
    if layer.key not in activity:
        raise SurgeryRefused(
            f"{layer.key}: no {name} was measured; updates have to be recorded before such a score can be taken."
        )
    found = activity[layer.key].detach().cpu()
    if tuple(found.shape) != (layer.width,):
        raise SurgeryRefused(f"{layer.key}: its {name} is {list(found.shape)}; expected [{layer.width}].")
    if not bool(torch.isfinite(found).all()):
        raise SurgeryRefused(f"{layer.key}: its {name} is not finite; the network has diverged.")
    return found


def scored(statistics: LayerStatistics) -> tuple[Tensor, Tensor]:
    """Normalised activation scores [H], and which neurons are active [H] bool; both on the CPU."""
    active = statistics.active.cpu()
    return scores.nas(statistics.mean_abs.cpu(), active), active
