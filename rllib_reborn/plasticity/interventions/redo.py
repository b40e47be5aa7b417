"""ReDo: dormant neurons are re-initialised, outgoing weights 0 (Sokar et al., ICML 2023; docs/method.md 6)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch

from rllib_reborn.plasticity.interventions.activity import statistics_of
from rllib_reborn.plasticity.interventions.base import (
    Context,
    LayerChange,
    OptimizerPolicy,
    Plan,
    check_choice,
)
from rllib_reborn.plasticity.interventions.dormant_neurons import DormantNeurons
from rllib_reborn.plasticity.interventions.edits import (
    NeuronEdit,
    compensation_for,
    fresh_neurons_edit,
    require_editable,
)
from rllib_reborn.plasticity.interventions.fresh_weights import INITIALIZERS, Initializer, fresh_inputs
from rllib_reborn.plasticity.scope import Scope


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReDo(DormantNeurons):
    """Dormant neurons (``s <= alpha``, or by another ``score``): input weights and biases re-initialised, outgoing
    weights 0.

    With ``score="grama"`` it is ReGraMa (docs/method.md 9.2), with ``score="rua"`` it treats stagnant neurons
    (9.1).

    What it does is the same for every activation: it drops the dormant neurons' output, and splits nothing;
    ``allow_inexact`` is therefore not asked for. Layers are visited, and draw, in the order of their keys.

    Attributes:
        alpha, alpha_quantile, score, at_most: See :class:`~.dormant_neurons.DormantNeurons`. alpha is
            0.1 in the ReBorn paper, 0.025 in ReDo's.
        initializer: Of the input weights; ``xavier`` in both papers, ``kaiming`` in the official ReBorn code (D4).
        scope: ``all`` by default: the ReBorn paper's baseline acts on the whole network. With ``mixer`` it is that
            paper's "ReBorn (ReDo)".
        optimizer: ``zero`` by default, as in ReDo.
    """

    kind: ClassVar[str] = "redo"

    initializer: Initializer = "xavier"
    scope: Scope = "all"
    optimizer: OptimizerPolicy = "zero"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("initializer", self.initializer, INITIALIZERS)

    def plan(self, context: Context) -> Plan:
        """See the class.

        Raises:
            SurgeryRefused: A layer in scope cannot be edited; ``bias_compensation`` where there is no bias; or what
                the score is made from was not measured.
        """
        for layer in context.layers.values():
            require_editable(layer, splits=False, allow_inexact=self.allow_inexact)
        edits: list[NeuronEdit] = []
        changes: list[LayerChange] = []
        for key in sorted(context.layers):
            layer, statistics = context.layers[key], statistics_of(key, context.statistics)
            neurons = self.below_threshold(layer, context).nonzero().flatten()
            touched = tuple(neurons.tolist())
            changes.append(
                LayerChange(layer=key, width=layer.width, dormant=len(neurons), neurons=touched, reinitialised=touched)
            )
            if not touched:
                continue
            fresh_in, fresh_bias = fresh_inputs(layer, len(neurons), self.initializer, context.generator)
            dropped: torch.Tensor | None = None
            if self.bias_compensation:
                dropped = compensation_for(layer, statistics.mean, neurons)
            edits.append(fresh_neurons_edit(layer, neurons, fresh_in, fresh_bias, compensation=dropped))
        return Plan(tuple(edits), tuple(changes))
