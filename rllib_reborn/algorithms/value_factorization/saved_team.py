"""The team that a checkpoint was trained as."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import ray.cloudpickle as pickle
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_LEARNER_GROUP, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.utils.checkpoints import Checkpointable

from rllib_reborn.algorithms.value_factorization.config import ValueFactorizationConfig
from rllib_reborn.envs.task_sequence import is_sequence, task_names
from rllib_reborn.envs.team_env import TeamSpec

#: Where the networks of a team lie in a checkpoint of its algorithm.
TEAM_MODULE = Path(COMPONENT_LEARNER_GROUP, COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID)
#: Where an algorithm's own state lies in its checkpoint.
ALGORITHM_STATE = "algorithm_state.pkl"


def saved_team(checkpoint: Path) -> TeamSpec | None:
    """The team that the networks of a checkpoint were made for; None where it has no networks. Only ask checkpoints you
    trust: RLlib pickles."""
    path = checkpoint / TEAM_MODULE / Checkpointable.CLASS_AND_CTOR_ARGS_FILE_NAME
    if not path.is_file():
        return None
    _, made_with = pickle.loads(path.read_bytes())["ctor_args_and_kwargs"]
    return TeamSpec(**made_with["model_config"]["team_spec"])


def saved_task(checkpoint: Path, env: str) -> int | None:
    """Number of the task that was trained last before a checkpoint was made; None where its environment is no sequence, or
    only networks were saved. Only ask checkpoints you trust: RLlib pickles.

    Args:
        checkpoint: Folder.
        env: Name of the environment that it was trained on.
    """
    path = checkpoint / ALGORITHM_STATE
    if not is_sequence(env) or not path.is_file():
        return None
    counters = pickle.loads(path.read_bytes())["value_factorization"]["counters"]
    return (counters.get("period") or 0) % len(task_names(env))


def expect_saved_team(config: ValueFactorizationConfig, checkpoint: Path | None) -> None:
    """Make ``config``, which goes on from ``checkpoint``, expect that one's order of agents: an environment may name them in
    another order in this process. Whatever else is different stays so, and is refused later."""
    saved = None if checkpoint is None else saved_team(checkpoint)
    if saved is None:
        return
    here = config.team_spec
    if sorted(here.agent_ids) == sorted(saved.agent_ids):
        config.set_team(dataclasses.replace(here, agent_ids=saved.agent_ids, agent_groups=saved.agent_groups))
