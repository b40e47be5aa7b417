"""The reference of the learner benchmark: one QMIX update done the way the PyMARL family of programs does it.

It stands in for those programs (PyMARL, PyMARL2, EPyMARL), so that a benchmark can compare with them in the
same run on any machine, without installing them. It is written from the description of what they compute;
none of their code is here.

What makes it PyMARL-style:

- Batches are dense float32 and int64 arrays padded to one length, with the one-hot actions stored.
- Online and target networks are unrolled by a Python loop over all ``T + 1`` observations, padding included;
  every step builds its own input (observation, one-hot last action, agent id) and calls Linear, ReLU,
  GRUCell, Linear.
- Autograd records the target networks too, and the record is left unused, as in PyMARL and EPyMARL (PyMARL2
  switches recording off, which takes about 7 % off the update).
- Values of padding are computed like all others; a mask takes them out of the loss at the end.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import elu, one_hot, relu

# Value of a forbidden action; finite, since padding has no allowed action and its values meet a mask of zeros.
_FORBIDDEN = -1e7


@dataclasses.dataclass(frozen=True)
class PaddedEpisodes:
    """A batch as the PyMARL family stores it; from :meth:`PyMARLStyleLearner.prepare`.

    Attributes:
        obs: [E, T+1, n, d] float32.
        state: [E, T+1, s] float32.
        allowed: [E, T+1, n, A] int32.
        actions: [E, T+1, n, 1] int64; the last one is unused.
        actions_one_hot: [E, T+1, n, A] float32.
        reward: [E, T, 1] float32.
        terminated: [E, T, 1] float32.
        real: [E, T, 1] float32, 1 for env steps and 0 for padding.
    """

    obs: Tensor
    state: Tensor
    allowed: Tensor
    actions: Tensor
    actions_one_hot: Tensor
    reward: Tensor
    terminated: Tensor
    real: Tensor

    def to(self, device: torch.device) -> PaddedEpisodes:
        """All of it on ``device``: those programs keep their buffer on the CPU and move what they have sampled."""
        return PaddedEpisodes(**{f.name: getattr(self, f.name).to(device) for f in dataclasses.fields(self)})


class StepAgent(nn.Module):
    """Linear, ReLU, GRUCell, Linear: one time step of all agents of all episodes."""

    def __init__(self, input_dim: int, n_actions: int, hidden_dim: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(input_dim, hidden_dim)
        self.memory = nn.GRUCell(hidden_dim, hidden_dim)
        self.head = nn.Linear(hidden_dim, n_actions)

    def forward(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """``x`` [rows, input_dim], ``hidden`` [rows, h] -> values [rows, A], hidden [rows, h]."""
        hidden = self.memory(relu(self.encoder(x)), hidden)
        return self.head(hidden), hidden


class StateMixer(nn.Module):
    """QMIX's mixer (Rashid et al., ICML 2018), each hypernetwork applied to the state on its own.

    Submodules are named as in :class:`rllib_reborn.nets.mixers.QMixer`, so that weights can be copied across.
    """

    def __init__(self, n_agents: int, state_dim: int, embed_dim: int, hypernet_dim: int) -> None:
        super().__init__()
        self.n_agents = n_agents
        self.embed_dim = embed_dim

        def two_layers(width: int, out_dim: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(state_dim, width), nn.ReLU(), nn.Linear(width, out_dim))

        self.hyper_w_1 = two_layers(hypernet_dim, n_agents * embed_dim)
        self.hyper_w_final = two_layers(hypernet_dim, embed_dim)
        self.hyper_b_1 = nn.Linear(state_dim, embed_dim)
        self.V = two_layers(embed_dim, 1)

    def forward(self, q: Tensor, state: Tensor) -> Tensor:
        """``q`` [E, T, n], ``state`` [E, T, s] -> Q_tot [E, T, 1]."""
        shape = (*q.shape[:2], 1)
        q, state = q.reshape(-1, 1, self.n_agents), state.reshape(-1, state.shape[-1])
        w_1 = self.hyper_w_1(state).abs().view(-1, self.n_agents, self.embed_dim)
        b_1 = self.hyper_b_1(state).unsqueeze(1)
        w_final = self.hyper_w_final(state).abs().unsqueeze(2)
        hidden = elu(torch.bmm(q, w_1) + b_1)
        return (torch.bmm(hidden, w_final).squeeze(2) + self.V(state)).view(shape)


class PyMARLStyleLearner:
    """QMIX with double Q-learning, 1-step targets and PyMARL's RMSprop (alpha 0.99, eps 1e-5).

    Target networks start as copies of the online ones and stay so: their rare update costs next to nothing.

    Args:
        n_agents, n_actions, obs_dim, state_dim: ``n``, ``A``, ``d``, ``s``.
        hidden_dim: Width of the encoder and of the GRU.
        embed_dim: Mixing neurons.
        hypernet_dim: Hidden width of the two weight hypernetworks.
        lr: Learning rate.
        gamma: Discount.
        max_grad_norm: Gradients are scaled down to this norm.
        seed: Seed of the initial weights.
    """

    def __init__(
        self,
        n_agents: int,
        n_actions: int,
        obs_dim: int,
        state_dim: int,
        *,
        hidden_dim: int = 64,
        embed_dim: int = 32,
        hypernet_dim: int = 64,
        lr: float = 5e-4,
        gamma: float = 0.99,
        max_grad_norm: float = 10.0,
        seed: int = 0,
    ) -> None:
        self.n_agents = n_agents
        self.n_actions = n_actions
        self.hidden_dim = hidden_dim
        self.gamma = gamma
        self.max_grad_norm = max_grad_norm
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.agent = StepAgent(obs_dim + n_actions + n_agents, n_actions, hidden_dim)
            self.mixer = StateMixer(n_agents, state_dim, embed_dim, hypernet_dim)
        self.target_agent = copy.deepcopy(self.agent)
        self.target_mixer = copy.deepcopy(self.mixer)
        self.parameters = [*self.agent.parameters(), *self.mixer.parameters()]
        self.optimizer: torch.optim.Optimizer = torch.optim.RMSprop(self.parameters, lr=lr, alpha=0.99, eps=1e-5)

    def to(self, device: torch.device) -> None:
        """Move every network to ``device``; their parameters stay the objects that the optimizer knows."""
        for part in vars(self).values():
            if isinstance(part, nn.Module):
                part.to(device)

    def prepare(self, batch: Mapping[str, Any]) -> PaddedEpisodes:
        """A replay batch in the family's storage layout. Not part of an update: those programs store it so.

        Args:
            batch: Arrays or tensors ``obs`` [E, T+1, n, d], ``state`` [E, T+1, s], ``action_mask``
                [E, T+1, n, A], ``actions`` [E, T, n], ``reward`` [E, T], ``terminated`` [E, T],
                ``lengths`` [E].
        """
        tensors = {name: torch.as_tensor(value) for name, value in batch.items()}
        taken = tensors["actions"].long()
        actions = torch.cat([taken, torch.zeros_like(taken[:, :1])], dim=1)
        real = torch.arange(taken.shape[1]) < tensors["lengths"].unsqueeze(1)
        return PaddedEpisodes(
            obs=tensors["obs"].float(),
            state=tensors["state"].float(),
            allowed=tensors["action_mask"].int(),
            actions=actions.unsqueeze(3),
            actions_one_hot=one_hot(actions, self.n_actions).float(),
            reward=tensors["reward"].float().unsqueeze(2),
            terminated=tensors["terminated"].float().unsqueeze(2),
            real=real.float().unsqueeze(2),
        )

    def update(self, batch: PaddedEpisodes) -> float:
        """One gradient step on a batch of :meth:`prepare`; returns the loss before it.

        All of it is one function, as in those programs: its values stay in memory until the step is done.
        """
        forbidden = batch.allowed == 0
        q = self._unroll(self.agent, batch)
        chosen = q[:, :-1].gather(3, batch.actions[:, :-1]).squeeze(3)
        q_tot = self.mixer(chosen, batch.state[:, :-1])

        target_q = self._unroll(self.target_agent, batch)[:, 1:].masked_fill(forbidden[:, 1:], _FORBIDDEN)
        best = q.detach().masked_fill(forbidden, _FORBIDDEN)[:, 1:].max(dim=3, keepdim=True).indices
        next_q_tot = self.target_mixer(target_q.gather(3, best).squeeze(3), batch.state[:, 1:])

        target = batch.reward + self.gamma * (1 - batch.terminated) * next_q_tot.detach()
        error = (q_tot - target) * batch.real
        loss = error.square().sum() / batch.real.sum()

        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        self.optimizer.step()
        return loss.item()

    def _unroll(self, agent: StepAgent, batch: PaddedEpisodes) -> Tensor:
        """Values of all observations, step by step: [E, T+1, n, A]."""
        episodes, steps = batch.obs.shape[:2]
        hidden = batch.obs.new_zeros(episodes * self.n_agents, self.hidden_dim)
        values = []
        for t in range(steps):
            q, hidden = agent(self._inputs(batch, t), hidden)
            values.append(q.view(episodes, self.n_agents, self.n_actions))
        return torch.stack(values, dim=1)

    def _inputs(self, batch: PaddedEpisodes, t: int) -> Tensor:
        """Observation, one-hot last action and agent id at time ``t``: [E * n, d + A + n]."""
        obs = batch.obs[:, t]
        last = batch.actions_one_hot[:, t - 1] if t > 0 else torch.zeros_like(batch.actions_one_hot[:, 0])
        agent_id = torch.eye(self.n_agents, device=obs.device).expand(len(obs), -1, -1)
        return torch.cat([part.flatten(0, 1) for part in (obs, last, agent_id)], dim=1)
