"""Continual backprop: utilities, ages, how many are replaced and which."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rllib_reborn.plasticity.interventions.base import Plan
from rllib_reborn.plasticity.interventions.continual_backprop import ContinualBackprop
from rllib_reborn.plasticity.interventions.edits import SurgeryRefused, write_edits
from rllib_reborn.plasticity.neuron_layers import declare_neurons
from tests.plasticity.small_layers import (
    bits,
    context,
    four_neurons,
    layer_statistics,
    neurons_of,
    same_bits,
    write_and_check_identity,
)


def check(
    continual: ContinualBackprop,
    net: nn.Sequential,
    mean_abs: Tensor,
    state: dict[str, Any],
    active: Tensor | None = None,
) -> Plan:
    layer = neurons_of(net)
    return continual.plan(context([layer], {layer.key: layer_statistics(mean_abs, active)}, state=state))


def test_running_averages_are_corrected_for_their_start() -> None:
    net, state, continual = four_neurons(), dict[str, Any](), ContinualBackprop(eta=0.5, replacement_rate=0.0)
    check(continual, net, torch.tensor([1.0, 2.0, 3.0, 4.0]), state)
    # mean_k |w_out| of the columns (1, 5), (2, 6), (3, 7), (4, 8): 3, 4, 5, 6. Utility 3, 8, 15, 24, of which half.
    record = state["layers"]["mixer/V"]
    assert record["utility"].tolist() == [1.5, 4.0, 7.5, 12.0]
    assert continual._corrected(record, "utility").tolist() == [3.0, 8.0, 15.0, 24.0]
    check(continual, net, torch.tensor([3.0, 2.0, 3.0, 4.0]), state)
    # Neuron 0: 0.5 * 1.5 + 0.5 * 9 = 5.25, over 1 - 0.25: 7.
    record = state["layers"]["mixer/V"]
    assert record["utility"][0].item() == 5.25
    assert continual._corrected(record, "utility").tolist() == [7.0, 8.0, 15.0, 24.0]
    assert record["age"].tolist() == [2, 2, 2, 2]


def test_the_least_useful_mature_unit_is_replaced_when_a_whole_one_is_owed() -> None:
    net, state = four_neurons(), dict[str, Any]()
    before, layer = bits(net), neurons_of(net)
    continual = ContinualBackprop(eta=0.5, replacement_rate=0.125, maturity=1)
    # Utilities: neuron 1 has a small activation and is the least useful: 3 * 1, 4 * 0.25, 5 * 1, 6 * 1.
    mean_abs = torch.tensor([1.0, 0.25, 1.0, 1.0])
    # Check 1: age 1 is not above maturity 1, nothing owed. Check 2: 4 * 0.125 = half a neuron. Check 3: a whole one.
    for owed in (0.0, 0.5):
        assert check(continual, net, mean_abs, state).edits == ()
        assert state["layers"]["mixer/V"]["owed"] == owed
    plan = check(continual, net, mean_abs, state)
    assert plan.changes[0].neurons == plan.changes[0].reinitialised == (1,)
    write_and_check_identity(lambda: write_edits(plan.edits, {layer.key: layer}, {}), net)
    assert net[2].weight.tolist() == [[1.0, 0.0, 3.0, 4.0], [5.0, 0.0, 7.0, 8.0]]
    # Its mean activation was 0.25, with outgoing weights 2 and 6.
    assert torch.allclose(net[2].bias, torch.tensor([0.5 + 0.5, -0.5 + 1.5]), atol=1e-6)
    assert torch.equal(net[0].weight[[0, 2, 3]], before["0.weight"][[0, 2, 3]])
    assert 0 < net[0].weight[1].abs().max().item() <= 2**-0.5
    record = state["layers"]["mixer/V"]
    assert record["age"].tolist() == [3, 0, 3, 3]
    assert record["owed"] == 0.0
    assert record["utility"][1] == 0
    assert record["mean"][1] == 0
    # It is now the least useful by far, and too young: 3 mature neurons owe 0.375 of a neuron in each check.
    assert check(continual, net, mean_abs, state).edits == ()
    assert state["layers"]["mixer/V"]["owed"] == 0.375


def test_fractions_add_up_to_the_rate() -> None:
    net, state = four_neurons(), dict[str, Any]()
    continual = ContinualBackprop(replacement_rate=0.1, maturity=0)
    replaced = [check(continual, net, torch.ones(4), state).neurons for _ in range(50)]
    assert sum(replaced) == 20  # 50 checks of 4 neurons at 0.1
    assert set(replaced) == {0, 1}
    # One neuron: ten times 0.1 is 0.9999999999999999, and still a whole neuron.
    alone, state = torch.tensor([True, False, False, False]), {}
    assert [check(continual, net, torch.ones(4), state, alone).neurons for _ in range(10)] == [0] * 9 + [1]
    everyone = ContinualBackprop(replacement_rate=1.0, maturity=0)
    assert check(everyone, net, torch.ones(4), {}).neurons == 4


def test_the_compensation_is_what_the_unit_said_over_its_life() -> None:
    net, state = four_neurons(), dict[str, Any]()
    continual = ContinualBackprop(eta=0.5, replacement_rate=0.25, maturity=1)
    check(continual, net, torch.tensor([8.0, 0.1, 8.0, 8.0]), state)
    (edit,) = check(continual, net, torch.tensor([8.0, 0.4, 8.0, 8.0]), state).edits
    # (0.25 * 0.1 + 0.5 * 0.4) / 0.75 = 0.3
    assert torch.allclose(edit.compensation, torch.tensor([0.0, 0.3, 0.0, 0.0]).double())  # type: ignore[union-attr, arg-type]


def test_units_that_do_not_take_part_neither_age_nor_are_replaced() -> None:
    net, state = four_neurons(), dict[str, Any]()
    active = torch.tensor([False, True, True, True])
    continual = ContinualBackprop(replacement_rate=0.34, maturity=0)
    plan = check(continual, net, torch.tensor([0.0, 2.0, 3.0, 4.0]), state, active)
    assert plan.changes[0].neurons == (1,)
    assert state["layers"]["mixer/V"]["age"].tolist() == [0, 0, 1, 1]


def test_a_reader_without_bias_needs_the_compensation_off() -> None:
    layer = declare_neurons("mixer", "V", nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1, bias=False))
    asked = context([layer], {layer.key: layer_statistics(torch.ones(4))})
    with pytest.raises(SurgeryRefused, match="no bias"):
        ContinualBackprop(replacement_rate=1.0, maturity=0).plan(asked)
    assert ContinualBackprop(replacement_rate=1.0, maturity=0, bias_compensation=False).plan(asked).neurons == 4


def test_planning_writes_no_weight() -> None:
    net = four_neurons()
    before = bits(net)
    check(ContinualBackprop(replacement_rate=1.0, maturity=0), net, torch.ones(4), {})
    assert same_bits(net, before)


@pytest.mark.parametrize(
    "wrong", [{"replacement_rate": 1.1}, {"eta": 1.0}, {"eta": -0.1}, {"maturity": -1}, {"initializer": "x"}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ContinualBackprop(**wrong)
