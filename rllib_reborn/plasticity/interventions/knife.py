"""KNIFE, our reading: stagnant neurons become a knowledge, an active and a compensation neuron (docs/method.md 9.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from rllib_reborn.nets.expandable_linear import InjectedLinear, SlottedLinear
from rllib_reborn.nets.hidden_layers import DeclaresHiddenLayers
from rllib_reborn.plasticity import masks, scores
from rllib_reborn.plasticity.declared_layers import declared_layers
from rllib_reborn.plasticity.interventions.base import (
    Context,
    Intervention,
    LayerChange,
    OptimizerPolicy,
    Plan,
    TargetPolicy,
    check_choice,
    check_number,
    check_whole,
)
from rllib_reborn.plasticity.interventions.edits import Edit, NeuronEdit, ParameterEdit, SurgeryRefused
from rllib_reborn.plasticity.interventions.fresh_weights import (
    INITIALIZERS,
    Initializer,
    kaiming_default,
    xavier_uniform,
)
from rllib_reborn.plasticity.interventions.injection import refuse_kept_averages
from rllib_reborn.plasticity.interventions.whole_layers import join
from rllib_reborn.plasticity.neuron_layers import NeuronLayer, Surgery, nets_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Knife(Intervention):
    """**Our reading** of KNIFE: its abstract and a third party's metric are all that is known (docs/method.md 9.1,
    10).

    A neuron whose relative update activity is below ``stagnant_below`` becomes three::

        out = w_k phi(w_k_in x + b_k) + w_a phi(w_a_in x + b_a) - w_a phi(w_a_in x + b_a)
              knowledge: the old neuron   active: fresh             compensation: a copy of the active neuron as it
                  begins

    Knowledge and compensation are frozen, in, bias and out; the active neuron learns, in and out. The last two terms
    cancel at that time for any activation, so the function stays, up to rounding of the sum.

    :meth:`prepare` widens each layer of H neurons in scope by ``2 * slots`` spare ones behind the H: weights 0, frozen,
    not :attr:`~rllib_reborn.plasticity.neuron_layers.NeuronLayer.active`. The active neuron takes the old one's place,
    the other two take a
    pair of spare places: the old neuron moves, so that its optimizer rows are forgotten like all others that freeze.

    Open points (docs/method.md 9.1), as we decided them: the knowledge neuron's outgoing weights are frozen; the active
    neuron's are fresh, not shared; gradients flow on through frozen neurons to the layers below. A neuron is treated
    once, also when its active part stagnates later. Folding frozen neurons into fewer is not possible behind a
    nonlinear activation: when the spare places are used up, the stagnant neurons that are left stay as they are. Most
    stagnant neurons come first.

    In the report of a layer ``dormant`` is the number of *stagnant* neurons found (treated ones aside); ``neurons`` and
    ``reinitialised`` are the places of the active neurons, whose re-dormancy shows whether it helped; the rest found no
    place. The frozen neurons in the spare places are not reported. The mean of RUA is over neurons that can move: frozen
    ones have no gradient.

    With ``stagnant_below`` huge and ``slots`` for every neuron it is plasticity injection into a hidden layer and its
    reader.

    Linear layers only (source and reader), so not the first layer of an agent that a GRU reads: ``scope="mixer"``.
    AdamW's decoupled weight decay would shrink frozen weights; use none.

    Attributes:
        stagnant_below: Threshold > 0 of RUA. 0.25 (docs/method.md 9.1).
        slots: Neurons of each layer that can be treated, >= 1; None: a quarter of the layer, at least 1.
        initializer: Of active neurons, in and out: ``kaiming``, PyTorch's default; or ``xavier``.
        target_networks: ``mirror`` by default, which keeps the target's own function too.
    """

    kind: ClassVar[str] = "knife"
    needs_statistics: ClassVar[bool] = False
    drops_neurons: ClassVar[bool] = False
    adds_parameters: ClassVar[bool] = True

    optimizer: OptimizerPolicy = "zero"
    target_networks: TargetPolicy = "mirror"
    stagnant_below: float = masks.STAGNANT_BELOW
    slots: int | None = None
    initializer: Initializer = "kaiming"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("stagnant_below", self.stagnant_below, 1e-12)
        if self.slots is not None:
            check_whole("slots", self.slots, 1)
        check_choice("initializer", self.initializer, INITIALIZERS)
        refuse_kept_averages(self)

    @property
    def needs_update_activity(self) -> bool:
        return True

    def prepare(self, nets: Mapping[str, nn.Module]) -> None:
        """Widen the layers that ``layers`` chooses of every network in scope, see :func:`add_slots`.

        Raises:
            ValueError: A network has parameters and no ``hidden_layers``; or a layer cannot be widened.
        """
        for name, net in self.networks_in_scope(nets).items():
            if next(net.parameters(), None) is None:
                continue
            if not isinstance(net, DeclaresHiddenLayers):
                raise ValueError(
                    f"{name}: a {type(net).__name__} does not declare its hidden layers (hidden_layers); call "
                    "add_slots(net, layers, slots) with layers of your own instead of prepare()."
                )
            add_slots(net, declared_layers(name, net, self.layers), self.slots)

    def plan(self, context: Context) -> Plan:
        """See the class. Layers are visited, and draw (input weights, biases, outgoing weights), in the order of their
        keys.

        Raises:
            SurgeryRefused: A layer was not prepared, or its update activity was not measured.
        """
        edits: list[Edit] = []
        changes: list[LayerChange] = []
        for key in sorted(context.layers):
            layer = context.layers[key]
            source, path = _owner(context.nets, layer, layer.input_weight)
            reader, reader_path = _owner(context.nets, layer, layer.output_weight)
            if key not in context.update_activity:
                raise SurgeryRefused(f"{key}: no update activity was measured; KNIFE needs updates before it is due.")
            stagnant = self._stagnant(source, context.update_activity[key])
            spare = (~source.active).nonzero().flatten().cpu()
            treated = stagnant[: len(spare) // 2].sort().values
            if len(treated):
                knowledge, compensation = spare[: 2 * len(treated)].view(2, -1)
                roles = (knowledge, treated, compensation)
                edits.append(self._edit(layer, source, reader, roles, context.generator))
                edits += _new_masks(layer.net, path, source, reader_path, roles)
            active = tuple(treated.tolist())
            changes.append(
                LayerChange(
                    layer=key,
                    width=layer.width,
                    dormant=len(stagnant),
                    neurons=active,
                    reinitialised=active,
                )
            )
        return Plan(tuple(edits), tuple(changes))

    def _stagnant(self, source: SlottedLinear, activity: Tensor) -> Tensor:
        """Stagnant neurons that were not treated yet, most stagnant first (on a tie the first of the layer)."""
        movable = (source.active & source.trainable).cpu()
        relative = scores.relative_update_activity(activity.cpu(), movable)
        stagnant = masks.stagnant(relative, self.stagnant_below) & movable & source.untreated.cpu()
        neurons = stagnant.nonzero().flatten()
        return neurons[relative[neurons].sort(stable=True).indices]

    def _edit(
        self,
        layer: NeuronLayer,
        source: SlottedLinear,
        reader: SlottedLinear,
        roles: tuple[Tensor, Tensor, Tensor],
        generator: torch.Generator,
    ) -> NeuronEdit:
        """``roles``: places of knowledge, active and compensation neurons, [K] each."""
        knowledge, active, compensation = roles
        count = len(active)
        fresh_in, fresh_bias, fresh_out = self._fresh(source, reader, count, generator)
        nothing = torch.zeros_like(fresh_in)
        return NeuronEdit(
            layer=layer.key,
            neurons=torch.cat([knowledge, active, compensation]),
            donors=torch.cat([active, torch.full((2 * count,), -1, dtype=torch.int64)]),
            in_scale=torch.ones(3 * count),
            out_scale=torch.ones(1, 3 * count),
            fresh_in=torch.cat([nothing, fresh_in, fresh_in]),
            fresh_bias=torch.cat([torch.zeros(count), fresh_bias, fresh_bias]),
            fresh_out=torch.cat([torch.zeros_like(fresh_out), fresh_out, -fresh_out], dim=1).unsqueeze(2),
        )

    def _fresh(
        self, source: SlottedLinear, reader: SlottedLinear, count: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Input weights [count, in], biases [count] and outgoing weights [out, count], as large as without spare
        places."""
        inputs, neurons = source.in_features - source.spare_columns, source.out_features - source.spare_rows
        outputs = reader.out_features - reader.spare_rows
        in_shape, out_shape = (count, source.in_features), (reader.out_features, count)
        if self.initializer == "kaiming":
            fresh_in, fresh_bias = kaiming_default(in_shape, inputs, generator)
            fresh_out, _ = kaiming_default(out_shape, neurons, generator)
        else:
            fresh_in, fresh_bias = xavier_uniform(in_shape, inputs, neurons, generator), torch.zeros(count)
            fresh_out = xavier_uniform(out_shape, neurons, outputs, generator)
        if source.bias is None:
            fresh_bias = torch.zeros(count)
        # Spare neurons of the layers below and above stay out of it: phi(0) need not be 0, and their places will be
        # taken.
        return fresh_in * source.column_active.cpu(), fresh_bias, fresh_out * reader.active.cpu().unsqueeze(1)


def add_slots(net: nn.Module, layers: Sequence[NeuronLayer], slots: int | None = None) -> None:
    """Widen ``layers`` of ``net`` by ``2 * slots`` spare neurons each, in place; what it computes stays the same.

    Source and reader become :class:`~rllib_reborn.nets.expandable_linear.SlottedLinear`, with new Parameter objects: declare
    the layers again afterwards.

    Args:
        net: Any network; the modules are replaced wherever they are registered.
        layers: Layers of this one network, Linear to Linear.
        slots: Neurons of each layer that can be treated; None: a quarter, at least 1.

    Raises:
        ValueError: A layer cannot be edited, is not Linear to Linear, has spare neurons already, or shares a parameter;
            nothing was changed.
    """
    if len(nets_of(layers)) > 1:
        raise ValueError(f"layers are of several networks ({', '.join(nets_of(layers))}); expected those of one.")
    found: list[tuple[str, str, int]] = []
    for layer in layers:
        if layer.surgery is Surgery.IMPOSSIBLE:
            raise ValueError(f"{layer.key}: {layer.reason}. Choose layers='editable' or another scope to leave it out.")
        paths = [_linear_of(net, layer, layer.input_weight), _linear_of(net, layer, layer.output_weight)]
        found.append((paths[0], paths[1], max(1, layer.width // 4) if slots is None else slots))
    for source, reader, count in found:
        net.set_submodule(source, SlottedLinear(_linear(net, source), rows=2 * count))
        net.set_submodule(reader, SlottedLinear(_linear(net, reader), columns=2 * count))


def _linear_of(net: nn.Module, layer: NeuronLayer, weight: nn.Parameter | None) -> str:
    """Path of the one plain Linear that ``weight`` belongs to."""
    paths = [
        path
        for path, module in net.named_modules(remove_duplicate=False)
        if any(parameter is weight for parameter in module.parameters(recurse=False))
    ]
    if len(paths) != 1:
        raise ValueError(f"{layer.key}: its weight belongs to {len(paths)} modules of the network; expected one.")
    module = net.get_submodule(paths[0])
    kind = type(module).__name__
    if not isinstance(module, nn.Linear):
        raise ValueError(
            f"{layer.key}: {paths[0]} is a {kind}; KNIFE widens Linear layers only. Choose scope='mixer', or layers whose "
            "neurons a Linear reads."
        )
    if isinstance(module, SlottedLinear | InjectedLinear):
        raise ValueError(f"{layer.key}: {paths[0]} was prepared by another method; give one of them another scope.")
    if not paths[0]:
        raise ValueError(f"{layer.key}: the network is a single layer and cannot be replaced in place.")
    return paths[0]


def _linear(net: nn.Module, path: str) -> nn.Linear:
    module = net.get_submodule(path)
    if not isinstance(module, nn.Linear):
        raise ValueError(f"{path} is a {type(module).__name__}; expected a Linear.")
    return module


def _owner(nets: Mapping[str, nn.Module], layer: NeuronLayer, weight: nn.Parameter | None) -> tuple[SlottedLinear, str]:
    """The prepared layer that ``weight`` belongs to, and its path."""
    if layer.net in nets and weight is not None:
        for path, module in nets[layer.net].named_modules():
            if isinstance(module, SlottedLinear) and module.weight is weight:
                return module, path
    raise SurgeryRefused(
        f"{layer.key} has no spare neurons; call prepare(nets) when the networks are built, before targets and optimizer."
    )


def _new_masks(
    net: str, path: str, source: SlottedLinear, reader_path: str, roles: tuple[Tensor, Tensor, Tensor]
) -> list[Edit]:
    """Spare places that are used become active, and treated neurons are remembered.

    Who may move stays: active neurons are in places that could move before, spare places cannot.
    """
    knowledge, treated, compensation = roles
    taking_part, untreated = source.active.cpu().clone(), source.untreated.cpu().clone()
    taking_part[knowledge] = taking_part[compensation] = True
    untreated[treated] = False
    return [
        ParameterEdit(net, join(path, "active"), 0.0, taking_part),
        ParameterEdit(net, join(reader_path, "column_active"), 0.0, taking_part),
        ParameterEdit(net, join(path, "untreated"), 0.0, untreated),
    ]
