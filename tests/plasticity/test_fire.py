"""FIRE: the polar factor by hand, against a singular value decomposition, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from rllib_reborn.nets.mixers import QMixer
from rllib_reborn.plasticity.interventions import FIRE, Injection, SurgeryRefused, make_intervention, to_dict
from rllib_reborn.plasticity.interventions.apply import ModelView, apply_intervention
from rllib_reborn.plasticity.interventions.fire import polar_factor


def line(weight: Tensor) -> nn.Sequential:
    net = nn.Sequential(nn.Linear(weight.shape[1], weight.shape[0]))
    with torch.no_grad():
        net[0].weight.copy_(weight)
    return net


def do(intervention: Any, net: nn.Module, **more: Any) -> Any:
    view = ModelView(nets={"mixer": net}, layers=[], **more)
    return apply_intervention(intervention, view, generator=torch.Generator().manual_seed(0))


def matrix(rows: int, columns: int, seed: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def nearest(weight: Tensor) -> Tensor:
    u, _, vh = torch.linalg.svd(weight, full_matrices=False)
    return u @ vh


def test_one_iteration_by_hand() -> None:
    # W = diag(3, 4), ||W|| = 5: X = diag(0.6, 0.8); 1.5 x - 0.5 x^3 = 0.9 - 0.108 and 1.2 - 0.256.
    net = line(torch.diag(torch.tensor([3.0, 4.0])))
    bias = net[0].bias.detach().clone()
    report = do(FIRE(iterations=1, scope="mixer"), net)
    torch.testing.assert_close(net[0].weight.detach(), torch.diag(torch.tensor([0.792, 0.944])))
    assert torch.equal(net[0].bias, bias)
    assert [(change.layer, change.neurons) for change in report.changes] == [("mixer/0", (0, 1))]


def test_a_rotation_that_was_stretched_by_hand() -> None:
    # [[0, -2], [2, 0]] is twice a rotation by 90 degrees; by "norm" its size, sqrt(8), stays.
    turned = torch.tensor([[0.0, -2.0], [2.0, 0.0]])
    for scale, expected in (("fans", turned / 2), ("none", turned / 2), ("norm", turned)):
        net = line(turned)
        do(FIRE(scale=scale, iterations=20), net)  # type: ignore[arg-type]
        torch.testing.assert_close(net[0].weight.detach(), expected)


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (6, 3), (3, 6), (1, 5), (5, 1)])
def test_against_a_singular_value_decomposition(rows: int, columns: int) -> None:
    weight = matrix(rows, columns, seed=rows)
    expected = nearest(weight)
    torch.testing.assert_close(polar_factor(weight, 40), expected, atol=1e-10, rtol=0)
    net = line(weight.float())
    do(FIRE(iterations=40), net)
    torch.testing.assert_close(
        net[0].weight.detach(), ((rows / columns) ** 0.5 * expected).float(), atol=1e-5, rtol=1e-5
    )


@given(rows=st.integers(1, 6), columns=st.integers(1, 6), seed=st.integers(0, 50))
def test_the_nearest_of_all_isometries(rows: int, columns: int, seed: int) -> None:
    weight = matrix(rows, columns, seed)
    found = polar_factor(weight, 60)
    small = min(rows, columns)
    gram = found @ found.mT if rows < columns else found.mT @ found
    torch.testing.assert_close(gram, torch.eye(small, dtype=torch.float64), atol=1e-6, rtol=0)
    distance = torch.linalg.matrix_norm(found - weight)
    for other in range(5):
        isometry = nearest(matrix(rows, columns, 1000 + other))
        assert distance <= torch.linalg.matrix_norm(isometry - weight) + 1e-6
    # Rotating before is rotating after, twice is once, and a factor changes nothing.
    left, right = nearest(matrix(rows, rows, 7)), nearest(matrix(columns, columns, 8))
    torch.testing.assert_close(polar_factor(left @ weight @ right, 60), left @ found @ right, atol=1e-6, rtol=0)
    torch.testing.assert_close(polar_factor(found, 60), found, atol=1e-6, rtol=0)
    torch.testing.assert_close(polar_factor(3 * weight, 60), found, atol=1e-6, rtol=0)


def test_directions_without_weight_stay_without() -> None:
    weight = matrix(4, 4, 3)
    weight[:, 1] = 0
    found = polar_factor(weight, 40)
    assert bool((found[:, 1] == 0).all())
    torch.testing.assert_close(
        torch.linalg.svdvals(found), torch.tensor([1.0, 1.0, 1.0, 0.0]).double(), atol=1e-9, rtol=0
    )
    assert torch.equal(polar_factor(torch.zeros(2, 3), 3), torch.zeros(2, 3))
    net = line(torch.zeros(2, 3))
    assert do(FIRE(), net).neurons == 0
    assert not net[0].weight.any()


def test_each_place_of_a_kernel_by_itself() -> None:
    net = nn.Sequential(nn.Conv2d(4, 2, 3))
    old = net[0].weight.detach().double().clone()
    do(FIRE(iterations=40), net)
    expected = torch.stack([torch.stack([nearest(old[:, :, i, j]) for j in range(3)], -1) for i in range(3)], -2)
    torch.testing.assert_close(net[0].weight.detach().double(), expected * (2 / 4) ** 0.5 / 9, atol=1e-5, rtol=1e-4)


def test_biases_recurrent_layers_and_normalisations_stay() -> None:
    net = nn.ModuleDict({"one": nn.Linear(3, 4), "norm": nn.LayerNorm(4), "gru": nn.GRU(4, 4), "head": nn.Linear(4, 2)})
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    report = do(FIRE(), net)
    moved = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"one.weight", "head.weight"}
    assert [change.layer for change in report.changes] == ["mixer/one", "mixer/head"]


def test_a_dry_run_writes_nothing_and_nothing_is_drawn() -> None:
    mixer = QMixer(2, 3, embed_dim=4, hypernet_dim=5)
    before = {name: p.detach().clone() for name, p in mixer.named_parameters()}
    assert do(FIRE(dry_run=True), mixer).neurons > 0
    assert all(torch.equal(before[name], p) for name, p in mixer.named_parameters())
    generator = torch.Generator().manual_seed(3)
    stream = generator.get_state()
    apply_intervention(FIRE(), ModelView(nets={"mixer": mixer}, layers=[]), generator=generator)
    assert torch.equal(generator.get_state(), stream)
    assert not torch.equal(before["V.0.weight"], mixer.V[0].weight)


@pytest.mark.parametrize("policy", ["keep", "zero", "donor", "layer_mean"])
def test_policies_of_the_optimizer(policy: Any) -> None:
    net = line(torch.tensor([[1.0, 2.0], [3.0, 5.0]]))
    optimizer = torch.optim.RMSprop(net.parameters())
    net(torch.ones(3, 2)).sum().backward()
    optimizer.step()
    average, of_bias = (optimizer.state[p]["square_avg"] for p in (net[0].weight, net[0].bias))
    average.copy_(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    kept = of_bias.clone()
    do(FIRE(optimizer=policy), net, optimizer=optimizer)
    zeros, means = [[0.0, 0.0]] * 2, [[3.0, 3.0]] * 2
    expected = {"keep": [[1.0, 2.0], [3.0, 6.0]], "zero": zeros, "donor": zeros, "layer_mean": means}[policy]
    assert average.tolist() == expected
    assert torch.equal(of_bias, kept)


def test_what_it_refuses() -> None:
    with pytest.raises(SurgeryRefused, match="mixer: no Linear and no convolution"):
        do(FIRE(), nn.Sequential(nn.GRU(2, 2)))
    with pytest.raises(SurgeryRefused, match="mixer/0: its weight is not finite"):
        do(FIRE(), line(torch.tensor([[1.0, float("nan")]])))
    mixer = QMixer(2, 3, embed_dim=4, hypernet_dim=5)
    Injection().prepare({"mixer": mixer})
    with pytest.raises(SurgeryRefused, match="give one of them another scope"):
        do(FIRE(), mixer)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"iterations": 0}, "iterations is 0"),
        ({"scale": "big"}, "scale is 'big'; expected one of fans, norm, none"),
        ({"layers": "editable"}, "fire treats whole parameters"),
    ],
)
def test_mistakes(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_intervention({"kind": "fire", **wrong})


def test_data_goes_round() -> None:
    made = make_intervention({"kind": "fire", "iterations": 5.0, "scale": "norm"})
    assert made == FIRE(iterations=5, scale="norm")
    assert make_intervention(to_dict(made)) == made
