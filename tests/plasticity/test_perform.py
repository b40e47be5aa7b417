"""An application writes what it planned, everywhere it should and nowhere else, and reports it."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rllib_reborn.nets.mixers.qmix import QMixer
from rllib_reborn.plasticity.interventions.base import Context, Intervention, Plan
from rllib_reborn.plasticity.interventions.continual_backprop import ContinualBackprop
from rllib_reborn.plasticity.interventions.edits import ParameterEdit, SurgeryRefused
from rllib_reborn.plasticity.interventions.perform import Outcome, Subject, drift_between, perform
from rllib_reborn.plasticity.interventions.prune import Prune
from rllib_reborn.plasticity.interventions.reborn import ReBorn
from rllib_reborn.plasticity.interventions.redo import ReDo
from rllib_reborn.plasticity.interventions.reset import ReSet
from rllib_reborn.plasticity.interventions.reverse_redo import ReverseReDo
from rllib_reborn.plasticity.statistics import LayerStatistics
from rllib_reborn.plasticity.units import UnitLayer
from tests.plasticity.small_layers import bits, network, observed, same_bits, units_of


@dataclasses.dataclass
class World:
    """A mixer and an agent with dormant and over-active units, their targets and an optimizer that has stepped."""

    mixer: nn.Sequential
    agent: nn.Sequential
    targets: dict[str, nn.Sequential]
    optimizer: torch.optim.Optimizer
    x: Tensor

    @property
    def layers(self) -> list[UnitLayer]:
        return [units_of(self.mixer), units_of(self.agent, "agent", "fc1")]

    def measure(self, layers: Sequence[UnitLayer]) -> dict[str, LayerStatistics]:
        nets = {"mixer": self.mixer, "agent": self.agent}
        return {layer.key: observed(nets[layer.net][:2](self.x).detach()) for layer in layers}

    def evaluate(self) -> Outcome:
        with torch.no_grad():
            return Outcome(self.mixer(self.x), self.agent(self.x).argmax(dim=1))

    def subject(self, **changes: Any) -> Subject:
        subject = Subject(
            nets={"mixer": self.mixer, "agent": self.agent},
            layers=self.layers,
            measure=self.measure,
            evaluate=self.evaluate,
            target_nets=self.targets,
            target_layers=[units_of(self.targets["mixer"]), units_of(self.targets["agent"], "agent", "fc1")],
            optimizer=self.optimizer,
        )
        return dataclasses.replace(subject, **changes)

    def everything(self) -> dict[str, Any]:
        nets = {"mixer": self.mixer, "agent": self.agent, **{f"target {k}": v for k, v in self.targets.items()}}
        found: dict[str, Any] = {name: bits(net) for name, net in nets.items()}
        return {**found, "optimizer": copy.deepcopy(self.optimizer.state_dict())}


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


@pytest.fixture
def world() -> World:
    torch.manual_seed(0)
    nets = []
    for _ in range(2):
        net = network(5, 24, 3)
        with torch.no_grad():
            net[0].weight[:10] *= 0.02
            net[0].bias[:10] *= 0.02
            net[0].weight[10:12] *= 20.0
        nets.append(net)
    mixer, agent = nets
    x = torch.randn(64, 5)
    optimizer = torch.optim.RMSprop([*mixer.parameters(), *agent.parameters()], lr=1e-5)
    targets = {"mixer": copy.deepcopy(mixer), "agent": copy.deepcopy(agent)}
    (mixer(x).square().sum() + agent(x).square().sum()).backward()
    optimizer.step()  # from here on targets differ a little
    return World(mixer, agent, targets, optimizer, x)


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_reborn_on_the_mixer_reports_what_it_did_and_leaves_the_agent(world: World) -> None:
    before = world.everything()
    report = perform(ReBorn(), world.subject(), generator=seeded(), clock={"env_steps": 7})
    after = world.everything()
    assert not equal(after["mixer"], before["mixer"])
    for untouched in ("agent", "target mixer", "target agent", "optimizer"):
        assert equal(after[untouched], before[untouched]), untouched
    (change,) = report.changes
    assert (change.layer, change.width, change.dormant, change.overactive) == ("mixer/V", 24, 10, 2)
    assert report.units == len(change.units) == 12
    assert report.clock == {"env_steps": 7}
    assert report.kind == "reborn"
    assert not report.dry_run
    assert set(report.dormant_before) == {"mixer"}
    assert report.dormant_before["mixer"] == pytest.approx(10 / 24)
    assert report.dormant_after["mixer"] < report.dormant_before["mixer"]
    assert report.overactive_before == {"mixer": pytest.approx(2 / 24)}
    said, says = report.layers_before["mixer/V"], report.layers_after["mixer/V"]
    assert set(said) == set(says) == {"dormant_fraction", "overactive_fraction", "overactive_sum"}
    assert (said["dormant_fraction"], said["overactive_fraction"]) == pytest.approx((10 / 24, 2 / 24))
    # One layer: the network's numbers are its own. Two of 24 units over 3 times the mean: at least 2 * 3 / 24 of the sum.
    assert (says["dormant_fraction"], says["overactive_fraction"]) == (
        report.dormant_after["mixer"],
        report.overactive_after["mixer"],
    )
    assert 0.25 <= said["overactive_sum"] < 1
    assert 0 <= says["overactive_sum"] != said["overactive_sum"]
    assert all(type(number) is float for number in (*said.values(), *says.values()))
    assert report.function_drift is not None
    assert 0 < report.function_drift < 0.05
    assert report.greedy_actions_changed == 0.0
    assert report.seconds > 0
    assert json.loads(json.dumps(report.to_dict()))["layers_before"] == report.layers_before


@pytest.mark.parametrize(
    ("make", "state"),
    [
        (partial(ReBorn, scope="all", optimizer="zero", targets="mirror"), {}),
        (partial(ReDo, targets="sync"), {}),
        (Prune, {"pruned": {"mixer/V": torch.arange(24) == 3}}),
        (partial(ContinualBackprop, maturity=0, replacement_rate=0.5), {}),
    ],
)
def test_a_dry_run_reports_what_would_happen_and_puts_everything_back(
    world: World, make: Any, state: dict[str, Any]
) -> None:
    before, memory, generator = world.everything(), copy.deepcopy(state), seeded()
    parameters = [id(p) for p in world.mixer.parameters()]
    looked = perform(make(dry_run=True), world.subject(), generator=generator, state=state)
    assert looked.dry_run
    assert looked.units > 0
    assert looked.function_drift
    assert equal(world.everything(), before)
    assert equal(state, memory)
    assert torch.equal(generator.get_state(), seeded().get_state())
    assert parameters == [id(p) for p in world.mixer.parameters()]
    done = perform(make(), world.subject(), generator=generator, state=state)
    assert not equal(world.everything(), before)
    assert dataclasses.replace(looked, dry_run=False, seconds=0.0) == dataclasses.replace(done, seconds=0.0)


def test_a_dry_run_that_fails_puts_everything_back(world: World) -> None:
    before, calls = world.everything(), []

    def fails() -> Outcome:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return world.evaluate()

    with pytest.raises(RuntimeError, match="out of memory"):
        perform(ReDo(dry_run=True), world.subject(evaluate=fails), generator=seeded())
    assert equal(world.everything(), before)


@pytest.mark.parametrize("targets", ["none", "mirror", "sync"])
def test_target_networks_follow_as_declared(world: World, targets: Any) -> None:
    before = world.everything()
    intervention = ReBorn(targets=targets)
    (change,) = perform(intervention, world.subject(), generator=seeded()).changes
    after = world.everything()
    assert equal(after["target agent"], before["target agent"])  # out of scope
    assert equal(after["target mixer"], before["target mixer"]) == (targets == "none")
    if targets == "sync":
        assert equal(after["target mixer"], after["mixer"])
    if targets == "mirror":
        # The same edit of the target's own weights: others stay, pairs keep the target's function.
        others = [u for u in range(24) if u not in change.units]
        for name, rows in (("0.weight", True), ("2.weight", False)):
            new, old = after["target mixer"][name], before["target mixer"][name]
            assert torch.equal(new[others] if rows else new[:, others], old[others] if rows else old[:, others])
        assert not equal(after["target mixer"], after["mixer"])
        donor = change.donors[0]
        ratio = after["mixer"]["0.weight"][donor] / before["mixer"]["0.weight"][donor]
        same = after["target mixer"]["0.weight"][donor] / before["target mixer"]["0.weight"][donor]
        assert torch.allclose(ratio, same, rtol=1e-4)


@pytest.mark.parametrize(("policy", "changed"), [("keep", False), ("zero", True), ("donor", True)])
def test_the_optimizer_follows_as_declared(world: World, policy: Any, changed: bool) -> None:
    before = world.everything()["optimizer"]
    perform(ReBorn(optimizer=policy), world.subject(), generator=seeded())
    assert equal(world.everything()["optimizer"], before) != changed
    perform(ReBorn(optimizer=policy), world.subject(optimizer=None), generator=seeded())


class Faulty(ReBorn):
    """Plans an edit that does not fit, behind one that does."""

    def plan(self, context: Context) -> Plan:
        context.state["touched"] = True
        plan = super().plan(context)
        return Plan((*plan.edits, ParameterEdit("mixer", "2.bias", 1.0, torch.zeros(99))), plan.changes)


def test_a_refusal_leaves_everything_as_it_was(world: World) -> None:
    before, state = world.everything(), {"kept": 1}
    with pytest.raises(SurgeryRefused, match="99"):
        perform(Faulty(), world.subject(), generator=seeded(), state=state)
    # A target that cannot follow is found before the online network is written to.
    other = {"mixer": network(5, 30, 3), "agent": world.targets["agent"]}
    narrow = world.subject(target_nets=other, target_layers=[units_of(network(5, 8, 3))])
    with pytest.raises(SurgeryRefused, match="mixer/V"):
        perform(ReBorn(targets="mirror"), narrow, generator=seeded(), state=state)
    with pytest.raises(SurgeryRefused, match="no online network"):
        perform(
            ReBorn(targets="sync", scope="all"),
            world.subject(target_nets={**world.targets, "old": network(1, 1, 1)}),
            generator=seeded(),
        )
    assert equal(world.everything(), before)
    assert state == {"kept": 1}


def test_scores_are_needed_by_those_who_choose_by_them(world: World) -> None:
    before = world.everything()
    with pytest.raises(SurgeryRefused, match="measure"):
        perform(ReBorn(), world.subject(measure=None), generator=seeded())
    assert equal(world.everything(), before)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Halve(Intervention):
    """Half of one bias, without any scores."""

    kind = "halve"
    needs_statistics = False

    def plan(self, context: Context) -> Plan:
        return Plan((ParameterEdit("mixer", "2.bias", 0.5, torch.zeros(3)),))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OtherAlpha(Halve):
    """Means something else by ``alpha`` and ``beta``."""

    alpha: float = 0.999
    beta: float = 1.001


def test_thresholds_of_the_report_are_declared_and_not_guessed_from_names(world: World) -> None:
    plain, other = (perform(one, world.subject(), generator=seeded()) for one in (Halve(), OtherAlpha()))
    assert plain.dormant_before == other.dormant_before == {"mixer": pytest.approx(10 / 24)}
    assert plain.overactive_before == other.overactive_before == {"mixer": pytest.approx(2 / 24)}
    assert (Halve().dormant_at, Halve().overactive_at) == (0.1, 3.0)
    assert (ReBorn(alpha=0.2, beta=5.0).dormant_at, ReBorn(alpha=0.2, beta=5.0).overactive_at) == (0.2, 5.0)
    assert (ReDo(alpha=0.2).dormant_at, Prune(alpha=0.2).dormant_at) == (0.2, 0.2)
    assert (ReverseReDo(beta=5.0).dormant_at, ReverseReDo(beta=5.0).overactive_at) == (0.1, 5.0)
    # No unit is above 30 times the mean of 24.
    report = perform(ReBorn(beta=30.0), world.subject(), generator=seeded())
    assert report.overactive_before == {"mixer": 0.0}


def test_a_change_of_whole_parameters_is_told_layer_by_layer_too(world: World) -> None:
    report = perform(ReSet(which="all"), world.subject(), generator=seeded())
    assert set(report.layers_before) == set(report.layers_after) == {"mixer/V", "agent/fc1"}
    for key, net in (("mixer/V", "mixer"), ("agent/fc1", "agent")):
        assert report.layers_before[key]["dormant_fraction"] == pytest.approx(10 / 24)
        assert report.layers_after[key]["dormant_fraction"] == report.dormant_after[net] < 10 / 24


def test_an_intervention_without_scores_needs_no_measurement(world: World) -> None:
    bias = world.mixer[2].bias.detach().clone()
    report = perform(Halve(), world.subject(measure=None, evaluate=None), generator=seeded())
    assert torch.equal(world.mixer[2].bias, 0.5 * bias)
    assert (report.dormant_before, report.dormant_after) == ({}, {})
    assert (report.overactive_before, report.overactive_after) == ({}, {})
    assert (report.layers_before, report.layers_after) == ({}, {})
    assert (report.function_drift, report.greedy_actions_changed) == (None, None)


def test_a_mixer_without_layers_is_nothing_to_do(world: World) -> None:
    before = world.everything()
    vdn = Subject(nets={"mixer": nn.Identity(), "agent": world.agent}, layers=world.layers[1:], measure=world.measure)
    report = perform(ReBorn(targets="sync"), vdn, generator=seeded())
    assert (report.units, report.changes, report.dormant_before) == (0, (), {})
    assert equal(world.everything(), before)


def test_targets_follow_an_edit_and_do_nothing_without_one(world: World) -> None:
    before = world.everything()
    report = perform(ReBorn(alpha=0.0, beta=1000.0, targets="sync"), world.subject(), generator=seeded())
    assert report.units == 0
    assert equal(world.everything(), before)


def test_the_memory_is_carried_from_one_application_to_the_next(world: World) -> None:
    state: dict[str, Any] = {}
    held = state
    perform(Prune(), world.subject(), generator=seeded(), state=state)
    assert state is held
    assert int(state["pruned"]["mixer/V"].sum()) == 10
    assert perform(Prune(), world.subject(), generator=seeded(), state=state).units == 0


def test_equal_generators_give_equal_networks(world: World) -> None:
    twin = copy.deepcopy(world)
    for one in (world, twin):
        perform(ReBorn(scope="all", optimizer="donor"), one.subject(), generator=seeded(5), state={})
    assert equal(world.everything(), twin.everything())


def test_drift() -> None:
    before = Outcome(torch.tensor([1.0, -3.0]), torch.tensor([[0, 1], [2, 3]]))
    after = Outcome(torch.tensor([1.5, -2.5]), torch.tensor([[0, 1], [2, 0]]))
    # Mean change 0.5 over mean size 2; one of four actions.
    assert drift_between(before, after) == (0.25, 0.25)
    assert drift_between(before, Outcome(after.values)) == (0.25, None)
    assert drift_between(None, after) == (None, None)
    assert drift_between(before, before) == (0.0, 0.0)


@pytest.mark.parametrize("rule", ["paper", "released"])
def test_qmix_with_dead_units_keeps_its_values(rule: Any) -> None:
    torch.manual_seed(2)
    mixer = QMixer(3, 10, embed_dim=32)
    q, state = torch.randn(200, 3), torch.randn(200, 10)
    with torch.no_grad():
        for net in (mixer.hyper_w_final, mixer.V):
            net[0].weight[:12], net[0].bias[:12] = 0.0, -1.0
            net[0].weight[12:14] *= 15.0

    def measure(layers: Sequence[UnitLayer]) -> dict[str, LayerStatistics]:
        heads = {"mixer/hyper_w_final": mixer.hyper_w_final, "mixer/V": mixer.V}
        return {layer.key: observed(heads[layer.key][:2](state).detach()) for layer in layers}

    def evaluate() -> Outcome:
        with torch.no_grad():
            return Outcome(mixer(q, state))

    before = bits(mixer)
    subject = Subject(nets={"mixer": mixer}, layers=mixer.unit_layers(), measure=measure, evaluate=evaluate)
    report = perform(ReBorn(rule=rule, alpha=0.01), subject, generator=seeded())
    assert report.units >= 24
    assert len(report.changes) == 2
    assert report.function_drift is not None
    assert report.function_drift < 1e-5
    assert not same_bits(mixer, before)
    for name in ("hyper_w_1.0.weight", "hyper_b_1.weight"):
        assert torch.equal(mixer.state_dict()[name], before[name])
    full = dataclasses.replace(subject, layers=mixer.unit_layers("full"))
    with pytest.raises(SurgeryRefused, match=r"mixer/mixing.*hypernetworks.*layers='operable'"):
        perform(
            ReBorn(rule=rule, layers="full"), dataclasses.replace(full, measure=lambda layers: {}), generator=seeded()
        )
