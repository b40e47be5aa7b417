"""Thresholds: which side a neuron on them is on, and which are refused."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rllib_reborn.plasticity import masks

SCORES = torch.tensor([0.0, 0.125, 0.25, 1.0, 3.0, 4.0])


def test_a_unit_on_a_threshold() -> None:
    # docs/method.md 1: s <= alpha and s >= beta; the official code has s > beta (D5).
    assert masks.dormant(SCORES, 0.125).tolist() == [True, True, False, False, False, False]
    assert masks.overactive(SCORES, 3.0).tolist() == [False, False, False, False, True, True]
    assert masks.overactive(SCORES, 3.0, strict=True).tolist() == [False, False, False, False, False, True]


def test_masks_of_gradient_scores() -> None:
    # docs/method.md 9.1: RUA < 0.25 and > 4.0; 9.2: G <= 0.01.
    assert masks.stagnant(SCORES).tolist() == [True, True, False, False, False, False]
    assert masks.volatile(torch.tensor([1.0, 4.0, 4.5])).tolist() == [False, False, True]
    assert masks.insensitive(torch.tensor([0.0, 0.01, 0.02])).tolist() == [True, True, False]


def test_defaults_are_the_papers() -> None:
    masks.check_thresholds(masks.ALPHA, masks.BETA)
    assert (masks.ALPHA, masks.BETA) == (0.1, 3.0)
    masks.check_thresholds(0, 1.5)


@pytest.mark.parametrize(
    ("alpha", "beta", "message"),
    [
        (-0.1, 3.0, "alpha is -0.1"),
        (0.5, 0.5, "alpha 0.5 and beta 0.5 overlap.*Lower alpha or raise"),
        (3.0, 0.1, "overlap"),
        (1.0, 3.0, "average neurons would be dormant"),
        (0.1, 1.0, "average neurons would be over-active"),
        (math.nan, 3.0, "alpha is nan; expected a finite number"),
        (0.1, math.inf, "beta is inf; expected a finite number"),
        (True, 3.0, "alpha is True"),
        ("0.1", 3.0, "alpha is '0.1'"),
    ],
)
def test_thresholds_that_are_refused(alpha: float, beta: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        masks.check_thresholds(alpha, beta)


@given(
    scores=st.lists(st.floats(0, 100), min_size=1),
    alpha=st.floats(0, 1, exclude_max=True),
    beta=st.floats(1, 50, exclude_min=True),
)
def test_no_unit_is_both_and_an_average_unit_is_neither(scores: list[float], alpha: float, beta: float) -> None:
    masks.check_thresholds(alpha, beta)
    s = torch.tensor([*scores, 1.0], dtype=torch.float64)
    low, high = masks.dormant(s, alpha), masks.overactive(s, beta)
    assert not (low & high).any()
    assert not low[-1]
    assert not high[-1]
