"""Plasticity injection: a new trainable last layer beside the frozen old one (Nikishin et al., NeurIPS 2023)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from rllib_reborn.nets.expandable_linear import InjectedLinear, SlottedLinear
from rllib_reborn.plasticity.interventions.base import (
    Context,
    Intervention,
    LayerChange,
    OptimizerPolicy,
    Plan,
    TargetPolicy,
    check_choice,
)
from rllib_reborn.plasticity.interventions.edits import ParameterEdit, SurgeryRefused
from rllib_reborn.plasticity.interventions.fresh_weights import (
    INITIALIZERS,
    Initializer,
    kaiming_default,
    xavier_uniform,
)
from rllib_reborn.plasticity.interventions.reset import names_of
from rllib_reborn.plasticity.interventions.whole_layers import chains, check_prefixes, join, layer_names, named_by


@dataclasses.dataclass(frozen=True, kw_only=True)
class Injection(Intervention):
    """``out = W x + N x - C x`` (docs/method.md 9.2): W frozen, N fresh and trained, C a frozen copy of N's beginning.

    :meth:`prepare` puts an :class:`~rllib_reborn.nets.expandable_linear.InjectedLinear` in place of each chosen Linear;
    until the first injection W learns as before and N = C = 0. Every injection then is, W last::

        D = fresh - N;    W <- W + (N - C);    N <- N + D;    C <- N

    The first freezes W. A later one folds what was learnt into W; the function stays the same to the bit on the online
    network. Written in this way ("add D", not "becomes fresh") a mirrored target, whose N lags behind, keeps its own
    function too, up to rounding. Memory does not grow.

    **What it can do on one Linear is little**: W, N and the plain layer have the same gradient, so that training N from
    any value is training W, and all that an injection then changes is that the optimizer's averages start at zero. More
    needs
    a hidden layer in what is injected: KNIFE with a huge ``stagnant_below`` and ``slots`` for all neurons is that.

    The layers are the last ones of each network that are called as modules and follow a hidden layer: the agents'
    ``head``; in a QMIX mixer the output Linear of ``hyper_w_1``, ``hyper_w_final`` and ``V``. ``hyper_b_1``, a single
    Linear, and other hypernetworks of one layer are left as they are: the mixer reads their weights itself.

    Adam's and momentum's averages would go on moving frozen weights: ``optimizer`` must be ``zero``. AdamW's decoupled
    weight decay would shrink them all the same; use none.

    Attributes:
        parameters: Linears to prepare instead: names or their beginnings, e.g. ``("V", "head")``. Empty: as above. They
            must be called as modules.
        initializer: Of N: ``kaiming``, PyTorch's default, by which our networks are built; or ``xavier``.
        target_networks: ``mirror`` by default: the target must be treated alike (docs/method.md 9.2).
    """

    kind: ClassVar[str] = "injection"
    needs_statistics: ClassVar[bool] = False
    drops_neurons: ClassVar[bool] = False
    treats_layers: ClassVar[bool] = False
    adds_parameters: ClassVar[bool] = True

    optimizer: OptimizerPolicy = "zero"
    target_networks: TargetPolicy = "mirror"
    parameters: tuple[str, ...] = ()
    initializer: Initializer = "kaiming"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("initializer", self.initializer, INITIALIZERS)
        object.__setattr__(self, "parameters", names_of(self.parameters))
        refuse_kept_averages(self)

    def prepare(self, nets: Mapping[str, nn.Module]) -> None:
        """Put the prepared layers in place; draws nothing, and what the networks compute stays to the bit.

        Raises:
            ValueError: A name that is not there; nothing to inject; or a layer that another method has prepared.
        """
        in_scope = self.networks_in_scope(nets)
        linears = {
            name: [path for path in layer_names(net) if isinstance(net.get_submodule(path), nn.Linear)]
            for name, net in in_scope.items()
        }
        if self.parameters:
            check_prefixes(self.parameters, linears)
        for name, net in in_scope.items():
            if self.parameters:
                paths = [p for prefix in self.parameters for p in named_by(name, linears[name], prefix)]
            else:
                paths = [chain[-1] for chain in chains(net) if len(chain) > 1]
                if linears[name] and not paths:
                    raise ValueError(
                        f"{name}: a {type(net).__name__} has no last Linear behind a hidden layer; name the layers to "
                        "inject in 'parameters'."
                    )
            for path in dict.fromkeys(paths):
                old = net.get_submodule(path)
                if not path or not isinstance(old, nn.Linear):
                    raise ValueError(f"{name}: the network is a single layer and cannot be replaced in place.")
                if isinstance(old, InjectedLinear | SlottedLinear):
                    raise ValueError(f"{name}/{path} was prepared by another method; give one of them another scope.")
                net.set_submodule(path, InjectedLinear(old))

    def plan(self, context: Context) -> Plan:
        """One entry in the report for each layer; its neurons are the layer's outputs.

        Raises:
            SurgeryRefused: The networks were not prepared.
        """
        edits: list[ParameterEdit] = []
        changes: list[LayerChange] = []
        for net, network in context.nets.items():
            for path, layer in network.named_modules():
                if not isinstance(layer, InjectedLinear):
                    continue
                weight, bias = self._fresh(layer, context.generator)
                edits += _injection(net, path, "weight", layer.fresh_weight, layer.frozen_weight, weight)
                if layer.fresh_bias is not None and layer.frozen_bias is not None:
                    edits += _injection(net, path, "bias", layer.fresh_bias, layer.frozen_bias, bias)
                edits.append(ParameterEdit(net, join(path, "injected"), 0.0, torch.ones_like(layer.injected)))
                neurons = tuple(range(layer.out_features))
                changes.append(
                    LayerChange(layer=f"{net}/{path}", width=len(neurons), neurons=neurons, reinitialised=neurons)
                )
        if not edits and any(next(network.parameters(), None) is not None for network in context.nets.values()):
            raise SurgeryRefused(
                "no layer was prepared for injection; call prepare(nets) when the networks are built, before targets and "
                "optimizer."
            )
        return Plan(tuple(edits), tuple(changes))

    def _fresh(self, layer: InjectedLinear, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        shape = layer.weight.shape
        if self.initializer == "kaiming":
            return kaiming_default(shape, layer.in_features, generator)
        return xavier_uniform(shape, layer.in_features, layer.out_features, generator), torch.zeros(shape[0])


def refuse_kept_averages(intervention: Intervention) -> None:
    """Raise ValueError unless the optimizer's averages of what ``intervention`` freezes are zeroed."""
    if intervention.optimizer != "zero":
        raise ValueError(
            f"optimizer is {intervention.optimizer!r}; {intervention.kind} freezes weights, and averages of old gradients "
            "would go on moving them. Expected 'zero'."
        )


def _injection(net: str, path: str, role: str, n: Tensor, c: Tensor, fresh: Tensor) -> list[ParameterEdit]:
    """The edits of W, N and C; ``role`` is ``weight`` or ``bias``."""
    n = n.detach()
    by = fresh.to(n.device, n.dtype) - n
    # As write_edits computes the new N, so that C equals it to the bit.
    return [
        ParameterEdit(net, join(path, role), 1.0, n - c),
        ParameterEdit(net, join(path, f"fresh_{role}"), 1.0, by),
        ParameterEdit(net, join(path, f"frozen_{role}"), 0.0, 1.0 * n + by),
    ]
