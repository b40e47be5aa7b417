"""Policies of every algorithm act as the algorithm does, to the bit, and policies of earlier versions can be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rllib_reborn.algorithms import ALGORITHMS
from rllib_reborn.nets.agents import AgentNet
from rllib_reborn.nets.cvar import cached_weights
from rllib_reborn.nets.quantile_agent import midpoint_cosines
from rllib_reborn.plasticity.declared_layers import declared_layers
from rllib_reborn.plasticity.interventions import make_intervention
from rllib_reborn.plasticity.interventions.apply import ModelView, apply_intervention
from rllib_reborn.policy import Policy, PolicyError, PolicySpec, files
from rllib_reborn.studies.portable import policy_from_module
from tests.policy.teams import build, exported, played_alike, shake

CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in ALGORITHMS),
    ("DMIX", {"recurrent": False, "fc_layers": 2}),
    ("DMIX", {"parameter_sharing": "none", "algorithm_settings": {"acting_quantiles": 5, "cosines": 7}}),
    ("RMIX", {"recurrent": False, "algorithm_settings": {"risk": 0.3, "atoms": 7}}),
    ("RMIX", {"parameter_sharing": "none", "algorithm_settings": {"atoms": 9, "levels": 4}}),
]


@pytest.mark.parametrize(("algorithm", "settings"), CASES, ids=str)
def test_saved_and_loaded_it_acts_as_the_algorithm(algorithm: str, settings: dict[str, Any], tmp_path: Path) -> None:
    module = build(algorithm=algorithm, **settings)
    policy = policy_from_module(module)
    assert policy.spec.algorithm == algorithm
    policy.save(tmp_path / "policy")
    cached_weights.cache_clear()  # nothing that a fresh process would not have
    midpoint_cosines.cache_clear()
    again = Policy.load(tmp_path / "policy")
    assert again.spec == policy.spec
    assert played_alike(module, again, games=3, episodes=2) > 10


@pytest.mark.parametrize(("algorithm", "kind"), [("QMIX", "value"), ("DMIX", "quantile"), ("RMIX", "risk")])
def test_the_kind_of_agents_is_noted(algorithm: str, kind: str) -> None:
    module = build(algorithm=algorithm)
    spec = policy_from_module(module).spec
    assert (spec.agent, spec.agent_settings) == (kind, module.agents.nets[0].settings)


def test_settings_decide_on_actions() -> None:
    """What a policy would do if its file did not say how many fractions acting takes the mean over."""
    module = build(algorithm="DMIX", algorithm_settings={"acting_quantiles": 3})
    policy = policy_from_module(module)
    other = Policy(PolicySpec.from_dict(policy.spec.to_dict() | {"agent_settings": {}}), policy.weights())
    with pytest.raises(AssertionError):
        played_alike(module, other, games=3, episodes=2)


@pytest.mark.parametrize(
    ("kind", "algorithm", "algorithm_settings"),
    [("injection", "DMIX", {}), ("knife", "DMIX", {}), ("knife", "RMIX", {"risk": 0.3, "atoms": 7})],
)
def test_after_interventions(kind: str, algorithm: str, algorithm_settings: dict[str, Any]) -> None:
    data = {"kind": kind, "scope": "agent"} | ({"layers": "editable", "slots": 3} if kind == "knife" else {})
    module = build(
        algorithm=algorithm, algorithm_settings=algorithm_settings, recurrent=False, fc_layers=2, interventions=[data]
    )
    layers = [layer for layer in declared_layers("agent", module.agents, "editable") if layer.active is not None]
    report = apply_intervention(
        make_intervention(data),
        ModelView(nets={"agent": module.agents}, layers=layers),
        generator=torch.Generator().manual_seed(0),
        update_activity={layer.key: (torch.arange(layer.width) >= 3).float() for layer in layers},
    )
    assert report.neurons > 0
    shake(module.agents)
    assert played_alike(module, policy_from_module(module), games=3, episodes=2) > 10


def test_a_file_of_an_earlier_version_is_of_value_agents(tmp_path: Path) -> None:
    exported().save(tmp_path / "policy")
    path = tmp_path / "policy" / files.SETTINGS_NAME
    content = json.loads(path.read_text())
    del content["digest"], content["policy"]["agent"], content["policy"]["agent_settings"]
    path.write_text(json.dumps(content | {"digest": files._digest(content)}))
    policy = Policy.load(tmp_path / "policy")
    assert (policy.spec.agent, policy.spec.agent_settings) == ("value", {})
    assert played_alike(build(), policy, games=3, episodes=2) > 10


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"agent": "best"}, "agent is 'best'; expected one of value"),
        ({"agent": 3}, "agent is 3; expected a text"),
        ({"agent_settings": []}, "agent_settings is .*; expected a dict"),
        (
            {"agent_settings": {"hidden_dim": 4}},
            "agent_settings has 'hidden_dim'; a quantile agent has acting_quantiles",
        ),
        ({"agent_settings": {"cosines": "many"}}, "make no quantile agent: cosines is 'many'"),
        ({"agent_settings": {"cosines": 5}}, r"weight 'nets\.0\.phi\.0\.weight' has shape"),
        ({"agent": "value", "agent_settings": {}}, r"weight 'nets\.0\.phi\.0\.bias' is unknown"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], message: str) -> None:
    policy = policy_from_module(build(algorithm="DMIX"))
    with pytest.raises(PolicyError, match=message):
        Policy(PolicySpec.from_dict(policy.spec.to_dict() | changed), policy.weights())


def test_a_network_of_ones_own_is_refused() -> None:
    module = build()
    module.agents.nets[0].__class__ = type("OwnNet", (AgentNet,), {})
    with pytest.raises(PolicyError, match="agents' network is a OwnNet, which a portable policy cannot compute"):
        policy_from_module(module)
