"""ReSet and SR write new values into the layers they name, and into nothing else."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rllib_reborn.nets.agents import AgentTeam
from rllib_reborn.nets.mixers import QMixer, VDNMixer
from rllib_reborn.plasticity.interventions import SR, Context, Plan, ReSet, SurgeryRefused
from rllib_reborn.plasticity.interventions.apply import ModelView, apply_intervention
from rllib_reborn.plasticity.interventions.base import Intervention
from rllib_reborn.plasticity.interventions.whole_layers import chains, fresh_layer


def nets(**agent: Any) -> dict[str, nn.Module]:
    torch.manual_seed(3)
    return {
        "agent": AgentTeam((0, 0, 1), 5, 4, hidden_dim=6, **agent),
        "mixer": QMixer(3, 7, embed_dim=4, hypernet_dim=6),
    }


def context_of(networks: Mapping[str, nn.Module], seed: int = 0, **changes: Any) -> Context:
    """What a plan sees that looks at networks alone."""
    values: dict[str, Any] = {
        "layers": {}, "statistics": {}, "nets": networks, "initial": {}, "update_activity": {}, "state": {}, "clock": {},
    }  # fmt: skip
    return Context(**(values | changes), generator=torch.Generator().manual_seed(seed))


def planned(plan: Plan) -> set[str]:
    return {f"{edit.net}/{edit.name}" for edit in plan.edits}  # type: ignore[union-attr]


def values_of(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {
        f"{net}/{name}": p.detach().clone() for net, module in networks.items() for name, p in module.named_parameters()
    }


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def do(intervention: Intervention, networks: Mapping[str, nn.Module], seed: int = 0, **model_view: Any) -> Any:
    return apply_intervention(
        intervention, ModelView(nets=networks, layers=[], **model_view), generator=torch.Generator().manual_seed(seed)
    )


LAST_OF_MIXER = {
    f"mixer/{n}.{p}" for n in ("hyper_w_1.2", "hyper_w_final.2", "hyper_b_1", "V.2") for p in ("weight", "bias")
}
LAST_OF_AGENTS = {f"agent/nets.{k}.head.{p}" for k in (0, 1) for p in ("weight", "bias")}
GRU_OF_AGENTS = {
    f"agent/nets.{k}.memory.{kind}_{side}_l0" for k in (0, 1) for kind in ("weight", "bias") for side in ("ih", "hh")
}


def test_the_last_layers_are_the_heads_the_hypernetworks_outputs_and_that_of_v():
    for scope, expected in (
        ("all", LAST_OF_MIXER | LAST_OF_AGENTS), ("mixer", LAST_OF_MIXER), ("agent", LAST_OF_AGENTS),
    ):  # fmt: skip
        networks = nets()
        before = values_of(networks)
        identities = [id(p) for net in networks.values() for p in net.parameters()]
        report = do(ReSet(scope=scope), networks)
        assert changed(before, values_of(networks)) == expected
        assert [id(p) for net in networks.values() for p in net.parameters()] == identities
        assert {f"{c.layer}.{p}" for c in report.changes for p in ("weight", "bias")} == expected
    # Rows of the agents' heads: 2 networks with 4 actions each.
    assert report.neurons == 8


def test_the_two_last_layers_of_each_chain():
    networks = nets()
    before = values_of(networks)
    do(ReSet(which="last_k", k=2), networks)
    hidden = {f"mixer/{n}.0.{p}" for n in ("hyper_w_1", "hyper_w_final", "V") for p in ("weight", "bias")}
    assert changed(before, values_of(networks)) == LAST_OF_MIXER | LAST_OF_AGENTS | hidden | GRU_OF_AGENTS


@pytest.mark.parametrize("recurrent", [True, False])
def test_everything(recurrent):
    networks = nets(recurrent=recurrent, fc_layers=2)
    before = values_of(networks)
    do(ReSet(which="all", initializer="kaiming"), networks)
    assert changed(before, values_of(networks)) == set(before)
    networks = nets(recurrent=recurrent, fc_layers=2)
    do(ReSet(which="last_k", k=9), networks)
    assert changed(before, values_of(networks)) == set(before)


def test_named_parameters_and_nothing_else():
    networks = nets()
    before = values_of(networks)
    do(ReSet(parameters=("V.2", "mixer/hyper_b_1.bias", "nets.1.head.weight")), networks)
    assert changed(before, values_of(networks)) == {
        "mixer/V.2.weight", "mixer/V.2.bias", "mixer/hyper_b_1.bias", "agent/nets.1.head.weight",
    }  # fmt: skip
    with pytest.raises(SurgeryRefused, match=r"'V\.2\.wieght', which is not there\. Did you mean 'V\.2\.weight'"):
        ReSet(parameters=("V.2.wieght",)).plan(context_of(networks))


def test_xavier_and_kaiming_ranges():
    layer, generator = nn.Linear(100, 50), torch.Generator().manual_seed(0)
    fresh = fresh_layer(layer, "fc", "xavier", generator)
    # sqrt(6 / (100 + 50)) = 0.2; 5000 uniform draws come within 1 % of the end.
    assert 0.198 < float(fresh["weight"].abs().max()) <= 0.2
    assert not fresh["bias"].any()
    fresh = fresh_layer(layer, "fc", "kaiming", generator)
    assert 0.099 < float(fresh["weight"].abs().max()) <= 0.1  # 1 / sqrt(100)
    assert 0.08 < float(fresh["bias"].abs().max()) <= 0.1

    gru = fresh_layer(nn.GRU(20, 10), "gru", "xavier", generator)
    # Per gate: sqrt(6 / (20 + 10)) and sqrt(6 / (10 + 10)).
    assert 0.43 < float(gru["weight_ih_l0"].abs().max()) <= math.sqrt(0.2)
    assert 0.52 < float(gru["weight_hh_l0"].abs().max()) <= math.sqrt(0.3)
    assert not gru["bias_ih_l0"].any()
    gru = fresh_layer(nn.GRU(20, 10), "gru", "kaiming", generator)
    assert all(float(value.abs().max()) <= 1 / math.sqrt(10) for value in gru.values())
    norm = fresh_layer(nn.LayerNorm(3), "norm", "xavier", generator)
    assert norm["weight"].tolist() == [1, 1, 1]
    assert norm["bias"].tolist() == [0, 0, 0]
    # Convolution: fan_in = 4 * 9, fan_out = 8 * 9; sqrt(6 / 108) = 0.2357.
    conv = fresh_layer(nn.Conv2d(4, 8, 3), "conv", "xavier", generator)
    assert 0.22 < float(conv["weight"].abs().max()) <= math.sqrt(6 / 108)


def test_the_generator_alone_decides():
    torch.manual_seed(0)
    first = ReSet().plan(context_of(nets(), seed=1))
    torch.manual_seed(99)
    again, other = ReSet().plan(context_of(nets(), seed=1)), ReSet().plan(context_of(nets(), seed=2))
    assert all(torch.equal(a.add, b.add) for a, b in zip(first.edits, again.edits, strict=True))  # type: ignore[union-attr]
    weights = [e for e in range(len(first.edits)) if first.edits[e].name.endswith("weight")]  # type: ignore[union-attr]
    assert not any(torch.equal(first.edits[e].add, other.edits[e].add) for e in weights)  # type: ignore[union-attr]


def test_chains_of_networks_that_we_did_not_write():
    plain = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1))
    assert chains(plain) == [["0", "2", "4"]]
    nested = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), nn.Flatten(), nn.Sequential(nn.Linear(2, 3)))
    assert chains(nested) == [["0.0", "2.0"]]
    assert chains(nn.Sequential(nn.Linear(2, 2), nn.ReLU())) == []
    assert chains(nn.Sequential()) == []

    class Ambiguous(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(2, 3), nn.Linear(3, 1)

    with pytest.raises(SurgeryRefused, match=r"fc1, fc2.*name the ones that are meant in 'parameters'"):
        ReSet().plan(context_of({"mixer": Ambiguous()}))
    with pytest.raises(SurgeryRefused, match="without a last Linear"):
        ReSet().plan(context_of({"mixer": nn.Sequential(nn.Linear(2, 2), nn.ReLU())}))
    with pytest.raises(SurgeryRefused, match=r"no rule for new values of 0\.weight"):
        ReSet(which="all").plan(context_of({"mixer": nn.Sequential(nn.Embedding(2, 2), nn.Linear(2, 2))}))


def test_a_mixer_without_parameters_has_nothing_to_reset():
    for which in ("last", "last_k", "all"):
        assert ReSet(which=which).plan(context_of({"mixer": VDNMixer()})) == Plan()


def test_dry_run_writes_nothing_and_reports_the_same():
    networks = nets()
    before = values_of(networks)
    dry = do(ReSet(dry_run=True), networks)
    assert changed(before, values_of(networks)) == set()
    assert dry.changes == do(ReSet(), networks).changes


def test_targets_follow_by_policy():
    for policy, expected in (("none", set()), ("mirror", LAST_OF_MIXER), ("sync", set(values_of(nets())))):
        networks = nets()
        targets = copy.deepcopy(networks)
        with torch.no_grad():
            for target in targets.values():
                for p in target.parameters():
                    p.add_(1)
        before = values_of(targets)
        scope = "mixer" if policy == "mirror" else "all"
        do(ReSet(target_networks=policy, scope=scope), networks, target_nets=targets)
        assert changed(before, values_of(targets)) == expected
        after = values_of(targets)
        assert all(torch.equal(after[name], values_of(networks)[name]) for name in expected)


def test_sr_starts_everything_anew_with_optimizer_and_targets():
    sr = SR(every=100)
    assert (sr.unit, sr.updates_per_episode, sr.scope, sr.needs_statistics) == ("updates", 4.0, "all", False)
    networks = nets()
    targets = copy.deepcopy(networks)
    parameters = [p for net in networks.values() for p in net.parameters()]
    optimizer = torch.optim.Adam(parameters)
    sum(p.square().sum() for p in parameters).backward()  # type: ignore[union-attr]
    optimizer.step()
    before = values_of(networks)
    do(sr, networks, target_nets=targets, optimizer=optimizer)
    assert changed(before, values_of(networks)) == set(before)
    assert changed(values_of(targets), values_of(networks)) == set()
    assert not any(optimizer.state[p]["exp_avg"].any() or optimizer.state[p]["exp_avg_sq"].any() for p in parameters)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"which": "first"}, "which is 'first'; expected one of last, last_k, all"),
        ({"k": 0}, "k is 0"),
        ({"initializer": "ones"}, "initializer is 'ones'"),
        ({"parameters": "V"}, "parameters is 'V'; expected names"),
        ({"parameters": (1,)}, "parameters is"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        ReSet(**settings)
    with pytest.raises(ValueError, match="updates_per_episode is 0"):
        SR(updates_per_episode=0)
