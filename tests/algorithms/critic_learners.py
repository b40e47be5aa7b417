"""Learners of WQMIX and ResQ on small batches, and their losses done by a plain loop."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rllib_reborn import ResQConfig, WQMIXConfig
from rllib_reborn.envs.registry import make_team_env
from rllib_reborn.nets.mixers.mixer import greedy_actions
from rllib_reborn.replay import EpisodeBlock, ReplaySample
from rllib_reborn.replay.fields import OBSERVATION_FIELDS
from rllib_reborn.runtime.spaces import team_spaces
from tests.algorithms.helpers import WALK, quick
from tests.algorithms.test_learner import make_sample, module_of
from tests.padded import columns, learner_columns, padded_episodes

SMALL = {"central_embed_dim": 16, "embed_dim": 4, "hypernet_dim": 8}
OW = {"weighting": "ow", "alpha": 0.3}
CW = {"weighting": "cw", "alpha": 0.3}
#: By name: config class and ``training(algorithm_settings=...)``.
VARIANTS: dict[str, tuple[type, dict[str, Any]]] = {
    "cw": (WQMIXConfig, CW),
    "ow": (WQMIXConfig, OW),
    "resq": (ResQConfig, {}),
}


def make_config(variant: str, **training: Any) -> Any:
    config_class, algorithm_settings = VARIANTS[variant]
    return quick(
        config_class, WALK, **({"mixer": SMALL, "algorithm_settings": algorithm_settings, "td_lambda": None} | training)
    )


def make_learner(variant: str, **training: Any) -> Any:
    """A learner whose targets differ from its online networks."""
    config = make_config(variant, **training)
    config.validate()
    spec = config.get_multi_rl_module_spec(spaces={"default_policy": team_spaces(config.team_spec)})
    torch.manual_seed(7)
    learner = config.get_default_learner_class()(config=config, module_spec=spec)
    learner.build()
    with torch.no_grad():
        module = module_of(learner)
        for p in [*module.target_agents.parameters(), *module.target_mixer.parameters()]:
            p.add_(0.1 * torch.randn_like(p))
        for p in module.mixer.parameters():  # values of a size that makes every case of the weights occur
            p.add_(0.2 * torch.randn_like(p))
    return learner


def batch_with_every_case(learner: Any) -> dict[str, Tensor]:
    """Some forbidden actions, and every second joint action taken is the greedy one."""
    batch = padded_episodes(make_sample(learner.config))
    generator = torch.Generator().manual_seed(3)
    mask = torch.rand(batch["action_mask"].shape, generator=generator) < 0.6
    steps = batch["actions"].shape[1]
    mask[:, :steps].scatter_(3, batch["actions"].long().unsqueeze(3), True)
    mask[..., 0] |= ~mask.any(3)
    batch["action_mask"] = mask
    module = module_of(learner)
    batch["actions"] = batch["actions"].clone()
    for t in range(1, steps, 2):  # one step after another: what is greedy depends on the actions before
        packed = module.packed_episodes(columns(batch))
        greedy = greedy_actions(module.agents.unroll(packed.x, packed.layout.obs_sizes), packed.action_mask)
        at = packed.dense(packed.now(greedy))[:, t].to(batch["actions"].dtype)
        real = (batch["lengths"] > t).unsqueeze(1)
        batch["actions"][:, t] = torch.where(real, at, batch["actions"][:, t])
    return batch


def unrolled(module: Any, team: Any, batch: dict[str, Tensor], episode: int) -> list[Tensor]:
    """Values [n, A] of all observations of one episode, step by step."""
    hidden = torch.zeros(1, module.spec.n_agents, team.state_dim)
    last = torch.full((1, module.spec.n_agents), -1)
    values = []
    for t in range(int(batch["lengths"][episode]) + 1):
        q, hidden = team.step(module.inputs(batch["obs"][episode : episode + 1, t], last), hidden)
        values.append(q[0])
        if t < batch["actions"].shape[1]:
            last = batch["actions"][episode : episode + 1, t].long()
    return values


def loop_loss(learner: Any, batch: dict[str, Tensor]) -> tuple[float, dict[str, int]]:
    """The loss (1-step targets) of every transition by itself, written as the papers have it; and which cases
    occurred."""
    module, config = module_of(learner), learner.config
    online, target = module.mixer, module.target_mixer
    resq = hasattr(online, "residual")
    total, steps = 0.0, 0
    cases = {"greedy": 0, "other": 0, "full": 0, "alpha": 0}
    for e, length in enumerate(batch["lengths"].tolist()):
        of_agents = unrolled(module, module.agents, batch, e)
        of_target_agents = unrolled(module, module.target_agents, batch, e)
        of_central = unrolled(module, online.central.agents, batch, e)
        of_target_central = unrolled(module, target.central.agents, batch, e)
        of_residual = unrolled(module, online.residual.agents, batch, e) if resq else []

        def mixed(mixer: Any, q: Tensor, actions: Tensor, t: int, e: int = e) -> float:
            chosen = torch.stack([q[i, actions[i]] for i in range(len(actions))]).unsqueeze(0)
            return float(mixer(chosen, batch["state"][e, t : t + 1]))

        def best(q: Tensor, t: int, e: int = e) -> Tensor:
            return torch.where(batch["action_mask"][e, t], q, -torch.inf).argmax(1)

        for t in range(length):
            taken = batch["actions"][e, t].long()
            after = best((of_agents if config.double_q else of_target_agents)[t + 1], t + 1)
            future = mixed(target.central.mixer, of_target_central[t + 1], after, t + 1)
            y = float(batch["reward"][e, t]) + config.gamma * (0 if batch["terminated"][e, t] else future)
            value = mixed(online, of_agents[t], taken, t)
            greedy = best(of_agents[t], t)
            is_greedy = torch.equal(greedy, taken)
            cases["greedy" if is_greedy else "other"] += 1
            weight = 1.0
            if resq:
                if not is_greedy:
                    value -= abs(mixed(online.residual.mixer, of_residual[t], taken, t))
            else:
                settings = config.parse_algorithm_settings()
                if settings.weighting == "ow":
                    full = value < y
                else:
                    full = is_greedy or y > mixed(target.central.mixer, of_target_central[t], greedy, t)
                weight = 1.0 if full else settings.alpha
                cases["full" if full else "alpha"] += 1
            central = mixed(online.central.mixer, of_central[t], taken, t)
            total += weight * (value - y) ** 2 + (central - y) ** 2
            steps += 1
    return total / steps, cases


def learn_matrix_game(
    env: str, config_class: type, seed: int, updates: int = 200, **training: Any
) -> tuple[float, Any]:
    """Train on all joint actions of a one-step game alike, as full exploration shows them.

    Returns:
        The payoff of the greedy joint action; and the module.
    """
    settings = {"lr": 2e-3, "optimizer": {"kind": "adam"}, "model": {"hidden_dim": 32}}
    config = quick(config_class, env, **(settings | training))
    config.validate()
    spec = config.get_multi_rl_module_spec(spaces={"default_policy": team_spaces(config.team_spec)})
    torch.manual_seed(seed)
    learner = config.get_default_learner_class()(config=config, module_spec=spec)
    learner.build()
    sample, payoffs = every_joint_action(env)
    module, batch = module_of(learner), padded_episodes(sample)
    everything = torch.ones(len(payoffs.flat), 1)
    for _ in range(updates):  # Learner.update without RLlib's bookkeeping, which would take most of the time
        loss, _ = learner.team_loss(
            config, batch, module._forward_train(learner_columns(batch)), everything, everything.sum()
        )
        learner.get_optimizer("default_policy").zero_grad()
        loss.backward()
        learner.apply_gradients({name: p.grad for name, p in module.named_parameters() if p.requires_grad})
    packed = module.packed_episodes(columns(batch))
    greedy = greedy_actions(module.agents.unroll(packed.x, packed.layout.obs_sizes), packed.action_mask)[0]
    return float(payoffs[tuple(greedy.tolist())]), module


def every_joint_action(env: str) -> tuple[ReplaySample, npt.NDArray[np.float32]]:
    """One episode for each joint action of a one-step game for two, and the payoffs [A, A]."""
    spec = make_team_env(env).spec
    joint = np.array(list(itertools.product(range(spec.n_actions), repeat=2)))
    games = make_team_env(env, num_envs=len(joint))
    first = games.reset(seed=0)
    then = games.step(joint)

    def both(name: str) -> npt.NDArray[Any]:
        return np.stack([getattr(first, name), getattr(then.obs, name)], axis=1).reshape(2 * len(joint), *shapes[name])

    shapes = {name: getattr(first, name).shape[1:] for name in OBSERVATION_FIELDS}
    fields = {
        "obs": both("obs"),
        "state": both("state"),
        "action_mask": both("action_mask"),
        "actions": joint,
        "reward": then.reward,
        "terminated": np.ones(len(joint), bool),
    }
    sample = ReplaySample(EpisodeBlock(np.ones(len(joint), np.int32), fields), indices=np.arange(len(joint)))
    return sample, then.reward.reshape(spec.n_actions, spec.n_actions)
