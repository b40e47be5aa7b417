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
from rllib_reborn.plasticity.declared_layers import declared_layers
from rllib_reborn.plasticity.interventions.apply import ModelOutputs, ModelView, apply_intervention, drift_between
from rllib_reborn.plasticity.interventions.base import Context, Intervention, Plan
from rllib_reborn.plasticity.interventions.continual_backprop import ContinualBackprop
from rllib_reborn.plasticity.interventions.edits import ParameterEdit, SurgeryRefused
from rllib_reborn.plasticity.interventions.prune import Prune
from rllib_reborn.plasticity.interventions.reborn import ReBorn
from rllib_reborn.plasticity.interventions.redo import ReDo
from rllib_reborn.plasticity.interventions.reset import ReSet
from rllib_reborn.plasticity.interventions.reverse_redo import ReverseReDo
from rllib_reborn.plasticity.neuron_layers import NeuronLayer
from rllib_reborn.plasticity.statistics import LayerStatistics
from tests.plasticity.small_layers import bits, network, neurons_of, observed, same_bits


@dataclasses.dataclass
class World:
    """A mixer and an agent with dormant and over-active neurons, their targets and an optimizer that has stepped."""

    mixer: nn.Sequential
    agent: nn.Sequential
    target_networks: dict[str, nn.Sequential]
    optimizer: torch.optim.Optimizer
    x: Tensor

    @property
    def layers(self) -> list[NeuronLayer]:
        return [neurons_of(self.mixer), neurons_of(self.agent, "agent", "fc1")]

    def measure(self, layers: Sequence[NeuronLayer]) -> dict[str, LayerStatistics]:
        nets = {"mixer": self.mixer, "agent": self.agent}
        return {layer.key: observed(nets[layer.net][:2](self.x).detach()) for layer in layers}

    def evaluate(self) -> ModelOutputs:
        with torch.no_grad():
            return ModelOutputs(self.mixer(self.x), self.agent(self.x).argmax(dim=1))

    def model_view(self, **changes: Any) -> ModelView:
        model_view = ModelView(
            nets={"mixer": self.mixer, "agent": self.agent},
            layers=self.layers,
            measure=self.measure,
            evaluate=self.evaluate,
            target_nets=self.target_networks,
            target_layers=[
                neurons_of(self.target_networks["mixer"]),
                neurons_of(self.target_networks["agent"], "agent", "fc1"),
            ],
            optimizer=self.optimizer,
        )
        return dataclasses.replace(model_view, **changes)

    def everything(self) -> dict[str, Any]:
        nets = {"mixer": self.mixer, "agent": self.agent, **{f"target {k}": v for k, v in self.target_networks.items()}}
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
    report = apply_intervention(ReBorn(), world.model_view(), generator=seeded(), clock={"env_steps": 7})
    after = world.everything()
    assert not equal(after["mixer"], before["mixer"])
    for untouched in ("agent", "target mixer", "target agent", "optimizer"):
        assert equal(after[untouched], before[untouched]), untouched
    (change,) = report.changes
    assert (change.layer, change.width, change.dormant, change.overactive) == ("mixer/V", 24, 10, 2)
    assert report.neurons == len(change.neurons) == 12
    assert report.clock == {"env_steps": 7}
    assert report.kind == "reborn"
    assert not report.dry_run
    assert set(report.dormant_before) == {"mixer"}
    assert report.dormant_before["mixer"] == pytest.approx(10 / 24)
    assert report.dormant_after["mixer"] < report.dormant_before["mixer"]
    assert report.overactive_before == {"mixer": pytest.approx(2 / 24)}
    before, after = report.layers_before["mixer/V"], report.layers_after["mixer/V"]
    assert set(before) == set(after) == {"dormant_fraction", "overactive_fraction", "overactive_sum"}
    assert (before["dormant_fraction"], before["overactive_fraction"]) == pytest.approx((10 / 24, 2 / 24))
    # One layer: the network's numbers are its own. Two of 24 neurons over 3 times the mean: at least 2 * 3 / 24 of the sum.
    assert (after["dormant_fraction"], after["overactive_fraction"]) == (
        report.dormant_after["mixer"],
        report.overactive_after["mixer"],
    )
    assert 0.25 <= before["overactive_sum"] < 1
    assert 0 <= after["overactive_sum"] != before["overactive_sum"]
    assert all(type(number) is float for number in (*before.values(), *after.values()))
    assert report.function_drift is not None
    assert 0 < report.function_drift < 0.05
    assert report.greedy_actions_changed == 0.0
    assert report.seconds > 0
    assert json.loads(json.dumps(report.to_dict()))["layers_before"] == report.layers_before


@pytest.mark.parametrize(
    ("make", "state"),
    [
        (partial(ReBorn, scope="all", optimizer="zero", target_networks="mirror"), {}),
        (partial(ReDo, target_networks="sync"), {}),
        (Prune, {"pruned": {"mixer/V": torch.arange(24) == 3}}),
        (partial(ContinualBackprop, maturity=0, replacement_rate=0.5), {}),
    ],
)
def test_a_dry_run_reports_what_would_happen_and_puts_everything_back(
    world: World, make: Any, state: dict[str, Any]
) -> None:
    before, memory, generator = world.everything(), copy.deepcopy(state), seeded()
    parameters = [id(p) for p in world.mixer.parameters()]
    looked = apply_intervention(make(dry_run=True), world.model_view(), generator=generator, state=state)
    assert looked.dry_run
    assert looked.neurons > 0
    assert looked.function_drift
    assert equal(world.everything(), before)
    assert equal(state, memory)
    assert torch.equal(generator.get_state(), seeded().get_state())
    assert parameters == [id(p) for p in world.mixer.parameters()]
    done = apply_intervention(make(), world.model_view(), generator=generator, state=state)
    assert not equal(world.everything(), before)
    assert dataclasses.replace(looked, dry_run=False, seconds=0.0) == dataclasses.replace(done, seconds=0.0)


def test_a_dry_run_that_fails_puts_everything_back(world: World) -> None:
    before, calls = world.everything(), []

    def fails() -> ModelOutputs:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return world.evaluate()

    with pytest.raises(RuntimeError, match="out of memory"):
        apply_intervention(ReDo(dry_run=True), world.model_view(evaluate=fails), generator=seeded())
    assert equal(world.everything(), before)


@pytest.mark.parametrize("target_networks", ["none", "mirror", "sync"])
def test_target_networks_follow_as_declared(world: World, target_networks: Any) -> None:
    before = world.everything()
    intervention = ReBorn(target_networks=target_networks)
    (change,) = apply_intervention(intervention, world.model_view(), generator=seeded()).changes
    after = world.everything()
    assert equal(after["target agent"], before["target agent"])  # out of scope
    assert equal(after["target mixer"], before["target mixer"]) == (target_networks == "none")
    if target_networks == "sync":
        assert equal(after["target mixer"], after["mixer"])
    if target_networks == "mirror":
        # The same edit of the target's own weights: others stay, pairs keep the target's function.
        others = [u for u in range(24) if u not in change.neurons]
        for name, rows in (("0.weight", True), ("2.weight", False)):
            new, old = after["target mixer"][name], before["target mixer"][name]
            assert torch.equal(new[others] if rows else new[:, others], old[others] if rows else old[:, others])
        assert not equal(after["target mixer"], after["mixer"])
        donor = change.donors[0]
        ratio = after["mixer"]["0.weight"][donor] / before["mixer"]["0.weight"][donor]
        same = after["target mixer"]["0.weight"][donor] / before["target mixer"]["0.weight"][donor]
        assert torch.allclose(ratio, same, rtol=1e-4)


@pytest.mark.parametrize(
    ("policy", "changed"), [("keep", False), ("zero", True), ("donor", True), ("layer_mean", True)]
)
def test_the_optimizer_follows_as_declared(world: World, policy: Any, changed: bool) -> None:
    before = world.everything()["optimizer"]
    apply_intervention(ReBorn(optimizer=policy), world.model_view(), generator=seeded())
    assert equal(world.everything()["optimizer"], before) != changed
    apply_intervention(ReBorn(optimizer=policy), world.model_view(optimizer=None), generator=seeded())


class Faulty(ReBorn):
    """Plans an edit that does not fit, behind one that does."""

    def plan(self, context: Context) -> Plan:
        context.state["touched"] = True
        plan = super().plan(context)
        return Plan((*plan.edits, ParameterEdit("mixer", "2.bias", 1.0, torch.zeros(99))), plan.changes)


def test_a_refusal_leaves_everything_as_it_was(world: World) -> None:
    before, state = world.everything(), {"kept": 1}
    with pytest.raises(SurgeryRefused, match="99"):
        apply_intervention(Faulty(), world.model_view(), generator=seeded(), state=state)
    # A target that cannot follow is found before the online network is written to.
    other = {"mixer": network(5, 30, 3), "agent": world.target_networks["agent"]}
    narrow = world.model_view(target_nets=other, target_layers=[neurons_of(network(5, 8, 3))])
    with pytest.raises(SurgeryRefused, match="mixer/V"):
        apply_intervention(ReBorn(target_networks="mirror"), narrow, generator=seeded(), state=state)
    with pytest.raises(SurgeryRefused, match="no online network"):
        apply_intervention(
            ReBorn(target_networks="sync", scope="all"),
            world.model_view(target_nets={**world.target_networks, "old": network(1, 1, 1)}),
            generator=seeded(),
        )
    assert equal(world.everything(), before)
    assert state == {"kept": 1}


def test_scores_are_needed_by_those_who_choose_by_them(world: World) -> None:
    before = world.everything()
    with pytest.raises(SurgeryRefused, match="measure"):
        apply_intervention(ReBorn(), world.model_view(measure=None), generator=seeded())
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
    plain, other = (apply_intervention(one, world.model_view(), generator=seeded()) for one in (Halve(), OtherAlpha()))
    assert plain.dormant_before == other.dormant_before == {"mixer": pytest.approx(10 / 24)}
    assert plain.overactive_before == other.overactive_before == {"mixer": pytest.approx(2 / 24)}
    assert (Halve().dormant_at, Halve().overactive_at) == (0.1, 3.0)
    assert (ReBorn(alpha=0.2, beta=5.0).dormant_at, ReBorn(alpha=0.2, beta=5.0).overactive_at) == (0.2, 5.0)
    assert (ReDo(alpha=0.2).dormant_at, Prune(alpha=0.2).dormant_at) == (0.2, 0.2)
    assert (ReverseReDo(beta=5.0).dormant_at, ReverseReDo(beta=5.0).overactive_at) == (0.1, 5.0)
    # No neuron is above 30 times the mean of 24.
    report = apply_intervention(ReBorn(beta=30.0), world.model_view(), generator=seeded())
    assert report.overactive_before == {"mixer": 0.0}


def test_a_change_of_whole_parameters_is_told_layer_by_layer_too(world: World) -> None:
    report = apply_intervention(ReSet(which="all"), world.model_view(), generator=seeded())
    assert set(report.layers_before) == set(report.layers_after) == {"mixer/V", "agent/fc1"}
    for key, net in (("mixer/V", "mixer"), ("agent/fc1", "agent")):
        assert report.layers_before[key]["dormant_fraction"] == pytest.approx(10 / 24)
        assert report.layers_after[key]["dormant_fraction"] == report.dormant_after[net] < 10 / 24


def test_an_intervention_without_scores_needs_no_measurement(world: World) -> None:
    bias = world.mixer[2].bias.detach().clone()
    report = apply_intervention(Halve(), world.model_view(measure=None, evaluate=None), generator=seeded())
    assert torch.equal(world.mixer[2].bias, 0.5 * bias)
    assert (report.dormant_before, report.dormant_after) == ({}, {})
    assert (report.overactive_before, report.overactive_after) == ({}, {})
    assert (report.layers_before, report.layers_after) == ({}, {})
    assert (report.function_drift, report.greedy_actions_changed) == (None, None)


def test_a_mixer_without_layers_is_nothing_to_do(world: World) -> None:
    before = world.everything()
    vdn = ModelView(nets={"mixer": nn.Identity(), "agent": world.agent}, layers=world.layers[1:], measure=world.measure)
    report = apply_intervention(ReBorn(target_networks="sync"), vdn, generator=seeded())
    assert (report.neurons, report.changes, report.dormant_before) == (0, (), {})
    assert equal(world.everything(), before)


def test_targets_follow_an_edit_and_do_nothing_without_one(world: World) -> None:
    before = world.everything()
    report = apply_intervention(
        ReBorn(alpha=0.0, beta=1000.0, target_networks="sync"), world.model_view(), generator=seeded()
    )
    assert report.neurons == 0
    assert equal(world.everything(), before)


def test_the_memory_is_carried_from_one_application_to_the_next(world: World) -> None:
    state: dict[str, Any] = {}
    holdout_batch = state
    apply_intervention(Prune(), world.model_view(), generator=seeded(), state=state)
    assert state is holdout_batch
    assert int(state["pruned"]["mixer/V"].sum()) == 10
    assert apply_intervention(Prune(), world.model_view(), generator=seeded(), state=state).neurons == 0


def test_equal_generators_give_equal_networks(world: World) -> None:
    twin = copy.deepcopy(world)
    for one in (world, twin):
        apply_intervention(ReBorn(scope="all", optimizer="donor"), one.model_view(), generator=seeded(5), state={})
    assert equal(world.everything(), twin.everything())


def test_drift() -> None:
    before = ModelOutputs(torch.tensor([1.0, -3.0]), torch.tensor([[0, 1], [2, 3]]))
    after = ModelOutputs(torch.tensor([1.5, -2.5]), torch.tensor([[0, 1], [2, 0]]))
    # Mean change 0.5 over mean size 2; one of four actions.
    assert drift_between(before, after) == (0.25, 0.25)
    assert drift_between(before, ModelOutputs(after.values)) == (0.25, None)
    assert drift_between(None, after) == (None, None)
    assert drift_between(before, before) == (0.0, 0.0)


@pytest.mark.parametrize("rule", ["paper", "official_code"])
def test_qmix_with_dead_neurons_keeps_its_values(rule: Any) -> None:
    torch.manual_seed(2)
    mixer = QMixer(3, 10, embed_dim=32)
    q, state = torch.randn(200, 3), torch.randn(200, 10)
    with torch.no_grad():
        for net in (mixer.hyper_w_final, mixer.V):
            net[0].weight[:12], net[0].bias[:12] = 0.0, -1.0
            net[0].weight[12:14] *= 15.0

    def measure(layers: Sequence[NeuronLayer]) -> dict[str, LayerStatistics]:
        heads = {"mixer/hyper_w_final": mixer.hyper_w_final, "mixer/V": mixer.V}
        return {layer.key: observed(heads[layer.key][:2](state).detach()) for layer in layers}

    def evaluate() -> ModelOutputs:
        with torch.no_grad():
            return ModelOutputs(mixer(q, state))

    before = bits(mixer)
    model_view = ModelView(
        nets={"mixer": mixer}, layers=declared_layers("mixer", mixer), measure=measure, evaluate=evaluate
    )
    report = apply_intervention(ReBorn(rule=rule, alpha=0.01), model_view, generator=seeded())
    assert report.neurons >= 24
    assert len(report.changes) == 2
    assert report.function_drift is not None
    assert report.function_drift < 1e-5
    assert not same_bits(mixer, before)
    for name in ("hyper_w_1.0.weight", "hyper_b_1.weight"):
        assert torch.equal(mixer.state_dict()[name], before[name])
    full = dataclasses.replace(model_view, layers=declared_layers("mixer", mixer, "full"))
    with pytest.raises(SurgeryRefused, match=r"mixer/mixing.*hypernetworks.*layers='editable'"):
        apply_intervention(
            ReBorn(rule=rule, layers="full"), dataclasses.replace(full, measure=lambda layers: {}), generator=seeded()
        )
