"""From values of all actions to joint actions and back."""

from __future__ import annotations

import torch
from torch import Tensor


def greedy_actions(q: Tensor, action_mask: Tensor) -> Tensor:
    """The best allowed action of each agent: ``q`` [..., A], ``action_mask`` [..., A] bool -> [...] int64."""
    return q.masked_fill(~action_mask, -torch.inf).argmax(-1)


def chosen_values(q: Tensor, actions: Tensor) -> Tensor:
    """Values of the chosen actions: ``q`` [..., A], ``actions`` [...] int64 -> [...]."""
    return q.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
