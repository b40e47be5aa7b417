"""One team in all processes: the same agents in the same order, with the same sizes, wherever an environment is built."""

from __future__ import annotations

import dataclasses
from typing import Any

from rllib_reborn.envs.contract import EnvContractError
from rllib_reborn.envs.team_env import TeamSpec

#: What the networks are made for, and which of their inputs and outputs is whose.
_OF_NETWORKS = (
    "n_agents",
    "agent_ids",
    "agent_groups",
    "n_actions",
    "obs_dim",
    "state_dim",
    "obs_scale",
    "state_scale",
)


class OtherTeamError(EnvContractError):
    """An environment has another team in one process than in another one; the message names both."""


def require_same_team(expected: TeamSpec, found: TeamSpec, name: str, *, networks_only: bool = False) -> None:
    """Raise unless two processes have found the same team.

    Args:
        expected: The team that is trained, or that a checkpoint was trained as; with ``obs_parts`` where an encoder reads
            them.
        found: What the environment is here.
        name: Name of the environment, for the message.
        networks_only: Whether only what the networks are made for must be equal: evaluation may be played with other
            options.

    Raises:
        OtherTeamError: They are different.
    """
    fields = [field.name for field in dataclasses.fields(TeamSpec) if field.compare]
    if networks_only:
        fields = [*_OF_NETWORKS, *(("obs_parts",) if expected.obs_parts else ())]
    for field in fields:
        there, here = getattr(expected, field), getattr(found, field)
        if there != here:
            raise OtherTeamError(
                f"environment {name!r} is another team here than the one that is trained: {field} is {_shown(here)} here "
                f"and {_shown(there)} there; an environment must have the same agents in the same order, with the same "
                "sizes, in every process: take them from its options or a list, and not from a set or a random number."
            )


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else repr(value)
