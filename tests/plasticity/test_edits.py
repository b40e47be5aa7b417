"""Edits are written as their formulas say, to nothing else, and all or none of them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from rllib_reborn.plasticity.interventions.edits import (
    NeuronEdit,
    ParameterEdit,
    SurgeryRefused,
    compensation_for,
    fresh_neurons_edit,
    require_editable,
    write_edits,
    zero_outgoing,
    zero_outgoing_edit,
)
from rllib_reborn.plasticity.neuron_layers import ActivationHook, NeuronLayer, Surgery, declare_neurons
from tests.plasticity.small_layers import bits, four_neurons, network, neurons_of, same_bits, write_and_check_identity


def swap_and_start_anew() -> NeuronEdit:
    """Neurons 0 and 1 swap (scaled), neuron 3 is re-initialised."""
    return NeuronEdit(
        layer="mixer/V",
        neurons=torch.tensor([0, 1, 3]),
        donors=torch.tensor([1, 0, -1]),
        in_scale=torch.tensor([2.0, 0.5, 1.0]),
        out_scale=torch.tensor([[0.5, 3.0, 9.0], [1.0, 4.0, 9.0]]),
        fresh_in=torch.tensor([[0.0, 0.0], [0.0, 0.0], [-1.0, -2.0]]),
        fresh_bias=torch.tensor([0.0, 0.0, -3.0]),
        fresh_out=torch.tensor([[[0.0], [0.0], [40.0]], [[0.0], [0.0], [80.0]]]),
        compensation=torch.tensor([0.0, 0.0, 0.0, 10.0]),
    )


def test_an_edit_reads_the_old_weights_of_donors() -> None:
    net = four_neurons()
    write_and_check_identity(lambda: write_edits([swap_and_start_anew()], {"mixer/V": neurons_of(net)}, {}), net)
    # Rows: 0 <- 2 * old 1 = 2 * (3, 4); 1 <- 0.5 * old 0 = 0.5 * (1, 2); 2 stays; 3 fresh.
    assert net[0].weight.tolist() == [[6.0, 8.0], [0.5, 1.0], [5.0, 6.0], [-1.0, -2.0]]
    assert net[0].bias.tolist() == [4.0, 0.5, 3.0, -3.0]
    # Columns, old (1, 2, 3, 4) and (5, 6, 7, 8): 0 <- (0.5, 1) * old 1 = (1, 6); 1 <- (3, 4) * old 0 = (3, 20).
    assert net[2].weight.tolist() == [[1.0, 3.0, 3.0, 40.0], [6.0, 20.0, 7.0, 80.0]]
    # The bias takes over 10 times the OLD column of neuron 3: 0.5 + 40, -0.5 + 80.
    assert net[2].bias.tolist() == [40.5, 79.5]


def test_silenced_neurons_keep_what_goes_in() -> None:
    net = four_neurons()
    before = bits(net)
    write_edits([zero_outgoing_edit(neurons_of(net), torch.tensor([1]))], {"mixer/V": neurons_of(net)}, {})
    assert net[2].weight.tolist() == [[1.0, 0.0, 3.0, 4.0], [5.0, 0.0, 7.0, 8.0]]
    net[2].weight.data.copy_(before["2.weight"])
    assert same_bits(net, before)


def test_old_weights_that_diverged_do_not_reach_fresh_ones() -> None:
    net = four_neurons()
    with torch.no_grad():
        net[0].weight[2] = torch.nan
        net[2].weight[:, 2] = torch.inf
        net[0].bias[0] = torch.nan
    edit = fresh_neurons_edit(neurons_of(net), torch.tensor([2]), torch.ones(1, 2), torch.ones(1))
    write_edits(
        [edit, ParameterEdit("mixer", "0.bias", 0.0, torch.ones(4))], {"mixer/V": neurons_of(net)}, {"mixer": net}
    )
    assert all(bool(torch.isfinite(p).all()) for p in net.parameters())


def test_flattened_channels_take_all_their_columns_and_compensate_each_position() -> None:
    # 2 channels of 3 positions, flattened: the columns of channel c are 3c .. 3c+2.
    torch.manual_seed(0)
    conv, act, reader = nn.Conv1d(1, 2, 1), nn.ReLU(), nn.Linear(6, 1)
    layer = declare_neurons("net", "conv", conv, act, reader)
    with torch.no_grad():
        reader.weight.copy_(torch.arange(1.0, 7.0).reshape(1, 6))
        reader.bias.zero_()
    edit = NeuronEdit(
        layer="net/conv",
        neurons=torch.tensor([1]),
        donors=torch.tensor([0]),
        in_scale=torch.tensor([2.0]),
        out_scale=torch.tensor([[0.5]]),
        fresh_in=torch.zeros(1, 1, 1),
        fresh_bias=torch.zeros(1),
        compensation=torch.tensor([0.0, 10.0]),
    )
    row = conv.weight[0].clone()
    write_edits([edit], {"net/conv": layer}, {})
    assert reader.weight.tolist() == [[1.0, 2.0, 3.0, 0.5, 1.0, 1.5]]
    assert reader.bias.tolist() == [150.0]  # 10 * (4 + 5 + 6)
    assert torch.equal(conv.weight[1], 2 * row)


def test_channels_last_weights_are_written_to() -> None:
    source, reader = nn.Conv2d(1, 3, 2), nn.Conv2d(3, 2, 2)
    source.to(memory_format=torch.channels_last)
    reader.to(memory_format=torch.channels_last)
    layer = declare_neurons("net", "conv", source, nn.ReLU(), reader)
    before = reader.weight.detach().clone()
    write_edits([zero_outgoing_edit(layer, torch.tensor([2]))], {"net/conv": layer}, {})
    assert reader.weight[:, 2].count_nonzero() == 0
    assert torch.equal(reader.weight[:, :2], before[:, :2])
    zero_outgoing(layer, torch.tensor([0]))
    assert reader.weight[:, [0, 2]].count_nonzero() == 0
    assert torch.equal(reader.weight[:, 1], before[:, 1])


def test_holding_flattened_channels_silent_takes_all_their_columns() -> None:
    reader = nn.Linear(6, 2)
    layer = declare_neurons("net", "conv", nn.Conv1d(1, 2, 1), nn.ReLU(), reader)
    before = reader.weight.detach().clone()
    write_and_check_identity(lambda: zero_outgoing(layer, torch.tensor([1])), reader)
    assert reader.weight[:, 3:].count_nonzero() == 0
    assert torch.equal(reader.weight[:, :3], before[:, :3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_gru_as_reader_and_any_precision(dtype: torch.dtype) -> None:
    source, gru = nn.Linear(2, 4, bias=False).to(dtype), nn.GRU(4, 3).to(dtype)
    layer = declare_neurons("agent", "fc1", source, nn.ReLU(), gru)
    rows, columns = source.weight.detach().clone(), gru.weight_ih_l0.detach().clone()
    edit = NeuronEdit(
        layer="agent/fc1",
        neurons=torch.tensor([3, 1]),
        donors=torch.tensor([3, 3]),
        in_scale=torch.tensor([0.5, 2.0], dtype=torch.float64),
        out_scale=torch.tensor([[1.0, 0.25]], dtype=torch.float64),
        fresh_in=torch.zeros(2, 2),
        fresh_bias=torch.zeros(2),
    )
    write_edits([edit], {"agent/fc1": layer}, {})
    assert source.weight.dtype == dtype
    assert torch.equal(source.weight[[3, 1, 0, 2]], torch.stack([0.5 * rows[3], 2 * rows[3], rows[0], rows[2]]))
    assert torch.equal(gru.weight_ih_l0[:, 1], 0.25 * columns[:, 3])
    assert torch.equal(gru.weight_ih_l0[:, [0, 2, 3]], columns[:, [0, 2, 3]])


@pytest.mark.parametrize("order", [("net/0", "net/1"), ("net/1", "net/0")])
def test_splits_of_two_layers_in_a_chain_keep_the_function(order: tuple[str, str]) -> None:
    """The middle weight is read by columns for one layer and written by rows for the other."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    with torch.no_grad():  # neuron 0 of both hidden layers is dead
        for linear in (net[0], net[2]):
            linear.weight[0] = 0.0
            linear.bias[0] = -1.0
    layers = {f"net/{k}": declare_neurons("net", str(k), net[2 * k], net[2 * k + 1], net[2 * k + 2]) for k in (0, 1)}

    def split(key: str) -> NeuronEdit:  # neuron 0 and 1 both become half of neuron 1, at other scales
        return NeuronEdit(
            layer=key,
            neurons=torch.tensor([0, 1]),
            donors=torch.tensor([1, 1]),
            in_scale=torch.tensor([2.0, 0.5]),
            out_scale=torch.tensor([[0.25, 1.0]]),
            fresh_in=torch.zeros(2, 4 if key == "net/1" else 3),
            fresh_bias=torch.zeros(2),
        )

    x = torch.randn(50, 3, dtype=torch.float64)
    before, middle = net(x), net[2].weight.detach().clone()
    write_edits([split(key) for key in order], layers, {})
    assert (net(x) - before).abs().max() < 1e-12
    assert not torch.equal(net[2].weight, middle)


def test_parameters_and_buffers_are_edited_by_name() -> None:
    net = nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        net[0].bias.copy_(torch.tensor([1.0, 2.0]))
        net[1].running_mean.copy_(torch.tensor([4.0, 8.0]))
    edits = [
        ParameterEdit("agent", "0.bias", 0.5, torch.tensor([1.0, 1.0])),
        ParameterEdit("agent", "1.running_mean", 0.25, torch.zeros(2)),
    ]
    write_and_check_identity(lambda: write_edits(edits, {}, {"agent": net}), net)
    assert net[0].bias.tolist() == [1.5, 2.0]
    assert net[1].running_mean.tolist() == [1.0, 2.0]


def test_a_network_learns_on_after_an_edit() -> None:
    net = four_neurons()
    write_edits([swap_and_start_anew()], {"mixer/V": neurons_of(net)}, {})
    net(torch.ones(3, 2)).sum().backward()
    assert all(p.grad is not None and p.is_leaf for p in net.parameters())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"neurons": torch.tensor([0, 0, 3])}, "each once"),
        ({"neurons": torch.tensor([0, 1, 4])}, r"0\.\.3"),
        ({"neurons": torch.tensor([0, 1])}, r"neurons is \[2\]|donors is"),
        ({"neurons": torch.tensor([0, 1, 3], dtype=torch.int32)}, "int64"),
        ({"donors": torch.tensor([0, 1, -2])}, r"-1\.\.3"),
        ({"in_scale": torch.tensor([1.0, 0.0, 1.0])}, "> 0"),
        ({"in_scale": torch.tensor([1.0, torch.nan, 1.0])}, "> 0"),
        ({"out_scale": torch.ones(3, 3)}, "out_scale"),
        ({"fresh_in": torch.ones(3, 3)}, "fresh_in"),
        ({"fresh_bias": torch.ones(2)}, "fresh_bias"),
        ({"fresh_out": torch.ones(2, 3)}, "fresh_out"),
        ({"compensation": torch.ones(3)}, "compensation"),
        ({"layer": "mixer/W"}, "mixer/V"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(wrong: dict[str, object], message: str) -> None:
    net = four_neurons()
    before = bits(net)
    good = swap_and_start_anew()
    with pytest.raises(SurgeryRefused, match=message):
        write_edits([good, dataclasses.replace(good, **wrong)], {"mixer/V": neurons_of(net)}, {})  # type: ignore[arg-type]
    assert same_bits(net, before)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (ParameterEdit("mixer", "0.wait", 1.0, torch.zeros(4)), "0.weight"),
        (ParameterEdit("mixr", "0.bias", 1.0, torch.zeros(4)), "mixer"),
        (ParameterEdit("mixer", "0.bias", 1.0, torch.zeros(5)), r"\[5\]; expected \[4\]"),
    ],
)
def test_unknown_parameters_are_refused_before_anything_is_written(edit: ParameterEdit, message: str) -> None:
    net = four_neurons()
    before = bits(net)
    with pytest.raises(SurgeryRefused, match=message):
        write_edits([swap_and_start_anew(), edit], {"mixer/V": neurons_of(net)}, {"mixer": net})
    assert same_bits(net, before)


def test_layers_without_weights_of_their_own_are_refused_with_the_reason() -> None:
    elu = nn.ELU()
    mixing = NeuronLayer(
        "mixer", "mixing", 4, ActivationHook(elu), "ELU", Surgery.IMPOSSIBLE, "hypernetworks make the weights"
    )
    edit = dataclasses.replace(swap_and_start_anew(), layer="mixer/mixing")
    with pytest.raises(SurgeryRefused, match=r"hypernetworks make the weights.*layers='editable'"):
        write_edits([edit], {"mixer/mixing": mixing}, {})


def test_splitting_where_it_changes_the_function_needs_the_opt_in() -> None:
    layer = neurons_of(network(2, 4, 2, nn.Tanh()))
    with pytest.raises(SurgeryRefused, match=r"Tanh is not positively homogeneous.*allow_inexact"):
        require_editable(layer, splits=True, allow_inexact=False)
    require_editable(layer, splits=True, allow_inexact=True)
    require_editable(layer, splits=False, allow_inexact=False)  # dropping a neuron is the same for every activation


def test_no_bias_can_take_over() -> None:
    layer = declare_neurons("net", "l", nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1, bias=False))
    with pytest.raises(SurgeryRefused, match="no bias"):
        compensation_for(layer, torch.ones(3), torch.tensor([1]))
    edit = zero_outgoing_edit(layer, torch.tensor([1]), compensation=torch.ones(3))
    with pytest.raises(SurgeryRefused, match="no bias"):
        write_edits([edit], {"net/l": layer}, {})
