"""Shrink and perturb: the interpolation by hand, towards each of its goals."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rllib_reborn.nets.mixers import QMixer
from rllib_reborn.plasticity.interventions import Injection, ShrinkPerturb, SurgeryRefused
from rllib_reborn.plasticity.interventions.apply import ModelView, apply_intervention


def line(weight: list[float], bias: float) -> nn.Sequential:
    net = nn.Sequential(nn.Linear(len(weight), 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([weight]))
        net[0].bias.fill_(bias)
    return net


def do(intervention, net, *, seed=0, **more):
    return apply_intervention(
        intervention, ModelView(nets={"mixer": net}, layers=[]), generator=torch.Generator().manual_seed(seed), **more
    )


def test_towards_the_initial_weights_by_hand():
    net = line([1.0, -2.0], 4.0)
    initial = {"mixer": {"0.weight": torch.tensor([[3.0, 0.5]]), "0.bias": torch.tensor([-1.0])}}
    report = do(ShrinkPerturb(shrink=0.75, towards="initial"), net, initial=initial)
    # 0.75 * 1 + 0.25 * 3 = 1.5;  0.75 * -2 + 0.25 * 0.5 = -1.375;  0.75 * 4 + 0.25 * -1 = 2.75
    assert net[0].weight.tolist() == [[1.5, -1.375]]
    assert net[0].bias.tolist() == [2.75]
    assert [(c.layer, c.neurons) for c in report.changes] == [("mixer/0", (0,))]


@pytest.mark.parametrize(("towards", "needed"), [("initial", True), ("fresh", False), ("noise", False)])
def test_only_one_of_its_goals_needs_the_initial_weights(towards, needed):
    assert ShrinkPerturb(towards=towards).needs_initial is needed


def test_towards_the_initial_weights_without_them():
    with pytest.raises(SurgeryRefused, match=r"initial values of 0\.weight, 0\.bias are not known"):
        do(ShrinkPerturb(towards="initial"), line([1.0], 0.0))


def test_towards_fresh_weights():
    # With shrink 0 only the fresh weights are left: U(-1/sqrt(4), 1/sqrt(4)), the same for the same seed.
    only, part = line([8.0] * 4, 8.0), line([8.0] * 4, 8.0)
    do(ShrinkPerturb(shrink=0.0), only, seed=5)
    assert float(only[0].weight.detach().abs().max()) <= 0.5
    assert only[0].weight.detach().unique().numel() == 4
    do(ShrinkPerturb(shrink=0.75), part, seed=5)
    expected = 0.75 * 8 + 0.25 * torch.cat([only[0].weight.detach().flatten(), only[0].bias.detach()])
    got = torch.cat([part[0].weight.detach().flatten(), part[0].bias.detach()])
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


def test_noise():
    net = line([2.0] * 10_000, 2.0)
    do(ShrinkPerturb(shrink=0.5, towards="noise", sigma=0.1), net)
    moved = net[0].weight.detach() - 1.0  # 0.5 * 2 = 1
    # 10,000 normal draws: the mean is within 5 * 0.1 / 100, the deviation within 4 %.
    assert abs(float(moved.mean())) < 0.005
    assert 0.096 < float(moved.std()) < 0.104
    silent = line([2.0, 4.0], 1.0)
    do(ShrinkPerturb(shrink=0.5, towards="noise", sigma=0.0), silent)
    assert silent[0].weight.tolist() == [[1.0, 2.0]]


def test_every_parameter_moves_and_a_shared_one_once():
    mixer = QMixer(2, 3, embed_dim=4, hypernet_dim=5)
    before = {name: p.detach().clone() for name, p in mixer.named_parameters()}
    do(ShrinkPerturb(), mixer)
    assert not any(torch.equal(before[name], p) for name, p in mixer.named_parameters())
    tied = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    tied[2].weight = tied[0].weight
    old = tied[0].weight.detach().clone()
    do(ShrinkPerturb(shrink=0.5, towards="noise", sigma=0.0), tied)
    assert torch.equal(tied[0].weight, 0.5 * old)


def test_it_refuses_a_network_that_injection_prepared():
    mixer = QMixer(2, 3, embed_dim=4, hypernet_dim=5)
    Injection().prepare({"mixer": mixer})
    before = {name: p.detach().clone() for name, p in mixer.named_parameters()}
    with pytest.raises(SurgeryRefused, match="give one of them another scope"):
        do(ShrinkPerturb(), mixer)
    assert all(torch.equal(before[name], p) for name, p in mixer.named_parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shrink": 1.5}, r"shrink is 1\.5; expected a number in 0\.\.1"),
        ({"towards": "zero"}, "towards is 'zero'"),
        ({"sigma": -1.0}, "sigma is -1"),
        ({"initializer": "ones"}, "initializer is 'ones'"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        ShrinkPerturb(**settings)
