"""How many numbers and arrays a policy's settings need, computed from the settings alone: no network is built, and nothing
allocated, for sizes that the weights do not bear out."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from rllib_reborn.nets.agent_kinds import AGENT_KINDS
from rllib_reborn.policy.errors import PolicyError
from rllib_reborn.short_repr import short_repr

#: Largest values of an agent's own settings. What they cost while acting is in no weight.
_MOST = {"acting_quantiles": 10_000, "cosines": 10_000, "atoms": 1_000, "levels": 100, "embedding_dim": 1_024}


def check_agent_settings(agent: str, settings: Mapping[str, Any]) -> None:
    """Raise PolicyError where a size among an agent's own settings is no whole number or absurd."""
    for name in settings.keys() & _MOST.keys():
        value = settings[name]
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST[name]:
            raise PolicyError(
                f"agent_settings {short_repr(settings)} make no {agent} agent: {name} is {short_repr(value)}; expected a "
                f"whole number in 1..{_MOST[name]:,}."
            )


def least_numbers(
    agent: str,
    settings: Mapping[str, Any],
    *,
    width: int,
    n_actions: int,
    hidden_dim: int,
    fc_layers: int,
    recurrent: bool,
) -> tuple[int, int]:
    """Numbers and arrays of one network; widened layers have more numbers.

    Args:
        agent: A name of :data:`~rllib_reborn.nets.agent_kinds.AGENT_KINDS`.
        settings: What it is made with, as :func:`check_agent_settings` lets pass.
        width: Numbers of its input.
        n_actions, hidden_dim, fc_layers, recurrent: As in :class:`~rllib_reborn.nets.agents.AgentNet`.
    """
    h = hidden_dim
    memory = _gru(h) if recurrent else _linear(h, h)
    parts = [_linear(width, h), memory, _linear(h, n_actions * _setting(agent, settings, "atoms", 1))]
    if agent == "quantile":
        parts.append(_linear(_setting(agent, settings, "cosines", 1), h))
    if agent == "risk" and _setting(agent, settings, "risk", None) == "dynamic":
        atoms, levels, e = (_setting(agent, settings, name, 1) for name in ("atoms", "levels", "embedding_dim"))
        parts += [_linear(n_actions * atoms, e), _linear(width, h), _gru(h), _linear(h, levels * e)]
    deeper = fc_layers - 1
    numbers, arrays = (sum(part[at] for part in parts) for at in (0, 1))
    return numbers + deeper * _linear(h, h)[0], arrays + deeper * 2


def _setting(agent: str, settings: Mapping[str, Any], name: str, without: Any) -> Any:
    """The setting, or its default; ``without`` where agents of this kind have none of the name."""
    parameter = inspect.signature(AGENT_KINDS[agent]).parameters.get(name)
    return without if parameter is None else settings.get(name, parameter.default)


def _linear(width_in: int, width_out: int) -> tuple[int, int]:
    return (width_in + 1) * width_out, 2


def _gru(width: int) -> tuple[int, int]:
    return 6 * (width + 1) * width, 4
