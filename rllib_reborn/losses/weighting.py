"""WQMIX's weights: which joint actions a monotonic Q_tot must fit well (Rashid et al., NeurIPS 2020)."""

from __future__ import annotations

import torch
from torch import Tensor


def central_weights(is_greedy: Tensor, target: Tensor, greedy_value: Tensor, alpha: float) -> Tensor:
    """Centrally-weighted (CW): 1 where the joint action is the greedy one or its target is above the critic's value of
    the greedy one (it may be better), else ``alpha``.

    Args:
        is_greedy: [...] bool: every agent took its greedy action.
        target: [...] targets of the actions taken.
        greedy_value: [...] Q-hat* of the greedy joint action. The official code asks the target network; so do we.
        alpha: 0..1; 1 is QMIX's loss.

    Returns:
        [...] without gradient.
    """
    kept = is_greedy | (target > greedy_value)
    return torch.where(kept, torch.ones_like(target), alpha).detach()


def optimistic_weights(value: Tensor, target: Tensor, alpha: float) -> Tensor:
    """Optimistically-weighted (OW): 1 where the estimate ``value`` is below its ``target``, else ``alpha``; [...]
    without gradient. (Hysteretic in the official code's words.)"""
    return torch.where(value < target, torch.ones_like(target), alpha).detach()
