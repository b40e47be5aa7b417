"""The reference of the learner benchmark for ResQ: :mod:`benchmarks.pymarl_style_wqmix` with a residual function.

Written from the description of what those programs compute; none of their code is here. They also unroll the residual's
target agents and ask the target critic about the observations before each step, although no target comes from either; here
both are left out, so that both sides do the same maths.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from benchmarks.pymarl_style import _FORBIDDEN, PaddedEpisodes, StepAgent
from benchmarks.pymarl_style_wqmix import CentralMixer, PyMARLStyleWQMIX


class PyMARLStyleResQ(PyMARLStyleWQMIX):
    """ResQ with double Q-learning and TD(lambda) targets, as :class:`PyMARLStyleWQMIX` otherwise.

    Args:
        n_agents, n_actions, obs_dim, state_dim: ``n``, ``A``, ``d``, ``s``.
        central_embed_dim: Width of the two unrestricted mixers.
        td_lambda: Of the targets.
        lr: Learning rate.
        **settings: Of :class:`PyMARLStyleLearner`.
    """

    def __init__(
        self,
        n_agents: int,
        n_actions: int,
        obs_dim: int,
        state_dim: int,
        *,
        central_embed_dim: int = 128,
        td_lambda: float = 0.6,
        lr: float = 1e-3,
        **settings: Any,
    ) -> None:
        super().__init__(
            n_agents, n_actions, obs_dim, state_dim, central_embed_dim=central_embed_dim, lr=lr, **settings
        )
        self.td_lambda = td_lambda
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.get("seed", 0) + 2)
            self.residual_agent: StepAgent = copy.deepcopy(self.agent)
            self.residual_mixer = CentralMixer(n_agents, state_dim, central_embed_dim)
        self._optimize([self.residual_agent, self.residual_mixer])

    def update(self, batch: PaddedEpisodes) -> float:
        """One gradient step on a batch of :meth:`prepare`; returns the loss before it."""
        forbidden = batch.allowed == 0
        taken, state = batch.actions[:, :-1], batch.state
        q = self._unroll(self.agent, batch)
        main = self.mixer(q[:, :-1].gather(3, taken).squeeze(3), state[:, :-1])
        residual_q = self._unroll(self.residual_agent, batch)
        residual = -self.residual_mixer(residual_q[:, :-1].gather(3, taken).squeeze(3), state[:, :-1]).abs()
        best = q.detach().masked_fill(forbidden, _FORBIDDEN).max(dim=3, keepdim=True).indices

        central_q = self._unroll(self.central_agent, batch)
        central = self.central_mixer(central_q[:, :-1].gather(3, taken).squeeze(3), state[:, :-1])
        target_q = self._unroll(self.target_central_agent, batch).masked_fill(forbidden, _FORBIDDEN)
        at_best = target_q.gather(3, best).squeeze(3)
        following = self.target_central_mixer(at_best, state)[:, 1:]
        target = self._lambda_targets(batch, following).detach()

        others = 1 - (taken == best[:, :-1]).all(dim=2).float()
        error = (main + others * residual - target) * batch.real
        central_error = (central - target) * batch.real
        steps = batch.real.sum()
        return self._step(error.square().sum() / steps + central_error.square().sum() / steps)

    def _lambda_targets(self, batch: PaddedEpisodes, following: Tensor) -> Tensor:
        """TD(lambda) [E, T, 1] by a loop from the end; at the last real step what follows is bootstrapped from."""
        bootstrap = (1 - batch.terminated) * following
        targets = torch.zeros_like(bootstrap)
        later = torch.zeros_like(bootstrap[:, 0])
        is_last = torch.ones_like(later, dtype=torch.bool)
        for t in range(bootstrap.shape[1] - 1, -1, -1):
            real = batch.real[:, t] > 0
            beyond = torch.where(
                is_last, bootstrap[:, t], (1 - self.td_lambda) * following[:, t] + self.td_lambda * later
            )
            targets[:, t] = torch.where(real, batch.reward[:, t] + self.gamma * beyond, torch.zeros_like(later))
            later, is_last = targets[:, t], ~real
        return targets
