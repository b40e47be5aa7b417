"""Pruning: dormant neurons are cut off for good (ReBorn paper, section 6.4.2; docs/method.md 6)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rllib_reborn.plasticity.interventions.activity import statistics_of
from rllib_reborn.plasticity.interventions.base import Context, LayerChange, Plan
from rllib_reborn.plasticity.interventions.dormant_neurons import DormantNeurons
from rllib_reborn.plasticity.interventions.edits import (
    NeuronEdit,
    SurgeryRefused,
    compensation_for,
    require_editable,
    zero_outgoing,
    zero_outgoing_edit,
)
from rllib_reborn.plasticity.neuron_layers import NeuronLayer
from rllib_reborn.suggestions import did_you_mean


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prune(DormantNeurons):
    """Dormant neurons (``s <= alpha``, or by another ``score``): outgoing weights 0, now and after every later update.

    What goes in stays.

    The paper does not say whether pruning is for good; we read it so, as the mask in the official code suggests
    (docs/method.md 6). The memory holds the pruned neurons, ``state["pruned"][layer]`` [H] bool, and survives
    checkpoints.

    Attributes:
        alpha, alpha_quantile, score, at_most: See :class:`~.dormant_neurons.DormantNeurons`.
    """

    kind: ClassVar[str] = "prune"
    acts_after_updates: ClassVar[bool] = True

    def plan(self, context: Context) -> Plan:
        """See the class. Neurons that were pruned before count as dormant, if they are, and are not touched again.

        Raises:
            SurgeryRefused: A layer in scope cannot be edited; ``bias_compensation`` where there is no bias; or what
                the score is made from was not measured.
        """
        for layer in context.layers.values():
            require_editable(layer, splits=False, allow_inexact=self.allow_inexact)
        pruned: dict[str, Tensor] = context.state.setdefault("pruned", {})
        edits: list[NeuronEdit] = []
        changes: list[LayerChange] = []
        for key in sorted(context.layers):
            layer, statistics = context.layers[key], statistics_of(key, context.statistics)
            dormant = self.below_threshold(layer, context)
            before = pruned.get(key, torch.zeros_like(dormant))
            neurons = (dormant & ~before).nonzero().flatten()
            changes.append(
                LayerChange(layer=key, width=layer.width, dormant=int(dormant.sum()), neurons=tuple(neurons.tolist()))
            )
            pruned[key] = before | dormant
            if not len(neurons):
                continue
            dropped = compensation_for(layer, statistics.mean, neurons) if self.bias_compensation else None
            edits.append(zero_outgoing_edit(layer, neurons, compensation=dropped))
        return Plan(tuple(edits), tuple(changes))

    def after_update(
        self, layers: Mapping[str, NeuronLayer], nets: Mapping[str, nn.Module], state: dict[str, Any]
    ) -> None:
        """Outgoing weights of pruned neurons stay 0, whatever momentum or weight decay made of them.

        Raises:
            SurgeryRefused: The memory names a layer that is not in ``layers``.
        """
        for key, mask in state.get("pruned", {}).items():
            neurons = mask.nonzero().flatten()
            if len(neurons) and key not in layers:
                raise SurgeryRefused(f"{key!r} has pruned neurons and is not a layer here.{did_you_mean(key, layers)}")
            if len(neurons):
                zero_outgoing(layers[key], neurons)
