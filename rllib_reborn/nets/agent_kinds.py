"""Which networks of agents there are, by name: what a portable policy needs to know to build one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from rllib_reborn.nets.agents import AgentNet, MakeAgentNet
from rllib_reborn.nets.quantile_agent import QuantileAgentNet
from rllib_reborn.nets.risk_agent import RiskAgentNet

#: Kind -> class; :attr:`AgentNet.settings` of each is what it takes to make one like it.
AGENT_KINDS: Mapping[str, type[AgentNet]] = MappingProxyType(
    {"value": AgentNet, "quantile": QuantileAgentNet, "risk": RiskAgentNet}
)


def kind_of(net: AgentNet) -> str | None:
    """The kind of a network, None for a class that is not in the table."""
    return next((kind for kind, known in AGENT_KINDS.items() if type(net) is known), None)


def agent_maker(kind: str, settings: Mapping[str, Any]) -> MakeAgentNet:
    """What makes a network from the arguments of :class:`AgentNet`.

    Args:
        kind: A name of :data:`AGENT_KINDS`.
        settings: As in :attr:`AgentNet.settings`; a name that is missing has its default.

    Raises:
        ValueError: The kind, or the name of a setting, is unknown. A setting's value is looked at when a network is made.
    """
    if kind not in AGENT_KINDS:
        raise ValueError(f"agent is {kind!r}; expected one of {', '.join(AGENT_KINDS)}.")
    shared = inspect.signature(AgentNet).parameters
    names = [name for name in inspect.signature(AGENT_KINDS[kind]).parameters if name not in shared]
    if unknown := sorted(set(settings) - set(names)):
        raise ValueError(f"agent_settings has {unknown[0]!r}; a {kind} agent has {', '.join(names) or 'none'}.")
    return functools.partial(AGENT_KINDS[kind], **settings)
