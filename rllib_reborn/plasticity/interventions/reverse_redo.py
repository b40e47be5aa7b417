"""Reverse ReDo: over-active neurons are re-initialised (ReBorn paper, section 6.4.2; docs/method.md 6)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch

from rllib_reborn.plasticity import masks
from rllib_reborn.plasticity.interventions.activity import scored, statistics_of
from rllib_reborn.plasticity.interventions.base import (
    Context,
    Intervention,
    LayerChange,
    Plan,
    check_choice,
    check_either,
)
from rllib_reborn.plasticity.interventions.edits import (
    NeuronEdit,
    compensation_for,
    fresh_neurons_edit,
    require_editable,
)
from rllib_reborn.plasticity.interventions.fresh_weights import (
    INITIALIZERS,
    Initializer,
    fresh_inputs,
    fresh_outputs,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReverseReDo(Intervention):
    """Over-active neurons (``s >= beta``): input weights, biases AND outgoing weights re-initialised.

    It changes the function, and much: over-active neurons carry most of it. The paper uses it on the mixer to show that
    it is not the reset as such that helps. Layers are visited in the order of their keys; each draws what goes in, then
    what comes out.

    Attributes:
        beta: Threshold of the normalised activation score, beta > 1.
        beta_quantile: In place of it: the ``floor((1 - beta_quantile) * H)`` highest neurons of each layer, ties included,
            of those above the mean (:func:`~rllib_reborn.plasticity.masks.highest`; ours). In 0..1, exclusive. Refused
            beside another ``beta``. The report's over-active fractions stay those at 3.
        initializer: Of the new weights.
    """

    kind: ClassVar[str] = "reverse_redo"

    beta: float = masks.BETA
    beta_quantile: float | None = None
    initializer: Initializer = "xavier"

    def __post_init__(self) -> None:
        super().__post_init__()
        masks.check_thresholds(masks.ALPHA, self.beta)
        check_either("beta", self.beta, masks.BETA, "beta_quantile", self.beta_quantile)
        check_choice("initializer", self.initializer, INITIALIZERS)

    @property
    def overactive_at(self) -> float:
        return self.beta

    def plan(self, context: Context) -> Plan:
        """See the class.

        Raises:
            SurgeryRefused: A layer in scope cannot be edited; or ``bias_compensation`` where there is no bias.
        """
        for layer in context.layers.values():
            require_editable(layer, splits=False, allow_inexact=self.allow_inexact)
        edits: list[NeuronEdit] = []
        changes: list[LayerChange] = []
        for key in sorted(context.layers):
            layer, statistics = context.layers[key], statistics_of(key, context.statistics)
            nas, active = scored(statistics)
            if self.beta_quantile is not None:
                overactive = masks.highest(nas, self.beta_quantile, active)
            else:
                overactive = masks.overactive(nas, self.beta) & active
            neurons = overactive.nonzero().flatten()
            touched = tuple(neurons.tolist())
            changes.append(
                LayerChange(
                    layer=key, width=layer.width, overactive=len(neurons), neurons=touched, reinitialised=touched
                )
            )
            if not touched:
                continue
            fresh_in, fresh_bias = fresh_inputs(layer, len(neurons), self.initializer, context.generator)
            fresh_out = fresh_outputs(layer, len(neurons), self.initializer, context.generator)
            dropped: torch.Tensor | None = None
            if self.bias_compensation:
                dropped = compensation_for(layer, statistics.mean, neurons)
            edits.append(
                fresh_neurons_edit(layer, neurons, fresh_in, fresh_bias, fresh_out=fresh_out, compensation=dropped)
            )
        return Plan(tuple(edits), tuple(changes))
