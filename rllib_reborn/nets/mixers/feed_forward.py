"""A mixer without any constraint: a feed-forward network of the agents' values and the state (WQMIX, ResQ)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from rllib_reborn.nets.dense import DenseStack, Linear, linear
from rllib_reborn.nets.hidden_layers import HiddenLayer
from rllib_reborn.nets.mixers.mixer import Mixer
from rllib_reborn.nets.mixers.state_encoder import encoder_layers


class FeedForwardMixer(Mixer):
    """``net([s, q]) + V(s)`` with three hidden layers in ``net`` and one in ``V``, ReLU, all equally wide. Weights may
    have any sign: it is NOT monotonic, and no argmax can be taken through it. WQMIX's central mixer (Rashid et al.,
    NeurIPS 2020, appendix on architecture; official code ``central_mixer: ff``), and ResQ's.

    Args:
        n_agents: ``n``.
        state_dim: ``s >= 1``.
        embed_dim: Width of every hidden layer (WQMIX 256, ResQ 128).

    Attributes:
        net, V: By the official code's names. The first layer of ``net`` reads the state first, then the values.
    """

    def __init__(self, n_agents: int, state_dim: int, *, embed_dim: int = 256) -> None:
        super().__init__()
        if state_dim < 1:
            raise ValueError(
                f"a central mixer needs a global state; state_dim is {state_dim}. Use VDN for such a task."
            )
        self.n_agents = n_agents
        self.state_dim = state_dim
        self.net = DenseStack(
            Linear(state_dim + n_agents, embed_dim),
            nn.ReLU(),
            Linear(embed_dim, embed_dim),
            nn.ReLU(),
            Linear(embed_dim, embed_dim),
            nn.ReLU(),
            Linear(embed_dim, 1),
        )
        self.V = nn.Sequential(Linear(state_dim, embed_dim), nn.ReLU(), Linear(embed_dim, 1))

    def forward(self, q: Tensor, state: Tensor) -> Tensor:
        """``q`` [rows, n] and ``state`` [rows, s] -> [rows]."""
        first, of_v = cast(nn.Linear, self.net[0]), cast(nn.Linear, self.V[0])
        # Both nets start with a Linear of the (wide) state: one product reads it once. The values come on their own, so that
        # only for them, and not for the state, a gradient is computed.
        by_state, by_value = first.weight.split([self.state_dim, self.n_agents], dim=1)
        weight, bias = torch.cat([by_state, of_v.weight]), torch.cat([first.bias, of_v.bias])
        hidden, hidden_v = linear(state, weight, bias).split([first.out_features, of_v.out_features], dim=1)
        advantage: Tensor = self.net[1:](hidden + linear(q, by_value, None))
        value: Tensor = self.V[1:](hidden_v)
        return (advantage + value).squeeze(1)

    def hidden_layers(self, *, prefix: str = "") -> list[HiddenLayer]:
        """That of the state's encoder, and all four, each with weights of its own.

        Args:
            prefix: In front of the names.
        """
        net, v = list(self.net), list(self.V)
        layers = [HiddenLayer(f"{prefix}net.{at}", *net[at : at + 3]) for at in (0, 2, 4)]
        return [*encoder_layers(self, prefix), *layers, HiddenLayer(f"{prefix}V", *v)]
