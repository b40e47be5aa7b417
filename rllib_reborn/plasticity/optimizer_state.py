"""What an optimizer remembers of weights that were replaced: kept, forgotten, copied from the donor, or the layer's mean.

Neither the ReBorn paper nor its code touches the optimizer (docs/method.md 3.6: ``keep``); ReDo zeroes the averages of
recycled weights (``zero``); ``donor`` gives a neuron that is made from another one also that one's averages.

RMSprop and Adam divide a step by the root of an average of squared gradients. That of a dormant neuron is close to 0, and
0 after ``zero``, for the bias correction counts the steps of the whole parameter: its first step is up to ``1 / sqrt(1 -
alpha)`` learning rates long, ten with RMSprop's 0.99. ``layer_mean`` gives it the average that other weights have.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from rllib_reborn.plasticity.interventions.base import OPTIMIZER_POLICIES, OptimizerPolicy, check_choice
from rllib_reborn.plasticity.interventions.edits import (
    Edit,
    NeuronEdit,
    SurgeryRefused,
    edit_neurons,
    find_tensor,
)
from rllib_reborn.plasticity.neuron_layers import NeuronLayer

#: Averages of squared gradients, by the names that PyTorch's optimizers give them, and averages of gradients, which have a
#: direction.
SECOND_MOMENTS = frozenset({"square_avg", "exp_avg_sq", "max_exp_avg_sq"})
FIRST_MOMENTS = frozenset({"exp_avg", "momentum_buffer", "grad_avg"})


def apply_policy(
    optimizer: torch.optim.Optimizer,
    edits: Sequence[Edit],
    layers: Mapping[str, NeuronLayer],
    nets: Mapping[str, nn.Module],
    policy: OptimizerPolicy,
) -> None:
    """Treat the optimizer's averages of the weights that ``edits`` changed, in place.

    Every state tensor of its parameter's shape is an average (RMSprop's ``square_avg`` and ``momentum_buffer``, Adam's
    ``exp_avg``, ``exp_avg_sq`` and ``max_exp_avg_sq``); step counters stay, they count for the whole parameter.

    Args:
        optimizer: Any; parameters that it does not know, or has not stepped yet, have nothing to treat.
        edits: A plan that was written to the same networks.
        layers, nets: As for :func:`~rllib_reborn.plasticity.interventions.edits.write_edits`.
        policy: ``keep``: nothing happens. ``zero``: averages of changed rows and columns become 0. ``donor``: they become
            those of the donor neuron, 0 where there is none. A :class:`ParameterEdit` has no donors: ``zero`` and
            ``donor`` both forget the whole parameter. ``layer_mean``: see :func:`_to_layer_mean`.

    Raises:
        ValueError: Another policy.
        SurgeryRefused: See :func:`check_policy`; nothing was written.
    """
    check_choice("optimizer", policy, OPTIMIZER_POLICIES)
    if policy == "keep":
        return
    check_policy(optimizer, policy)
    with torch.no_grad():
        if policy == "layer_mean":
            _to_layer_mean(optimizer, edits, layers, nets)
            return
        for edit in edits:
            if isinstance(edit, NeuronEdit):
                _treat_neurons(optimizer, edit, layers[edit.layer], copies=policy == "donor")
            else:
                for _, average in _averages(optimizer, find_tensor(edit, nets)):
                    average.zero_()


def check_policy(optimizer: torch.optim.Optimizer, policy: OptimizerPolicy) -> None:
    """Raise SurgeryRefused where ``layer_mean`` meets averages of which it is not known whether they have a direction;
    writes nothing."""
    if policy != "layer_mean":
        return
    for parameter in optimizer.state:
        for name, _ in _averages(optimizer, parameter):
            if name not in SECOND_MOMENTS | FIRST_MOMENTS:
                raise SurgeryRefused(
                    f"optimizer is 'layer_mean', and {type(optimizer).__name__} keeps {name!r}, of which it is not known "
                    f"whether it averages gradients or their squares (known: {', '.join(sorted(SECOND_MOMENTS))}; "
                    f"{', '.join(sorted(FIRST_MOMENTS))}). Use keep, zero or donor, or train with RMSprop, Adam, AdamW or "
                    "SGD."
                )


def _to_layer_mean(
    optimizer: torch.optim.Optimizer,
    edits: Sequence[Edit],
    layers: Mapping[str, NeuronLayer],
    nets: Mapping[str, nn.Module],
) -> None:
    """Averages of squares of treated entries become ONE number for each parameter: the arithmetic mean of that average over
    the entries of the same parameter that are not treated. Averages of gradients of treated entries become 0, for their
    direction is that of the old weights.

    Treated are the input rows and biases that an edit changes and the output columns, of re-initialised neurons and of
    copies of a donor. A donor itself, which is only rescaled, keeps its averages and counts as untreated: over-active
    neurons have the largest ones, and with the mean in their place their own steps would grow (predator-prey, one ReBorn:
    Q_tot moves by 0.72 of its standard deviation in one update, 0.49 with theirs kept).

    All edits of the plan count together: where the outgoing weights of one layer are the input weights of the next and both
    are edited, the mean is over what neither treats. Where nothing is left (every neuron is treated, or a
    :class:`ParameterEdit`, which changes the whole parameter), it is over all entries as they were before. Spare neurons
    that take no part yet, whose averages are 0, are left out of the mean.
    """
    marks: dict[Tensor, _Marks] = {}

    def marks_of(parameter: Tensor) -> _Marks:
        if parameter not in marks:
            none = torch.zeros(parameter.shape, dtype=torch.bool, device=parameter.device)
            marks[parameter] = _Marks(none, none.clone())
        return marks[parameter]

    for edit in edits:
        if not isinstance(edit, NeuronEdit):
            marks_of(find_tensor(edit, nets)).treated.fill_(True)
            continue
        layer = layers[edit.layer]
        spare = ~layer.active_mask()
        other = edit.donors != edit.neurons
        rows = _places(edit.neurons[edit.changes_input & other], layer.width)
        for of_neurons in (layer.input_weight, layer.input_bias):
            if of_neurons is not None:
                found = marks_of(of_neurons)
                found.treated[rows.to(of_neurons.device)] = True
                found.spare[spare.to(of_neurons.device)] = True
        if layer.output_weight is not None:
            found, device = marks_of(layer.output_weight), layer.output_weight.device
            layer.columns(found.treated)[:, _places(edit.neurons[other], layer.width).to(device)] = True
            layer.columns(found.spare)[:, spare.to(device)] = True
    for parameter, mark in marks.items():
        left = ~(mark.treated | mark.spare)
        for name, average in _averages(optimizer, parameter):
            if name in FIRST_MOMENTS:
                average[mark.treated] = 0.0
            else:
                counted = average[left] if bool(left.any()) else average
                # In float64, as the sum of a million small numbers.
                average[mark.treated] = counted.double().mean().to(average.dtype)


@dataclasses.dataclass(frozen=True)
class _Marks:
    """Of a parameter's shape, bool: treated entries, and those of spare neurons."""

    treated: Tensor
    spare: Tensor


def _places(neurons: Tensor, width: int) -> Tensor:
    """[width] bool: the neurons of ``neurons`` [K]."""
    mask = torch.zeros(width, dtype=torch.bool)
    mask[neurons.cpu()] = True
    return mask


def _treat_neurons(optimizer: torch.optim.Optimizer, edit: NeuronEdit, layer: NeuronLayer, *, copies: bool) -> None:
    """Averages of changed rows and columns become those of the donor (``copies``), or 0."""
    inputs = edit.changes_input
    every = torch.ones_like(inputs)
    source = edit if copies else dataclasses.replace(edit, donors=torch.full_like(edit.donors, -1))
    for parameter in (layer.input_weight, layer.input_bias):
        for _, average in _averages(optimizer, parameter):
            rows = average.clone()
            edit_neurons(rows, source, 0.0, 1.0, inputs)
            average.copy_(rows)
    for _, average in _averages(optimizer, layer.output_weight):
        columns = layer.columns(average.clone())
        edit_neurons(columns.movedim(1, 0), source, 0.0, 1.0, every)
        average.copy_(columns.reshape(average.shape))


def _averages(optimizer: torch.optim.Optimizer, parameter: Tensor | None) -> Iterator[tuple[str, Tensor]]:
    """State tensors of the parameter's shape, by name; ``optimizer.state`` is not asked with [], which would add one."""
    if parameter is None or parameter not in optimizer.state:
        return
    for name, value in optimizer.state[parameter].items():
        if name != "step" and isinstance(value, Tensor) and value.shape == parameter.shape:
            yield name, value
