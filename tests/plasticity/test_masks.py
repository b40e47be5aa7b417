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


# ---------------------------------------------------------------------- by quantile

#: Mean 1 over six neurons.
SIX = torch.tensor([0.3, 0.0, 2.0, 0.1, 3.0, 0.6])
ALL_SIX = torch.ones(6, dtype=torch.bool)


@pytest.mark.parametrize(
    ("quantile", "low", "high"),
    [
        (0.1, [], [2, 4]),  # 0.6 neurons: none; of the upper 5.4, two are above the mean
        (1 / 6, [1], [2, 4]),
        (0.34, [1, 3], [2, 4]),
        (0.66, [0, 1, 3], [2, 4]),
        (0.83, [0, 1, 3, 5], [4]),
        (0.9, [0, 1, 3, 5], []),  # the fifth lowest is above the mean
    ],
)
def test_quantiles_by_hand(quantile: float, low: list[int], high: list[int]) -> None:
    assert masks.lowest(SIX, quantile, ALL_SIX).nonzero().flatten().tolist() == low
    assert masks.highest(SIX, quantile, ALL_SIX).nonzero().flatten().tolist() == high


def test_a_share_that_is_a_whole_number_but_for_rounding() -> None:
    scores = torch.arange(10.0) / 4.5
    assert masks.highest(scores, 0.9, torch.ones(10, dtype=torch.bool)).nonzero().flatten().tolist() == [9]
    assert int(masks.lowest(scores, 0.3, torch.ones(10, dtype=torch.bool)).sum()) == 3


def test_ties_count_together_and_neurons_that_are_all_alike_never() -> None:
    half_dead = torch.tensor([0.0, 2.0, 0.0, 2.0, 0.0, 2.0, 0.0, 2.0])
    every = torch.ones(8, dtype=torch.bool)
    assert masks.lowest(half_dead, 0.2, every).tolist() == (half_dead == 0).tolist()
    assert masks.highest(half_dead, 0.8, every).tolist() == (half_dead == 2).tolist()
    for quantile in (0.2, 0.5, 0.8):
        assert not masks.lowest(torch.ones(8), quantile, every).any()
        assert not masks.highest(torch.ones(8), quantile, every).any()
    assert masks.lowest(torch.zeros(8), 0.2, every).all()  # without any activation all are dormant, as by alpha


def test_neurons_that_take_no_part_are_neither_chosen_nor_counted_by_quantiles() -> None:
    scores = torch.tensor([0.2, 1.0, 1.0, 1.8])
    taking_part = torch.tensor([True, False, False, True])
    assert masks.lowest(scores, 0.5, taking_part).tolist() == [True, False, False, False]
    assert masks.highest(scores, 0.5, taking_part).tolist() == [False, False, False, True]
    assert not masks.lowest(scores, 0.49, taking_part).any()
    assert not masks.lowest(scores, 0.9, torch.zeros(4, dtype=torch.bool)).any()


@given(values=st.lists(st.integers(0, 6), min_size=1, max_size=40), quantile=st.floats(0.01, 0.99), data=st.data())
def test_quantiles_against_a_plain_count(values: list[int], quantile: float, data: st.DataObject) -> None:
    """Whom it chooses: those with fewer than k active neurons strictly below; no order of the neurons matters."""
    scores = torch.tensor(values, dtype=torch.float64) / 3
    active = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    taking_part = [s for s, a in zip(scores.tolist(), active.tolist(), strict=True) if a]
    k_low, k_high = (int(share * len(taking_part) + 1e-9) for share in (quantile, 1 - quantile))
    low = [
        a and s < 1 and sum(o < s for o in taking_part) < k_low for s, a in zip(scores.tolist(), active, strict=True)
    ]
    high = [
        a and s > 1 and sum(o > s for o in taking_part) < k_high for s, a in zip(scores.tolist(), active, strict=True)
    ]
    assert masks.lowest(scores, quantile, active).tolist() == [bool(x) for x in low]
    assert masks.highest(scores, quantile, active).tolist() == [bool(x) for x in high]
    assert not (masks.lowest(scores, quantile, active) & masks.highest(scores, quantile, active)).any()
    order = torch.tensor(data.draw(st.permutations(range(len(values)))))
    assert masks.lowest(scores[order], quantile, active[order]).tolist() == [bool(low[i]) for i in order]


@pytest.mark.parametrize("wrong", [0, 1, -0.1, 1.5, math.nan, True, "0.1"])
def test_quantiles_that_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"alpha_quantile is .*; expected a number between 0 and 1"):
        masks.check_quantile("alpha_quantile", wrong)
