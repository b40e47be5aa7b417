"""Self-normalised resets: histories and limits by hand, against a plain count, and what an application does."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rllib_reborn.plasticity.interventions import SNR, SurgeryRefused, make_intervention, to_dict
from rllib_reborn.plasticity.interventions.apply import ModelView, apply_intervention
from rllib_reborn.plasticity.interventions.snr import silence_limits
from rllib_reborn.plasticity.neuron_layers import declare_neurons
from tests.plasticity.small_layers import bits, context, four_neurons, network, neurons_of, same_bits

QUICK: dict[str, Any] = {"eta": 0.25, "min_silence": 1, "max_silence": 5, "min_intervals": 2}


def note(snr: SNR, history: list[list[int]], state: dict[str, Any], key: str = "mixer/V") -> None:
    """``history``: for each update, who fires."""
    for fired in history:
        snr.note_firing({key: torch.tensor(fired, dtype=torch.bool)}, state)


def test_a_history_by_hand() -> None:
    state: dict[str, Any] = {}
    note(SNR(**QUICK), [[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]], state)
    record = state["layers"]["mixer/V"]
    assert record["silence"].tolist() == [0, 3, 7]
    # Neuron 0: 1, 1, 2, 1, 1, 1. Neuron 1: 2, 2. Neuron 2 never fired.
    assert record["intervals"].tolist() == [[5, 1, 0, 0, 0], [0, 2, 0, 0, 0], [0, 0, 0, 0, 0]]
    note(SNR(**QUICK), [[0, 0, 1]], state)
    assert state["layers"]["mixer/V"]["intervals"][2].tolist() == [0, 0, 0, 0, 1]  # 8 updates: in the last column


def test_limits_by_hand() -> None:
    intervals = torch.zeros(5, 5, dtype=torch.int32)
    intervals[0, 0] = 3  # too few for min_intervals
    intervals[1, :4] = torch.tensor([3, 0, 0, 1])  # F(1) = 3/4 >= 1 - 0.25
    intervals[2, :4] = torch.tensor([2, 0, 1, 1])  # F(1) = 1/2, F(3) = 3/4
    intervals[3, 4] = 9  # always 5 or more
    intervals[4, 0] = 100
    assert silence_limits(intervals, 0.25, 1, 5, 4).tolist() == [5, 1, 3, 5, 1]
    assert silence_limits(intervals, 0.25, 2, 5, 4).tolist() == [5, 2, 3, 5, 2]
    assert silence_limits(intervals, 0.25, 2, 2, 4).tolist() == [2, 2, 2, 2, 2]
    # 98 of 100 at 1: the percentile 0.98 is 1, whatever rounding makes of 1 - 0.02.
    assert silence_limits(torch.tensor([[98, 0, 2]]), 0.02, 1, 3, 1).tolist() == [1]
    assert silence_limits(torch.tensor([[97, 0, 3]]), 0.02, 1, 3, 1).tolist() == [3]


@given(
    fired=st.lists(st.booleans(), min_size=1, max_size=40),
    eta=st.sampled_from([0.05, 0.1, 0.25, 0.5, 0.9]),
    low=st.integers(1, 4),
    more=st.integers(0, 6),
    enough=st.integers(1, 4),
)
def test_against_a_plain_count(fired: list[bool], eta: float, low: int, more: int, enough: int) -> None:
    """The paper's test by its words: too small a share of the neuron's own times is longer than its silence."""
    snr = SNR(eta=eta, min_silence=low, max_silence=low + more, min_intervals=enough)
    state: dict[str, Any] = {}
    note(snr, [[int(one)] for one in fired], state)
    at = [0, *(k + 1 for k, one in enumerate(fired) if one)]
    times = [later - earlier for earlier, later in itertools.pairwise(at)]
    silence = len(fired) - at[-1]
    # Times are known up to max_silence, and a longer silence is enough by itself.
    rare = len(times) >= enough and sum(time > silence for time in times) <= eta * len(times) + 1e-9
    expected = silence >= low + more or (silence >= low and rare)
    net = network(2, 1, 1)
    plan = snr.plan(context([neurons_of(net)], {}, state=state))
    assert plan.neurons == int(expected)


def apply(snr: SNR, net: nn.Sequential, state: dict[str, Any], optimizer: Any = None, seed: int = 7) -> Any:
    view = ModelView(nets={"mixer": net}, layers=[neurons_of(net)], optimizer=optimizer)
    return apply_intervention(snr, view, generator=torch.Generator().manual_seed(seed), state=state)


def silent_neuron_2() -> dict[str, Any]:
    state: dict[str, Any] = {}
    note(SNR(scope="mixer", **QUICK), [[1, 1, 1, 1]] * 4 + [[1, 1, 0, 1]], state)
    return state


def test_a_silent_neuron_is_reinitialised_and_begins_anew() -> None:
    net, state = four_neurons(), silent_neuron_2()
    before = bits(net)
    report = apply(SNR(scope="mixer", **QUICK), net, state)
    assert [(c.dormant, c.neurons, c.reinitialised) for c in report.changes] == [(1, (2,), (2,))]
    fresh = 2 * torch.rand(1, 2, generator=torch.Generator().manual_seed(7)) - 1  # Xavier: sqrt(6 / (2 + 4)) = 1
    assert torch.equal(net[0].weight[2], fresh[0])
    assert net[0].bias[2] == 0
    assert net[2].weight.tolist() == [[1.0, 2.0, 0.0, 4.0], [5.0, 6.0, 0.0, 8.0]]
    others = [0, 1, 3]
    assert torch.equal(net[0].weight[others], before["0.weight"][others])
    assert torch.equal(net[2].bias, before["2.bias"])
    record = state["layers"]["mixer/V"]
    assert record["silence"].tolist() == [0, 0, 0, 0]
    assert record["intervals"].sum(1).tolist() == [5, 5, 0, 5]
    assert apply(SNR(scope="mixer", **QUICK), net, state).neurons == 0


def test_a_silent_neurons_loss_keeps_the_function_on_what_was_seen() -> None:
    net, state = four_neurons(), silent_neuron_2()
    with torch.no_grad():
        net[0].bias[2] = -1e3
    x = torch.rand(20, 2)
    before = net(x).detach()
    apply(SNR(scope="mixer", **QUICK), net, state)
    assert torch.equal(net(x).detach(), before)


def test_a_dry_run_writes_and_forgets_nothing() -> None:
    net, state = four_neurons(), silent_neuron_2()
    before = bits(net)
    assert apply(SNR(scope="mixer", dry_run=True, **QUICK), net, state).neurons == 1
    assert same_bits(net, before)
    assert state["layers"]["mixer/V"]["silence"].tolist() == [0, 0, 1, 0]
    assert apply(SNR(scope="mixer", **QUICK), net, state).neurons == 1


@pytest.mark.parametrize("policy", ["keep", "zero", "donor", "layer_mean"])
def test_policies_of_the_optimizer(policy: Any) -> None:
    net, state = four_neurons(), silent_neuron_2()
    adam = torch.optim.RMSprop(net.parameters())
    net(torch.ones(3, 2)).sum().backward()
    adam.step()
    average = adam.state[net[0].weight]["square_avg"]
    average.copy_(torch.tensor([[1.0, 1.0], [2.0, 2.0], [30.0, 30.0], [6.0, 6.0]]))
    apply(SNR(scope="mixer", optimizer=policy, **QUICK), net, state, adam)
    expected = {"keep": 30.0, "zero": 0.0, "donor": 0.0, "layer_mean": 3.0}[policy]
    assert average.tolist() == [[1.0, 1.0], [2.0, 2.0], [expected, expected], [6.0, 6.0]]


def test_neurons_that_take_no_part_are_left_alone() -> None:
    layer = neurons_of(four_neurons())
    object.__setattr__(layer, "active", torch.tensor([True, True, False, True]))
    assert SNR(**QUICK).plan(context([layer], {}, state=silent_neuron_2())).neurons == 0


def test_what_it_refuses() -> None:
    net = four_neurons()
    with pytest.raises(SurgeryRefused, match="mixer/V: when its neurons fired was not counted"):
        apply(SNR(scope="mixer"), net, {})
    layer = declare_neurons("mixer", "V", nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1))
    with pytest.raises(SurgeryRefused, match="Sigmoid has one sign for every input"):
        SNR().plan(context([layer], {}, state=silent_neuron_2()))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"eta": 0}, "eta is 0; expected a number between 0 and 1"),
        ({"eta": 1.0}, "eta is 1.0"),
        ({"eta": 2}, "eta is 2"),
        ({"min_silence": 0}, "min_silence is 0"),
        ({"min_silence": 10, "max_silence": 9}, "max_silence is 9; expected a whole number >= 10"),
        ({"min_intervals": 0}, "min_intervals is 0"),
        ({"initializer": "ones"}, "initializer is 'ones'"),
        ({"bias_compensation": True}, "snr drops no neurons"),
    ],
)
def test_mistakes(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_intervention({"kind": "snr", **wrong})


def test_data_goes_round() -> None:
    made = make_intervention({"kind": "snr", "eta": 0.08, "max_silence": 2e3})
    assert made == SNR(eta=0.08, max_silence=2000)
    assert make_intervention(to_dict(made)) == made
    assert (made.scope, made.optimizer, made.unit, made.counts_firing) == ("all", "zero", "updates", True)
