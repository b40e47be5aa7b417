"""RMIX's local loss: the quantile Huber loss without pairs, the official code's rule, and what each does to a
distribution."""

import pytest
import torch

from rllib_reborn.losses import quantile_huber
from rllib_reborn.losses import risk as risk_module
from rllib_reborn.losses.risk import local_distribution_loss, local_targets


def fractions(count):
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_it_is_the_quantile_huber_loss(dtype, scale, monkeypatch):
    monkeypatch.setattr(risk_module, "_BLOCK_ROWS", 4)
    torch.manual_seed(1)
    prediction = (1e3 + scale * torch.randn(3, 5, 9)).to(dtype).requires_grad_()
    target = (1e3 + scale * torch.randn(3, 5, 7)).to(dtype)
    target[0, 0, :3] = prediction.detach()[0, 0, :3]  # u = 0
    target[0, 1, 0] = prediction.detach()[0, 1, 0] + 1  # the edge of the quadratic part
    weight = torch.rand(3, 5, dtype=dtype)
    loss = local_distribution_loss(prediction, target)
    (gradient,) = torch.autograd.grad((loss * weight).sum(), prediction)
    exact = prediction.detach().double().requires_grad_()
    expected = quantile_huber(exact, target.double(), fractions(9))
    (expected_gradient,) = torch.autograd.grad((expected * weight.double()).sum(), exact)
    torch.testing.assert_close(loss.double(), expected.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=1e-5, atol=1e-6)


def test_the_official_code_by_hand():
    prediction = torch.tensor([[0.0, 3.0]], requires_grad=True)
    target = torch.tensor([[0.5, 1.0]])
    # error = prediction - target; |fraction of the target - 1(error < 0)| * huber; sum over targets, mean over
    # predictions
    expected = ((0.75 * 0.125 + 0.25 * 0.5) + (0.25 * 2.0 + 0.75 * 1.5)) / 2
    loss = local_distribution_loss(prediction, target, official_code=True)
    assert loss.item() == pytest.approx(expected)
    (gradient,) = torch.autograd.grad(loss.sum(), prediction)
    torch.testing.assert_close(gradient, torch.tensor([[-(0.75 * 0.5 + 0.25 * 1) / 2, (0.25 * 1 + 0.75 * 1) / 2]]))


@pytest.mark.parametrize(("official_code", "least", "most"), [(False, 2.0, 3.2), (True, 0.0, 0.05)])
def test_what_becomes_of_a_spread(official_code, least, most):
    """docs/method.md D25: the standard rule fits the targets' spread, the official code's draws all atoms to one
    value."""
    torch.manual_seed(0)
    target = 2.9 * torch.randn(1, 40)
    atoms = torch.randn(1, 40, requires_grad=True)
    optimizer = torch.optim.Adam([atoms], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        local_distribution_loss(atoms, target, official_code=official_code).sum().backward()
        optimizer.step()
    assert least <= atoms.std().item() <= most


def test_targets():
    reward = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    atoms = torch.tensor([[[10.0, 20.0], [30.0, 40.0]], [[1.0, 2.0], [3.0, 4.0]]], requires_grad=True)
    target = local_targets(reward, atoms, torch.tensor([False, True]), gamma=0.5)
    assert target.tolist() == [[[6.0, 11.0], [17.0, 22.0]], [[3.0, 3.0], [4.0, 4.0]]]
    assert not target.requires_grad
