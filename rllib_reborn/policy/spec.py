"""What a policy has to know beside its weights, as plain data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch

from rllib_reborn.nets.agent_kinds import agent_maker
from rllib_reborn.nets.agents import AgentInputs, AgentTeam, MakeAgentNet
from rllib_reborn.nets.encoded_agents import EncodedAgentTeam, EncodedInputs, encoded
from rllib_reborn.nets.encoders import ENCODERS, make_encoder
from rllib_reborn.nets.hidden_activation import check_hidden, shaped
from rllib_reborn.obs_parts import ObsLayout, ObsPart
from rllib_reborn.obs_parts import obs_parts as checked_parts
from rllib_reborn.policy.errors import PolicyError
from rllib_reborn.policy.sizes import check_agent_settings, least_numbers
from rllib_reborn.short_repr import short_repr

#: Sizes, and the largest of each.
_SIZES = {"n_agents": 10_000, "n_actions": 1_000_000, "obs_dim": 10_000_000, "hidden_dim": 100_000, "fc_layers": 1_000}
#: Numbers in the inputs of all agents of one team, which acting allocates: 400 MB.
_MOST_SCALE = 3e38
_MOST_INPUTS = 100_000_000
_SWITCHES = ("recurrent", "last_action", "agent_id")
_PER_AGENT = ("net_of_agent", "agent_ids", "agent_groups")
#: Keys that files of earlier versions lack; their agents are of the first kind, see observations as they are, and have
#: hidden layers of Linear and ReLU.
_ADDED = frozenset(
    {
        *("agent", "agent_settings", "obs_scale", "normalisation", "activation"),
        *("encoder", "encoder_settings", "obs_parts"),
    }
)


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
        normalisation, activation: Of the hidden layers: :func:`~rllib_reborn.nets.hidden_activation.shape_hidden_layers`.
        encoder: What reads observations in front of the networks: none (an empty text), a name of
            :data:`~rllib_reborn.nets.encoders.ENCODERS`, or ``module:Class`` of somebody's own.
        encoder_settings: What it is made with.
        obs_parts: What the numbers of an observation are, for it.
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
    normalisation: str = "none"
    activation: str = "relu"
    encoder: str = ""
    encoder_settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    obs_parts: tuple[ObsPart, ...] = ()
    algorithm: str = ""
    env: str = ""
    env_config: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, most in _SIZES.items():
            if not _is_whole(getattr(self, name)) or not 1 <= getattr(self, name) <= most:
                raise PolicyError(
                    f"{name} is {short_repr(getattr(self, name))}; expected a whole number of at least 1, at most {most:,}."
                )
        for name in _SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise PolicyError(f"{name} is {short_repr(getattr(self, name))}; expected true or false.")
        scale = self.obs_scale
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < _MOST_SCALE:
            raise PolicyError(f"obs_scale is {short_repr(scale)}; expected a number > 0 that is a float32.")
        object.__setattr__(self, "obs_scale", float(scale))  # torch multiplies by no int beyond 64 bits
        for name in ("agent", "normalisation", "activation", "encoder", "algorithm", "env"):
            if not isinstance(getattr(self, name), str):
                raise PolicyError(f"{name} is {short_repr(getattr(self, name))}; expected a text.")
        for name in ("agent_settings", "encoder_settings", "env_config"):
            if not isinstance(getattr(self, name), dict):
                raise PolicyError(f"{name} is {short_repr(getattr(self, name))}; expected a dict.")
        _ = self.make_net
        check_agent_settings(self.agent, self.agent_settings)
        object.__setattr__(self, "obs_parts", _parts(self.obs_parts, self.obs_dim))
        _ = self.encoder_numbers
        for name in _PER_AGENT:
            value = getattr(self, name)
            if not isinstance(value, list | tuple) or len(value) != self.n_agents:
                raise PolicyError(
                    f"{name} is {short_repr(value)}; expected one entry for each of the {self.n_agents} agents."
                )
            object.__setattr__(self, name, tuple(value))
        if not all(map(_is_whole, self.net_of_agent)) or set(self.net_of_agent) != set(
            range(len({*self.net_of_agent}))
        ):
            raise PolicyError(
                f"net_of_agent is {short_repr(self.net_of_agent)}; every number from 0 to the largest must occur."
            )
        for name in ("agent_ids", "agent_groups"):
            if not all(isinstance(entry, str) for entry in getattr(self, name)):
                raise PolicyError(f"{name} is {short_repr(getattr(self, name))}; expected texts.")
        if self.n_agents * self.inputs.width > _MOST_INPUTS:
            raise PolicyError(
                f"n_agents is {self.n_agents:,} and the input of each has {self.inputs.width:,} numbers; expected at most "
                f"{_MOST_INPUTS:,} together."
            )

    @property
    def inputs(self) -> AgentInputs:
        """How the networks' input is put together."""
        make = EncodedInputs if self.encoder else AgentInputs
        return make(
            n_agents=self.n_agents,
            n_actions=self.n_actions,
            obs_dim=self.obs_dim,
            last_action=self.last_action,
            agent_id=self.agent_id,
            obs_scale=self.obs_scale,
        )

    @property
    def obs_layout(self) -> ObsLayout:
        """What the encoder is made for."""
        return ObsLayout(dim=self.obs_dim, scale=self.obs_scale, parts=self.obs_parts)

    @property
    def has_own_encoder(self) -> bool:
        """Whether the encoder is code of a module that is not of this package."""
        return bool(self.encoder) and self.encoder not in ENCODERS

    @property
    def encoder_numbers(self) -> tuple[int, int, int]:
        """Features that the encoder gives, numbers and arrays in it; (1, 0, 0) of one that is not shipped, of which they are
        not known before it is made."""
        if not self.encoder:
            return self.obs_dim, 0, 0
        if self.has_own_encoder:
            return 1, 0, 0
        try:
            numbers, arrays = ENCODERS[self.encoder].numbers_of(self.obs_layout, **self.encoder_settings)
            return ENCODERS[self.encoder].width_of(self.obs_layout, self.encoder_settings), numbers, arrays
        except (TypeError, ValueError) as error:
            raise PolicyError(f"encoder_settings make no {self.encoder} encoder: {error}") from None

    @property
    def least_numbers(self) -> tuple[int, int]:
        """Numbers and arrays of all networks together, at least; computed, not counted."""
        width, in_encoder, arrays_of_encoder = self.encoder_numbers
        numbers, arrays = least_numbers(
            self.agent,
            self.agent_settings,
            width=self.inputs.width - self.obs_dim + width,
            n_actions=self.n_actions,
            hidden_dim=self.hidden_dim,
            fc_layers=self.fc_layers,
            recurrent=self.recurrent,
        )
        nets = len({*self.net_of_agent})
        return nets * (numbers + in_encoder), nets * (arrays + arrays_of_encoder)

    @property
    def make_net(self) -> MakeAgentNet:
        """What makes one network of the agents."""
        try:
            check_hidden(self.normalisation, self.activation)
            return shaped(agent_maker(self.agent, self.agent_settings), self.normalisation, self.activation)
        except ValueError as error:
            raise PolicyError(str(error)) from None

    def make_team(self) -> AgentTeam:
        """The networks, with weights of no meaning.

        Raises:
            TypeError, ValueError, RuntimeError: The settings make none.
        """
        make_net = encoded(self.make_net, self._make_encoder, self.obs_dim) if self.encoder else self.make_net
        make_team = EncodedAgentTeam if self.encoder else AgentTeam
        return make_team(
            self.net_of_agent,
            self.inputs.width,
            self.n_actions,
            hidden_dim=self.hidden_dim,
            fc_layers=self.fc_layers,
            recurrent=self.recurrent,
            make_net=make_net,
        )

    def _make_encoder(self) -> Any:
        if not self.has_own_encoder:
            return make_encoder(self.encoder, self.encoder_settings, self.obs_layout)
        # What its constructor computes beside its weights must have numbers, and it may draw.
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):
            return make_encoder(self.encoder, self.encoder_settings, self.obs_layout)

    @classmethod
    def from_dict(cls, data: Any) -> PolicySpec:
        """The spec that :meth:`to_dict` gave, that of an earlier version too.

        Raises:
            PolicyError: A key is missing or unknown, or a value is not as the class says.
        """
        if not isinstance(data, dict):
            raise PolicyError(f"the policy's settings are {short_repr(data)}; expected an object.")
        fields = {field.name for field in dataclasses.fields(cls)}
        if wrong := sorted((fields ^ set(data)) - (_ADDED - set(data))):
            raise PolicyError(f"key {short_repr(wrong[0])} is {'missing' if wrong[0] in fields else 'unknown'}.")
        return cls(**data)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; a value of ``env_config`` that JSON cannot hold is kept as the text of its repr."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["obs_parts"] = [dataclasses.asdict(part) for part in self.obs_parts]
        return {name: _plain(value) for name, value in values.items()}


def _parts(given: Any, obs_dim: int) -> tuple[ObsPart, ...]:
    if not isinstance(given, list | tuple):
        raise PolicyError(f"obs_parts is {short_repr(given)}; expected a list.")
    try:
        return checked_parts(given, obs_dim)
    except (TypeError, ValueError) as error:
        raise PolicyError(f"{error}") from None


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
