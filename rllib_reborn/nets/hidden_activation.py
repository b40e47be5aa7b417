"""What stands between a Linear and its reader in the hidden layers of agents and mixers: ReLU, or in its place layer
normalisation and CReLU, which counter plasticity loss by architecture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from rllib_reborn.nets.agents import AgentNet, AgentTeam, MakeAgentNet
from rllib_reborn.nets.dense import Linear
from rllib_reborn.nets.hidden_layers import HiddenLayer

Normalisation = Literal["none", "layer"]
NORMALISATIONS: tuple[Normalisation, ...] = get_args(Normalisation)
Activation = Literal["relu", "crelu"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)

#: Why neurons of such layers can be scored and not edited.
NORMALISED = "layer normalisation stands behind its neurons, so that changing one changes all others"
TWO_OUTPUTS = "each neuron has two outputs (CReLU), and weight is moved between neurons of one"


class CReLU(nn.Module):
    """``relu(z), relu(-z)``: two outputs for each neuron (Shang et al., ICML 2016, section 2.2), one of which passes a
    gradient whatever z is, so that no neuron dies (Abbas et al., CoLLAs 2023, "Loss of Plasticity in Continual Deep
    Reinforcement Learning").

    The two outputs of a neuron are neighbours: ``2 i`` and ``2 i + 1`` of neuron i.
    """

    def forward(self, z: Tensor) -> Tensor:
        """``z`` [..., H] -> [..., 2 H]."""
        return torch.stack([z, -z], dim=-1).relu().flatten(-2)


class NormalisedActivation(nn.Sequential):
    """Layer normalisation (Ba et al. 2016) with a scale and a shift for each neuron, then the activation (the order of Lyle
    et al., ICML 2023, "Understanding Plasticity in Neural Networks")."""

    def __init__(self, width: int, activation: nn.Module) -> None:
        super().__init__(nn.LayerNorm(width), activation)


def shape_hidden_layers(network: nn.Module, normalisation: str, activation: str) -> None:
    """Put other activations between the Linears of a network that was just built, in place.

    Treated is every hidden layer that is a Linear, a ReLU and one reader (Linear or GRU), which ``hidden_layers()`` declares
    as such. Others stay as they are: QMIX's mixing neurons (ELU), a GRU's, DMIX's quantile embedding. With ``crelu`` the
    reader becomes a new one with twice as many columns, freshly drawn.

    Args:
        network: :class:`AgentNet`, or a mixer; in a mixer, networks of agents (a critic's) are left out.
        normalisation: Of :data:`NORMALISATIONS`.
        activation: Of :data:`ACTIVATIONS`.

    Raises:
        ValueError: Another value, or the network has no such layer.
    """
    check_hidden(normalisation, activation)
    if (normalisation, activation) == ("none", "relu"):
        return
    paths = {module: path for path, module in network.named_modules()}
    layers = [layer for layer in _own_layers(network) if _is_plain(layer)]
    if not layers:
        raise ValueError(
            f"normalisation is {normalisation!r} and activation {activation!r}, but a {type(network).__name__} of these "
            "settings has no hidden layer of Linear and ReLU; leave both out."
        )
    readers: dict[nn.Module, nn.Module] = {}
    for layer in layers:
        width = cast(nn.Linear, layer.source).out_features
        made: nn.Module = CReLU() if activation == "crelu" else nn.ReLU()
        network.set_submodule(
            paths[layer.activation], NormalisedActivation(width, made) if normalisation == "layer" else made
        )
        if activation == "crelu":
            reader = cast(nn.Module, layer.reader)
            readers[reader] = _with_columns(reader, 2 * width)
    for reader, wide in readers.items():
        network.set_submodule(paths[reader], wide)


def shaped(make_net: MakeAgentNet, normalisation: str, activation: str) -> MakeAgentNet:
    """``make_net`` whose networks have these hidden layers, see :func:`shape_hidden_layers`."""
    if (normalisation, activation) == ("none", "relu"):
        return make_net

    def make(*args: Any, **kwargs: Any) -> AgentNet:
        net = make_net(*args, **kwargs)
        shape_hidden_layers(net, normalisation, activation)
        return net

    return make


def check_hidden(normalisation: str, activation: str) -> None:
    """Raise ValueError unless both are known."""
    for name, value, known in (
        ("normalisation", normalisation, NORMALISATIONS),
        ("activation", activation, ACTIVATIONS),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; expected one of {', '.join(known)}.")


def _own_layers(network: nn.Module) -> list[HiddenLayer]:
    """Hidden layers, in a mixer without those of agents."""
    declared = cast(Callable[[], list[HiddenLayer]], network.hidden_layers)()
    of_agents = {
        module for team in network.modules() if isinstance(team, AgentTeam) for module in team.modules()
    }  # none, where the network is itself one of an agent
    return [layer for layer in declared if layer.source not in of_agents]


def _is_plain(layer: HiddenLayer) -> bool:
    """Whether it is a Linear, a ReLU and a reader of its own."""
    return (
        isinstance(layer.source, nn.Linear)
        and type(layer.activation) is nn.ReLU
        and isinstance(layer.reader, nn.Linear | nn.GRU)
        and not layer.score_only
    )


def _with_columns(reader: nn.Module, width: int) -> nn.Module:
    """One like ``reader`` that reads ``width`` numbers."""
    if isinstance(reader, nn.GRU):
        return nn.GRU(width, reader.hidden_size)
    linear = cast(nn.Linear, reader)
    return Linear(width, linear.out_features, bias=linear.bias is not None)
