"""WQMIX's weights, against numbers worked out by hand."""

import torch

from rllib_reborn.losses.weighting import central_weights, optimistic_weights


def test_central_weights_keep_the_greedy_action_and_what_may_be_better():
    greedy = torch.tensor([True, False, False, False])
    target = torch.tensor([-5.0, 3.1, 3.0, -5.0])
    of_greedy = torch.tensor([3.0, 3.0, 3.0, 3.0])
    assert central_weights(greedy, target, of_greedy, 0.25).tolist() == [1.0, 1.0, 0.25, 0.25]


def test_optimistic_weights_keep_what_is_underestimated():
    value, target = torch.tensor([1.0, 2.0, 3.0]), torch.full((3,), 2.0)
    assert optimistic_weights(value, target, 0.5).tolist() == [1.0, 0.5, 0.5]


def test_weights_have_no_gradient_and_keep_shape_and_dtype():
    value = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    target = torch.randn(2, 3, dtype=torch.float64)
    for weights in (
        central_weights(torch.zeros(2, 3, dtype=torch.bool), target, value, 0.1),
        optimistic_weights(value, target, 0.1),
    ):
        assert weights.shape == (2, 3)
        assert weights.dtype == torch.float64
        assert not weights.requires_grad
