"""Modules with weights that matter, built without a cluster, and their policies."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rllib_reborn.algorithms import ALGORITHMS
from rllib_reborn.envs import make_team_env
from rllib_reborn.policy import Policy
from rllib_reborn.runtime.spaces import team_spaces
from rllib_reborn.studies.portable import policy_from_module

ENV = "predator_prey/small"


def build(
    *,
    algorithm: str = "QMIX",
    env: str = ENV,
    env_config: Any = None,
    groups: tuple[str, ...] = (),
    seed: int = 0,
    interventions: Any = (),
    algorithm_settings: Any = None,
    **model: Any,
) -> Any:
    """The module of ``algorithm`` for ``env``; ``model`` and ``algorithm_settings`` as in ``training(...)``, ``groups``
    in place of the env's own."""
    settings: dict[str, Any] = {"model": {"hidden_dim": 16} | model}
    if interventions:
        settings["interventions"] = list(interventions)
    if algorithm_settings is not None:
        settings["algorithm_settings"] = algorithm_settings
    config = ALGORITHMS[algorithm]().environment(env, env_config=env_config or {}).training(**settings)
    config.validate()
    spec = config.get_rl_module_spec(spaces={"default_policy": team_spaces(config.team_spec)}, inference_only=False)
    if groups:
        spec.model_config["team_spec"]["agent_groups"] = groups
    torch.manual_seed(seed)
    module = spec.build()
    shake(module.agents)
    return module


def shake(net: torch.nn.Module, scale: float = 0.5, seed: int = 1) -> None:
    """Weights so large that last actions, ids and memory decide on actions too; new weights of spare neurons stay 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            noise = scale * torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise.masked_fill(parameter == 0, 0.0))


def played_alike(module: Any, policy: Policy, *, games: int = 5, episodes: int = 8, seed: int = 3) -> int:
    """Play with ``policy`` until ``episodes`` are over and compare every step with the module: values to the bit,
    actions.

    Returns:
        Different joint actions visited, so that a test can ask for some.
    """
    env = make_team_env(module.model_config["env"], num_envs=games)
    obs = env.reset(seed=seed)
    hidden = module.initial_hidden(games)
    last_actions = torch.full((games, module.spec.n_agents), -1)
    state, over, visited = None, 0, set()
    while over < episodes:
        out = module._forward_inference(
            {
                "obs": torch.from_numpy(obs.obs),
                "action_mask": torch.from_numpy(obs.action_mask),
                "last_actions": last_actions,
                "hidden": hidden,
            }
        )
        np.testing.assert_array_equal(policy.values(obs.obs, state), out["q"].numpy())
        actions, state = policy.act(obs.obs, obs.action_mask, state)
        np.testing.assert_array_equal(actions, out["actions"].numpy())
        visited |= set(map(tuple, actions.tolist()))
        step = env.step(actions)
        hidden, last_actions = out["hidden"], out["actions"]
        done = step.terminated | step.truncated
        obs = step.obs
        if done.any():
            over += int(done.sum())
            obs = env.reset(mask=done)
            hidden[torch.from_numpy(done)] = 0
            last_actions[torch.from_numpy(done)] = -1
            state = state.reset(done)
    return len(visited)


def exported(**settings: Any) -> Policy:
    return policy_from_module(build(**settings))
