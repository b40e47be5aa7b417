"""Averages of changed weights, and of no others, are kept, forgotten, copied from the donor or as the others have them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from rllib_reborn.plasticity.interventions.edits import (
    NeuronEdit,
    ParameterEdit,
    SurgeryRefused,
    fresh_neurons_edit,
    zero_outgoing_edit,
)
from rllib_reborn.plasticity.neuron_layers import declare_neurons
from rllib_reborn.plasticity.optimizer_state import apply_policy
from tests.plasticity.small_layers import four_neurons, neurons_of

OPTIMIZERS = {
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-3, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-3, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-3, foreach=True),
}
AVERAGES = {
    "rmsprop": {"square_avg", "momentum_buffer"},
    "adam": {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"},
    "adamw": {"exp_avg", "exp_avg_sq"},
}

#: Neuron 2 is made from neuron 0, which is rescaled; neuron 1 is re-initialised; neuron 3 is not touched.
EDIT = NeuronEdit(
    layer="mixer/V",
    neurons=torch.tensor([0, 2, 1]),
    donors=torch.tensor([0, 0, -1]),
    in_scale=torch.tensor([0.5, 2.0, 1.0]),
    out_scale=torch.tensor([[1.0, 0.25, 1.0]]),
    fresh_in=torch.zeros(3, 2),
    fresh_bias=torch.zeros(3),
)


def stepped(kind: str) -> tuple[nn.Sequential, torch.optim.Optimizer]:
    net = four_neurons()
    optimizer = OPTIMIZERS[kind](net.parameters())
    for k in range(3):
        optimizer.zero_grad()
        net(torch.tensor([[1.0, -0.2], [0.3, 2.0 + k]])).square().sum().backward()
        optimizer.step()
    return net, optimizer


def slots(net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Any]]:
    return {
        name: {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in found.items()}
        for name, parameter in net.named_parameters()
        if (found := optimizer.state.get(parameter)) is not None
    }


def treat(net: nn.Sequential, optimizer: torch.optim.Optimizer, edit: Any, policy: Any) -> None:
    apply_policy(optimizer, [edit], {"mixer/V": neurons_of(net)}, {"mixer": net}, policy)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("policy", ["keep", "zero", "donor"])
def test_rows_and_columns_of_touched_neurons(kind: str, policy: str) -> None:
    net, optimizer = stepped(kind)
    before = slots(net, optimizer)
    treat(net, optimizer, EDIT, policy)
    after = slots(net, optimizer)
    for name, old in before.items():
        averages = {key for key, value in old.items() if key in AVERAGES[kind]}
        assert averages == AVERAGES[kind]
        for key, value in old.items():
            expected = value
            if key in averages and name in ("0.weight", "0.bias") and policy != "keep":
                expected = value.clone()
                expected[[0, 2]] = value[[0, 0]] if policy == "donor" else 0.0
                expected[1] = 0.0
            if key in averages and name == "2.weight" and policy != "keep":
                expected = value.clone()
                expected[:, [0, 2]] = value[:, [0, 0]] if policy == "donor" else 0.0
                expected[:, 1] = 0.0
            assert torch.equal(after[name][key], expected), (name, key)  # step counters and the next bias included


def test_what_an_edit_leaves_is_left() -> None:
    # Pruning keeps what goes in; a donor at scale 1 (the official code's rule) keeps its input weights.
    net, optimizer = stepped("adam")
    before = slots(net, optimizer)
    treat(net, optimizer, zero_outgoing_edit(neurons_of(net), torch.tensor([1])), "zero")
    after = slots(net, optimizer)
    assert torch.equal(after["0.weight"]["exp_avg"], before["0.weight"]["exp_avg"])
    assert after["2.weight"]["exp_avg"][:, 1].count_nonzero() == 0
    assert torch.equal(after["2.weight"]["exp_avg"][:, 2], before["2.weight"]["exp_avg"][:, 2])

    official_code = NeuronEdit(**{**EDIT.__dict__, "in_scale": torch.tensor([1.0, 2.0, 1.0])})
    treat(net, optimizer, official_code, "zero")
    after = slots(net, optimizer)
    assert torch.equal(after["0.weight"]["exp_avg"][0], before["0.weight"]["exp_avg"][0])
    assert after["0.weight"]["exp_avg"][[1, 2]].count_nonzero() == 0
    assert after["2.weight"]["exp_avg"][:, 0].count_nonzero() == 0


#: Averages of squares; the others are averages of gradients.
SQUARES = {"square_avg", "exp_avg_sq", "max_exp_avg_sq"}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_layer_mean_by_hand(kind: str) -> None:
    """Neuron 1 is re-initialised and 2 is a copy of 0: of each parameter the mean is over what neurons 0, the donor, and 3,
    which is not touched, have."""
    net, optimizer = stepped(kind)
    numbers = {
        "0.weight": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 10.0]],
        "0.bias": [1.0, 2.0, 3.0, 4.0],
        "2.weight": [[1.0, 2.0, 3.0, 40.0], [5.0, 6.0, 7.0, 60.0]],
    }
    for name, values in numbers.items():
        for key in AVERAGES[kind]:
            optimizer.state[net.get_parameter(name)][key].copy_(torch.tensor(values))
    before = slots(net, optimizer)
    treat(net, optimizer, EDIT, "layer_mean")
    after = slots(net, optimizer)
    squares = {
        "0.weight": [[1.0, 2.0], [5.0, 5.0], [5.0, 5.0], [7.0, 10.0]],
        "0.bias": [1.0, 2.5, 2.5, 4.0],
        "2.weight": [[1.0, 26.5, 26.5, 40.0], [5.0, 26.5, 26.5, 60.0]],
    }
    gradients = {
        "0.weight": [[1.0, 2.0], [0.0, 0.0], [0.0, 0.0], [7.0, 10.0]],
        "0.bias": [1.0, 0.0, 0.0, 4.0],
        "2.weight": [[1.0, 0.0, 0.0, 40.0], [5.0, 0.0, 0.0, 60.0]],
    }
    for name, old in before.items():
        for key, value in old.items():
            changed = name in numbers and key in AVERAGES[kind]
            expected = (squares if key in SQUARES else gradients)[name] if changed else value
            assert torch.equal(after[name][key], torch.as_tensor(expected)), (name, key)


def test_layer_mean_where_every_neuron_is_changed_and_of_whole_parameters() -> None:
    net, optimizer = stepped("adam")
    average = optimizer.state[net[0].bias]["exp_avg_sq"]
    average.copy_(torch.tensor([1.0, 2.0, 3.0, 6.0]))
    optimizer.state[net[2].bias]["exp_avg_sq"].copy_(torch.tensor([1.0, 4.0]))
    treat(
        net,
        optimizer,
        fresh_neurons_edit(neurons_of(net), torch.arange(4), torch.zeros(4, 2), torch.zeros(4)),
        "layer_mean",
    )
    assert average.tolist() == [3.0] * 4  # over all of them before
    treat(net, optimizer, ParameterEdit("mixer", "2.bias", 0.0, torch.zeros(2)), "layer_mean")
    assert optimizer.state[net[2].bias]["exp_avg_sq"].tolist() == [2.5, 2.5]
    assert optimizer.state[net[2].bias]["exp_avg"].tolist() == [0.0, 0.0]
    assert float(optimizer.state[net[2].bias]["step"]) == 3.0


def test_layer_mean_of_two_layers_in_a_row_is_over_what_neither_changes() -> None:
    """The weight between them loses columns by the first layer and rows by the second."""
    net = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    optimizer = torch.optim.RMSprop(net.parameters())
    net(torch.ones(1, 1)).sum().backward()
    optimizer.step()
    between = optimizer.state[net[2].weight]["square_avg"]
    between.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    first = declare_neurons("mixer", "first", net[0], net[1], net[2])
    second = declare_neurons("mixer", "second", net[2], net[3], net[4])
    edits = [
        fresh_neurons_edit(layer, torch.tensor([0]), torch.zeros(1, layer.input_weight.shape[1]), torch.zeros(1))
        for layer in (first, second)
        if layer.input_weight is not None
    ]
    layers = {"mixer/first": first, "mixer/second": second}
    for order in (edits, edits[::-1]):
        between.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        apply_policy(optimizer, order, layers, {"mixer": net}, "layer_mean")
        assert between.tolist() == [[4.0, 4.0], [4.0, 4.0]]


def test_layer_mean_leaves_spare_neurons_out_of_the_mean() -> None:
    net, optimizer = stepped("rmsprop")
    layer = dataclasses.replace(neurons_of(net), active=torch.tensor([True, True, True, False]))
    optimizer.state[net[0].bias]["square_avg"].copy_(torch.tensor([1.0, 5.0, 7.0, 0.0]))
    edit = fresh_neurons_edit(layer, torch.tensor([0]), torch.zeros(1, 2), torch.zeros(1))
    apply_policy(optimizer, [edit], {"mixer/V": layer}, {"mixer": net}, "layer_mean")
    assert optimizer.state[net[0].bias]["square_avg"].tolist() == [6.0, 5.0, 7.0, 0.0]


def test_layer_mean_with_momentum_alone_forgets_its_direction() -> None:
    net = four_neurons()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
    net(torch.tensor([[1.0, -0.2]])).square().sum().backward()
    optimizer.step()
    before = slots(net, optimizer)
    treat(net, optimizer, EDIT, "layer_mean")
    after = slots(net, optimizer)
    assert after["0.weight"]["momentum_buffer"][1:3].count_nonzero() == 0
    assert torch.equal(after["0.weight"]["momentum_buffer"][[0, 3]], before["0.weight"]["momentum_buffer"][[0, 3]])
    assert after["2.weight"]["momentum_buffer"][:, 1:3].count_nonzero() == 0
    optimizer.step()


def test_layer_mean_refuses_averages_that_it_does_not_know() -> None:
    net = four_neurons()
    optimizer = torch.optim.Adadelta(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    before = slots(net, optimizer)
    with pytest.raises(SurgeryRefused, match=r"Adadelta keeps 'acc_delta'.*Use keep, zero or donor"):
        treat(net, optimizer, EDIT, "layer_mean")
    after = slots(net, optimizer)
    assert all(torch.equal(after[name]["square_avg"], before[name]["square_avg"]) for name in before)


@pytest.mark.parametrize("seed", range(20))
def test_layer_mean_keeps_what_is_left_and_the_first_step_short(seed: int) -> None:
    """Any neurons: what the plan leaves stays to the bit, all changed entries of a parameter are equal and within the range
    of the others, and with a gradient as large as the others' mean the step is one learning rate, not ten."""
    draws = torch.Generator().manual_seed(seed)
    net, optimizer = stepped("rmsprop")
    for parameter in net.parameters():
        state = optimizer.state[parameter]
        state["square_avg"].copy_(torch.rand(parameter.shape, generator=draws) + 0.5)
        state["momentum_buffer"].zero_()
    chosen = torch.randperm(4, generator=draws)[: int(torch.randint(1, 4, (), generator=draws))]
    layer = neurons_of(net)
    before = slots(net, optimizer)
    treat(
        net,
        optimizer,
        fresh_neurons_edit(layer, chosen, torch.zeros(len(chosen), 2), torch.zeros(len(chosen))),
        "layer_mean",
    )
    after = slots(net, optimizer)
    rest = [neuron for neuron in range(4) if neuron not in chosen.tolist()]
    for name, dim in (("0.weight", 0), ("0.bias", 0), ("2.weight", 1)):
        new, old = (found[name]["square_avg"].movedim(dim, 0) for found in (after, before))
        assert torch.equal(new[rest], old[rest])
        assert len(new[chosen].unique()) == 1
        assert old[rest].min() <= new[chosen][0].flatten()[0] <= old[rest].max()
    weights = net[0].weight.detach().clone()
    mean = after["0.weight"]["square_avg"][chosen][0, 0]
    for parameter in net.parameters():
        parameter.grad = torch.full_like(parameter, float(mean.sqrt()))
    optimizer.step()
    assert (weights - net[0].weight.detach())[chosen].abs().max() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("policy", ["keep", "zero", "donor"])
def test_whole_parameters_have_no_donor(policy: str) -> None:
    net, optimizer = stepped("adam")
    before = slots(net, optimizer)
    treat(net, optimizer, ParameterEdit("mixer", "2.bias", 0.0, torch.zeros(2)), policy)
    after = slots(net, optimizer)
    for name, old in before.items():
        for key, value in old.items():
            forgotten = name == "2.bias" and key in AVERAGES["adam"] and policy != "keep"
            assert torch.equal(after[name][key], torch.zeros_like(value) if forgotten else value)


def test_averages_that_diverged_are_forgotten_too() -> None:
    net, optimizer = stepped("adam")
    optimizer.state[net[0].weight]["exp_avg"][:] = torch.inf
    treat(net, optimizer, EDIT, "zero")
    assert optimizer.state[net[0].weight]["exp_avg"][:3].count_nonzero() == 0


def test_a_scalar_parameter_keeps_its_step_counter() -> None:
    net = nn.ParameterDict({"scale": nn.Parameter(torch.tensor(2.0))})
    optimizer = torch.optim.Adam(net.parameters())
    net["scale"].square().backward()
    optimizer.step()
    apply_policy(optimizer, [ParameterEdit("net", "scale", 1.0, torch.tensor(0.0))], {}, {"net": net}, "zero")
    found = optimizer.state[net["scale"]]
    assert float(found["step"]) == 1.0
    assert float(found["exp_avg"]) == 0.0


def test_an_optimizer_that_never_stepped_or_knows_only_some() -> None:
    net = four_neurons()
    optimizer = torch.optim.Adam([net[0].weight])
    treat(net, optimizer, EDIT, "zero")
    assert len(optimizer.state) == 0  # asking must not add entries, which Adam would take for state
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    treat(net, optimizer, EDIT, "zero")
    assert list(optimizer.state) == [net[0].weight]
    assert optimizer.state[net[0].weight]["exp_avg"][:3].count_nonzero() == 0
    assert optimizer.state[net[0].weight]["exp_avg"][3].count_nonzero() > 0
    optimizer.step()


def test_buffers_have_no_averages_and_policies_are_checked() -> None:
    net = nn.Sequential(nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(net.parameters())
    edit = ParameterEdit("net", "0.running_mean", 0.0, torch.zeros(2))
    apply_policy(optimizer, [edit], {}, {"net": net}, "zero")
    with pytest.raises(ValueError, match="keep, zero, donor, layer_mean"):
        apply_policy(optimizer, [edit], {}, {"net": net}, "reset")  # type: ignore[arg-type]
