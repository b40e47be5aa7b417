"""What an optimizer remembers of weights that were replaced: kept, forgotten, or copied from the donor.

Neither the ReBorn paper nor its code touches the optimizer (docs/method.md 3.6: ``keep``); ReDo zeroes the averages of
recycled weights (``zero``); ``donor`` gives a neuron that is made from another one also that one's averages.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from rllib_reborn.plasticity.interventions.base import OptimizerPolicy, check_choice
from rllib_reborn.plasticity.interventions.edits import Edit, NeuronEdit, edit_neurons, find_tensor
from rllib_reborn.plasticity.neuron_layers import NeuronLayer


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
            ``donor`` both forget the whole parameter.

    Raises:
        ValueError: Another policy.
    """
    check_choice("optimizer", policy, ("keep", "zero", "donor"))
    if policy == "keep":
        return
    with torch.no_grad():
        for edit in edits:
            if isinstance(edit, NeuronEdit):
                _treat_neurons(optimizer, edit, layers[edit.layer], copies=policy == "donor")
            else:
                for average in _averages(optimizer, find_tensor(edit, nets)):
                    average.zero_()


def _treat_neurons(optimizer: torch.optim.Optimizer, edit: NeuronEdit, layer: NeuronLayer, *, copies: bool) -> None:
    """Averages of changed rows and columns become those of the donor (``copies``), or 0."""
    inputs = edit.changes_input
    every = torch.ones_like(inputs)
    source = edit if copies else dataclasses.replace(edit, donors=torch.full_like(edit.donors, -1))
    for parameter in (layer.input_weight, layer.input_bias):
        for average in _averages(optimizer, parameter):
            rows = average.clone()
            edit_neurons(rows, source, 0.0, 1.0, inputs)
            average.copy_(rows)
    for average in _averages(optimizer, layer.output_weight):
        columns = layer.columns(average.clone())
        edit_neurons(columns.movedim(1, 0), source, 0.0, 1.0, every)
        average.copy_(columns.reshape(average.shape))


def _averages(optimizer: torch.optim.Optimizer, parameter: Tensor | None) -> Iterator[Tensor]:
    """State tensors of the parameter's shape; ``optimizer.state`` is not asked with [], which would add an entry."""
    if parameter is None or parameter not in optimizer.state:
        return
    for name, value in optimizer.state[parameter].items():
        if name != "step" and isinstance(value, Tensor) and value.shape == parameter.shape:
            yield value
