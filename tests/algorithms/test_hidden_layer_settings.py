"""``training(model=..., mixer=...)``: normalisation and activation in every algorithm, its targets, critics and policies."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rllib_reborn.algorithms import ALGORITHMS
from rllib_reborn.nets.agents import AgentTeam
from rllib_reborn.nets.hidden_activation import CReLU
from rllib_reborn.policy import Policy
from rllib_reborn.studies.portable import policy_from_module
from tests.algorithms.helpers import quick
from tests.algorithms.test_learner import loss_and_gradients, make_sample, module_of
from tests.algorithms.test_mixer_state import BOARD, READING, learner_of
from tests.padded import padded_episodes

BOTH = {"normalisation": "layer", "activation": "crelu"}


def config_of(algorithm: str, model: dict[str, Any] | None = None, mixer: dict[str, Any] | None = None) -> Any:
    config = quick(ALGORITHMS[algorithm], "predator_prey/stag_hunt", model=model or {}, mixer=mixer or {})
    return config.environment(env_config=BOARD)


def kinds(network: nn.Module) -> tuple[int, int]:
    """How many layer normalisations, and how many CReLUs."""
    modules = list(network.modules())
    return tuple(sum(isinstance(module, kind) for module in modules) for kind in (nn.LayerNorm, CReLU))  # type: ignore[return-value]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_learns_with_both(algorithm: str) -> None:
    learner = learner_of(config_of(algorithm, BOTH, BOTH if algorithm in READING else None))
    module = module_of(learner)
    loss, gradients = loss_and_gradients(learner, padded_episodes(make_sample(learner.config)))
    assert bool(torch.isfinite(loss))
    own = [name for name, part in module.named_modules() if isinstance(part, nn.LayerNorm) and "target" not in name]
    assert all(f"{name}.weight" in gradients for name in own)
    assert any(bool(gradients[f"{name}.bias"].any()) for name in own if name.startswith("agents."))
    assert kinds(module.agents) == kinds(module.target_agents)
    assert kinds(module.agents)[0] == kinds(module.agents)[1] > 0
    assert kinds(module.mixer) == kinds(module.target_mixer)
    assert (kinds(module.mixer) != (0, 0)) is (algorithm in READING)


@pytest.mark.parametrize("algorithm", ["WQMIX", "ResQ"])
def test_agents_of_a_critic_follow_the_agents_and_its_mixer_the_mixer(algorithm: str) -> None:
    def parts(**settings: Any) -> tuple[list[int], int]:
        module = module_of(learner_of(config_of(algorithm, **settings)))
        teams = [part for part in module.mixer.modules() if isinstance(part, AgentTeam)]
        return [kinds(team)[0] for team in teams], kinds(module.mixer)[0]

    critics = {"WQMIX": 1, "ResQ": 2}[algorithm]
    of_agents, everything = parts(model={"normalisation": "layer"})
    assert of_agents == [1] * critics
    assert everything == critics
    of_agents, everything = parts(mixer={"normalisation": "layer"})
    assert of_agents == [0] * critics
    assert everything == 3 + 4 * critics  # hyper_w_1, hyper_w_final, V; and of each critic net.0, net.2, net.4, V


@pytest.mark.parametrize("algorithm", ["QMIX", "ResQ", "DMIX"])
def test_what_is_written_out_is_the_default(algorithm: str) -> None:
    plain = {"normalisation": "none", "activation": "relu"}
    one, other = (module_of(learner_of(config_of(algorithm, *given))) for given in ((), (plain, plain)))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("algorithm", ["QMIX", "DMIX", "RMIX"])
@pytest.mark.parametrize("given", [{"normalisation": "layer"}, {"activation": "crelu"}, BOTH])
def test_a_portable_policy_has_the_same_values(algorithm: str, given: dict[str, str], tmp_path: Any) -> None:
    module = module_of(learner_of(config_of(algorithm, given)))
    with torch.no_grad():
        for part in module.agents.modules():
            if isinstance(part, nn.LayerNorm):
                part.weight.uniform_(0.5, 1.5)
    policy_from_module(module).save(tmp_path / "team.policy")
    loaded = Policy.load(tmp_path / "team.policy")
    assert (loaded.spec.normalisation, loaded.spec.activation) == (
        given.get("normalisation", "none"),
        given.get("activation", "relu"),
    )
    spec = module.spec
    obs = torch.randn(4, spec.n_agents, spec.obs_dim)
    x = module.inputs(obs, torch.full((4, spec.n_agents), -1))
    mine, _ = module.agents.step(x, module.initial_hidden(4))
    assert torch.equal(mine, torch.as_tensor(loaded.values(obs.numpy())))


@pytest.mark.parametrize("given", [{"normalisation": "layer"}, {"activation": "crelu"}])
@pytest.mark.parametrize("kind", ["reborn", "redo", "snr", "knife"])
def test_what_treats_neurons_of_such_layers_is_refused_before_training(kind: str, given: dict[str, str]) -> None:
    config = config_of("QMIX", mixer=given).training(interventions=[{"kind": kind, "every": 100, "scope": "mixer"}])
    reason = "layer normalisation stands behind its neurons" if "normalisation" in given else "has two outputs"
    with pytest.raises(ValueError, match=reason):
        config.build_algo()


@pytest.mark.parametrize("kind", ["reborn", "redo", "snr", "prune", "reverse_redo", "continual_backprop"])
def test_what_is_left_without_a_layer_to_treat_is_refused_too(kind: str) -> None:
    entry = {"kind": kind, "every": 100, "scope": "mixer", "layers": "editable"}
    config = config_of("QMIX", mixer={"normalisation": "layer"}).training(interventions=[entry])
    with pytest.raises(
        ValueError, match=rf"{kind} with layers='editable' and scope='mixer' has no hidden layer to treat"
    ):
        config.build_algo()


@pytest.mark.parametrize("given", [{"normalisation": "layer"}, {"activation": "crelu"}])
def test_a_mixer_without_a_hidden_layer_refuses_them(given: dict[str, str]) -> None:
    bare = {"weighted_head": False, "adv_hypernet_layers": 1}
    config_of("QPLEX", mixer=bare).validate()
    config_of("QPLEX", mixer=bare | given | {"state_encoder_dim": 4}).validate()
    with pytest.raises(ValueError, match="has no hidden layer; leave it out, or set one of these"):
        config_of("QPLEX", mixer=bare | given).validate()


def test_and_where_it_treats_others_it_is_not() -> None:
    algo = (
        config_of("QMIX", model=BOTH)
        .training(interventions=[{"kind": "reborn", "every": 100, "scope": "mixer"}])
        .build_algo()
    )
    algo.stop()


@pytest.mark.parametrize("name", ["normalisation", "activation"])
def test_an_algorithm_without_a_mixing_network_refuses_them_there(name: str) -> None:
    with pytest.raises(ValueError, match="sums the agents' values and has no mixing network"):
        config_of("VDN", mixer={name: "layer"}).validate()


def test_an_unknown_value_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model[:.] ?normalisation"):
        config_of("QMIX", {"normalisation": "batch"}).validate()
