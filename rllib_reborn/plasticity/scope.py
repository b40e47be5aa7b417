"""Which networks an intervention treats: one name, several, or all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from rllib_reborn.plasticity.neuron_layers import NeuronLayer
from rllib_reborn.suggestions import did_you_mean

#: A network's name ("agent", "mixer", "critic", ...), several of them, or "all".
Scope = str | tuple[str, ...]
ALL = "all"


def check_scope(scope: Any) -> Scope:
    """``scope`` with a list made a tuple.

    Raises:
        ValueError: It is neither a name nor a list of different names, or "all" stands among others.
    """
    names = tuple(scope) if isinstance(scope, list | tuple) else (scope,)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(
            f"scope is {scope!r}; expected the name of a network such as 'mixer', a list of names such as "
            "['agent', 'mixer'], or 'all'."
        )
    if len(set(names)) < len(names) or (len(names) > 1 and ALL in names):
        raise ValueError(f"scope is {scope!r}; expected different names, or 'all' by itself.")
    return scope if isinstance(scope, str) else names


def names_in(scope: Scope) -> tuple[str, ...]:
    """The names that ``scope`` holds; "all" is one of them."""
    return (scope,) if isinstance(scope, str) else scope


def networks_in_scope(scope: Scope, networks: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """The networks that ``scope`` names, without those that are parts of others in it.

    Args:
        scope: See :data:`Scope`; a name that is not in ``networks`` is passed over (see :func:`check_networks`).
        networks: By name. One may be a part of another (all its parameters belong to that one too), and then calls its
            parameters as the whole does.

    Returns:
        By the name under which layers, parameters and metrics are known: that of the whole, for a part.
    """
    chosen = list(networks) if scope == ALL else [name for name in networks if name in names_in(scope)]
    wholes = parts(networks)
    found: dict[str, nn.Module] = {}
    for name in chosen:
        whole = wholes.get(name)
        if whole not in chosen:
            found[whole or name] = networks[name]
    return found


def layers_in_scope(
    scope: Scope, layers: Iterable[NeuronLayer], networks: Mapping[str, nn.Module]
) -> list[NeuronLayer]:
    """Those of ``layers`` that belong to the networks in ``scope``; arguments as in :func:`networks_in_scope`."""
    nets = networks_in_scope(scope, networks)
    inside = {name: set(net.modules()) for name, net in nets.items() if net is not networks.get(name)}
    return [
        layer
        for layer in layers
        if layer.net in nets and (layer.net not in inside or layer.hook.module in inside[layer.net])
    ]


def parts(networks: Mapping[str, nn.Module]) -> dict[str, str]:
    """By name of a network that is a part of another one: the name of the whole."""
    parameters = {name: {id(parameter) for parameter in net.parameters()} for name, net in networks.items()}
    return {
        part: whole
        for part, of_part in parameters.items()
        for whole, of_whole in parameters.items()
        if of_part and of_part < of_whole
    }


def check_networks(scope: Scope, networks: Mapping[str, nn.Module], owner: str) -> None:
    """Refuse a scope in which there is nothing to treat.

    Args:
        scope: See :data:`Scope`.
        networks: All there are, by name.
        owner: Whose networks they are, for the message.

    Raises:
        ValueError: A name of the scope is not among ``networks``, or that network has no parameters.
    """
    usable = [name for name, net in networks.items() if next(net.parameters(), None) is not None]
    for name in names_in(scope):
        if name in usable or (name == ALL and usable):
            continue
        raise ValueError(
            f"scope={_shown(scope)}, and {owner} has no {name} with weights to treat; say {_choices(usable)}."
            f"{did_you_mean(name, usable)}"
        )


def _shown(scope: Scope) -> str:
    return repr(scope if isinstance(scope, str) else list(scope))


def _choices(names: Sequence[str]) -> str:
    choices = " or ".join(f"scope={name!r}" for name in names)
    return f"{choices}, a list of these, or scope='all'" if len(names) > 1 else choices
