"""The quantile Huber loss against numbers worked by hand, and what minimising it finds: the quantiles of the target."""

import math

import pytest
import torch

from rllib_reborn.losses import quantile_huber


def test_by_hand():
    # Prediction 0 at fraction 0.25, targets 2 and -0.5: u = 2 weighs 0.25 (linear: 2 - 0.5), u = -0.5 weighs 0.75.
    # Prediction 1 at fraction 0.75, the same targets: u = 1 weighs 0.75 (0.5), u = -1.5 weighs 0.25 (1.5 - 0.5).
    loss = quantile_huber(torch.tensor([0.0, 1.0]), torch.tensor([2.0, -0.5]), torch.tensor([0.25, 0.75]))
    first = (0.25 * 1.5 + 0.75 * 0.125) / 2
    second = (0.75 * 0.5 + 0.25 * 1.0) / 2
    assert loss.item() == pytest.approx(first + second)


def test_kappa_by_hand():
    # kappa 0.5, u = 2: 0.5 * (2 - 0.25) = 0.875, over kappa 1.75; u = -0.1: 0.005, over kappa 0.01.
    loss = quantile_huber(torch.tensor([0.0]), torch.tensor([2.0, -0.1]), torch.tensor([0.3]), kappa=0.5)
    assert loss.item() == pytest.approx((0.3 * 1.75 + 0.7 * 0.01) / 2)


def test_a_small_kappa_gives_the_quantile_regression_loss():
    torch.manual_seed(0)
    prediction, target, fractions = torch.randn(5, 3).double(), torch.randn(5, 7).double(), torch.rand(5, 3).double()
    u = target.unsqueeze(1) - prediction.unsqueeze(2)
    pinball = torch.maximum(fractions.unsqueeze(2) * u, (fractions.unsqueeze(2) - 1) * u).mean(2).sum(1)
    loss = quantile_huber(prediction, target, fractions, kappa=1e-7)
    torch.testing.assert_close(loss, pinball, rtol=1e-5, atol=1e-5)


def test_rows_are_independent_and_fractions_may_be_shared():
    torch.manual_seed(1)
    prediction, target, fractions = torch.randn(2, 3, 4), torch.randn(2, 3, 6), torch.rand(4)
    whole = quantile_huber(prediction, target, fractions)
    assert whole.shape == (2, 3)
    for e in range(2):
        for t in range(3):
            torch.testing.assert_close(whole[e, t], quantile_huber(prediction[e, t], target[e, t], fractions))


def test_no_gradient_flows_into_the_target():
    prediction, target = torch.zeros(3, requires_grad=True), torch.ones(2, requires_grad=True)
    quantile_huber(prediction, target, torch.full((3,), 0.5)).backward()
    assert target.grad is None
    assert (prediction.grad < 0).all()  # below both targets: up


def fit(target, fractions, kappa):
    """The predictions with the least loss."""
    prediction = torch.zeros(len(fractions), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([prediction], lr=0.5, max_iter=400, tolerance_grad=1e-12, tolerance_change=1e-14)

    def closure():
        optimizer.zero_grad()
        loss = quantile_huber(prediction, target, fractions, kappa=kappa)
        loss.backward()
        return loss

    optimizer.step(closure)
    return prediction.detach()


def test_a_fit_finds_a_spread_of_quantiles_and_not_one_value():
    """D25: with the fraction on the target's side all predictions end at one value; here they are the sorted samples'."""
    torch.manual_seed(2)
    target = 3 * torch.randn(2001, dtype=torch.float64)
    fractions = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9], dtype=torch.float64)
    found = fit(target, fractions, kappa=0.05)
    torch.testing.assert_close(found, target.sort().values[(fractions * 2000).long()], rtol=0, atol=0.05)
    assert found.std() > 2


def test_the_minimum_of_two_outcomes_in_closed_form():
    # 0 and 1 equally likely, kappa 1, prediction x at fraction tau: (tau (1 - x)^2 + (1 - tau) x^2) / 4, least at x = tau.
    fractions = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    found = fit(torch.tensor([0.0, 1.0], dtype=torch.float64), fractions, kappa=1.0)
    torch.testing.assert_close(found, fractions, rtol=0, atol=1e-6)
    loss = quantile_huber(fractions, torch.tensor([0.0, 1.0], dtype=torch.float64), fractions)
    expected = sum((tau * (1 - tau) ** 2 + (1 - tau) * tau**2) / 4 for tau in (0.2, 0.5, 0.9))
    assert math.isclose(loss.item(), expected, rel_tol=1e-12)
