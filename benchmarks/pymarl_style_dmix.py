"""The reference of the learner benchmark for DMIX: :mod:`benchmarks.pymarl_style`'s way of doing this project's update.

Written from the formulas (Sun et al.: DFAC, ICML 2021; docs/method.md 7.5), as the official program goes about it: every
step of the loop draws fractions for each episode, embeds them, and makes the quantiles of all actions of all agents; the
target's actions are those with the best mean over the fractions drawn.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, smooth_l1_loss

from benchmarks.pymarl_style import _FORBIDDEN, PaddedEpisodes, PyMARLStyleLearner


class StepQuantileAgent(nn.Module):
    """One time step of all agents of all episodes: quantiles of every action."""

    def __init__(self, input_dim: int, n_actions: int, hidden_dim: int, cosines: int) -> None:
        super().__init__()
        self.cosines = cosines
        self.encoder = nn.Linear(input_dim, hidden_dim)
        self.memory = nn.GRUCell(hidden_dim, hidden_dim)
        self.phi = nn.Linear(cosines, hidden_dim)
        self.head = nn.Linear(hidden_dim, n_actions)

    def forward(self, x: Tensor, hidden: Tensor, fractions: Tensor) -> tuple[Tensor, Tensor]:
        """``x`` [E * n, input_dim], ``hidden`` [E * n, h], ``fractions`` [E, N] -> quantiles [E * n, A, N], hidden."""
        hidden = self.memory(relu(self.encoder(x)), hidden)
        episodes, count = fractions.shape
        cosines = torch.cos(math.pi * torch.arange(self.cosines, device=fractions.device) * fractions.reshape(-1, 1))
        phi = relu(self.phi(cosines)).view(episodes, 1, count, -1)
        product = hidden.view(episodes, -1, 1, hidden.shape[1]) * phi
        return self.head(product.flatten(0, 1)).transpose(1, 2), hidden


class PyMARLStyleDMIX(PyMARLStyleLearner):
    """DMIX with 1-step targets whose actions the target networks choose, and Adam (eps 1e-5).

    Args:
        n_agents, n_actions, obs_dim, state_dim: ``n``, ``A``, ``d``, ``s``.
        quantiles, target_quantiles: ``N``, ``N'``.
        cosines: Cosine features of a fraction.
        settings: As of :class:`~benchmarks.pymarl_style.PyMARLStyleLearner`.
    """

    def __init__(
        self,
        n_agents: int,
        n_actions: int,
        obs_dim: int,
        state_dim: int,
        *,
        quantiles: int = 8,
        target_quantiles: int = 8,
        cosines: int = 64,
        lr: float = 5e-4,
        **settings: Any,
    ) -> None:
        super().__init__(n_agents, n_actions, obs_dim, state_dim, lr=lr, **settings)
        self.quantiles, self.target_quantiles = quantiles, target_quantiles
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.get("seed", 0))
            self.quantile_agent = StepQuantileAgent(obs_dim + n_actions + n_agents, n_actions, self.hidden_dim, cosines)
        self.target_quantile_agent = copy.deepcopy(self.quantile_agent)
        self.parameters = [*self.quantile_agent.parameters(), *self.mixer.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=lr, eps=1e-5)

    def draw(self, batch: PaddedEpisodes) -> tuple[list[Tensor], list[Tensor]]:
        """Fractions of every time step, [E, N] and [E, N'], all T + 1 of them."""
        episodes, steps = batch.obs.shape[:2]
        counts = (self.quantiles, self.target_quantiles)
        device = batch.obs.device
        mine, of_target = ([torch.rand(episodes, count, device=device) for _ in range(steps)] for count in counts)
        return mine, of_target

    def update(self, batch: PaddedEpisodes, fractions: tuple[list[Tensor], list[Tensor]] | None = None) -> float:
        """One gradient step on a batch of :meth:`prepare`; returns the loss before it.

        Args:
            batch: Episodes.
            fractions: As :meth:`draw` gives them; None: drawn.
        """
        mine, of_target = self.draw(batch) if fractions is None else fractions
        forbidden = (batch.allowed == 0).unsqueeze(4)
        z = self._unroll_quantiles(self.quantile_agent, batch, mine)
        taken = batch.actions[:, :-1].unsqueeze(4).expand(-1, -1, -1, -1, self.quantiles)
        mixed = self._mix(self.mixer, z[:, :-1].gather(3, taken).squeeze(3), batch.state[:, :-1])

        target_z = self._unroll_quantiles(self.target_quantile_agent, batch, of_target)
        target_z = target_z.masked_fill(forbidden, _FORBIDDEN)[:, 1:]
        best = target_z.mean(4).max(dim=3, keepdim=True).indices
        best = best.unsqueeze(4).expand(-1, -1, -1, -1, self.target_quantiles)
        after = self._mix(self.target_mixer, target_z.gather(3, best).squeeze(3), batch.state[:, 1:])

        target = batch.reward + self.gamma * (1 - batch.terminated) * after
        u = target.detach().unsqueeze(2) - mixed.unsqueeze(3)  # [E, T, N, N']
        weight = (torch.stack(mine[:-1], dim=1).unsqueeze(3) - (u.detach() < 0).float()).abs()
        per_step = (weight * smooth_l1_loss(u, torch.zeros_like(u), reduction="none")).mean(3).sum(2)
        loss = (per_step * batch.real.squeeze(2)).sum() / batch.real.sum()

        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        self.optimizer.step()
        return loss.item()

    def _unroll_quantiles(self, agent: StepQuantileAgent, batch: PaddedEpisodes, fractions: list[Tensor]) -> Tensor:
        """Quantiles of all observations, step by step: [E, T+1, n, A, N]."""
        episodes, steps = batch.obs.shape[:2]
        hidden = batch.obs.new_zeros(episodes * self.n_agents, self.hidden_dim)
        values = []
        for t in range(steps):
            z, hidden = agent(self._inputs(batch, t), hidden, fractions[t])
            values.append(z.view(episodes, self.n_agents, self.n_actions, -1))
        return torch.stack(values, dim=1)

    @staticmethod
    def _mix(mixer: nn.Module, z: Tensor, state: Tensor) -> Tensor:
        """``z`` [E, T, n, N] of the agents, ``state`` [E, T, s] -> [E, T, N] of the team."""
        q = z.mean(3)
        return (z - q.unsqueeze(3)).sum(2) + mixer(q, state)
