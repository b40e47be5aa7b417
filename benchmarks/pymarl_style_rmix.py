"""The reference of the learner benchmark for RMIX: :mod:`benchmarks.pymarl_style`'s way of doing this project's update.

Written from the formulas (Qiu et al., NeurIPS 2021; docs/method.md 7.6), as the official program goes about it: every step
of the loop makes the atoms of all actions, sorts them, embeds them for the risk level predictor and takes the CVaR of every
action, with gradients. Where the official code errs (D16, D17, D25) it does what :class:`rllib_reborn.RMIX` does, so that
both can be compared.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from benchmarks.pymarl_style import PaddedEpisodes, PyMARLStyleLearner

_FORBIDDEN = -1e7


class StepRiskAgent(nn.Module):
    """One time step of all agents of all episodes: atoms, risk level and CVaR of every action."""

    weights: Tensor

    def __init__(
        self, input_dim: int, n_actions: int, hidden_dim: int, atoms: int, levels: int, embedding_dim: int
    ) -> None:
        super().__init__()
        self.n_actions, self.atoms, self.levels, self.embedding_dim = n_actions, atoms, levels, embedding_dim
        self.encoder = nn.Linear(input_dim, hidden_dim)
        self.memory = nn.GRUCell(hidden_dim, hidden_dim)
        self.head = nn.Linear(hidden_dim, n_actions * atoms)
        self.risk_encoder = nn.Linear(input_dim, hidden_dim)
        self.risk_memory = nn.GRUCell(hidden_dim, hidden_dim)
        self.history = nn.Linear(hidden_dim, levels * embedding_dim)
        self.current = nn.Linear(n_actions * atoms, embedding_dim)
        # The share of each atom's probability that lies in the lowest k / K, over that share.
        share = (torch.arange(1, levels + 1, dtype=torch.float64) / levels).unsqueeze(1)
        before = torch.arange(atoms, dtype=torch.float64) / atoms
        inside = (share - before).clamp(0, 1 / atoms)
        self.register_buffer("weights", (inside / share).float())

    def forward(self, x: Tensor, hidden: Tensor, risk_hidden: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``x`` [rows, input_dim], two states [rows, h] -> CVaR [rows, A], atoms [rows, A, N], the states after it."""
        hidden = self.memory(relu(self.encoder(x)), hidden)
        flat = self.head(hidden)
        past = self.history(risk_hidden).view(-1, self.levels, self.embedding_dim)
        logits = (past * self.current(flat.detach()).unsqueeze(1)).sum(2) / math.sqrt(self.embedding_dim)
        chances = logits.softmax(1)
        atoms = flat.view(-1, self.n_actions, self.atoms)
        in_order = atoms.sort(dim=2).values
        value = (in_order * self.weights[logits.argmax(1)].unsqueeze(1)).sum(2)
        of_levels = in_order.detach() @ self.weights.t()
        expected = (of_levels * chances.unsqueeze(1)).sum(2)
        value = value + expected - expected.detach()
        return value, atoms, hidden, self.risk_memory(relu(self.risk_encoder(x)), risk_hidden)


class PyMARLStyleRMIX(PyMARLStyleLearner):
    """RMIX with predicted risk levels, double Q-learning, 1-step targets and Adam.

    Args:
        n_agents, n_actions, obs_dim, state_dim: ``n``, ``A``, ``d``, ``s``.
        atoms: N.
        levels: K.
        embedding_dim: Width in which the predictor compares.
        local_weight: Factor of the local loss where there is one.
        settings: As of :class:`~benchmarks.pymarl_style.PyMARLStyleLearner`.
    """

    def __init__(
        self,
        n_agents: int,
        n_actions: int,
        obs_dim: int,
        state_dim: int,
        *,
        atoms: int = 100,
        levels: int = 10,
        embedding_dim: int = 16,
        embed_dim: int = 48,
        local_weight: float = 1e-3,
        **settings: Any,
    ) -> None:
        super().__init__(n_agents, n_actions, obs_dim, state_dim, embed_dim=embed_dim, **settings)
        self.atoms = atoms
        self.local_weight = local_weight
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.get("seed", 0))
            input_dim = obs_dim + n_actions + n_agents
            self.risk_agent = StepRiskAgent(input_dim, n_actions, self.hidden_dim, atoms, levels, embedding_dim)
        self.target_risk_agent = copy.deepcopy(self.risk_agent)
        self.parameters = [*self.risk_agent.parameters(), *self.mixer.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=settings.get("lr", 5e-4))

    def update(self, batch: PaddedEpisodes, *, local_loss: bool = False) -> float:
        """One gradient step; returns the loss.

        Args:
            batch: From :meth:`prepare`.
            local_loss: Add the quantile regression of every agent's distribution, comparing all pairs of atoms.
        """
        forbidden = batch.allowed == 0
        value, atoms = self._unroll_risk(self.risk_agent, batch, local_loss)
        chosen = value[:, :-1].gather(3, batch.actions[:, :-1]).squeeze(3)
        q_tot = self.mixer(chosen, batch.state[:, :-1])

        target_value, target_atoms = self._unroll_risk(self.target_risk_agent, batch, local_loss)
        best = value.detach().masked_fill(forbidden, _FORBIDDEN)[:, 1:].max(dim=3, keepdim=True).indices
        next_q_tot = self.target_mixer(target_value[:, 1:].gather(3, best).squeeze(3), batch.state[:, 1:])

        target = batch.reward + self.gamma * (1 - batch.terminated) * next_q_tot.detach()
        loss = ((q_tot - target) * batch.real).square().sum() / batch.real.sum()
        if atoms is not None and target_atoms is not None:
            loss = loss + self.local_weight * self._local_loss(batch, chosen, atoms, target_atoms, best)

        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        self.optimizer.step()
        return loss.item()

    def _local_loss(
        self, batch: PaddedEpisodes, chosen: Tensor, atoms: Tensor, target_atoms: Tensor, best: Tensor
    ) -> Tensor:
        """Quantile Huber loss of the atoms of the actions taken, [E, T, n, N], against ``C + gamma * Z'``."""

        def of_action(all_atoms: Tensor, actions: Tensor) -> Tensor:
            return all_atoms.gather(3, actions.unsqueeze(4).expand(*actions.shape, self.atoms)).squeeze(3)

        prediction = of_action(atoms[:, :-1], batch.actions[:, :-1])
        following = (1 - batch.terminated).unsqueeze(3) * of_action(target_atoms[:, 1:], best)
        target = (chosen.unsqueeze(3) + self.gamma * following).detach()
        u = target.unsqueeze(3) - prediction.unsqueeze(4)
        huber = torch.where(u.abs() <= 1, 0.5 * u.square(), u.abs() - 0.5)
        fractions = ((torch.arange(self.atoms, device=u.device) + 0.5) / self.atoms).unsqueeze(1)
        per_agent = ((fractions - (u < 0).float()).abs() * huber).mean(4).sum(3)
        return (per_agent * batch.real).sum() / (batch.real.sum() * self.n_agents)

    def _unroll_risk(
        self, agent: StepRiskAgent, batch: PaddedEpisodes, keep_atoms: bool
    ) -> tuple[Tensor, Tensor | None]:
        """CVaR [E, T+1, n, A] of all observations, step by step, and, where they are kept, atoms [E, T+1, n, A, N]."""
        episodes, steps = batch.obs.shape[:2]
        hidden = batch.obs.new_zeros(episodes * self.n_agents, self.hidden_dim)
        risk_hidden = torch.zeros_like(hidden)
        values, atoms = [], []
        for t in range(steps):
            value, of_step, hidden, risk_hidden = agent(self._inputs(batch, t), hidden, risk_hidden)
            values.append(value.view(episodes, self.n_agents, self.n_actions))
            if keep_atoms:
                atoms.append(of_step.view(episodes, self.n_agents, self.n_actions, self.atoms))
        return torch.stack(values, dim=1), torch.stack(atoms, dim=1) if keep_atoms else None
