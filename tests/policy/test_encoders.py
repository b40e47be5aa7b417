"""Portable policies with an encoder: their files, and what is refused."""

import json

import numpy as np
import pytest
import torch

from rllib_reborn.nets.agents import AgentNet
from rllib_reborn.nets.encoded_agents import EncodedAgentTeam, encoded
from rllib_reborn.nets.encoders import make_encoder
from rllib_reborn.obs_parts import ObsLayout, ObsPart
from rllib_reborn.policy import Policy, PolicyError, PolicySpec

PARTS = (
    ObsPart(name="eye", kind="picture", shape=(4, 4, 2)),
    ObsPart(name="cue", kind="one_hot", shape=(3,)),
)
SETTINGS = {"width": 4, "channels": [3], "kernels": [2], "strides": [1], "channels_first": False}
OWN = "tests.fakes.own_encoders:Doubled"


def spec_of(**changes):
    given = {
        "n_agents": 2,
        "n_actions": 3,
        "obs_dim": 35,
        "hidden_dim": 6,
        "fc_layers": 1,
        "recurrent": True,
        "last_action": True,
        "agent_id": True,
        "net_of_agent": (0, 1),
        "agent_ids": ("a", "b"),
        "agent_groups": ("team", "team"),
        "obs_scale": 0.5,
        "encoder": "per_field",
        "encoder_settings": SETTINGS,
        "obs_parts": PARTS,
    }
    return PolicySpec(**(given | changes))


def weights_of(spec, net_of_agent=(0, 1)):
    torch.manual_seed(0)
    layout = ObsLayout(dim=35, scale=0.5, parts=PARTS)
    make = encoded(AgentNet, lambda: make_encoder(spec.encoder, spec.encoder_settings, layout), 35)
    team = EncodedAgentTeam(net_of_agent, 40, 3, hidden_dim=6, make_net=make)
    return {name: value.numpy() for name, value in team.state_dict().items()}


def test_it_is_saved_and_loaded(tmp_path):
    policy = Policy(spec_of(), weights_of(spec_of()))
    policy.save(tmp_path / "policy")
    again = Policy.load(tmp_path / "policy")
    assert again.spec == policy.spec
    assert again.spec.obs_parts == PARTS
    obs = np.random.default_rng(0).integers(0, 9, (5, 2, 35))
    mask = np.ones((5, 2, 3), bool)
    actions, state = policy.act(obs, mask)
    again_actions, _ = again.act(obs, mask)
    assert np.array_equal(actions, again_actions)
    assert np.array_equal(policy.values(obs, state), again.values(obs, state))


def test_the_least_numbers_are_those_that_there_are():
    numbers, arrays = spec_of().least_numbers
    weights = weights_of(spec_of())
    assert (numbers, arrays) == (sum(array.size for array in weights.values()), len(weights))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"encoder_settings": SETTINGS | {"width": 10**9}},
            "encoder_settings make no per_field encoder: width is 1000000000",
        ),
        ({"encoder_settings": SETTINGS | {"channels": [10**9]}}, "expected whole numbers in 1..1,024"),
        ({"encoder_settings": SETTINGS | {"channels": [1] * 10**4}}, "a list of 1 to 8"),
        ({"encoder_settings": SETTINGS | {"colour": 1}}, "make no per_field encoder.*colour"),
        ({"encoder_settings": {}}, "make no per_field encoder"),
        ({"encoder_settings": []}, "encoder_settings is .*expected a dict"),
        ({"encoder": "cnn"}, "make no cnn encoder: observations are eye"),
        ({"encoder": 3}, "encoder is 3; expected a text"),
        ({"obs_parts": ()}, "does not say of which parts"),
        ({"obs_parts": PARTS[:1]}, "are 32 numbers; expected obs_dim = 35"),
        ({"obs_parts": ({"name": "eye"},)}, "obs_parts: .*missing"),
        ({"obs_parts": 3}, "obs_parts is 3; expected a list"),
    ],
)
def test_settings_that_make_no_encoder_are_refused(changes, says):
    with pytest.raises(PolicyError, match=says):
        spec_of(**changes)


def test_weights_of_another_encoder_are_refused():
    wide = spec_of(encoder_settings=SETTINGS | {"width": 5})
    with pytest.raises(PolicyError, match=r"weight 'nets.0.encoder.0.weight' has shape \(6, 13\); expected \(6, 15\)"):
        Policy(wide, weights_of(spec_of()))


def test_an_own_encoder_runs_only_where_it_is_trusted(tmp_path, monkeypatch):
    own = spec_of(encoder=OWN, encoder_settings={"width": 3})
    policy = Policy(own, weights_of(own), trust_encoder=True)
    policy.save(tmp_path / "policy")
    before = torch.get_rng_state()
    again = Policy.load(tmp_path / "policy", trust_encoder=True)
    assert torch.equal(before, torch.get_rng_state())
    obs = np.random.default_rng(0).integers(0, 9, (2, 35))
    assert np.array_equal(again.values(obs), policy.values(obs))
    with pytest.raises(
        PolicyError, match=r"holds no usable policy: its encoder is 'tests.*Doubled'.*trust_encoder=True"
    ):
        Policy.load(tmp_path / "policy")
    absent = spec_of(encoder="not_there_at_all:C", encoder_settings={})
    Policy(own, weights_of(own), trust_encoder=True)
    with pytest.raises(PolicyError, match="there is no module 'not_there_at_all'"):
        Policy(absent, weights_of(own), trust_encoder=True)


def test_naming_a_module_imports_nothing(tmp_path, monkeypatch):
    (tmp_path / "imported_by_a_policy.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    named = spec_of(encoder="imported_by_a_policy:C", encoder_settings={})
    with pytest.raises(PolicyError, match="trust_encoder"):
        Policy(named, weights_of(spec_of()))


def test_files_of_before_have_no_encoder(tmp_path):
    policy = Policy(spec_of(), weights_of(spec_of()))
    policy.save(tmp_path / "policy")
    data = json.loads((tmp_path / "policy" / "policy.json").read_text())["policy"]
    for name in ("encoder", "encoder_settings", "obs_parts"):
        del data[name]
    assert PolicySpec.from_dict(data).encoder == ""
