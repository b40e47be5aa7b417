"""What the agents' network reads at one step: observation, last action and agent id side by side, as far as asked for."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class AgentInputs:
    """How the input of the agents' network is put together, in training as in play.

    Attributes:
        n_agents, n_actions, obs_dim: Sizes of the team: ``n``, ``A``, ``d``.
        last_action: Whether an agent's last action follows the observation, one-hot.
        agent_id: Whether the agent's number comes last, one-hot.
    """

    n_agents: int
    n_actions: int
    obs_dim: int
    last_action: bool
    agent_id: bool

    @property
    def width(self) -> int:
        """``input_dim`` of the network."""
        return self.obs_dim + self.last_action * self.n_actions + self.agent_id * self.n_agents

    def __call__(self, obs: Tensor, last_actions: Tensor) -> Tensor:
        """The input of one step.

        Args:
            obs: [B, n, d], any storage dtype.
            last_actions: [B, n] int64; -1 where there is none yet.

        Returns:
            [B, n, width] float32.
        """
        rows, n = obs.shape[:2]
        x = torch.empty(rows, n, self.width, device=obs.device)
        x[..., : self.obs_dim] = obs
        at = self.obs_dim
        if self.last_action:
            # One-hot by comparison: the "none yet" of -1 equals no action and leaves zeros.
            every_action = torch.arange(self.n_actions, device=obs.device)
            x[..., at : at + self.n_actions] = last_actions.unsqueeze(2) == every_action
            at += self.n_actions
        if self.agent_id:
            x[..., at:] = torch.eye(n, device=obs.device)
        return x
