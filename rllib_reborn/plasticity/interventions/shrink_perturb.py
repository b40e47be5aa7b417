"""Shrink and perturb: every weight moves part of the way to a new beginning (docs/method.md 6, 9.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from rllib_reborn.nets.expandable_linear import InjectedLinear, SlottedLinear
from rllib_reborn.plasticity.interventions.base import (
    Context,
    Intervention,
    LayerChange,
    Plan,
    check_choice,
    check_number,
)
from rllib_reborn.plasticity.interventions.edits import ParameterEdit, SurgeryRefused
from rllib_reborn.plasticity.interventions.fresh_weights import INITIALIZERS, Initializer
from rllib_reborn.plasticity.interventions.whole_layers import fresh_layer, join, owned_parameters
from rllib_reborn.plasticity.scope import Scope

Towards = Literal["fresh", "initial", "noise"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShrinkPerturb(Intervention):
    """All parameters of the networks in scope, ``shrink`` in 0..1::

        fresh:    theta <- shrink * theta + (1 - shrink) * theta_fresh     newly drawn, as a new network would be
        initial:  theta <- shrink * theta + (1 - shrink) * theta_0         the run's own initial weights
        noise:    theta <- shrink * theta + sigma * N(0, 1)

    The function is not kept. Networks, and in them modules, are visited and draw in order of registration.

    Attributes:
        shrink: Share that stays. 0.8 is MARR's (docs/method.md 6).
        towards: See above.
        sigma: Standard deviation for ``noise``, >= 0.
        initializer: Of ``fresh``: ``kaiming``, PyTorch's default, by which our networks are built; or ``xavier``.
        scope: ``all`` by default: the method knows no mixer.
    """

    kind: ClassVar[str] = "shrink_perturb"
    needs_statistics: ClassVar[bool] = False
    drops_neurons: ClassVar[bool] = False
    treats_layers: ClassVar[bool] = False

    scope: Scope = "all"
    shrink: float = 0.8
    towards: Towards = "fresh"
    sigma: float = 0.01
    initializer: Initializer = "kaiming"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("shrink", self.shrink, 0, 1)
        check_choice("towards", self.towards, ("fresh", "initial", "noise"))
        check_number("sigma", self.sigma, 0)
        check_choice("initializer", self.initializer, INITIALIZERS)

    @property
    def needs_initial(self) -> bool:
        return self.towards == "initial"

    def plan(self, context: Context) -> Plan:
        """See the class. The report has one entry per module with parameters; its neurons are the rows of the first.

        Raises:
            SurgeryRefused: The initial weights are not known, no rule is known for a fresh layer, or a layer holds the
                slots of injection or KNIFE.
        """
        edits: list[ParameterEdit] = []
        changes: list[LayerChange] = []
        for net, network in context.nets.items():
            for path, module, local in owned_parameters(network):
                if isinstance(module, SlottedLinear | InjectedLinear):
                    raise SurgeryRefused(
                        f"{net}/{path}: shrinking would break the pairs that injection or KNIFE keep in this layer. Do not "
                        "combine them in one network: give one of them another scope."
                    )
                goals = self._goals(context, net, path, module, local)
                edits += [ParameterEdit(net, join(path, name), self.shrink, goals[name]) for name in local]
                shape = module.get_parameter(local[0]).shape
                neurons = tuple(range(shape[0] if shape else 1))
                changes.append(LayerChange(layer=f"{net}/{path}" if path else net, width=len(neurons), neurons=neurons))
        return Plan(tuple(edits), tuple(changes))

    def _goals(
        self, context: Context, net: str, path: str, module: nn.Module, local: Sequence[str]
    ) -> dict[str, Tensor]:
        """What is added to each shrunk parameter of ``module``, by local name."""
        if self.towards == "noise":
            shapes = {name: tuple(module.get_parameter(name).shape) for name in local}
            return {name: self.sigma * torch.randn(shapes[name], generator=context.generator) for name in local}
        if self.towards == "fresh":
            fresh = fresh_layer(module, f"{net}/{path}", self.initializer, context.generator)
            return {name: (1 - self.shrink) * value for name, value in fresh.items()}
        known = context.initial.get(net, {})
        missing = [join(path, name) for name in local if join(path, name) not in known]
        if missing:
            raise SurgeryRefused(
                f"{net}: the initial values of {', '.join(missing)} are not known; pass them as 'initial' "
                "(copies taken when the run began), or shrink towards 'fresh'."
            )
        return {name: (1 - self.shrink) * known[join(path, name)] for name in local}
