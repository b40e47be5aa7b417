"""From the name of an environment to the creator that RLlib's env runners are given."""

from __future__ import annotations

from functools import partial
from typing import Any

from ray.tune.registry import register_env

from rllib_reborn.envs.registry import make_same_team_env, make_team_env
from rllib_reborn.envs.task_sequence import sequence_name
from rllib_reborn.envs.team_env import TeamSpec, VectorTeamEnv


def env_name(env: Any) -> str:
    """The name of ``env``: itself if a string, that of a sequence if a list, else ``module:qualified_name`` of an importable
    callable.

    Raises:
        ValueError: None of these; a lambda or a local function cannot be found again by another process.
    """
    if isinstance(env, str):
        return env
    if isinstance(env, list | tuple):
        return sequence_name([env_name(one) for one in env])
    module, qualified = getattr(env, "__module__", None), getattr(env, "__qualname__", "<lambda>")
    if not callable(env) or module is None or "<" in qualified:
        raise ValueError(
            f"environment is {env!r}; expected a name such as 'predator_prey/small', or a callable at the top level of an "
            "importable module."
        )
    return f"{module}:{qualified}"


def create(name: str, context: Any, num_envs: int = 1, spec: TeamSpec | None = None) -> VectorTeamEnv:
    """RLlib's env creator.

    Args:
        name: The environment's.
        context: The ``env_config`` (a dict, RLlib adds attributes).
        num_envs: Games side by side.
        spec: The team that is trained; None: not known.

    Raises:
        OtherTeamError: The environment has another team.
        ValueError: It cannot be built.
    """
    if spec is None:
        return make_team_env(name, num_envs=num_envs, **dict(context))
    return make_same_team_env(spec, name, num_envs, dict(context))


def register_team_env(env: Any) -> None:
    """Register the name of ``env`` with Ray, so that runners in fresh processes find it; once more changes nothing."""
    name = env_name(env)
    register_env(name, partial(create, name))
