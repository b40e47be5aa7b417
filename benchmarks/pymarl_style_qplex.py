"""The reference of the learner benchmark for QPLEX: :mod:`benchmarks.pymarl_style` with the duplex dueling mixer.

Written from the description of what those programs compute; none of their code is here. In the mixer every net is applied on
its own, and those of the joint action to state and one-hot actions side by side.
"""

from __future__ import annotations

import copy
import itertools
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.pymarl_style import _FORBIDDEN, PaddedEpisodes, PyMARLStyleLearner


class DuplexMixer(nn.Module):
    """QPLEX's mixer (Wang et al., ICLR 2021).

    Submodules are named as in :class:`rllib_reborn.nets.mixers.QPLEXMixer`, so that weights can be copied across.
    """

    def __init__(
        self,
        n_agents: int,
        n_actions: int,
        state_dim: int,
        hypernet_dim: int,
        adv_layers: int,
        adv_dim: int,
        heads: int,
    ) -> None:
        super().__init__()
        self.n_agents, self.n_actions = n_agents, n_actions

        def net(in_dim: int, hidden_dim: int, out_dim: int, layers: int) -> nn.Sequential:
            made: list[nn.Module] = []
            for low, high in itertools.pairwise([in_dim, *[hidden_dim] * (layers - 1), out_dim]):
                made += [nn.Linear(low, high), nn.ReLU()]
            return nn.Sequential(*made[:-1])

        def several(in_dim: int, out_dim: int) -> nn.ModuleList:
            return nn.ModuleList(net(in_dim, adv_dim, out_dim, adv_layers) for _ in range(heads))

        self.hyper_w_final = net(state_dim, hypernet_dim, n_agents, 2)
        self.V = net(state_dim, hypernet_dim, n_agents, 2)
        self.key_extractors = several(state_dim, 1)
        self.agents_extractors = several(state_dim, n_agents)
        self.action_extractors = several(state_dim + n_agents * n_actions, n_agents)

    def forward(self, q: Tensor, state: Tensor, best: Tensor, one_hot: Tensor) -> Tensor:
        """``q`` and ``best`` [E, T, n], ``state`` [E, T, s], ``one_hot`` [E, T, n, A] -> Q_tot [E, T, 1]."""
        shape = (*q.shape[:2], 1)
        state = state.reshape(-1, state.shape[-1])
        w = self.hyper_w_final(state).abs() + 1e-10
        b = self.V(state)
        value = w * q.reshape(-1, self.n_agents) + b
        highest = w * best.reshape(-1, self.n_agents) + b
        advantage = (value - highest).detach()
        both = torch.cat([state, one_hot.reshape(len(state), -1)], dim=1)
        weights = []
        for key, agents, action in zip(
            self.key_extractors, self.agents_extractors, self.action_extractors, strict=True
        ):
            positive = key(state).abs().repeat(1, self.n_agents) + 1e-10
            weights.append(positive * torch.sigmoid(agents(state)) * torch.sigmoid(action(both)))
        weight = torch.stack(weights, dim=1).sum(dim=1)
        return (value.sum(dim=1) + (advantage * (weight - 1)).sum(dim=1)).view(shape)


class PyMARLStyleQPLEX(PyMARLStyleLearner):
    """QPLEX with double Q-learning and 1-step targets.

    Args:
        n_agents, n_actions, obs_dim, state_dim: ``n``, ``A``, ``d``, ``s``.
        hypernet_dim: Hidden width of the nets of w and b.
        adv_layers, adv_dim: Layers of the nets of lambda, and their hidden width.
        heads: Of lambda.
        settings: As :class:`PyMARLStyleLearner`.
    """

    def __init__(
        self,
        n_agents: int,
        n_actions: int,
        obs_dim: int,
        state_dim: int,
        *,
        hypernet_dim: int = 64,
        adv_layers: int = 1,
        adv_dim: int = 64,
        heads: int = 4,
        **settings: Any,
    ) -> None:
        super().__init__(n_agents, n_actions, obs_dim, state_dim, **settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.get("seed", 0))
            self.duplex = DuplexMixer(n_agents, n_actions, state_dim, hypernet_dim, adv_layers, adv_dim, heads)
        self.target_duplex = copy.deepcopy(self.duplex)
        self.parameters = [*self.agent.parameters(), *self.duplex.parameters()]
        chosen = {name: self.optimizer.defaults[name] for name in ("lr", "alpha", "eps")}
        self.optimizer = torch.optim.RMSprop(self.parameters, **chosen)

    def update(self, batch: PaddedEpisodes) -> float:
        """One gradient step on a batch of :meth:`prepare`; returns the loss before it."""
        forbidden = batch.allowed == 0
        q = self._unroll(self.agent, batch)
        chosen = q[:, :-1].gather(3, batch.actions[:, :-1]).squeeze(3)
        allowed_q = q.detach().masked_fill(forbidden, _FORBIDDEN)
        highest, best = allowed_q.max(dim=3, keepdim=True)
        q_tot = self.duplex(chosen, batch.state[:, :-1], highest[:, :-1].squeeze(3), batch.actions_one_hot[:, :-1])

        target_q = self._unroll(self.target_agent, batch).masked_fill(forbidden, _FORBIDDEN)[:, 1:]
        best_one_hot = torch.zeros_like(target_q).scatter(3, best[:, 1:], 1.0)
        after = self.target_duplex(
            target_q.gather(3, best[:, 1:]).squeeze(3), batch.state[:, 1:], target_q.max(dim=3).values, best_one_hot
        )

        target = batch.reward + self.gamma * (1 - batch.terminated) * after.detach()
        error = (q_tot - target) * batch.real
        loss = error.square().sum() / batch.real.sum()

        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        self.optimizer.step()
        return loss.item()
