"""Small WQMIX and ResQ mixers for the tests."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from rllib_reborn.nets.agents import AgentTeam
from rllib_reborn.nets.mixers import FeedForwardMixer, ResQMixer, WQMixer
from rllib_reborn.nets.mixers.critic import CentralCritic

N, A, D, S = 3, 3, 4, 5


def critic(embed_dim: int = 16, *, n_agents: int = N, n_actions: int = A, state_dim: int = S) -> CentralCritic:
    agents = AgentTeam((0,) * n_agents, D, n_actions, hidden_dim=6)
    return CentralCritic(agents, FeedForwardMixer(n_agents, state_dim, embed_dim=embed_dim))


def wqmixer(seed: int = 0) -> WQMixer:
    torch.manual_seed(seed)
    return WQMixer(N, S, critic(), embed_dim=4, hypernet_dim=7)


def resq_mixer(seed: int = 0) -> ResQMixer:
    torch.manual_seed(seed)
    return ResQMixer(N, S, critic(), critic(), embed_dim=4, hypernet_dim=7)


def joint_actions(n_agents: int = N, n_actions: int = A) -> Tensor:
    """[A ** n, n] all of them."""
    return torch.tensor(list(itertools.product(range(n_actions), repeat=n_agents)))
