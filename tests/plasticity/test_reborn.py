"""ReBorn, under both rules: worked out on paper, and by its properties on random layers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rllib_reborn.plasticity.interventions import reborn
from rllib_reborn.plasticity.interventions.base import Plan
from rllib_reborn.plasticity.interventions.edits import NeuronEdit, SurgeryRefused, write_edits
from rllib_reborn.plasticity.interventions.reborn import ReBorn, pair_official_code, pair_paper
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


def fix_draws(monkeypatch: pytest.MonkeyPatch, partners: list[int], scales: list[float], shares: list[Any]) -> None:
    """Neuron 0 pairs with ``partners``; input scales are ``scales``; softmax gives ``shares``."""
    monkeypatch.setattr(reborn, "pair_paper", lambda *a: {0: partners})
    monkeypatch.setattr(reborn, "pair_official_code", lambda *a: {0: partners})

    def uniform(bounds: Any, count: int, generator: Any) -> Tensor:
        assert count == len(scales)
        return torch.tensor(scales, dtype=torch.float64)

    def normals(shape: tuple[int, ...], generator: Any) -> Tensor:
        found = torch.tensor(shares, dtype=torch.float64).log()  # exp(log a) / sum a = a, where sum a = 1
        assert found.shape == shape
        return found

    monkeypatch.setattr(reborn, "_uniform", uniform)
    monkeypatch.setattr(reborn, "_normals", normals)


def plan_of(intervention: ReBorn, net: nn.Sequential, mean_abs: Tensor, seed: int = 0) -> Plan:
    layer = neurons_of(net)
    return intervention.plan(context([layer], {layer.key: layer_statistics(mean_abs)}, seed=seed))


def apply(intervention: ReBorn, net: nn.Sequential, mean_abs: Tensor, seed: int = 0) -> NeuronEdit:
    plan = plan_of(intervention, net, mean_abs, seed)
    write_and_check_identity(lambda: write_edits(plan.edits, {"mixer/V": neurons_of(net)}, {}), net)
    (edit,) = plan.edits
    assert isinstance(edit, NeuronEdit)
    return edit


def test_paper_rule_on_four_neurons(monkeypatch: pytest.MonkeyPatch) -> None:
    # Neuron 0 shares with 2 and 1; beta = (0.5, 1, 1.25), a = (0.5, 0.3, 0.2); 0 has w_in (1, 2), b 1, w_out (1, 5).
    fix_draws(monkeypatch, [2, 1], [0.5, 1.0, 1.25], [0.5, 0.3, 0.2])
    net = four_neurons()
    before = bits(net)
    apply(ReBorn(), net, FOUR)
    # In: beta * (1, 2) for neurons 0, 2, 1; neuron 3 stays.
    assert net[0].weight.tolist() == [[0.5, 1.0], [1.25, 2.5], [1.0, 2.0], [7.0, 8.0]]
    assert net[0].bias.tolist() == [0.5, 1.25, 1.0, 4.0]
    # Out: a / beta * (1, 5), with a / beta = 1, 0.3, 0.16 for neurons 0, 2, 1.
    expected = torch.tensor([[1.0, 0.16, 0.3, 4.0], [5.0, 0.8, 1.5, 8.0]])
    assert torch.allclose(net[2].weight, expected, atol=1e-6)
    assert torch.equal(net[2].weight[:, 3], before["2.weight"][:, 3])
    assert torch.equal(net[2].bias, before["2.bias"])


def test_official_code_rule_on_four_neurons(monkeypatch: pytest.MonkeyPatch) -> None:
    # dec = (0.5, 0.8) for neurons 2 and 1; a softmax for each of the two outputs: (0.5, 0.3, 0.2) and (0.2, 0.2, 0.6).
    fix_draws(monkeypatch, [2, 1], [0.5, 0.8], [[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    net = four_neurons()
    before = bits(net)
    apply(ReBorn(rule="official_code"), net, FOUR)
    # In: neuron 0 stays to the bit; 2 is 0.5 and 1 is 0.8 times (1, 2), bias 1.
    assert torch.equal(net[0].weight[[0, 3]], before["0.weight"][[0, 3]])
    assert torch.equal(net[0].bias[[0, 3]], before["0.bias"][[0, 3]])
    assert torch.allclose(net[0].weight[[1, 2]], torch.tensor([[0.8, 1.6], [0.5, 1.0]]), atol=1e-6)
    assert torch.allclose(net[0].bias[[1, 2]], torch.tensor([0.8, 0.5]), atol=1e-6)
    # Out of (1, 5): neuron 0 (0.5, 5 * 0.2); neuron 2 (0.3 / 0.5, 5 * 0.2 / 0.5); neuron 1 (0.2 / 0.8, 5 * 0.6 / 0.8).
    expected = torch.tensor([[0.5, 0.25, 0.6, 4.0], [1.0, 3.75, 2.0, 8.0]])
    assert torch.allclose(net[2].weight, expected, atol=1e-6)
    assert torch.equal(net[2].bias, before["2.bias"])


@pytest.mark.parametrize(("rule", "bound"), [("paper", math.sqrt(6 / (2 + 4))), ("official_code", 1 / math.sqrt(2))])
def test_unpaired_neurons_start_anew_and_are_silent(rule: Any, bound: float) -> None:
    # One partner at most: one of the dormant neurons 1, 2 is left. Ranges: Xavier sqrt(6 / (2 + 4)), Kaiming 1 / sqrt(2).
    net = four_neurons()
    edit = apply(ReBorn(rule=rule, partners=(1, 1)), net, FOUR, seed=3)
    assert sorted(edit.neurons.tolist()) == [0, 1, 2]
    left = int(edit.neurons[edit.donors < 0])
    assert left in (1, 2)
    assert net[2].weight[:, left].tolist() == [0.0, 0.0]
    assert 0 < float(net[0].weight[left].detach().abs().max()) <= bound
    assert abs(net[0].bias[left].item()) <= bound
    assert (net[0].bias[left].item() == 0) == (rule == "paper")


@pytest.mark.parametrize("rule", ["paper", "official_code"])
def test_unpaired_neurons_can_be_kept(rule: Any) -> None:
    net = four_neurons()
    before = bits(net)
    edit = apply(ReBorn(rule=rule, partners=(1, 1), unpaired="keep"), net, FOUR, seed=3)
    (kept,) = {1, 2} - set(edit.neurons.tolist())
    assert torch.equal(net[0].weight[kept], before["0.weight"][kept])
    assert torch.equal(net[2].weight[:, kept], before["2.weight"][:, kept])
    nothing = plan_of(ReBorn(rule=rule, unpaired="keep"), net, torch.tensor([1.0, 0.0, 1.0, 1.0]))
    assert nothing.edits == ()
    assert nothing.neurons == 0
    assert nothing.changes[0].dormant == 1


@pytest.mark.parametrize("rule", ["paper", "official_code"])
def test_without_overactive_neurons_the_dormant_ones_only_start_anew(rule: Any) -> None:
    net = four_neurons()
    edit = apply(ReBorn(rule=rule), net, torch.tensor([1.0, 0.0, 1.0, 1.0]))
    assert edit.neurons.tolist() == [1]
    assert edit.donors.tolist() == [-1]


def test_overactive_neurons_stay_to_the_bit_when_dormant_ones_have_run_out() -> None:
    # 10 neurons: 0 and 1 over-active (20 each against a mean of 4.8), 2 and 3 dormant, both taken by neuron 0 (M >= 2).
    net = network(3, 10, 2)
    before = bits(net)
    mean_abs = torch.tensor([20.0, 20.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0])
    edit = apply(ReBorn(), net, mean_abs)
    assert sorted(edit.neurons.tolist()) == [0, 2, 3]
    assert torch.equal(net[0].weight[1], before["0.weight"][1])
    assert torch.equal(net[2].weight[:, 1], before["2.weight"][:, 1])


def test_a_score_of_exactly_beta_is_overactive_on_paper_and_not_in_the_official_code() -> None:
    # Scores 3, 0, 0.5, 0.5: mean 2.
    mean_abs = torch.tensor([6.0, 0.0, 1.0, 1.0])
    for rule, donors in (("paper", (0,)), ("official_code", ())):
        change = plan_of(ReBorn(rule=rule), four_neurons(), mean_abs).changes[0]  # type: ignore[arg-type]
        assert change.donors == donors
        assert (change.dormant, change.overactive) == (1, len(donors))


def test_a_score_of_exactly_alpha_is_dormant() -> None:
    # Mean 1: neuron 1 scores alpha.
    change = plan_of(ReBorn(alpha=0.25), four_neurons(), torch.tensor([1.75, 0.25, 1.0, 1.0])).changes[0]
    assert change.reinitialised == (1,)


@pytest.mark.parametrize("rule", ["paper", "official_code"])
def test_units_that_do_not_take_part_are_left_alone(rule: Any) -> None:
    net = network(3, 10, 2)
    before = bits(net)
    layer = neurons_of(net)
    # 8 and 9 are spare: silent, but neither dormant nor counted in the mean.
    active = torch.arange(10) < 8
    mean_abs = torch.tensor([50.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    plan = ReBorn(rule=rule).plan(context([layer], {layer.key: layer_statistics(mean_abs, active)}))
    assert plan.changes[0].dormant == 2
    assert not {8, 9} & set(plan.changes[0].neurons)
    write_edits(plan.edits, {layer.key: layer}, {})
    assert torch.equal(net[0].weight[8:], before["0.weight"][8:])
    assert torch.equal(net[2].weight[:, 8:], before["2.weight"][:, 8:])


def test_paper_pairing() -> None:
    counts: set[int] = set()
    for seed in range(60):
        pairs = pair_paper(list(range(10, 24)), [3, 1, 2], 2, 5, torch.Generator().manual_seed(seed))
        assert list(pairs) == [3, 1, 2]
        taken = [neuron for partners in pairs.values() for neuron in partners]
        assert len(taken) == len(set(taken))
        assert set(taken) <= set(range(10, 24))
        counts |= {len(partners) for partners in pairs.values()}
        assert len(pairs[3]) >= 2
        assert len(pairs[1]) >= 2
    assert counts - {1} == {2, 3, 4, 5}
    firsts = {pair_paper(range(8), [9], 2, 5, torch.Generator().manual_seed(seed))[9][0] for seed in range(80)}
    assert firsts == set(range(8))


def test_official_code_pairing_fills_places_from_the_dormant_side() -> None:
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        # 38 dormant and 3 over-active: all 3 are full, whoever picks (docs/method.md 3.7: 15 paired).
        full = pair_official_code(list(range(10, 48)), [0, 1, 2], 5, generator)
        assert [len(partners) for partners in full.values()] == [5, 5, 5]
        few = pair_official_code([7, 8], [0, 1, 2], 5, generator)
        assert sorted(neuron for partners in few.values() for neuron in partners) == [7, 8]
    assert pair_official_code([1, 2], [], 5, torch.Generator()) == {}


# ------------------------------------------------------------------------------------------------------- random layers


@st.composite
def layers(draw: st.DrawFn) -> dict[str, Any]:
    width = draw(st.integers(2, 40))
    return {
        "inputs": draw(st.integers(1, 6)),
        "width": width,
        "outputs": draw(st.integers(1, 5)),
        "dormant": draw(st.integers(0, width - 1)),
        "loud": draw(st.integers(0, 4)),
        "seed": draw(st.integers(0, 10_000)),
        "alpha": draw(st.sampled_from([0.0, 0.025, 0.1, 0.3])),
        "beta": draw(st.sampled_from([1.5, 2.0, 3.0])),
    }


def loud_and_quiet(case: dict[str, Any], activation: nn.Module, *, dead: bool) -> tuple[nn.Sequential, Tensor]:
    """A layer with ``dormant`` quiet (or dead) neurons and ``loud`` ones, and rows of inputs."""
    torch.manual_seed(case["seed"])
    net = network(case["inputs"], case["width"], case["outputs"], activation).double()
    x = torch.randn(64, case["inputs"], dtype=torch.float64)
    quiet = slice(0, case["dormant"])
    loud = slice(case["dormant"], case["dormant"] + case["loud"])
    with torch.no_grad():
        if dead:
            net[0].weight[quiet] = 0.0
            net[0].bias[quiet] = -1.0 if isinstance(activation, nn.ReLU) else 0.0
        else:
            net[0].weight[quiet] *= 0.02
            net[0].bias[quiet] *= 0.02
        net[0].weight[loud] *= 20.0
        net[0].bias[loud] *= 20.0
    return net, x


def check_plan(intervention: ReBorn, edit: NeuronEdit, change: Any, dormant: set[int], overactive: set[int]) -> None:
    neurons, donors = edit.neurons.tolist(), edit.donors.tolist()
    assert len(set(neurons)) == len(neurons)
    assert not dormant & overactive
    receivers = {u for u, d in zip(neurons, donors, strict=True) if d != u}
    givers = {d for d in donors if d >= 0}
    assert not receivers & givers  # no neuron both donor and receiver
    assert receivers <= dormant
    assert givers <= overactive
    if intervention.unpaired == "reinit":
        assert receivers == dormant
    assert set(change.donors) == givers
    assert set(change.neurons) == set(neurons)
    low, high = intervention.scales
    counts = []
    for giver in change.donors:
        group = [k for k, d in enumerate(donors) if d == giver]
        counts.append(len(group) - 1)
        assert neurons[group[0]] == giver
        scales = edit.in_scale[group]
        own = scales[:1] if intervention.rule == "official_code" else scales[:0]
        assert bool((own == 1).all())
        assert bool(((scales[len(own) :] >= low) & (scales[len(own) :] <= high)).all())
        share = edit.out_scale[:, group] * scales
        assert bool(((share > 0) & (share < 1)).all())
        assert torch.allclose(share.sum(dim=1), torch.ones(len(share), dtype=torch.float64), atol=1e-12)
        if intervention.rule == "paper":
            assert share.shape[0] == 1  # one coefficient per neuron
    most = intervention.partners[1]
    if intervention.rule == "paper":
        assert all(2 <= m <= most for m in counts[:-1])
        if counts and counts[-1] < 2:  # only the last one, and only when none is left
            assert sum(counts) == len(dormant)
        assert len(counts) == len(overactive) or sum(counts) == len(dormant)
    else:
        assert sum(counts) == min(len(dormant), most * len(overactive))
        assert all(1 <= m <= most for m in counts)


@pytest.mark.parametrize("rule", ["paper", "official_code"])
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.1)])
@settings(max_examples=40, deadline=None)
@given(case=layers(), compensate=st.booleans(), unpaired=st.sampled_from(["reinit", "keep"]))
def test_the_function_changes_by_what_dormant_neurons_said_at_most(
    rule: Any, activation: nn.Module, case: dict[str, Any], compensate: bool, unpaired: Any
) -> None:
    net, x = loud_and_quiet(case, activation, dead=False)
    before, h = net(x).detach(), net[:2](x).detach()
    statistics, layer = observed(h), neurons_of(net)
    old = bits(net)
    intervention = ReBorn(
        alpha=case["alpha"], beta=case["beta"], rule=rule, bias_compensation=compensate, unpaired=unpaired
    )
    plan = intervention.plan(context([layer], {layer.key: statistics}, seed=case["seed"]))
    nas = statistics.mean_abs / statistics.mean_abs.mean().clamp(min=1e-300)
    dormant = set((nas <= case["alpha"]).nonzero().flatten().tolist())
    loud = nas >= case["beta"] if rule == "paper" else nas > case["beta"]
    overactive = set(loud.nonzero().flatten().tolist())
    (change,) = plan.changes
    assert (change.dormant, change.overactive) == (len(dormant), len(overactive))
    for edit in plan.edits:
        assert isinstance(edit, NeuronEdit)
        check_plan(intervention, edit, change, dormant, overactive)
    write_edits(plan.edits, {layer.key: layer}, {})
    after = net(x).detach()
    assert all(bool(torch.isfinite(p).all()) for p in net.parameters())
    # docs/method.md 3.1: alpha * mean_k E|h_k| * sum over D of |w_out|; what compensation adds is as large at most.
    dropped = sorted(dormant)
    bound = case["alpha"] * statistics.mean_abs.mean() * old["2.weight"][:, dropped].abs().sum(dim=1)
    moved = (after - before).abs().mean(dim=0)
    size = 1e-10 * (1 + before.abs().max())
    assert bool((moved <= bound * (2 if compensate else 1) + size).all())
    if compensate:  # on average nothing is lost
        assert bool(((after - before).mean(dim=0).abs() <= size).all())
    # Neurons that are not named are equal to the bit.
    others = [u for u in range(case["width"]) if u not in change.neurons]
    assert torch.equal(net[0].weight[others], old["0.weight"][others])
    assert torch.equal(net[0].bias[others], old["0.bias"][others])
    assert torch.equal(net[2].weight[:, others], old["2.weight"][:, others])
    if not compensate:
        assert torch.equal(net[2].bias, old["2.bias"])


@pytest.mark.parametrize("rule", ["paper", "official_code"])
@settings(max_examples=40, deadline=None)
@given(case=layers())
def test_dead_neurons_can_be_used_without_changing_the_function(rule: Any, case: dict[str, Any]) -> None:
    double, x64 = loud_and_quiet(case, nn.ReLU(), dead=True)
    net, x = double.float(), x64.float()
    before, layer = net(x).detach(), neurons_of(double)
    statistics = observed(net[:2](x).detach())
    if not bool((statistics.mean_abs > 0).any()):
        return
    plan = ReBorn(alpha=0.0, rule=rule).plan(context([layer], {layer.key: statistics}, seed=case["seed"]))
    write_edits(plan.edits, {layer.key: layer}, {})
    after = net(x).detach()
    assert float((after - before).abs().mean() / before.abs().mean()) < 1e-5


@settings(max_examples=30, deadline=None)
@given(case=layers(), rule=st.sampled_from(["paper", "official_code"]))
def test_elu_is_refused_without_the_opt_in_and_stays_finite_with_it(case: dict[str, Any], rule: Any) -> None:
    net, x = loud_and_quiet(case, nn.ELU(), dead=False)
    layer = neurons_of(net)
    statistics = {layer.key: observed(net[:2](x).detach())}
    with pytest.raises(SurgeryRefused, match="ELU is not positively homogeneous"):
        ReBorn(rule=rule).plan(context([layer], statistics))
    plan = ReBorn(rule=rule, allow_inexact=True).plan(context([layer], statistics, seed=case["seed"]))
    write_edits(plan.edits, {layer.key: layer}, {})
    assert bool(torch.isfinite(net(x)).all())


# ---------------------------------------------------------------------------------------- numbers of docs/method.md


def sixty_four(seed: int) -> tuple[nn.Sequential, Tensor]:
    """38 dormant, 3 over-active neurons with 60 to 65 % of the scores, 23 others (docs/method.md 3.7)."""
    torch.manual_seed(seed)
    net = network(16, 64, 8)
    x = torch.randn(512, 16)
    with torch.no_grad():
        net[0].weight[:38] *= 0.02
        net[0].bias[:38] *= 0.02
        loud = net[:2](x)[:, 38:41].mean(0)
        rest = net[:2](x)[:, 41:].mean(0).sum() + net[:2](x)[:, :38].mean(0).sum()
        # Each of the three has activation v, with 3 v / (3 v + rest) = 0.62.
        scale = 0.62 / 0.38 * rest / 3 / loud
        net[0].weight[38:41] *= scale.unsqueeze(1)
        net[0].bias[38:41] *= scale
    return net, x


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("rule", "paired", "overactive_after", "sum_after"),
    [("paper", (6, 15), (6, 16), (0.5, 0.8)), ("official_code", (15, 15), (3, 10), (0.25, 0.45))],
)
def test_one_application_does_what_the_reference_measured(
    rule: Any, paired: tuple[int, int], overactive_after: tuple[int, int], sum_after: tuple[float, float], seed: int
) -> None:
    net, x = sixty_four(seed)
    layer = neurons_of(net)
    statistics = observed(net[:2](x).detach())
    before = statistics.mean_abs / statistics.mean_abs.mean()
    assert int((before <= 0.1).sum()) == 38
    assert int((before >= 3).sum()) == 3
    plan = ReBorn(rule=rule).plan(context([layer], {layer.key: statistics}, seed=seed))
    (change,) = plan.changes
    shared = len(change.neurons) - len(change.donors) - len(change.reinitialised)
    assert paired[0] <= shared <= paired[1]
    assert shared + len(change.reinitialised) == 38
    write_edits(plan.edits, {layer.key: layer}, {})
    said_after = net[:2](x).detach().abs().mean(0)
    after = said_after / said_after.mean()
    # The mean has about doubled, so that one or the other ordinary neuron may fall below a tenth of it.
    assert int((after <= 0.1).sum()) <= 3
    assert overactive_after[0] <= int((after >= 3).sum()) <= overactive_after[1]
    assert sum_after[0] <= float(after[after >= 3].sum() / 64) <= sum_after[1]


# ------------------------------------------------------------------------------------------------------ refusals, settings


def test_equal_seeds_plan_alike_whatever_the_order_of_layers() -> None:
    nets = {name: network(3, 20, 2) for name in ("a", "b")}
    made = [neurons_of(net, name=name) for name, net in nets.items()]
    mean_abs = torch.cat([torch.full((2,), 50.0), torch.zeros(10), torch.ones(8)])
    statistics = {layer.key: layer_statistics(mean_abs) for layer in made}
    first = ReBorn().plan(context(made, statistics, seed=5))
    second = ReBorn().plan(context(made[::-1], statistics, seed=5))
    other = ReBorn().plan(context(made, statistics, seed=6))
    assert [edit.layer for edit in first.edits] == [edit.layer for edit in second.edits]  # type: ignore[union-attr]
    assert [edit.neurons.tolist() for edit in first.edits] == [edit.neurons.tolist() for edit in second.edits]  # type: ignore[union-attr]
    assert torch.equal(first.edits[1].in_scale, second.edits[1].in_scale)  # type: ignore[union-attr]
    assert not torch.equal(first.edits[1].fresh_in, other.edits[1].fresh_in)  # type: ignore[union-attr]


def test_a_mixer_without_layers_is_nothing_to_do() -> None:
    assert ReBorn().plan(context([], {})) == Plan()


def test_a_layer_that_can_only_be_scored_is_refused_before_anything_is_drawn() -> None:
    mixing = NeuronLayer(
        "mixer", "mixing", 4, ActivationHook(nn.ELU()), "ELU", Surgery.IMPOSSIBLE, "hypernetworks make the weights"
    )
    good = neurons_of(four_neurons())
    asked = context([good, mixing], {good.key: layer_statistics(FOUR), mixing.key: layer_statistics(FOUR)})
    state = asked.generator.get_state()
    with pytest.raises(SurgeryRefused, match=r"mixer/mixing.*hypernetworks make the weights.*layers='editable'"):
        ReBorn().plan(asked)
    assert torch.equal(asked.generator.get_state(), state)


def test_compensation_needs_a_bias() -> None:
    layer = declare_neurons("mixer", "V", nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1, bias=False))
    with pytest.raises(SurgeryRefused, match="no bias"):
        ReBorn(bias_compensation=True).plan(context([layer], {layer.key: layer_statistics(FOUR)}))


def test_a_diverged_network_has_no_dormant_neurons() -> None:
    net = four_neurons()
    before = bits(net)
    with pytest.raises(SurgeryRefused, match="not finite"):
        plan_of(ReBorn(), net, torch.tensor([torch.nan, 1.0, 1.0, 1.0]))
    assert same_bits(net, before)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"alpha": 3.0, "beta": 3.0}, "overlap"),
        ({"alpha": 4.0}, "overlap"),
        ({"alpha": -0.1}, "alpha"),
        ({"rule": "code"}, "rule"),
        ({"partners": (0, 5)}, r"partners\[0\]"),
        ({"partners": (5, 2)}, r"partners\[1\]"),
        ({"partners": (2, 2.5)}, r"partners\[1\]"),
        ({"partners": 3}, "two numbers"),
        ({"in_range": (0.0, 1.0)}, r"in_range\[0\]"),
        ({"in_range": (1.0, 0.5)}, r"in_range\[1\]"),
        ({"unpaired": "xavier"}, "unpaired"),
        ({"initializer": "normal"}, "initializer"),
        ({"every": 0}, "every"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReBorn(**wrong)


def test_defaults_are_those_of_the_paper_and_lists_from_yaml_will_do() -> None:
    default = ReBorn()
    assert (default.alpha, default.beta, default.every, default.unit) == (0.1, 3.0, 200_000, "env_steps")
    assert (default.rule, default.partners, default.scales, default.fresh) == ("paper", (2, 5), (0.5, 1.5), "xavier")
    official_code = ReBorn(rule="official_code")
    assert (official_code.scales, official_code.fresh) == ((0.3, 0.8), "kaiming")
    assert ReBorn(partners=[2, 5], in_range=[0.5, 1.5]) == ReBorn(in_range=(0.5, 1.5))  # type: ignore[arg-type]
