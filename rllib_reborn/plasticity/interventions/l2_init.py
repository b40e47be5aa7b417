"""L2 towards the initial weights, "regenerative regularisation" (docs/method.md 9.2): a loss term and no surgery."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from rllib_reborn.plasticity.interventions.base import Context, Intervention, Plan, check_number
from rllib_reborn.plasticity.scope import Scope
from rllib_reborn.suggestions import did_you_mean


@dataclasses.dataclass(frozen=True, kw_only=True)
class L2Init(Intervention):
    """Adds ``strength * sum ||theta - theta_0||^2`` over all parameters of the networks in scope to the loss.

    It acts at every update and is never due: the schedule is without effect, its plan is empty. Every parameter gets a
    gradient from it (frozen entries of injection and KNIFE are masked as always). With DDP each rank adds the same term to
    its loss and gradients are averaged, so it counts once.

    Attributes:
        strength: Weight of the term, >= 0. 0.01 is Plasticine's ``rr_weight`` (docs/method.md 9.2).
        scope: ``all`` by default.
    """

    kind: ClassVar[str] = "l2_init"
    needs_statistics: ClassVar[bool] = False
    drops_neurons: ClassVar[bool] = False
    treats_layers: ClassVar[bool] = False
    is_scheduled: ClassVar[bool] = False

    scope: Scope = "all"
    strength: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("strength", self.strength, 0)

    @property
    def needs_initial(self) -> bool:
        return True

    def plan(self, context: Context) -> Plan:
        """Nothing."""
        return Plan()

    def loss(self, nets: Mapping[str, nn.Module], initial: Mapping[str, Mapping[str, Tensor]]) -> Tensor | None:
        """The term, a scalar with gradient; None where no network in scope has parameters.

        Args:
            nets: Networks by name; those out of scope are passed over.
            initial: Network -> parameter name -> initial value.

        Raises:
            ValueError: The initial value of a parameter is not there, or is of another shape.
        """
        terms: list[Tensor] = []
        for net, network in self.networks_in_scope(nets).items():
            known = initial.get(net, {})
            for name, parameter in network.named_parameters():
                if name not in known:
                    raise ValueError(f"{net} has no initial value of {name!r}.{did_you_mean(name, known)}")
                if known[name].shape != parameter.shape:
                    raise ValueError(
                        f"{net}: the initial value of {name!r} is {list(known[name].shape)}; expected "
                        f"{list(parameter.shape)}. Take the copy after prepare()."
                    )
                terms.append((parameter - known[name].to(parameter.device)).square().sum())
        return self.strength * torch.stack(terms).sum() if terms else None
