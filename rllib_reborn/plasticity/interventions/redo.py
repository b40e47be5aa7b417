"""ReDo: dormant units start anew and say nothing yet (Sokar et al., ICML 2023; method reference 6)."""

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
    Scope,
    check_choice,
)
from rllib_reborn.plasticity.interventions.edits import UnitEdit, compensation_for, fresh_units_edit, require_operable
from rllib_reborn.plasticity.interventions.fresh_weights import INITIALIZERS, Initializer, fresh_inputs
from rllib_reborn.plasticity.interventions.silent_units import SilentUnits


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReDo(SilentUnits):
    """Dormant units (``s <= alpha``, or by another ``score``): input weights and biases re-initialised, outgoing weights 0.

    With ``score="grama"`` it is ReGraMa (method reference 10.3), with ``score="rua"`` it treats stagnant units (10.1).

    What it does is the same for every activation: it drops what dormant units said, and splits nothing; ``allow_inexact``
    is therefore not asked for. Layers are visited, and draw, in the order of their keys.

    Attributes:
        alpha, score, at_most: See :class:`~.silent_units.SilentUnits`. alpha is 0.1 in the ReBorn paper, 0.025 in ReDo's.
        initializer: Of the input weights; ``xavier`` in both papers, ``kaiming`` in the released ReBorn code (D4).
        scope: ``all`` by default: the ReBorn paper's baseline acts on the whole network. With ``mixer`` it is that paper's
            "ReBorn (ReDo)".
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
            SurgeryRefused: A layer in scope cannot be operated on; ``bias_compensation`` where there is no bias; or what
                the score is made from was not measured.
        """
        for layer in context.layers.values():
            require_operable(layer, splits=False, allow_inexact=self.allow_inexact)
        edits: list[UnitEdit] = []
        changes: list[LayerChange] = []
        for key in sorted(context.layers):
            layer, statistics = context.layers[key], statistics_of(key, context.statistics)
            units = self.silent(layer, context).nonzero().flatten()
            touched = tuple(units.tolist())
            changes.append(
                LayerChange(layer=key, width=layer.width, dormant=len(units), units=touched, reinitialised=touched)
            )
            if not touched:
                continue
            fresh_in, fresh_bias = fresh_inputs(layer, len(units), self.initializer, context.generator)
            dropped: torch.Tensor | None = None
            if self.bias_compensation:
                dropped = compensation_for(layer, statistics.mean, units)
            edits.append(fresh_units_edit(layer, units, fresh_in, fresh_bias, compensation=dropped))
        return Plan(tuple(edits), tuple(changes))
