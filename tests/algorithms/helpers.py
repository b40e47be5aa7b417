"""Quick configs for the tests of the training path."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rllib_reborn import QMIXConfig
from rllib_reborn.runtime.spaces import team_spaces

WALK = "tests.fakes.envs:MaskedWalk"


def quick(config_class: type = QMIXConfig, env: str = "matrix/two_step", *, seed: int | None = 1, **training: Any):
    """A config that trains in well under a second per iteration."""
    settings = {
        "batch_episodes": 8,
        "buffer_episodes": 64,
        "learning_starts_episodes": 8,
        "updates_per_episode": 0.5,
        "target_update": {"every": 10, "unit": "updates"},
        "model": {"hidden_dim": 8},
    }
    return (
        config_class()
        .environment(env)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=4)
        .training(**(settings | training))
        .reporting(min_sample_timesteps_per_iteration=40)
        .debugging(seed=seed)
    )


def rows(algorithm: Any, count: int) -> list[dict[str, Any]]:
    """``count`` iterations as metrics rows, without what may differ between equal runs."""
    return [comparable(algorithm.train()["team"]) for _ in range(count)]


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if not k.startswith(("time/", "memory/"))}


def learner_weights(algorithm: Any) -> dict[str, np.ndarray]:
    state = algorithm.learner_group.get_state(components="learner/rl_module")["learner"]["rl_module"]
    return state["default_policy"]


def runner_weights(algorithm: Any, *, evaluation: bool = False) -> list[dict[str, np.ndarray]]:
    group = algorithm.eval_env_runner_group if evaluation else algorithm.env_runner_group
    return group.foreach_env_runner(lambda r: r.module.get_state(), local_env_runner=False)


def refusal(config: Any) -> str | None:
    """Why the interventions of a config are refused before training, by its checks or by the networks once they are built;
    asking these moves no random stream."""
    try:
        config.validate()
    except ValueError as error:
        return str(error)
    spec = config.get_multi_rl_module_spec(spaces={"default_policy": team_spaces(config.team_spec)})
    learner = config.get_default_learner_class()(config=config, module_spec=spec)
    learner.build()
    before = torch.get_rng_state()
    refused: str | None = learner.refused_intervention()
    assert torch.equal(before, torch.get_rng_state())
    return refused


def equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    """Do the arrays that both hold agree to the bit?"""
    shared = a.keys() & b.keys()
    return bool(shared) and all(np.array_equal(a[k], b[k]) for k in shared)
