"""Scopes: names, lists, "all", and networks that are parts of others."""

import re

import pytest
import torch
from torch import nn

from rllib_reborn import IQLConfig, QMIXConfig, ResQConfig, VDNConfig, WQMIXConfig
from rllib_reborn.plasticity.interventions import make_intervention, to_dict
from rllib_reborn.plasticity.neuron_layers import declare_neurons
from rllib_reborn.plasticity.scope import check_networks, layers_in_scope, networks_in_scope
from tests.algorithms.helpers import WALK, quick, refusal


def chain():
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))


@pytest.fixture
def networks():
    mixer = nn.ModuleDict({"own": chain(), "central": chain()})
    return {"agent": chain(), "mixer": mixer, "critic": nn.ModuleDict({"central": mixer["central"]})}


def test_a_part_comes_under_the_name_of_the_whole_and_never_twice(networks):
    agent, mixer, critic = networks.values()
    assert networks_in_scope("agent", networks) == {"agent": agent}
    assert networks_in_scope("mixer", networks) == {"mixer": mixer}
    assert networks_in_scope("critic", networks) == {"mixer": critic}
    assert networks_in_scope("all", networks) == {"agent": agent, "mixer": mixer}
    assert networks_in_scope(("critic", "agent"), networks) == {"agent": agent, "mixer": critic}
    assert networks_in_scope(("critic", "mixer"), networks) == {"mixer": mixer}


def test_layers_of_a_part_are_those_whose_neurons_it_holds(networks):
    mixer = networks["mixer"]
    layers = [declare_neurons("agent", "0", *networks["agent"])]
    layers += [declare_neurons("mixer", f"{name}.0", *mixer[name]) for name in ("own", "central")]

    def keys(scope):
        return [layer.key for layer in layers_in_scope(scope, layers, networks)]

    assert keys("mixer") == ["mixer/own.0", "mixer/central.0"]
    assert keys("critic") == ["mixer/central.0"]
    assert keys(("agent", "critic")) == ["agent/0", "mixer/central.0"]
    assert keys("all") == ["agent/0", "mixer/own.0", "mixer/central.0"]


@pytest.mark.parametrize("scope", ["", [], ["agent", "agent"], ["agent", "all"], 3, ["agent", 3], None])
def test_what_is_no_scope_is_refused(scope):
    with pytest.raises(ValueError, match="scope is"):
        make_intervention({"kind": "redo", "scope": scope})


def test_a_list_survives_as_data():
    made = make_intervention({"kind": "redo", "scope": ["agent", "critic"]})
    assert made.scope == ("agent", "critic")
    assert to_dict(made)["scope"] == ["agent", "critic"]
    assert make_intervention(to_dict(made)) == made


def test_networks_that_are_not_there_or_hold_nothing_are_refused(networks):
    check_networks("all", networks, "X")
    check_networks(("agent", "critic"), networks, "X")
    with pytest.raises(ValueError, match=r"scope='mixr', and X has no mixr.*scope='agent'.*mixer"):
        check_networks("mixr", networks, "X")
    with pytest.raises(ValueError, match=r"scope=\['agent', 'mixer'\], and VDN has no mixer.*say scope='agent'\."):
        check_networks(("agent", "mixer"), {"agent": chain(), "mixer": nn.Identity()}, "VDN")


@pytest.mark.parametrize(
    ("config", "scope", "says"),
    [
        (QMIXConfig, "critic", "QMIX has no critic with weights to treat; say scope='agent' or scope='mixer'"),
        (QMIXConfig, ["agent", "critic"], "QMIX has no critic"),
        (VDNConfig, ["agent", "mixer"], "VDN has no mixer with weights to treat; say scope='agent'"),
        (IQLConfig, "critic", "IQL has no critic"),
        (WQMIXConfig, "critics", "WQMIX has no critics.*critic"),
    ],
)
@pytest.mark.parametrize("kind", ["redo", "injection", "shrink_perturb"])
def test_an_algorithm_refuses_networks_that_it_does_not_have(config, scope, says, kind):
    assert re.search(
        rf"^interventions(\[0\])?: {kind} has scope=.*{says}",
        refusal(quick(config, WALK, interventions=[{"kind": kind, "scope": scope}])),
    )


@pytest.mark.parametrize("config", [WQMIXConfig, ResQConfig])
@pytest.mark.parametrize("kind", ["redo", "injection", "knife", "shrink_perturb"])
def test_a_critic_can_be_named(config, kind):
    assert refusal(quick(config, WALK, interventions=[{"kind": kind, "scope": "critic"}])) is None


def test_asking_moves_no_random_stream(networks):
    before = torch.get_rng_state()
    networks_in_scope("all", networks)
    assert torch.equal(before, torch.get_rng_state())
