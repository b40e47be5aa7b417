"""A policy computes what the algorithm's module computes, to the bit, whatever the networks went through."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rllib_reborn.nets.expandable_linear import InjectedLinear, SlottedLinear
from rllib_reborn.plasticity.declared_layers import declared_layers
from rllib_reborn.plasticity.interventions import make_intervention
from rllib_reborn.plasticity.interventions.apply import ModelView, apply_intervention
from rllib_reborn.plasticity.statistics import measure
from rllib_reborn.policy import Policy, PolicyError
from rllib_reborn.studies.portable import plain_weights, policy_from_module
from tests.policy.teams import build, exported, played_alike, shake


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"fc_layers": 2},
        {"recurrent": False},
        {"parameter_sharing": "none"},
        {"parameter_sharing": "none", "recurrent": False, "fc_layers": 3},
        {"last_action": False},
        {"agent_id": False},
        {"last_action": False, "agent_id": False, "recurrent": False},
    ],
    ids=str,
)
def test_whole_episodes_of_predator_prey(model: dict[str, Any]) -> None:
    module = build(**model)
    assert played_alike(module, policy_from_module(module)) > 10


def test_one_network_per_group() -> None:
    n = build().spec.n_agents
    groups = tuple("ab"[agent % 2] for agent in range(n))
    module = build(parameter_sharing="group", groups=groups)
    policy = policy_from_module(module)
    assert policy.spec.net_of_agent == tuple(agent % 2 for agent in range(n))
    assert policy.spec.agent_groups == groups
    assert played_alike(module, policy) > 10


def test_a_policy_is_a_copy() -> None:
    module = build()
    policy = policy_from_module(module)
    before = policy.weights()
    shake(module.agents)
    assert all((before[name] == value).all() for name, value in policy.weights().items())
    with pytest.raises(AssertionError):
        played_alike(module, policy)


def test_what_it_says_of_itself() -> None:
    module = build()
    spec = policy_from_module(module).spec
    assert (spec.algorithm, spec.env) == ("QMIX", "predator_prey/small")
    assert (spec.n_agents, spec.n_actions, spec.obs_dim) == (
        module.spec.n_agents,
        module.spec.n_actions,
        module.spec.obs_dim,
    )
    assert spec.agent_ids == module.spec.agent_ids
    assert policy_from_module(module, algorithm="mine").spec.algorithm == "mine"


class TestAfterInterventions:
    def test_plasticity_injection(self) -> None:
        data = {"kind": "injection", "scope": "agent"}
        module = build(interventions=[data])

        def inject() -> None:
            report = apply_intervention(
                make_intervention(data),
                ModelView(nets={"agent": module.agents}, layers=[]),
                generator=torch.Generator().manual_seed(0),
            )
            assert report.neurons > 0

        assert any(isinstance(layer, InjectedLinear) for layer in module.agents.modules())
        assert played_alike(module, policy_from_module(module)) > 10  # prepared, not yet injected
        inject()
        shake(module.agents)  # the fresh part learns: it is not equal to its frozen copy any more
        policy = policy_from_module(module)
        assert not any("fresh" in name for name in policy.weights())
        assert played_alike(module, policy) > 10
        inject()  # a second time on top
        assert played_alike(module, policy_from_module(module)) > 10

    @pytest.mark.parametrize(
        "model",
        [{"recurrent": False}, {"recurrent": False, "fc_layers": 3, "parameter_sharing": "none"}, {"fc_layers": 2}],
        ids=str,
    )
    def test_knife(self, model: dict[str, Any]) -> None:
        data = {
            "kind": "knife",
            "scope": "agent",
            "layers": "editable" if model.get("fc_layers") != 2 else "official_code",
        }
        module = build(interventions=[data | {"slots": 3}], **model)
        slotted = [layer for layer in module.agents.modules() if isinstance(layer, SlottedLinear)]
        assert slotted
        layers = [layer for layer in declared_layers("agent", module.agents, data["layers"]) if layer.width > 16]
        activity = {layer.key: (torch.arange(layer.width) >= 3).float() for layer in layers}
        found = apply_intervention(
            make_intervention(data | {"slots": 3}),
            ModelView(nets={"agent": module.agents}, layers=layers),
            generator=torch.Generator().manual_seed(0),
            update_activity=activity,
        )
        assert found.neurons > 0
        shake(module.agents)
        policy = policy_from_module(module)
        assert any(16 < len(value) < 48 for name, value in policy.weights().items() if name.endswith("bias"))
        assert played_alike(module, policy) > 10

    @pytest.mark.parametrize("kind", ["continual_backprop", "redo", "prune"])
    def test_units_replaced(self, kind: str) -> None:
        data: dict[str, Any] = {"kind": kind, "scope": "agent"}
        if kind == "continual_backprop":
            data |= {"replacement_rate": 0.5, "maturity": 0, "eta": 0.5}
        else:
            data |= {"alpha": 0.7}
        module = build(recurrent=False)
        before = policy_from_module(module)
        x = torch.randn(50, module.spec.n_agents, module.inputs.width, generator=torch.Generator().manual_seed(4))

        def forward() -> None:
            module.agents.step(x, module.initial_hidden(len(x)))

        state: dict[str, Any] = {}
        for _ in range(2 if kind == "continual_backprop" else 1):
            report = apply_intervention(
                make_intervention(data),
                ModelView(
                    nets={"agent": module.agents},
                    layers=declared_layers("agent", module.agents, "editable"),
                    measure=lambda layers: measure(layers, forward),
                ),
                generator=torch.Generator().manual_seed(0),
                state=state,
            )
        assert report.neurons > 0
        assert played_alike(module, policy_from_module(module)) > 10
        with pytest.raises(AssertionError):
            played_alike(module, before)

    def test_a_layer_that_is_not_known_is_refused(self) -> None:
        module = build(recurrent=False)
        module.agents.nets[0].memory[1] = torch.nn.Tanh()
        with pytest.raises(PolicyError, match=r"nets\.0\.memory\.1 is a Tanh, which a portable policy cannot compute"):
            policy_from_module(module)
        module = build()
        module.agents.nets[0].head = torch.nn.utils.parametrizations.weight_norm(module.agents.nets[0].head)
        with pytest.raises(PolicyError, match="a portable policy cannot compute"):
            plain_weights(module.agents)

    def test_a_diverged_team_is_refused(self) -> None:
        module = build()
        with torch.no_grad():
            module.agents.nets[0].head.bias[0] = torch.nan
        with pytest.raises(PolicyError, match=r"weight 'nets\.0\.head\.bias' is not finite"):
            policy_from_module(module)


def test_loading_draws_nothing_from_torchs_random_stream() -> None:
    policy = exported()
    stream = torch.get_rng_state()
    Policy(policy.spec, policy.weights())
    assert torch.equal(torch.get_rng_state(), stream)
