"""QMIX's monotonic mixing network (Rashid et al., ICML 2018, section 4.1)."""

from __future__ import annotations

import itertools
from typing import cast

import torch
from torch import Tensor, nn

from rllib_reborn.nets.dense import Linear, has_hooks, linear
from rllib_reborn.nets.hidden_layers import HiddenLayer
from rllib_reborn.nets.mixers import compiled_qmix
from rllib_reborn.nets.mixers.compiled_qmix import ELU
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
        self.mixing = ELU()

    def forward(self, q: Tensor, state: Tensor) -> Tensor:
        """``q`` [rows, n] and ``state`` [rows, s] -> Q_tot [rows]."""
        layers = self._plain_layers()
        by_kernels = layers is not None and compiled_qmix.suits(q, state, layers) and not has_hooks(layers[-1:])
        if layers is not None and by_kernels and not self._has_hooks():
            return compiled_qmix.q_tot(q, state, layers)
        # The four nets start with a Linear of the same state: as one product the (wide) state is read once.
        first = [cast(nn.Linear, net) for net in (self.hyper_w_1[0], self.hyper_w_final[0], self.V[0], self.hyper_b_1)]
        fused = linear(state, torch.cat([layer.weight for layer in first]), torch.cat([layer.bias for layer in first]))
        of_w_1, of_w_final, of_v, b_1 = fused.split([layer.out_features for layer in first], dim=1)
        w_1, w_final = _after_first(self.hyper_w_1, of_w_1), _after_first(self.hyper_w_final, of_w_final)
        if layers is not None and by_kernels:
            hidden: Tensor = self.mixing(compiled_qmix.mix_in(q, w_1, b_1))
            return compiled_qmix.mix_out(hidden, w_final, self.V[1](of_v), layers[-1])
        # A product of 1 x n by n x embed per row: as a batched matrix product it is three times slower on the CPU.
        weighted = q.unsqueeze(2) * w_1.abs().view(-1, self.n_agents, self.embed_dim)
        hidden = self.mixing(weighted.sum(1) + b_1)
        return (hidden * w_final.abs()).sum(1) + _after_first(self.V, of_v).squeeze(1)

    def _nets(self) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
        return self.hyper_w_1, self.hyper_w_final, self.V

    def _plain_layers(self) -> list[nn.Linear] | None:
        """The layers that :func:`.compiled_qmix.suits` takes; None: hypernetworks have one layer, or an intervention or a
        setting has put something else in the place of a layer or a ReLU."""
        nets = self._nets()
        layers = [*(net[0] for net in nets), self.hyper_b_1, *(net[-1] for net in nets)]
        if any(len(net) != 3 or type(net[1]) is not nn.ReLU for net in nets) or type(self.mixing) is not ELU:
            return None
        return cast(list[nn.Linear], layers) if all(type(layer) is Linear for layer in layers) else None

    def _has_hooks(self) -> bool:
        """Whether a hook is registered on a part of the network."""
        return has_hooks(itertools.chain(*self._nets(), [self.hyper_b_1, self.mixing]))

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
