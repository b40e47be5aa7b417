"""QMIX's monotonic mixing network (Rashid et al., ICML 2018, section 4.1)."""

from __future__ import annotations

import itertools
from typing import cast

import torch
from torch import Tensor, nn

from rllib_reborn.nets.dense import Linear, linear
from rllib_reborn.nets.hidden_layers import HiddenLayer
from rllib_reborn.nets.mixers.mixer import Mixer
from rllib_reborn.nets.mixers.state_encoder import encoder_layers


class QMixer(Mixer):
    """Q_tot = |w_final(s)| . ELU(|w_1(s)| q + b_1(s)) + V(s); monotonic in every q because the weights are >= 0.

    Args:
        n_agents: ``n``.
        state_dim: ``s >= 1``.
        embed_dim: Mixing neurons (PyMARL 32; the ReBorn paper's Table 2: 64).
        hypernet_layers: 1 (one Linear) or 2 (Linear, ReLU, Linear) layers in the two weight hypernetworks.
        hypernet_dim: Hidden width of 2-layer hypernetworks.

    Attributes:
        hyper_w_1, hyper_b_1, hyper_w_final, V: The hypernetworks, by PyMARL's names.
        mixing: The activation of the mixing neurons, a module so that it can be hooked.
    """

    def __init__(
        self,
        n_agents: int,
        state_dim: int,
        *,
        embed_dim: int = 32,
        hypernet_layers: int = 2,
        hypernet_dim: int = 64,
    ) -> None:
        super().__init__()
        if state_dim < 1:
            raise ValueError(f"QMixer needs a global state; state_dim is {state_dim}. Use VDN for a task without one.")
        if hypernet_layers not in (1, 2):
            raise ValueError(f"hypernet_layers is {hypernet_layers!r}; expected 1 or 2.")
        self.n_agents = n_agents
        self.embed_dim = embed_dim
        self.hyper_w_1 = _hypernet(state_dim, n_agents * embed_dim, hypernet_layers, hypernet_dim)
        self.hyper_w_final = _hypernet(state_dim, embed_dim, hypernet_layers, hypernet_dim)
        self.hyper_b_1 = Linear(state_dim, embed_dim)
        self.V = nn.Sequential(Linear(state_dim, embed_dim), nn.ReLU(), Linear(embed_dim, 1))
        self.mixing = nn.ELU()

    def forward(self, q: Tensor, state: Tensor) -> Tensor:
        """``q`` [rows, n] and ``state`` [rows, s] -> Q_tot [rows]."""
        # The four nets start with a Linear of the same state: as one product the (wide) state is read once.
        first = [cast(nn.Linear, net) for net in (self.hyper_w_1[0], self.hyper_w_final[0], self.V[0], self.hyper_b_1)]
        fused = linear(state, torch.cat([layer.weight for layer in first]), torch.cat([layer.bias for layer in first]))
        of_w_1, of_w_final, of_v, b_1 = fused.split([layer.out_features for layer in first], dim=1)
        w_1 = _after_first(self.hyper_w_1, of_w_1).abs().view(-1, self.n_agents, self.embed_dim)
        w_final = _after_first(self.hyper_w_final, of_w_final).abs()
        v = _after_first(self.V, of_v).squeeze(1)
        # A product of 1 x n by n x embed per row: as a batched matrix product it is three times slower on the CPU.
        hidden: Tensor = self.mixing((q.unsqueeze(2) * w_1).sum(1) + b_1)
        return (hidden * w_final).sum(1) + v

    def hidden_layers(self) -> list[HiddenLayer]:
        """Of the state's encoder, of the hypernetworks that have two layers, and the mixing neurons."""
        layers = encoder_layers(self)
        for name in ("hyper_w_1", "hyper_w_final", "V"):
            net = cast(nn.Sequential, self.get_submodule(name))
            if len(net) == 3:  # a one-layer hypernetwork has no hidden neurons
                layers.append(HiddenLayer(name, *net))
        mixing = HiddenLayer(
            "mixing",
            None,
            self.mixing,
            None,
            width=self.embed_dim,
            score_only="the weights of the mixing neurons are made by hypernetworks, one set for every state",
        )
        return [*layers, mixing]


def _after_first(net: nn.Sequential, x: Tensor) -> Tensor:
    for module in itertools.islice(net, 1, None):
        x = module(x)
    return x


def _hypernet(state_dim: int, out_dim: int, layers: int, hidden_dim: int) -> nn.Sequential:
    if layers == 1:
        return nn.Sequential(Linear(state_dim, out_dim))
    return nn.Sequential(Linear(state_dim, hidden_dim), nn.ReLU(), Linear(hidden_dim, out_dim))
