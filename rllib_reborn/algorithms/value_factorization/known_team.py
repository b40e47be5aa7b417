"""The team that a config's environment was found to be: it is asked once, and is the same in all processes."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

from rllib_reborn.envs.team_env import TeamSpec


@dataclasses.dataclass(frozen=True)
class KnownTeam:
    """The team of one environment. It goes wherever its config goes: into env runners, trials and checkpoints.

    Attributes:
        env, env_config: The environment, and what it is built with.
        spec: Its team.
    """

    env: str
    env_config: dict[str, Any]
    spec: TeamSpec

    @classmethod
    def of(cls, env: str, env_config: Mapping[str, Any], spec: TeamSpec) -> KnownTeam:
        return cls(env, copy.deepcopy(dict(env_config)), spec)

    def is_of(self, env: Any, env_config: Mapping[str, Any]) -> bool:
        """Whether an environment is still the one that was asked."""
        try:
            return bool(self.env == env and self.env_config == dict(env_config))
        except ValueError:  # arrays, which do not say whether they are equal
            return False
