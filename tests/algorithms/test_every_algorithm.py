"""What holds for every algorithm: individual-global-max, monotonicity where it is promised, layers, one update."""

from __future__ import annotations

import copy

import pytest
import torch

from rllib_reborn.algorithms import ALGORITHMS
from rllib_reborn.algorithms.value_factorization.settings import OptimizerSettings
from rllib_reborn.experiments.build import build_config, resolved_dict
from rllib_reborn.experiments.load import experiment_from_dict
from rllib_reborn.plasticity.invariance import igm_holds
from rllib_reborn.runtime.spaces import team_spaces
from rllib_reborn.settings import parse
from tests.algorithms.helpers import WALK, quick

#: QPLEX alone lets a better value of one agent's action lower the team's.
MONOTONIC = sorted(ALGORITHMS.keys() - {"QPLEX"})
ROWS = 40


def module_of(algorithm: str, seed: int):
    """A module whose weights are far from a fresh one's."""
    config = quick(ALGORITHMS[algorithm], WALK)
    spec = config.get_multi_rl_module_spec(spaces={"default_policy": team_spaces(config.team_spec)})
    torch.manual_seed(seed)
    module = spec.build()["default_policy"].unwrapped()
    with torch.no_grad():
        for parameter in module.mixer.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return module


def drawn(module, seed: int):
    """Agent values, mask (every agent has an allowed action) and states."""
    generator = torch.Generator().manual_seed(seed)
    spec = module.spec
    q = 3 * torch.randn(ROWS, spec.n_agents, spec.n_actions, generator=generator, dtype=torch.float64)
    mask = torch.rand(q.shape, generator=generator) < 0.6
    mask[..., 0] |= ~mask.any(-1)
    state = torch.randn(ROWS, spec.state_dim, generator=generator, dtype=torch.float64)
    return q, mask, state


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_agents_greedy_actions_are_never_beaten(algorithm: str, seed: int) -> None:
    """Individual-global-max, by trying every allowed joint action."""
    module = module_of(algorithm, seed)
    mixer = copy.deepcopy(module.mixer).double()
    q, mask, state = drawn(module, seed)

    def q_tot(rows: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return mixer.of_actions(q[rows], actions, mask[rows], state[rows])

    with torch.no_grad():
        assert bool(igm_holds(q, q_tot, mask).all())
        # Were it not for the mixer, this would be seen: agents that rank their actions the wrong way round.
        assert not bool(igm_holds(-q, q_tot, mask).all())


@pytest.mark.parametrize("algorithm", MONOTONIC)
def test_the_teams_value_never_falls_with_an_agents(algorithm: str) -> None:
    module = module_of(algorithm, 3)
    mixer = copy.deepcopy(module.mixer).double()
    q, mask, state = drawn(module, 3)
    actions = mask.long().argmax(-1)
    q.requires_grad_()
    [gradient] = torch.autograd.grad(mixer.of_actions(q, actions, mask, state).sum(), q)
    of_chosen = gradient.gather(2, actions.unsqueeze(2))
    assert bool((of_chosen >= 0).all())
    assert bool((of_chosen > 0).any())
    assert gradient.abs().sum().item() == pytest.approx(of_chosen.sum().item())  # and of no other action


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_layers_have_names_of_their_own_and_targets_have_the_same(algorithm: str) -> None:
    module = module_of(algorithm, 0)
    for choice in ("official_code", "editable", "full"):
        keys = [layer.key for layer in module.neuron_layers(choice)]
        assert len(set(keys)) == len(keys)
        assert keys == [layer.key for layer in module.neuron_layers(choice, target=True)]
    official_code = {layer.net for layer in module.neuron_layers("official_code")}
    assert official_code == ({"agent"} if algorithm in ("IQL", "VDN") else {"agent", "mixer"})


@pytest.mark.parametrize(
    ("algorithm", "given", "kind", "eps"),
    [
        ("RMIX", {"weight_decay": 0.1}, "adam", 1e-8),
        ("DMIX", {"weight_decay": 0.1}, "adam", 1e-5),
        ("RMIX", {"kind": "rmsprop"}, "rmsprop", 1e-5),
        ("DMIX", {"kind": "rmsprop"}, "rmsprop", 1e-5),
        ("QMIX", {}, "rmsprop", 1e-5),
        ("QMIX", {"kind": "adam"}, "adam", 1e-8),
        ("QMIX", {"kind": "adam", "eps": 1e-5}, "adam", 1e-5),
    ],
)
def test_a_part_of_the_optimizers_settings_keeps_the_algorithms_own_rest(algorithm, given, kind, eps) -> None:
    config = ALGORITHMS[algorithm]().training(optimizer=given)
    settings = parse(OptimizerSettings, config.team_optimizer, "optimizer")
    assert (settings.kind, settings.used_eps) == (kind, eps)
    data = {"algorithm": algorithm, "env": WALK, "training": {"optimizer": given}, "stop": {"iterations": 1}}
    experiment = experiment_from_dict(data)
    resolved = resolved_dict(experiment, build_config(experiment))["training"]["optimizer"]
    assert resolved == settings.model_dump()


def test_a_part_of_resqs_exploration_keeps_the_rest() -> None:
    assert ALGORITHMS["ResQ"]().training(epsilon={"end": 0.01}).epsilon == {"anneal_env_steps": 100_000, "end": 0.01}
