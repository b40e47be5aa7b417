"""Pruning: dormant units are cut off for good (ReBorn paper, section 6.4.2; method reference 6)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rllib_reborn.plasticity.interventions.activity import statistics_of
from rllib_reborn.plasticity.interventions.base import Context, LayerChange, Plan
from rllib_reborn.plasticity.interventions.edits import (
    SurgeryRefused,
    UnitEdit,
    compensation_for,
    hold_silent,
    require_operable,
    silencing_edit,
)
from rllib_reborn.plasticity.interventions.silent_units import SilentUnits
from rllib_reborn.plasticity.units import UnitLayer
from rllib_reborn.suggestions import did_you_mean


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prune(SilentUnits):
    """Dormant units (``s <= alpha``, or by another ``score``): outgoing weights 0, now and after every later update.

    What goes in stays.

    The paper does not say whether pruning is for good; we read it so, as the mask in the official code suggests (method
    reference 6). The memory holds the pruned units, ``state["pruned"][layer]`` [H] bool, and survives checkpoints.

    Attributes:
        alpha, score, at_most: See :class:`~.silent_units.SilentUnits`.
    """

    kind: ClassVar[str] = "prune"
    acts_after_updates: ClassVar[bool] = True

    def plan(self, context: Context) -> Plan:
        """See the class. Units that were pruned before count as dormant, if they are, and are not touched again.

        Raises:
            SurgeryRefused: A layer in scope cannot be operated on; ``bias_compensation`` where there is no bias; or what
                the score is made from was not measured.
        """
        for layer in context.layers.values():
            require_operable(layer, splits=False, allow_inexact=self.allow_inexact)
        pruned: dict[str, Tensor] = context.state.setdefault("pruned", {})
        edits: list[UnitEdit] = []
        changes: list[LayerChange] = []
        for key in sorted(context.layers):
            layer, statistics = context.layers[key], statistics_of(key, context.statistics)
            dormant = self.silent(layer, context)
            before = pruned.get(key, torch.zeros_like(dormant))
            units = (dormant & ~before).nonzero().flatten()
            changes.append(
                LayerChange(layer=key, width=layer.width, dormant=int(dormant.sum()), units=tuple(units.tolist()))
            )
            pruned[key] = before | dormant
            if not len(units):
                continue
            dropped = compensation_for(layer, statistics.mean, units) if self.bias_compensation else None
            edits.append(silencing_edit(layer, units, compensation=dropped))
        return Plan(tuple(edits), tuple(changes))

    def after_update(
        self, layers: Mapping[str, UnitLayer], nets: Mapping[str, nn.Module], state: dict[str, Any]
    ) -> None:
        """Pruned units stay silent, whatever momentum or weight decay made of their outgoing weights.

        Raises:
            SurgeryRefused: The memory speaks of a layer that is not in ``layers``.
        """
        for key, mask in state.get("pruned", {}).items():
            units = mask.nonzero().flatten()
            if len(units) and key not in layers:
                raise SurgeryRefused(f"{key!r} has pruned units and is not a layer here.{did_you_mean(key, layers)}")
            if len(units):
                hold_silent(layers[key], units)
