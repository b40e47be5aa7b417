"""FIRE: weight matrices become the nearest isometry (Frobenius-isometry reinitialisation, Han et al., ICLR 2026;
docs/method.md 9.4)."""

from __future__ import annotations

import dataclasses
import math
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
    check_whole,
)
from rllib_reborn.plasticity.interventions.edits import ParameterEdit, SurgeryRefused
from rllib_reborn.plasticity.interventions.whole_layers import join, owned_parameters
from rllib_reborn.plasticity.scope import Scope

Scale = Literal["fans", "norm", "none"]

_MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FIRE(Intervention):
    """**Our reading** of FIRE: its abstract and third parties' summaries are what we have of it (docs/method.md 9.4).

    Of all matrices with ``||W'^T W' - I||_F = 0`` (plasticity) the one with the least ``||W' - W||_F`` (stability) is the
    polar factor ``W (W^T W)^(-1/2)``: the singular values become 1, the singular vectors stay. It is approached by
    Newton-Schulz iterations ``X <- 1.5 X - 0.5 X X^T X`` from ``W / ||W||_F``, in float64, and then scaled.

    Treated are the weights of every Linear and convolution (of each place of its kernel by itself, as the paper does) in
    scope. Biases, recurrent layers and normalisations stay bit-equal: the sources say nothing about them. So do weights that
    are 0 everywhere. Directions in which W is 0, such as the outgoing weights of a neuron that ReDo has re-initialised, stay
    0; small singular values grow by 1.5 in each iteration at most.

    The function is not kept. Nothing is drawn, and nothing is read but the weights, so ranks do the same.

    Attributes:
        iterations: Newton-Schulz iterations, >= 1. Summaries of the paper name 5 and 10.
        scale: Of the isometry: ``fans``: ``sqrt(out / in)``, for convolutions of k places ``sqrt(out / in) / k`` (the
            paper's); ``norm`` (ours): the Frobenius norm of each matrix stays what it was; ``none``: 1.
        scope: ``all`` by default: the method knows no mixer.
    """

    kind: ClassVar[str] = "fire"
    needs_statistics: ClassVar[bool] = False
    drops_neurons: ClassVar[bool] = False
    treats_layers: ClassVar[bool] = False

    scope: Scope = "all"
    iterations: int = 10
    scale: Scale = "fans"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("iterations", self.iterations, 1)
        check_choice("scale", self.scale, ("fans", "norm", "none"))

    def plan(self, context: Context) -> Plan:
        """See the class. The report has one entry per treated module; its neurons are the rows of its weight.

        Raises:
            SurgeryRefused: No network in scope has a Linear or a convolution, a weight is not finite, or a layer holds the
                slots of injection or KNIFE.
        """
        edits: list[ParameterEdit] = []
        changes: list[LayerChange] = []
        treated = 0
        for net, network in context.nets.items():
            for path, module, local in owned_parameters(network):
                name = f"{net}/{path}" if path else net
                if isinstance(module, SlottedLinear | InjectedLinear):
                    raise SurgeryRefused(
                        f"{name}: new weights would break the pairs that injection or KNIFE keep in this layer. Do not "
                        "combine them in one network: give one of them another scope."
                    )
                if not isinstance(module, _MATRICES) or "weight" not in local:
                    continue
                treated += 1
                weight = module.weight.detach()
                if not bool(torch.isfinite(weight).all()):
                    raise SurgeryRefused(f"{name}: its weight is not finite; the network has diverged.")
                if not bool(weight.any()):
                    continue
                edits.append(ParameterEdit(net, join(path, "weight"), 0.0, self._isometry(weight)))
                neurons = tuple(range(weight.shape[0]))
                changes.append(LayerChange(layer=name, width=len(neurons), neurons=neurons))
        if not treated:
            raise SurgeryRefused(
                f"{', '.join(context.nets)}: no Linear and no convolution for fire to treat; choose another scope."
            )
        return Plan(tuple(edits), tuple(changes))

    def _isometry(self, weight: Tensor) -> Tensor:
        """The new weight: of ``weight``'s shape and type, on the CPU."""
        out, inputs = weight.shape[:2]
        # [places, out, in]: 1 place for a Linear.
        matrices = weight.to("cpu", torch.float64).reshape(out, inputs, -1).movedim(2, 0)
        isometries = polar_factor(matrices, self.iterations)
        if self.scale == "fans":
            isometries = isometries * (math.sqrt(out / inputs) / len(matrices))
        elif self.scale == "norm":
            sizes = torch.linalg.matrix_norm(isometries, keepdim=True)
            old = torch.linalg.matrix_norm(matrices, keepdim=True)
            isometries = torch.where(sizes > 0, isometries * old / torch.where(sizes > 0, sizes, 1), isometries)
        return isometries.movedim(0, 2).reshape(weight.shape).to(weight.dtype)


def polar_factor(matrices: Tensor, iterations: int) -> Tensor:
    """Isometries next to ``matrices`` [..., out, in], by ``iterations`` of Newton-Schulz; a matrix of zeros stays."""
    sizes = torch.linalg.matrix_norm(matrices, keepdim=True)
    x = matrices / torch.where(sizes > 0, sizes, 1)
    for _ in range(iterations):
        x = 1.5 * x - 0.5 * x @ (x.mT @ x)
    return x
