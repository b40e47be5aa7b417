"""What every mixer is, and joint actions from values of all actions and back."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rllib_reborn.nets.hidden_layers import HiddenLayer


class Mixer(nn.Module, abc.ABC):
    """Values of the agents' chosen actions and the state to the team's value."""

    #: Whether it reads the global state.
    needs_state: ClassVar[bool] = True

    @classmethod
    def for_team(cls, n_agents: int, n_actions: int, state_dim: int, **settings: Any) -> Mixer:
        """A mixer for a team of these sizes."""
        return cls(n_agents, state_dim, **settings)

    @abc.abstractmethod
    def forward(self, q: Tensor, state: Tensor) -> Tensor:
        """``q`` [rows, n] and ``state`` [rows, s] -> Q_tot [rows]."""

    def of_actions(self, q: Tensor, actions: Tensor, action_mask: Tensor, state: Tensor) -> Tensor:
        """Q_tot of joint actions, for mixers that look at more than the values of the chosen actions too.

        Args:
            q: [rows, n, A] values of all actions.
            actions: [rows, n] int64, allowed ones.
            action_mask: [rows, n, A] bool.
            state: [rows, s].

        Returns:
            [rows].
        """
        value: Tensor = self(chosen_values(q, actions), state)
        return value

    @abc.abstractmethod
    def hidden_layers(self) -> list[HiddenLayer]:
        """Every hidden layer of the mixer."""


def greedy_actions(q: Tensor, action_mask: Tensor) -> Tensor:
    """The best allowed action of each agent: ``q`` [..., A], ``action_mask`` [..., A] bool -> [...] int64."""
    return torch.where(action_mask, q, -torch.inf).argmax(-1)


def chosen_values(q: Tensor, actions: Tensor) -> Tensor:
    """Values of the chosen actions: ``q`` [..., A], ``actions`` [...] int64 -> [...]."""
    return q.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
