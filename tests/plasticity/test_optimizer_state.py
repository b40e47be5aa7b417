"""Averages of changed weights, and of no others, are kept, forgotten or copied from the donor."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rllib_reborn.plasticity.interventions.edits import NeuronEdit, ParameterEdit, zero_outgoing_edit
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
    with pytest.raises(ValueError, match="keep, zero, donor"):
        apply_policy(optimizer, [edit], {}, {"net": net}, "reset")  # type: ignore[arg-type]
