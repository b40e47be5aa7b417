"""What a policy has to know beside its weights, as plain data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from rllib_reborn.nets.agent_kinds import agent_maker
from rllib_reborn.nets.agents import AgentInputs, MakeAgentNet
from rllib_reborn.policy.errors import PolicyError

_SIZES = ("n_agents", "n_actions", "obs_dim", "hidden_dim", "fc_layers")
_SWITCHES = ("recurrent", "last_action", "agent_id")
_PER_AGENT = ("net_of_agent", "agent_ids", "agent_groups")
#: Keys that files of earlier versions lack; their agents are of the first kind, and see observations as they are.
_ADDED = frozenset({"agent", "agent_settings", "obs_scale"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicySpec:
    """Sizes and settings of a policy, and where it comes from.

    Attributes:
        n_agents, n_actions, obs_dim: ``n`` agents, ``A`` actions of each, ``d`` numbers in the observation of each.
        hidden_dim, fc_layers, recurrent: See :class:`~rllib_reborn.nets.agents.AgentNet`.
        last_action, agent_id: See :class:`~rllib_reborn.nets.agents.AgentInputs`.
        net_of_agent: For each agent the number of its network; all 0 where they share one.
        agent_ids: Names of the agents, in the order that observations, masks and actions have.
        agent_groups: One group name per agent. For information.
        agent: Kind of the networks, of :data:`~rllib_reborn.nets.agent_kinds.AGENT_KINDS`.
        agent_settings: What this kind is made with beyond the sizes above.
        obs_scale: What observations are multiplied by first, > 0: 1/255 for a team that was trained on pictures as bytes.
        algorithm, env, env_config: What it was trained with. For information: acting needs none of them.

    Raises:
        PolicyError: A value is of another kind or length; the message names it.
    """

    n_agents: int
    n_actions: int
    obs_dim: int
    hidden_dim: int
    fc_layers: int
    recurrent: bool
    last_action: bool
    agent_id: bool
    net_of_agent: tuple[int, ...]
    agent_ids: tuple[str, ...]
    agent_groups: tuple[str, ...]
    agent: str = "value"
    agent_settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    obs_scale: float = 1.0
    algorithm: str = ""
    env: str = ""
    env_config: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in _SIZES:
            if not _is_whole(getattr(self, name)) or getattr(self, name) < 1:
                raise PolicyError(f"{name} is {getattr(self, name)!r}; expected a whole number of at least 1.")
        for name in _SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise PolicyError(f"{name} is {getattr(self, name)!r}; expected true or false.")
        scale = self.obs_scale
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < math.inf:
            raise PolicyError(f"obs_scale is {scale!r}; expected a number > 0.")
        for name in ("agent", "algorithm", "env"):
            if not isinstance(getattr(self, name), str):
                raise PolicyError(f"{name} is {getattr(self, name)!r}; expected a text.")
        for name in ("agent_settings", "env_config"):
            if not isinstance(getattr(self, name), dict):
                raise PolicyError(f"{name} is {getattr(self, name)!r}; expected a dict.")
        _ = self.make_net
        for name in _PER_AGENT:
            value = getattr(self, name)
            if not isinstance(value, list | tuple) or len(value) != self.n_agents:
                raise PolicyError(f"{name} is {value!r}; expected one entry for each of the {self.n_agents} agents.")
            object.__setattr__(self, name, tuple(value))
        if not all(map(_is_whole, self.net_of_agent)) or set(self.net_of_agent) != set(
            range(len({*self.net_of_agent}))
        ):
            raise PolicyError(f"net_of_agent is {self.net_of_agent}; every number from 0 to the largest must occur.")
        for name in ("agent_ids", "agent_groups"):
            if not all(isinstance(entry, str) for entry in getattr(self, name)):
                raise PolicyError(f"{name} is {getattr(self, name)}; expected texts.")

    @property
    def inputs(self) -> AgentInputs:
        """How the networks' input is put together."""
        return AgentInputs(
            n_agents=self.n_agents,
            n_actions=self.n_actions,
            obs_dim=self.obs_dim,
            last_action=self.last_action,
            agent_id=self.agent_id,
            obs_scale=self.obs_scale,
        )

    @property
    def make_net(self) -> MakeAgentNet:
        """What makes one network of the agents."""
        try:
            return agent_maker(self.agent, self.agent_settings)
        except ValueError as error:
            raise PolicyError(str(error)) from None

    @classmethod
    def from_dict(cls, data: Any) -> PolicySpec:
        """The spec that :meth:`to_dict` gave, that of an earlier version too.

        Raises:
            PolicyError: A key is missing or unknown, or a value is not as the class says.
        """
        if not isinstance(data, dict):
            raise PolicyError(f"the policy's settings are {data!r}; expected an object.")
        fields = {field.name for field in dataclasses.fields(cls)}
        if wrong := sorted((fields ^ set(data)) - (_ADDED - set(data))):
            raise PolicyError(f"key {wrong[0]!r} is {'missing' if wrong[0] in fields else 'unknown'}.")
        return cls(**data)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; a value of ``env_config`` that JSON cannot hold is kept as the text of its repr."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: _plain(value) for name, value in values.items()}


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if value is None or type(value) in (str, bool, int) or (type(value) is float and math.isfinite(value)):
        return value
    return repr(value)
