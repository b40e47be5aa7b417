"""Pruned neurons fall silent and stay so, whatever the optimizer does."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from rllib_reborn.plasticity.interventions.edits import SurgeryRefused, write_edits
from rllib_reborn.plasticity.interventions.prune import Prune
from tests.plasticity.small_layers import (
    bits,
    context,
    four_neurons,
    layer_statistics,
    neurons_of,
    same_bits,
    write_and_check_identity,
)

# Mean 2, so the scores are 3.2, 0 and 0.05 (dormant), 0.75.
FOUR = torch.tensor([6.4, 0.0, 0.1, 1.5])


def test_pruning_four_neurons() -> None:
    net, state = four_neurons(), dict[str, Any]()
    before, layer = bits(net), neurons_of(net)
    plan = Prune().plan(context([layer], {layer.key: layer_statistics(FOUR)}, state=state))
    write_and_check_identity(lambda: write_edits(plan.edits, {layer.key: layer}, {}), net)
    assert net[2].weight.tolist() == [[1.0, 0.0, 0.0, 4.0], [5.0, 0.0, 0.0, 8.0]]
    net[2].weight.data.copy_(before["2.weight"])
    assert same_bits(net, before)  # nothing else was touched
    assert state["pruned"]["mixer/V"].tolist() == [False, True, True, False]
    assert plan.changes[0].neurons == (1, 2)
    assert plan.changes[0].reinitialised == ()


def test_compensation_takes_over_what_was_said() -> None:
    net = four_neurons()
    layer = neurons_of(net)
    plan = Prune(bias_compensation=True).plan(context([layer], {layer.key: layer_statistics(FOUR)}))
    write_edits(plan.edits, {layer.key: layer}, {})
    assert torch.allclose(net[2].bias, torch.tensor([0.5 + 3 * 0.1, -0.5 + 7 * 0.1]), atol=1e-6)


def test_pruned_neurons_are_held_silent_through_momentum_and_weight_decay() -> None:
    net, state, prune = four_neurons(), dict[str, Any](), Prune()
    layer = neurons_of(net)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1, weight_decay=0.1)

    def update() -> None:
        optimizer.zero_grad()
        net(torch.ones(3, 2)).square().sum().backward()
        optimizer.step()

    update()  # the averages of all columns are now different from 0
    write_edits(
        prune.plan(context([layer], {layer.key: layer_statistics(FOUR)}, state=state)).edits, {layer.key: layer}, {}
    )
    for _ in range(3):
        update()
        assert net[2].weight[:, [1, 2]].count_nonzero() > 0  # without being held they would come back
        before = bits(net)
        prune.after_update({layer.key: layer}, {"mixer": net}, state)
        assert net[2].weight[:, [1, 2]].count_nonzero() == 0
        before["2.weight"][:, [1, 2]] = 0.0
        assert same_bits(net, before)


def test_units_pruned_before_stay_pruned_and_are_not_pruned_twice() -> None:
    net, prune = four_neurons(), Prune()
    state: dict[str, Any] = {}
    layer = neurons_of(net)
    prune.plan(context([layer], {layer.key: layer_statistics(FOUR)}, state=state))
    kept = copy.deepcopy(state)  # as from a checkpoint
    # Now neuron 3 is dormant, 1 still is, 2 speaks.
    plan = prune.plan(context([layer], {layer.key: layer_statistics(torch.tensor([4.0, 0.0, 4.0, 0.0]))}, state=kept))
    assert plan.changes[0].neurons == (3,)
    assert plan.changes[0].dormant == 2
    assert kept["pruned"]["mixer/V"].tolist() == [False, True, True, True]
    assert state["pruned"]["mixer/V"].tolist() == [False, True, True, False]
    again = prune.plan(context([layer], {layer.key: layer_statistics(FOUR)}, state=kept))
    assert again.edits == ()


def test_before_the_first_application_there_is_nothing_to_hold() -> None:
    net = four_neurons()
    before = bits(net)
    Prune().after_update({"mixer/V": neurons_of(net)}, {"mixer": net}, {})
    assert same_bits(net, before)


def test_a_memory_of_other_layers_is_refused() -> None:
    with pytest.raises(SurgeryRefused, match="mixer/V"):
        Prune().after_update({}, {}, {"pruned": {"mixer/V": torch.tensor([True])}})


def test_thresholds() -> None:
    assert (Prune().scope, Prune().alpha, Prune.acts_after_updates) == ("mixer", 0.1, True)
    with pytest.raises(ValueError, match="alpha"):
        Prune(alpha=1.5)
