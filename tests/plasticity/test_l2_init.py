"""L2-init: the term and its gradient by hand, scope and refusals."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rllib_reborn.nets.mixers import VDNMixer
from rllib_reborn.plasticity.interventions import L2Init, Plan
from tests.plasticity.test_reset import context_of


def line(weight: float, bias: float) -> nn.Linear:
    net = nn.Linear(1, 1)
    with torch.no_grad():
        net.weight.fill_(weight)
        net.bias.fill_(bias)
    return net


INITIAL = {
    "agent": {"weight": torch.tensor([[1.0]]), "bias": torch.tensor([0.0])},
    "mixer": {"weight": torch.tensor([[0.0]]), "bias": torch.tensor([2.0])},
}


def test_the_term_by_hand():
    nets = {"agent": line(3.0, -1.0), "mixer": line(0.5, 2.0)}
    loss = L2Init(strength=0.1).loss(nets, INITIAL)
    # agent: (3 - 1)^2 + (-1 - 0)^2 = 5; mixer: 0.5^2 + 0 = 0.25; 0.1 * 5.25
    assert loss is not None
    assert loss.item() == pytest.approx(0.525)
    loss.backward()
    # d/dw = 2 * 0.1 * (w - w0)
    assert nets["agent"].weight.grad.item() == pytest.approx(0.4)
    assert nets["agent"].bias.grad.item() == pytest.approx(-0.2)
    assert nets["mixer"].weight.grad.item() == pytest.approx(0.1)
    assert nets["mixer"].bias.grad.item() == 0.0


def test_scope():
    nets = {"agent": line(3.0, -1.0), "mixer": line(0.5, 2.0)}
    loss = L2Init(strength=1.0, scope="mixer").loss(nets, INITIAL)
    assert loss is not None
    assert loss.item() == pytest.approx(0.25)
    assert L2Init().loss({"mixer": VDNMixer()}, {}) is None


def test_it_writes_nothing():
    assert L2Init().plan(context_of({"mixer": line(1.0, 1.0)})) == Plan()
    assert L2Init().needs_initial
    assert not L2Init().is_scheduled


def test_refusals():
    with pytest.raises(ValueError, match="mixer has no initial value of 'weight'"):
        L2Init().loss({"mixer": line(1.0, 1.0)}, {})
    with pytest.raises(ValueError, match=r"'weight' is \[2\]; expected \[1, 1\]"):
        L2Init().loss({"mixer": line(1.0, 1.0)}, {"mixer": {"weight": torch.zeros(2)}})
    with pytest.raises(ValueError, match="strength is -1"):
        L2Init(strength=-1)
