"""Agents that read observations through an encoder: each network of the team has one of its own in front of its first layer.

Observations stay as they are stored, such as bytes, until the encoder reads them; last action and the agent's number, zeros
and ones, travel beside them in the same dtype and go past the encoder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from rllib_reborn.nets.agents import AgentInputs, AgentNet, AgentTeam, MakeAgentNet
from rllib_reborn.nets.hidden_layers import DeclaresHiddenLayers, HiddenLayer

#: Name of the encoder in a network of agents.
_NAME = "obs_encoder"


class EncodedInputs(AgentInputs):
    """:class:`AgentInputs` in the dtype of the observations, which are not multiplied by ``obs_scale``: encoders do that."""

    def __call__(self, obs: Tensor, last_actions: Tensor) -> Tensor:
        """As :meth:`AgentInputs.__call__`; [B, n, width] in the dtype of ``obs``."""
        beside = AgentInputs(**{**dataclasses.asdict(self), "obs_dim": 0})(obs[..., :0], last_actions)
        return torch.cat([obs, beside.to(obs.dtype)], dim=2)

    def scaled(self, x: Tensor, factor: Tensor) -> Tensor:
        return super().scaled(x.float(), factor)


class InputEncoder(nn.Sequential):
    """An encoder, and past it what is not of the observation: [rows, d + k] -> [rows, width + k] float32.

    A Sequential that does not end in a Linear: methods that look for a network's last layers by its structure take it for a
    stage, whose features are read on.

    Args:
        encoder: [rows, d] -> [rows, width].
        obs_dim: d.
    """

    def __init__(self, encoder: nn.Module, obs_dim: int) -> None:
        super().__init__(encoder, nn.Identity())
        self.obs_dim = obs_dim

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = super().forward(x[:, : self.obs_dim])
        beside = x[:, self.obs_dim :]
        return torch.cat([features, beside.float()], dim=1) if beside.shape[1] else features

    def hidden_layers(self, *, prefix: str = "") -> list[HiddenLayer]:
        """Those that the encoder declares, if it does."""
        encoder = self[0]
        if not isinstance(encoder, DeclaresHiddenLayers):
            return []
        return [dataclasses.replace(layer, name=f"{prefix}0.{layer.name}") for layer in encoder.hidden_layers()]


def encoded(make_net: MakeAgentNet, make_encoder: Callable[[], Any], obs_dim: int) -> MakeAgentNet:
    """``make_net``, called with the width of the input in front of the encoder, whose networks have one each.

    Args:
        make_net: Makes a network without an encoder.
        make_encoder: Makes an encoder, which has a ``width``.
        obs_dim: ``d``; the input begins with the observation.
    """

    def make(input_dim: int, n_actions: int, **sizes: Any) -> AgentNet:
        encoder = make_encoder()
        net = make_net(input_dim - obs_dim + encoder.width, n_actions, **sizes)
        # Registered first: methods that treat the first or the last layers go by that order.
        others = list(net.named_children())
        for name, _ in others:
            delattr(net, name)
        net.add_module(_NAME, InputEncoder(encoder, obs_dim))
        for name, module in others:
            net.add_module(name, module)
        return net

    return make


def input_encoder(net: AgentNet) -> InputEncoder:
    """The encoder of a network that :func:`encoded` has made."""
    return cast(InputEncoder, net.get_submodule(_NAME))


class EncodedAgentTeam(AgentTeam):
    """A team whose networks :func:`encoded` has made; everything that reads inputs reads them through its network's
    encoder."""

    def step(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`AgentTeam.step`, of :class:`EncodedInputs`."""
        return super().step(self.each(lambda net, rows, _: _encode(net, rows), x, [len(x)]), hidden)

    def unroll(self, x: Tensor, batch_sizes: Sequence[int]) -> Tensor:
        """As :meth:`AgentTeam.unroll`, of :class:`EncodedInputs`."""
        return self.each(lambda net, rows, sizes: net.unroll(_encode(net, rows), sizes), x, batch_sizes)

    def unroll_features(self, x: Tensor, batch_sizes: Sequence[int]) -> Tensor:
        """As :meth:`AgentTeam.unroll_features`, of :class:`EncodedInputs`."""
        return self.each(lambda net, rows, sizes: net.unroll_features(_encode(net, rows), sizes), x, batch_sizes)

    def hidden_layers_by_net(self, *, prefix: str = "") -> list[list[HiddenLayer]]:
        """As :meth:`AgentTeam.hidden_layers_by_net`, those of each network's encoder first."""
        several = len(self.nets) > 1
        found = []
        for number, layers in enumerate(super().hidden_layers_by_net(prefix=prefix)):
            path = f"{prefix}nets.{number}." if several else prefix
            found.append([*input_encoder(self._net(number)).hidden_layers(prefix=f"{path}{_NAME}."), *layers])
        return found


def _encode(net: AgentNet, x: Tensor) -> Tensor:
    encoded_x: Tensor = input_encoder(net)(x)
    return encoded_x
