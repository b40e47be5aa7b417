"""The reference of the learner benchmark for WQMIX: one update done the way its PyMARL-based programs do it.

Written from the description of what those programs compute; none of their code is here. On top of
:mod:`benchmarks.pymarl_style`: the critic's agents are unrolled step by step as the acting ones are, online and
target; its mixer reads state and values side by side; the target critic's values of the greedy joint actions are
computed for the observations before and after each step separately. Those programs unroll the acting agents' target
networks too, although no target comes from them; here they are left out, so that both sides do the same maths.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.pymarl_style import _FORBIDDEN, PaddedEpisodes, PyMARLStyleLearner, StepAgent


class CentralMixer(nn.Module):
    """The unrestricted mixer; submodules are named as in :class:`rllib_reborn.nets.mixers.FeedForwardMixer`."""

    def __init__(self, n_agents: int, state_dim: int, embed_dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(state_dim + n_agents, embed_dim),
            nn.ReLU(),
            nn.Linear(embed_dim, embed_dim),
            nn.ReLU(),
            nn.Linear(embed_dim, embed_dim),
            nn.ReLU(),
            nn.Linear(embed_dim, 1),
        )
        self.V = nn.Sequential(nn.Linear(state_dim, embed_dim), nn.ReLU(), nn.Linear(embed_dim, 1))

    def forward(self, q: Tensor, state: Tensor) -> Tensor:
        """``q`` [E, T, n], ``state`` [E, T, s] -> [E, T, 1]."""
        return self.net(torch.cat([state, q], dim=2)) + self.V(state)


class PyMARLStyleWQMIX(PyMARLStyleLearner):
    """WQMIX with double Q-learning and 1-step targets, as :class:`PyMARLStyleLearner` otherwise.

    Args:
        n_agents, n_actions, obs_dim, state_dim: ``n``, ``A``, ``d``, ``s``.
        central_embed_dim: Width of the critic's mixer.
        weighting: ``cw`` or ``ow``.
        alpha: Weight of what has not the full one.
        **settings: Of :class:`PyMARLStyleLearner`.
    """

    def __init__(
        self,
        n_agents: int,
        n_actions: int,
        obs_dim: int,
        state_dim: int,
        *,
        central_embed_dim: int = 256,
        weighting: Literal["cw", "ow"] = "cw",
        alpha: float = 0.1,
        **settings: Any,
    ) -> None:
        super().__init__(n_agents, n_actions, obs_dim, state_dim, **settings)
        self.weighting = weighting
        self.alpha = alpha
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.get("seed", 0) + 1)
            self.central_agent = StepAgent(obs_dim + n_actions + n_agents, n_actions, self.hidden_dim)
            self.central_mixer = CentralMixer(n_agents, state_dim, central_embed_dim)
        self.target_central_agent = copy.deepcopy(self.central_agent)
        self.target_central_mixer = copy.deepcopy(self.central_mixer)
        self._optimize([self.central_agent, self.central_mixer])

    def _optimize(self, added: list[nn.Module]) -> None:
        """An optimizer for all parameters, those of ``added`` included."""
        self.parameters += [parameter for module in added for parameter in module.parameters()]
        lr = self.optimizer.param_groups[0]["lr"]
        self.optimizer = torch.optim.RMSprop(self.parameters, lr=lr, alpha=0.99, eps=1e-5)

    def update(self, batch: PaddedEpisodes) -> float:
        """One gradient step on a batch of :meth:`prepare`; returns the loss before it."""
        forbidden = batch.allowed == 0
        taken, state = batch.actions[:, :-1], batch.state
        q = self._unroll(self.agent, batch)
        q_tot = self.mixer(q[:, :-1].gather(3, taken).squeeze(3), state[:, :-1])
        best = q.detach().masked_fill(forbidden, _FORBIDDEN).max(dim=3, keepdim=True).indices

        central_q = self._unroll(self.central_agent, batch)
        central = self.central_mixer(central_q[:, :-1].gather(3, taken).squeeze(3), state[:, :-1])
        target_q = self._unroll(self.target_central_agent, batch).masked_fill(forbidden, _FORBIDDEN)
        at_best = target_q.gather(3, best).squeeze(3)
        following = self.target_central_mixer(at_best[:, 1:], state[:, 1:])
        target = (batch.reward + self.gamma * (1 - batch.terminated) * following).detach()

        error = (q_tot - target) * batch.real
        central_error = (central - target) * batch.real
        if self.weighting == "cw":
            is_best = (taken == best[:, :-1]).all(dim=2)
            of_best = self.target_central_mixer(at_best[:, :-1], state[:, :-1])
            full = is_best | (target > of_best)
        else:
            full = error < 0
        weight = torch.where(full, torch.ones_like(error), torch.full_like(error, self.alpha)).detach()
        steps = batch.real.sum()
        loss = (weight * error.square()).sum() / steps + central_error.square().sum() / steps
        return self._step(loss)

    def _step(self, loss: Tensor) -> float:
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        self.optimizer.step()
        return loss.item()
