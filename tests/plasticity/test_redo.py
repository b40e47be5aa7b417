"""ReDo and Reverse ReDo: which neurons are re-initialised, with what, and what is left alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from rllib_reborn.plasticity.interventions.edits import SurgeryRefused, write_edits
from rllib_reborn.plasticity.interventions.fresh_weights import fresh_inputs, fresh_outputs, kaiming_default
from rllib_reborn.plasticity.interventions.redo import ReDo
from rllib_reborn.plasticity.interventions.reverse_redo import ReverseReDo
from rllib_reborn.plasticity.neuron_layers import ActivationHook, NeuronLayer, Surgery, declare_neurons
from tests.plasticity.small_layers import (
    bits,
    context,
    four_neurons,
    layer_statistics,
    network,
    neurons_of,
    observed,
    same_bits,
    write_and_check_identity,
)

# Mean 2, so the scores are 3.2 (over-active), 0 and 0.05 (dormant), 0.75.
FOUR = torch.tensor([6.4, 0.0, 0.1, 1.5])


def test_redo_on_four_neurons() -> None:
    net = four_neurons()
    before, layer = bits(net), neurons_of(net)
    plan = ReDo().plan(context([layer], {layer.key: layer_statistics(FOUR)}, seed=7))
    assert plan.changes[0].neurons == plan.changes[0].reinitialised == (1, 2)
    write_and_check_identity(lambda: write_edits(plan.edits, {layer.key: layer}, {}), net)
    # Xavier: 2 inputs, 4 neurons, so U(-1, 1); it is what the generator gives first.
    fresh = 2 * torch.rand(2, 2, generator=torch.Generator().manual_seed(7)) - 1
    assert torch.equal(net[0].weight[[1, 2]], fresh)
    assert torch.equal(net[0].weight[[0, 3]], before["0.weight"][[0, 3]])
    assert net[0].bias.tolist() == [1.0, 0.0, 0.0, 4.0]
    assert net[2].weight.tolist() == [[1.0, 0.0, 0.0, 4.0], [5.0, 0.0, 0.0, 8.0]]
    assert torch.equal(net[2].bias, before["2.bias"])


def test_redo_with_compensation_on_four_neurons() -> None:
    net = four_neurons()
    layer = neurons_of(net)
    plan = ReDo(bias_compensation=True).plan(context([layer], {layer.key: layer_statistics(FOUR)}))
    write_edits(plan.edits, {layer.key: layer}, {})
    # Neuron 2's mean activation was 0.1, with outgoing weights 3 and 7; neuron 1's was 0.
    assert torch.allclose(net[2].bias, torch.tensor([0.5 + 0.3, -0.5 + 0.7]), atol=1e-6)


def test_reverse_redo_on_four_neurons() -> None:
    net = four_neurons()
    before, layer = bits(net), neurons_of(net)
    plan = ReverseReDo().plan(context([layer], {layer.key: layer_statistics(FOUR)}, seed=7))
    assert plan.changes[0].neurons == plan.changes[0].reinitialised == (0,)
    assert (plan.changes[0].overactive, plan.changes[0].dormant) == (1, 0)
    write_and_check_identity(lambda: write_edits(plan.edits, {layer.key: layer}, {}), net)
    generator = torch.Generator().manual_seed(7)
    # In as above; out: 4 neurons, 2 outputs, the same range.
    assert torch.equal(net[0].weight[0], 2 * torch.rand(1, 2, generator=generator)[0] - 1)
    assert torch.equal(net[2].weight[:, 0], 2 * torch.rand(2, 1, 1, generator=generator)[:, 0, 0] - 1)
    assert torch.equal(net[0].weight[1:], before["0.weight"][1:])
    assert net[0].bias.tolist() == [0.0, 2.0, 3.0, 4.0]
    assert torch.equal(net[2].weight[:, 1:], before["2.weight"][:, 1:])


def test_redo_of_dead_neurons_keeps_the_function() -> None:
    torch.manual_seed(0)
    net, x = network(5, 20, 3), torch.randn(40, 5)
    with torch.no_grad():
        net[0].weight[:8], net[0].bias[:8] = 0.0, -1.0
    before, layer = net(x).detach(), neurons_of(net)
    plan = ReDo().plan(context([layer], {layer.key: observed(net[:2](x).detach())}))
    write_edits(plan.edits, {layer.key: layer}, {})
    assert set(range(8)) <= set(plan.changes[0].neurons)
    drift = (net(x) - before).abs().mean() / before.abs().mean()
    assert float(drift.detach()) < 1e-5 or len(plan.changes[0].neurons) > 8
    assert bool((net[:2](x)[:, :8] > 0).any(dim=0).all())  # they speak again


@pytest.mark.parametrize("intervention", [ReDo(), ReverseReDo()])
def test_a_silent_layer_and_one_without_outliers(intervention: Any) -> None:
    layer = neurons_of(four_neurons())
    silent = intervention.plan(context([layer], {layer.key: layer_statistics(torch.zeros(4))}))
    assert len(silent.changes[0].neurons) == (4 if isinstance(intervention, ReDo) else 0)
    level = intervention.plan(context([layer], {layer.key: layer_statistics(torch.ones(4))}))
    assert level.edits == ()
    assert level.neurons == 0
    assert level.changes[0].width == 4


@pytest.mark.parametrize("intervention", [ReDo(), ReverseReDo()])
def test_any_activation_will_do_but_there_must_be_weights(intervention: Any) -> None:
    tanh = neurons_of(network(2, 4, 2, nn.Tanh()))
    assert intervention.plan(context([tanh], {tanh.key: layer_statistics(FOUR)})).neurons > 0
    mixing = NeuronLayer(
        "mixer", "mixing", 4, ActivationHook(nn.ELU()), "ELU", Surgery.IMPOSSIBLE, "hypernetworks make the weights"
    )
    with pytest.raises(SurgeryRefused, match="hypernetworks make the weights"):
        intervention.plan(context([mixing], {mixing.key: layer_statistics(FOUR)}))
    with pytest.raises(SurgeryRefused, match="no statistics"):
        intervention.plan(context([tanh], {}))


@pytest.mark.parametrize("intervention", [ReDo(), ReverseReDo()])
def test_units_that_do_not_take_part_are_left_alone(intervention: Any) -> None:
    net = four_neurons()
    before, layer = bits(net), neurons_of(net)
    active = torch.tensor([False, False, False, True])
    plan = intervention.plan(context([layer], {layer.key: layer_statistics(FOUR, active)}))
    write_edits(plan.edits, {layer.key: layer}, {})
    assert plan.neurons == 0
    assert same_bits(net, before)


def test_defaults_are_those_of_the_baseline() -> None:
    redo, reverse = ReDo(), ReverseReDo()
    assert (redo.kind, redo.scope, redo.optimizer, redo.alpha) == ("redo", "all", "zero", 0.1)
    networks = {"agent": nn.Linear(2, 2), "mixer": nn.Linear(2, 2)}
    assert redo.networks_in_scope(networks) == networks
    assert reverse.networks_in_scope(networks) == {"mixer": networks["mixer"]}
    assert (reverse.kind, reverse.scope, reverse.beta) == ("reverse_redo", "mixer", 3.0)
    for wrong in ({"alpha": 1.0}, {"alpha": -1}, {"initializer": "zeros"}, {"optimizer": "reset"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ReDo(**wrong)  # type: ignore[arg-type]
    for wrong in ({"beta": 1.0}, {"initializer": "zeros"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ReverseReDo(**wrong)  # type: ignore[arg-type]


def test_fresh_weights_have_the_range_of_their_whole_layer() -> None:
    generator = torch.Generator().manual_seed(0)
    linear = neurons_of(network(6, 10, 3))
    for layer, inputs, in_bound, out_bound, kaiming_in, kaiming_out in [
        # 6 inputs, 10 neurons, 3 outputs.
        (linear, (6,), 6 / (6 + 10), 6 / (10 + 3), 1 / 6, 1 / 10),
        # 2 channels in, 5 neurons of kernel 3, read by 4 channels of kernel 2: fans are 2*3, 5*3 and 5*2, 4*2.
        (
            declare_neurons("net", "conv", nn.Conv1d(2, 5, 3), nn.ReLU(), nn.Conv1d(5, 4, 2)),
            (2, 3),
            6 / (6 + 15),
            6 / (10 + 8),
            1 / 6,
            1 / 10,
        ),
    ]:
        out = layer.columns(layer.output_weight.detach()).shape  # type: ignore[union-attr]
        weight, bias = fresh_inputs(layer, 4000, "xavier", generator)
        assert weight.shape == (4000, *inputs)
        assert bias.count_nonzero() == 0
        check_uniform(weight, math.sqrt(in_bound))
        columns = fresh_outputs(layer, 4000, "xavier", generator)
        assert columns.shape == (out[0], 4000, out[2])
        check_uniform(columns, math.sqrt(out_bound))
        weight, bias = fresh_inputs(layer, 4000, "kaiming", generator)
        check_uniform(weight, math.sqrt(kaiming_in))
        check_uniform(bias, math.sqrt(kaiming_in))
        check_uniform(fresh_outputs(layer, 4000, "kaiming", generator), math.sqrt(kaiming_out))


def check_uniform(values: torch.Tensor, bound: float) -> None:
    """Within the bound, near to it, and of the standard deviation bound / sqrt(3)."""
    assert 0.99 * bound < float(values.abs().max()) <= bound
    assert abs(float(values.std()) - bound / math.sqrt(3)) < 0.03 * bound


def test_the_default_initialiser_is_that_of_torch() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(16, 4000)
    weight, bias = kaiming_default((4000, 16), 16, torch.Generator().manual_seed(0))
    for mine, theirs in ((weight, linear.weight), (bias, linear.bias)):
        assert mine.shape == theirs.shape
        assert abs(float(mine.std()) - float(theirs.detach().std())) < 0.005
        assert abs(float(mine.abs().max()) - float(theirs.detach().abs().max())) < 0.001
