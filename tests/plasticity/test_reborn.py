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
from rllib_reborn.plasticity.interventions.edits import SurgeryRefused, UnitEdit, write_edits
from rllib_reborn.plasticity.interventions.reborn import ReBorn, pair_paper, pair_released
from rllib_reborn.plasticity.units import Surgery, Tap, UnitLayer, declare_units
from tests.plasticity.small_layers import (
    bits,
    context,
    four_units,
    network,
    observed,
    said,
    same_bits,
    units_of,
    write_and_check_identity,
)

# Mean 2, so the scores are 3.2 (over-active), 0 and 0.05 (dormant), 0.75.
FOUR = torch.tensor([6.4, 0.0, 0.1, 1.5])


def fix_draws(monkeypatch: pytest.MonkeyPatch, partners: list[int], scales: list[float], shares: list[Any]) -> None:
    """Unit 0 pairs with ``partners``; input scales are ``scales``; softmax gives ``shares``."""
    monkeypatch.setattr(reborn, "pair_paper", lambda *a: {0: partners})
    monkeypatch.setattr(reborn, "pair_released", lambda *a: {0: partners})

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
    layer = units_of(net)
    return intervention.plan(context([layer], {layer.key: said(mean_abs)}, seed=seed))


def apply(intervention: ReBorn, net: nn.Sequential, mean_abs: Tensor, seed: int = 0) -> UnitEdit:
    plan = plan_of(intervention, net, mean_abs, seed)
    write_and_check_identity(lambda: write_edits(plan.edits, {"mixer/V": units_of(net)}, {}), net)
    (edit,) = plan.edits
    assert isinstance(edit, UnitEdit)
    return edit


def test_paper_rule_on_four_units(monkeypatch: pytest.MonkeyPatch) -> None:
    # Unit 0 shares with 2 and 1; beta = (0.5, 1, 1.25), a = (0.5, 0.3, 0.2); 0 has w_in (1, 2), b 1, w_out (1, 5).
    fix_draws(monkeypatch, [2, 1], [0.5, 1.0, 1.25], [0.5, 0.3, 0.2])
    net = four_units()
    before = bits(net)
    apply(ReBorn(), net, FOUR)
    # In: beta * (1, 2) for units 0, 2, 1; unit 3 stays.
    assert net[0].weight.tolist() == [[0.5, 1.0], [1.25, 2.5], [1.0, 2.0], [7.0, 8.0]]
    assert net[0].bias.tolist() == [0.5, 1.25, 1.0, 4.0]
    # Out: a / beta * (1, 5), with a / beta = 1, 0.3, 0.16 for units 0, 2, 1.
    expected = torch.tensor([[1.0, 0.16, 0.3, 4.0], [5.0, 0.8, 1.5, 8.0]])
    assert torch.allclose(net[2].weight, expected, atol=1e-6)
    assert torch.equal(net[2].weight[:, 3], before["2.weight"][:, 3])
    assert torch.equal(net[2].bias, before["2.bias"])


def test_released_rule_on_four_units(monkeypatch: pytest.MonkeyPatch) -> None:
    # dec = (0.5, 0.8) for units 2 and 1; a softmax for each of the two outputs: (0.5, 0.3, 0.2) and (0.2, 0.2, 0.6).
    fix_draws(monkeypatch, [2, 1], [0.5, 0.8], [[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    net = four_units()
    before = bits(net)
    apply(ReBorn(rule="released"), net, FOUR)
    # In: unit 0 stays to the bit; 2 is 0.5 and 1 is 0.8 times (1, 2), bias 1.
    assert torch.equal(net[0].weight[[0, 3]], before["0.weight"][[0, 3]])
    assert torch.equal(net[0].bias[[0, 3]], before["0.bias"][[0, 3]])
    assert torch.allclose(net[0].weight[[1, 2]], torch.tensor([[0.8, 1.6], [0.5, 1.0]]), atol=1e-6)
    assert torch.allclose(net[0].bias[[1, 2]], torch.tensor([0.8, 0.5]), atol=1e-6)
    # Out of (1, 5): unit 0 (0.5, 5 * 0.2); unit 2 (0.3 / 0.5, 5 * 0.2 / 0.5); unit 1 (0.2 / 0.8, 5 * 0.6 / 0.8).
    expected = torch.tensor([[0.5, 0.25, 0.6, 4.0], [1.0, 3.75, 2.0, 8.0]])
    assert torch.allclose(net[2].weight, expected, atol=1e-6)
    assert torch.equal(net[2].bias, before["2.bias"])


@pytest.mark.parametrize(("rule", "bound"), [("paper", math.sqrt(6 / (2 + 4))), ("released", 1 / math.sqrt(2))])
def test_unpaired_units_start_anew_and_are_silent(rule: Any, bound: float) -> None:
    # One partner at most: one of the dormant units 1, 2 is left. Ranges: Xavier sqrt(6 / (2 + 4)), Kaiming 1 / sqrt(2).
    net = four_units()
    edit = apply(ReBorn(rule=rule, partners=(1, 1)), net, FOUR, seed=3)
    assert sorted(edit.units.tolist()) == [0, 1, 2]
    left = int(edit.units[edit.donors < 0])
    assert left in (1, 2)
    assert net[2].weight[:, left].tolist() == [0.0, 0.0]
    assert 0 < float(net[0].weight[left].detach().abs().max()) <= bound
    assert abs(net[0].bias[left].item()) <= bound
    assert (net[0].bias[left].item() == 0) == (rule == "paper")


@pytest.mark.parametrize("rule", ["paper", "released"])
def test_unpaired_units_can_be_kept(rule: Any) -> None:
    net = four_units()
    before = bits(net)
    edit = apply(ReBorn(rule=rule, partners=(1, 1), unpaired="keep"), net, FOUR, seed=3)
    (kept,) = {1, 2} - set(edit.units.tolist())
    assert torch.equal(net[0].weight[kept], before["0.weight"][kept])
    assert torch.equal(net[2].weight[:, kept], before["2.weight"][:, kept])
    nothing = plan_of(ReBorn(rule=rule, unpaired="keep"), net, torch.tensor([1.0, 0.0, 1.0, 1.0]))
    assert nothing.edits == ()
    assert nothing.units == 0
    assert nothing.changes[0].dormant == 1


@pytest.mark.parametrize("rule", ["paper", "released"])
def test_without_overactive_units_the_dormant_ones_only_start_anew(rule: Any) -> None:
    net = four_units()
    edit = apply(ReBorn(rule=rule), net, torch.tensor([1.0, 0.0, 1.0, 1.0]))
    assert edit.units.tolist() == [1]
    assert edit.donors.tolist() == [-1]


def test_overactive_units_stay_to_the_bit_when_dormant_ones_have_run_out() -> None:
    # 10 units: 0 and 1 over-active (20 each against a mean of 4.8), 2 and 3 dormant, both taken by unit 0 (M >= 2).
    net = network(3, 10, 2)
    before = bits(net)
    mean_abs = torch.tensor([20.0, 20.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0])
    edit = apply(ReBorn(), net, mean_abs)
    assert sorted(edit.units.tolist()) == [0, 2, 3]
    assert torch.equal(net[0].weight[1], before["0.weight"][1])
    assert torch.equal(net[2].weight[:, 1], before["2.weight"][:, 1])


def test_a_score_of_exactly_beta_is_overactive_on_paper_and_not_in_the_released_code() -> None:
    # Scores 3, 0, 0.5, 0.5: mean 2.
    mean_abs = torch.tensor([6.0, 0.0, 1.0, 1.0])
    for rule, donors in (("paper", (0,)), ("released", ())):
        change = plan_of(ReBorn(rule=rule), four_units(), mean_abs).changes[0]  # type: ignore[arg-type]
        assert change.donors == donors
        assert (change.dormant, change.overactive) == (1, len(donors))


def test_a_score_of_exactly_alpha_is_dormant() -> None:
    # Mean 1: unit 1 scores alpha.
    change = plan_of(ReBorn(alpha=0.25), four_units(), torch.tensor([1.75, 0.25, 1.0, 1.0])).changes[0]
    assert change.reinitialised == (1,)


@pytest.mark.parametrize("rule", ["paper", "released"])
def test_units_that_do_not_take_part_are_left_alone(rule: Any) -> None:
    net = network(3, 10, 2)
    before = bits(net)
    layer = units_of(net)
    # 8 and 9 are spare: silent, but neither dormant nor counted in the mean.
    live = torch.arange(10) < 8
    mean_abs = torch.tensor([50.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    plan = ReBorn(rule=rule).plan(context([layer], {layer.key: said(mean_abs, live)}))
    assert plan.changes[0].dormant == 2
    assert not {8, 9} & set(plan.changes[0].units)
    write_edits(plan.edits, {layer.key: layer}, {})
    assert torch.equal(net[0].weight[8:], before["0.weight"][8:])
    assert torch.equal(net[2].weight[:, 8:], before["2.weight"][:, 8:])


def test_paper_pairing() -> None:
    seen: set[int] = set()
    for seed in range(60):
        pairs = pair_paper(list(range(10, 24)), [3, 1, 2], 2, 5, torch.Generator().manual_seed(seed))
        assert list(pairs) == [3, 1, 2]
        taken = [unit for partners in pairs.values() for unit in partners]
        assert len(taken) == len(set(taken))
        assert set(taken) <= set(range(10, 24))
        seen |= {len(partners) for partners in pairs.values()}
        assert len(pairs[3]) >= 2
        assert len(pairs[1]) >= 2
    assert seen - {1} == {2, 3, 4, 5}
    firsts = {pair_paper(range(8), [9], 2, 5, torch.Generator().manual_seed(seed))[9][0] for seed in range(80)}
    assert firsts == set(range(8))


def test_released_pairing_fills_places_from_the_dormant_side() -> None:
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        # 38 dormant and 3 over-active: all 3 are full, whoever picks (method reference 3.7: 15 paired).
        full = pair_released(list(range(10, 48)), [0, 1, 2], 5, generator)
        assert [len(partners) for partners in full.values()] == [5, 5, 5]
        few = pair_released([7, 8], [0, 1, 2], 5, generator)
        assert sorted(unit for partners in few.values() for unit in partners) == [7, 8]
    assert pair_released([1, 2], [], 5, torch.Generator()) == {}


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
    """A layer with ``dormant`` quiet (or dead) units and ``loud`` ones, and rows of inputs."""
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


def check_plan(intervention: ReBorn, edit: UnitEdit, change: Any, dormant: set[int], overactive: set[int]) -> None:
    units, donors = edit.units.tolist(), edit.donors.tolist()
    assert len(set(units)) == len(units)
    assert not dormant & overactive
    receivers = {u for u, d in zip(units, donors, strict=True) if d != u}
    givers = {d for d in donors if d >= 0}
    assert not receivers & givers  # no unit both donor and receiver
    assert receivers <= dormant
    assert givers <= overactive
    if intervention.unpaired == "reinit":
        assert receivers == dormant
    assert set(change.donors) == givers
    assert set(change.units) == set(units)
    low, high = intervention.scales
    counts = []
    for giver in change.donors:
        group = [k for k, d in enumerate(donors) if d == giver]
        counts.append(len(group) - 1)
        assert units[group[0]] == giver
        scales = edit.in_scale[group]
        own = scales[:1] if intervention.rule == "released" else scales[:0]
        assert bool((own == 1).all())
        assert bool(((scales[len(own) :] >= low) & (scales[len(own) :] <= high)).all())
        share = edit.out_scale[:, group] * scales
        assert bool(((share > 0) & (share < 1)).all())
        assert torch.allclose(share.sum(dim=1), torch.ones(len(share), dtype=torch.float64), atol=1e-12)
        if intervention.rule == "paper":
            assert share.shape[0] == 1  # one coefficient per unit
    most = intervention.partners[1]
    if intervention.rule == "paper":
        assert all(2 <= m <= most for m in counts[:-1])
        if counts and counts[-1] < 2:  # only the last one, and only when none is left
            assert sum(counts) == len(dormant)
        assert len(counts) == len(overactive) or sum(counts) == len(dormant)
    else:
        assert sum(counts) == min(len(dormant), most * len(overactive))
        assert all(1 <= m <= most for m in counts)


@pytest.mark.parametrize("rule", ["paper", "released"])
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.1)])
@settings(max_examples=40, deadline=None)
@given(case=layers(), compensate=st.booleans(), unpaired=st.sampled_from(["reinit", "keep"]))
def test_the_function_changes_by_what_dormant_units_said_at_most(
    rule: Any, activation: nn.Module, case: dict[str, Any], compensate: bool, unpaired: Any
) -> None:
    net, x = loud_and_quiet(case, activation, dead=False)
    before, h = net(x).detach(), net[:2](x).detach()
    statistics, layer = observed(h), units_of(net)
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
        assert isinstance(edit, UnitEdit)
        check_plan(intervention, edit, change, dormant, overactive)
    write_edits(plan.edits, {layer.key: layer}, {})
    after = net(x).detach()
    assert all(bool(torch.isfinite(p).all()) for p in net.parameters())
    # Method reference 3.1: alpha * mean_k E|h_k| * sum over D of |w_out|; what compensation adds is as large at most.
    dropped = sorted(dormant)
    bound = case["alpha"] * statistics.mean_abs.mean() * old["2.weight"][:, dropped].abs().sum(dim=1)
    moved = (after - before).abs().mean(dim=0)
    size = 1e-10 * (1 + before.abs().max())
    assert bool((moved <= bound * (2 if compensate else 1) + size).all())
    if compensate:  # on average nothing is lost
        assert bool(((after - before).mean(dim=0).abs() <= size).all())
    # Units that are not named are equal to the bit.
    others = [u for u in range(case["width"]) if u not in change.units]
    assert torch.equal(net[0].weight[others], old["0.weight"][others])
    assert torch.equal(net[0].bias[others], old["0.bias"][others])
    assert torch.equal(net[2].weight[:, others], old["2.weight"][:, others])
    if not compensate:
        assert torch.equal(net[2].bias, old["2.bias"])


@pytest.mark.parametrize("rule", ["paper", "released"])
@settings(max_examples=40, deadline=None)
@given(case=layers())
def test_dead_units_can_be_used_without_changing_the_function(rule: Any, case: dict[str, Any]) -> None:
    double, x64 = loud_and_quiet(case, nn.ReLU(), dead=True)
    net, x = double.float(), x64.float()
    before, layer = net(x).detach(), units_of(double)
    statistics = observed(net[:2](x).detach())
    if not bool((statistics.mean_abs > 0).any()):
        return
    plan = ReBorn(alpha=0.0, rule=rule).plan(context([layer], {layer.key: statistics}, seed=case["seed"]))
    write_edits(plan.edits, {layer.key: layer}, {})
    after = net(x).detach()
    assert float((after - before).abs().mean() / before.abs().mean()) < 1e-5


@settings(max_examples=30, deadline=None)
@given(case=layers(), rule=st.sampled_from(["paper", "released"]))
def test_elu_is_refused_without_the_opt_in_and_stays_finite_with_it(case: dict[str, Any], rule: Any) -> None:
    net, x = loud_and_quiet(case, nn.ELU(), dead=False)
    layer = units_of(net)
    statistics = {layer.key: observed(net[:2](x).detach())}
    with pytest.raises(SurgeryRefused, match="ELU is not positively homogeneous"):
        ReBorn(rule=rule).plan(context([layer], statistics))
    plan = ReBorn(rule=rule, allow_inexact=True).plan(context([layer], statistics, seed=case["seed"]))
    write_edits(plan.edits, {layer.key: layer}, {})
    assert bool(torch.isfinite(net(x)).all())


# ---------------------------------------------------------------------------------------- numbers of the method reference


def sixty_four(seed: int) -> tuple[nn.Sequential, Tensor]:
    """38 dormant, 3 over-active units with 60 to 65 % of the scores, 23 others (method reference 3.7)."""
    torch.manual_seed(seed)
    net = network(16, 64, 8)
    x = torch.randn(512, 16)
    with torch.no_grad():
        net[0].weight[:38] *= 0.02
        net[0].bias[:38] *= 0.02
        loud = net[:2](x)[:, 38:41].mean(0)
        rest = net[:2](x)[:, 41:].mean(0).sum() + net[:2](x)[:, :38].mean(0).sum()
        # Each of the three says v, with 3 v / (3 v + rest) = 0.62.
        scale = 0.62 / 0.38 * rest / 3 / loud
        net[0].weight[38:41] *= scale.unsqueeze(1)
        net[0].bias[38:41] *= scale
    return net, x


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("rule", "paired", "overactive_after", "sum_after"),
    [("paper", (6, 15), (6, 16), (0.5, 0.8)), ("released", (15, 15), (3, 10), (0.25, 0.45))],
)
def test_one_application_does_what_the_reference_measured(
    rule: Any, paired: tuple[int, int], overactive_after: tuple[int, int], sum_after: tuple[float, float], seed: int
) -> None:
    net, x = sixty_four(seed)
    layer = units_of(net)
    statistics = observed(net[:2](x).detach())
    before = statistics.mean_abs / statistics.mean_abs.mean()
    assert int((before <= 0.1).sum()) == 38
    assert int((before >= 3).sum()) == 3
    plan = ReBorn(rule=rule).plan(context([layer], {layer.key: statistics}, seed=seed))
    (change,) = plan.changes
    shared = len(change.units) - len(change.donors) - len(change.reinitialised)
    assert paired[0] <= shared <= paired[1]
    assert shared + len(change.reinitialised) == 38
    write_edits(plan.edits, {layer.key: layer}, {})
    said_after = net[:2](x).detach().abs().mean(0)
    after = said_after / said_after.mean()
    # The mean has about doubled, so that one or the other ordinary unit may fall below a tenth of it.
    assert int((after <= 0.1).sum()) <= 3
    assert overactive_after[0] <= int((after >= 3).sum()) <= overactive_after[1]
    assert sum_after[0] <= float(after[after >= 3].sum() / 64) <= sum_after[1]


# ------------------------------------------------------------------------------------------------------ refusals, settings


def test_equal_seeds_plan_alike_whatever_the_order_of_layers() -> None:
    nets = {name: network(3, 20, 2) for name in ("a", "b")}
    made = [units_of(net, name=name) for name, net in nets.items()]
    mean_abs = torch.cat([torch.full((2,), 50.0), torch.zeros(10), torch.ones(8)])
    statistics = {layer.key: said(mean_abs) for layer in made}
    first = ReBorn().plan(context(made, statistics, seed=5))
    second = ReBorn().plan(context(made[::-1], statistics, seed=5))
    other = ReBorn().plan(context(made, statistics, seed=6))
    assert [edit.layer for edit in first.edits] == [edit.layer for edit in second.edits]  # type: ignore[union-attr]
    assert [edit.units.tolist() for edit in first.edits] == [edit.units.tolist() for edit in second.edits]  # type: ignore[union-attr]
    assert torch.equal(first.edits[1].in_scale, second.edits[1].in_scale)  # type: ignore[union-attr]
    assert not torch.equal(first.edits[1].fresh_in, other.edits[1].fresh_in)  # type: ignore[union-attr]


def test_a_mixer_without_layers_is_nothing_to_do() -> None:
    assert ReBorn().plan(context([], {})) == Plan()


def test_a_layer_that_can_only_be_scored_is_refused_before_anything_is_drawn() -> None:
    mixing = UnitLayer("mixer", "mixing", 4, Tap(nn.ELU()), "ELU", Surgery.IMPOSSIBLE, "hypernetworks make the weights")
    good = units_of(four_units())
    asked = context([good, mixing], {good.key: said(FOUR), mixing.key: said(FOUR)})
    state = asked.generator.get_state()
    with pytest.raises(SurgeryRefused, match=r"mixer/mixing.*hypernetworks make the weights.*layers='operable'"):
        ReBorn().plan(asked)
    assert torch.equal(asked.generator.get_state(), state)


def test_compensation_needs_a_bias() -> None:
    layer = declare_units("mixer", "V", nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1, bias=False))
    with pytest.raises(SurgeryRefused, match="no bias"):
        ReBorn(bias_compensation=True).plan(context([layer], {layer.key: said(FOUR)}))


def test_a_diverged_network_has_no_dormant_units() -> None:
    net = four_units()
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
    released = ReBorn(rule="released")
    assert (released.scales, released.fresh) == ((0.3, 0.8), "kaiming")
    assert ReBorn(partners=[2, 5], in_range=[0.5, 1.5]) == ReBorn(in_range=(0.5, 1.5))  # type: ignore[arg-type]
