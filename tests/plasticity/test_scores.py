"""Scores worked out on paper."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rllib_reborn.plasticity import scores
from rllib_reborn.plasticity.neuron_layers import ActivationHook, NeuronLayer, Surgery
from rllib_reborn.plasticity.statistics import LayerStatistics


def layer_statistics(mean_abs: list[float], active: list[bool] | None = None) -> LayerStatistics:
    means = torch.tensor(mean_abs)
    everyone = torch.ones(len(means), dtype=torch.bool)
    return LayerStatistics(
        means, means, (means > 0).float(), 10, None, everyone if active is None else torch.tensor(active)
    )


def layer(net: str, name: str, width: int) -> NeuronLayer:
    return NeuronLayer(net, name, width, ActivationHook(nn.Identity()), "ReLU", Surgery.IMPOSSIBLE, "a test")


def test_nas_of_four_neurons() -> None:
    # Mean (0 + 0.1 + 0.9 + 7) / 4 = 2, so half of each.
    torch.testing.assert_close(scores.nas(torch.tensor([0.0, 0.1, 0.9, 7.0])), torch.tensor([0.0, 0.05, 0.45, 3.5]))


def test_a_silent_layer_is_dormant_altogether() -> None:
    assert scores.nas(torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]
    assert scores.nas(torch.zeros(2), torch.tensor([True, False])).tolist() == [0.0, 1.0]


def test_units_that_take_no_part_do_not_count() -> None:
    active = torch.tensor([True, True, False, False])
    # The mean is that of 1 and 3; a spare slot scores 1 whether its activation is 0 or 100.
    assert scores.nas(torch.tensor([1.0, 3.0, 0.0, 100.0]), active).tolist() == [0.5, 1.5, 1.0, 1.0]
    assert scores.nas(torch.tensor([1.0, 3.0]), torch.tensor([False, False])).tolist() == [1.0, 1.0]


@given(values=st.lists(st.floats(0, 2.0**100, width=32), min_size=1, max_size=50), seed=st.integers(0, 100))
@settings(deadline=None)
def test_nas_has_mean_one_and_no_nan(values: list[float], seed: int) -> None:
    mean_abs = torch.tensor(values)
    active = torch.rand(len(values), generator=torch.Generator().manual_seed(seed)) < 0.7
    found = scores.nas(mean_abs, active)
    assert found.isfinite().all()
    assert (found >= 0).all()
    assert (found[~active] == 1).all()
    if active.any() and mean_abs[active].sum() > 0:
        assert float(found[active].double().mean()) == pytest.approx(1, rel=1e-5)


def test_layer_dormancy_of_ten_neurons() -> None:
    # Sum 10, mean 1: scores are the values. Dormant (<= 0.1): 0, 0 and 0.1; over-active (>= 3): 3.5; dead: two.
    means = [0.0, 0.0, 0.1, 0.4, 1.0, 1.0, 1.5, 1.5, 1.0, 3.5]
    found = scores.layer_dormancy("mixer/W", layer_statistics(means))
    assert found.dormant.nonzero().flatten().tolist() == [0, 1, 2]
    assert found.overactive.nonzero().flatten().tolist() == [9]
    assert found.neurons == 10
    assert found.dormant_fraction == 0.3
    assert found.overactive_fraction == 0.1
    assert found.overactive_sum == pytest.approx(0.35)
    assert found.dead_fraction == 0.2


def test_thresholds_reach_the_masks() -> None:
    found = scores.layer_dormancy("mixer/W", layer_statistics([0.2, 0.6, 2.2]), alpha=0.5, beta=2.0)
    # Mean 1.
    assert found.dormant.tolist() == [True, False, False]
    assert found.overactive.tolist() == [False, False, True]
    with pytest.raises(ValueError, match="overlap"):
        scores.layer_dormancy("mixer/W", layer_statistics([1.0]), alpha=0.5, beta=0.4)


def test_spare_slots_are_in_no_count() -> None:
    found = scores.layer_dormancy(
        "mixer/W", layer_statistics([0.0, 1.0, 2.0, 0.0, 0.0], [True, True, True, False, False])
    )
    assert found.neurons == 3
    assert found.dormant.tolist() == [True, False, False, False, False]
    assert found.dormant_fraction == pytest.approx(1 / 3)
    assert found.dead_fraction == pytest.approx(1 / 3)
    assert found.score_sum == pytest.approx(3)
    nobody = scores.layer_dormancy("mixer/W", layer_statistics([0.0, 0.0], [False, False]))
    assert (nobody.neurons, nobody.dormant_fraction, nobody.overactive_sum) == (0, 0.0, 0.0)


def test_a_network_is_pooled_over_neurons_not_over_layers() -> None:
    layers = {one.key: one for one in (layer("mixer", "W", 8), layer("mixer", "V", 2), layer("agent", "A", 2))}
    statistics = {
        # Mean 1, one of 8 at 4: over-active sum 4 of 8; four are dead, so dormant.
        "mixer/W": layer_statistics([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 4.0]),
        "mixer/V": layer_statistics([1.0, 1.0]),
        "agent/A": layer_statistics([0.0, 5.0]),
    }
    found = scores.dormancy(statistics, layers)
    assert list(found) == ["mixer", "agent"]
    # 4 of 8 + 0 of 2: 4 of 10, not the mean of 1/2 and 0.
    assert found["mixer"].dormant_fraction == pytest.approx(0.4)
    assert found["mixer"].overactive_fraction == pytest.approx(0.1)
    assert found["mixer"].overactive_sum == pytest.approx(4 / 10)
    assert found["mixer"].dead_fraction == pytest.approx(0.4)
    assert found["mixer"].neurons == 10
    assert found["agent"].dormant_fraction == 0.5
    assert scores.dormancy({}, layers) == {}
    with pytest.raises(ValueError, match="statistics of 'agent/A', but no such layer; known: mixer/W"):
        scores.dormancy(statistics, {"mixer/W": layers["mixer/W"], "mixer/V": layers["mixer/V"]})


def test_a_silent_layer_weighs_nothing_in_the_overactive_sum() -> None:
    layers = {one.key: one for one in (layer("mixer", "W", 4), layer("mixer", "V", 4))}
    found = scores.dormancy(
        {"mixer/W": layer_statistics([0.0, 0.0, 0.0, 4.0]), "mixer/V": layer_statistics([0.0] * 4)}, layers
    )
    # W: one neuron has all of 4; V has none: 4 of 4. 3 + 4 of 8 are dormant.
    assert found["mixer"].overactive_sum == 1.0
    assert found["mixer"].dormant_fraction == 7 / 8


def test_dead_fraction() -> None:
    nonzero = torch.tensor([0.0, 0.5, 0.0, 1.0])
    assert scores.dead_fraction(nonzero) == 0.5
    assert scores.dead_fraction(nonzero, torch.tensor([True, True, False, True])) == pytest.approx(1 / 3)


def test_nas_ranking() -> None:
    # Fig. 2c: shares of 8, largest first.
    assert scores.nas_ranking(torch.tensor([1.0, 4.0, 0.0, 3.0])).tolist() == [0.5, 0.375, 0.125, 0.0]
    assert scores.nas_ranking(torch.zeros(2)).tolist() == [0.0, 0.0]


def test_overlap_is_over_the_smaller_set() -> None:
    # {0, 1, 2} and {2, 3}: one of two. Dopamine's |prev & cur| / |prev| would be a third.
    assert scores.overlap_coefficient({0, 1, 2}, {2, 3}) == 0.5
    assert scores.overlap_coefficient(torch.tensor([True, True, True, False]), {2, 3}) == 0.5
    assert scores.overlap_coefficient(set(), {2, 3}) is None
    assert scores.overlap_coefficient(torch.zeros(3, dtype=torch.bool), [1]) is None
    with pytest.raises(ValueError, match=r"int64; expected an \[H\] bool mask"):
        scores.overlap_coefficient(torch.tensor([0, 1]), {1})


@given(a=st.sets(st.integers(0, 20)), b=st.sets(st.integers(0, 20)))
def test_overlap_is_symmetric_and_one_for_subsets(a: set[int], b: set[int]) -> None:
    assert scores.overlap_coefficient(a, b) == scores.overlap_coefficient(b, a)
    assert scores.overlap_coefficient(a, a | b) == (1.0 if a else None)


def test_redormant_fraction() -> None:
    assert scores.redormant_fraction([1, 2, 3, 4], torch.tensor([True, True, False, False, True])) == 0.5
    assert scores.redormant_fraction([], {1}) is None


def test_ranks_of_known_singular_values() -> None:
    f = torch.diag(torch.tensor([4.0, 2.0, 2.0]))
    # Stable: (16 + 4 + 4) / 16.
    assert scores.stable_rank(f) == pytest.approx(1.5)
    # Shares 1/2, 1/4, 1/4: entropy 1/2 ln 2 + 2 * 1/4 ln 4 = 3/2 ln 2, so 2 ** 1.5.
    assert scores.effective_rank(f) == pytest.approx(2**1.5)
    # Sums 1/2, 3/4, 1: 1 - 0.25 is reached by two, 0.99 by three.
    assert scores.srank(f, 0.25) == 2
    assert scores.srank(f) == 3
    assert scores.feature_ranks(f) == pytest.approx({"stable_rank": 1.5, "effective_rank": 2**1.5, "srank": 3.0})


def test_ranks_at_the_ends() -> None:
    assert scores.feature_ranks(torch.zeros(4, 3)) == {"stable_rank": 0.0, "effective_rank": 0.0, "srank": 0.0}
    one = scores.feature_ranks(torch.ones(50, 7))
    assert one == pytest.approx({"stable_rank": 1.0, "effective_rank": 1.0, "srank": 1.0}, abs=1e-6)
    full = scores.feature_ranks(torch.eye(5) * 1e-30)  # squares of which vanish in float32
    assert full == pytest.approx({"stable_rank": 5.0, "effective_rank": 5.0, "srank": 5.0})
    with pytest.raises(ValueError, match="NaN"):
        scores.stable_rank(torch.tensor([[math.nan]]))
    with pytest.raises(ValueError, match=r"\[rows, H\]"):
        scores.stable_rank(torch.ones(3))
    with pytest.raises(ValueError, match="delta is 1"):
        scores.srank(torch.ones(2, 2), 1.0)


@given(rows=st.integers(1, 8), width=st.integers(1, 8), seed=st.integers(0, 1000), scale=st.floats(1e-6, 1e6))
@settings(deadline=None)
def test_ranks_are_bounded_and_free_of_scale(rows: int, width: int, seed: int, scale: float) -> None:
    f = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = scores.feature_ranks(f)
    assert all(1 - 1e-9 <= rank <= min(rows, width) + 1e-9 for rank in found.values())
    assert scores.feature_ranks(f * scale) == pytest.approx(found, rel=1e-6)


def test_norms() -> None:
    net = nn.Linear(2, 1)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[2.0, 3.0]]))
        net.bias.fill_(6.0)
    assert scores.weight_norm(net) == pytest.approx(7.0)  # sqrt(4 + 9 + 36)
    assert scores.gradient_norm(net) is None
    net.weight.grad = torch.tensor([[3.0, 4.0]])
    assert scores.gradient_norm(net) == pytest.approx(5.0)  # the bias has none
    assert scores.weight_norm(nn.ReLU()) == 0.0


def test_update_activity_and_its_ratio() -> None:
    weight = torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]])
    grad = torch.tensor([[0.0, 5.0], [3.0, 4.0], [0.0, 0.0]])
    activity = scores.update_activity(weight, grad)
    # Row norms 5, 1, 0 of the weight and 5, 5, 0 of the gradient; mean 2.
    torch.testing.assert_close(activity, torch.tensor([1.0, 5.0, 0.0]))
    torch.testing.assert_close(scores.relative_update_activity(activity), torch.tensor([0.5, 2.5, 0.0]))
    # eps decides where the weight is 0.
    assert float(scores.update_activity(torch.zeros(1, 2), torch.tensor([[0.0, 2.0]]), eps=0.5)) == 4.0
    # Convolutions: a row is a filter.
    assert scores.update_activity(torch.ones(2, 3, 2, 2), torch.ones(2, 3, 2, 2)).tolist() == pytest.approx([1.0, 1.0])
    with pytest.raises(ValueError, match=r"\[3, 2\] and its gradient \[2\]"):
        scores.update_activity(weight, torch.ones(2))


def test_grama_is_relative_to_the_layer() -> None:
    assert scores.grama(torch.tensor([0.0, 1.0, 5.0])).tolist() == [0.0, 0.5, 2.5]


def test_continual_backprop_takes_the_mean_of_outgoing_weights() -> None:
    # Columns (1, -3) and (0, 2): means of sizes 2 and 1.
    columns = torch.tensor([[1.0, 0.0], [-3.0, 2.0]])
    mean_abs = torch.tensor([0.5, 4.0])
    assert scores.cbp_utility(mean_abs, columns).tolist() == [1.0, 4.0]
    # With k = 2 columns each, [out = 1, H = 2, 2].
    flattened: Tensor = torch.tensor([[[1.0, -3.0], [0.0, 2.0]]])
    assert scores.cbp_utility(mean_abs, flattened).tolist() == [1.0, 4.0]
    with pytest.raises(ValueError, match=r"\[2, 2\]; expected \[out, 3\]"):
        scores.cbp_utility(torch.ones(3), columns)
