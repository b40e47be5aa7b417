"""Temporal-difference targets for whole episodes, laid out [E, T] (episodes, env steps).

``next_value[e, t]`` is the (target network's) value of the observation *after* step ``t``; where the episode terminated
there it counts as 0, where it was truncated it is bootstrapped from. ``mask`` is 1 for real steps and 0 behind the end; it
must be a prefix of each row. Values behind the end are never read into a real step's target.

``next_value`` may have further dimensions, [E, T, ...] (agents, quantiles), each with a target of its own: reward,
termination and mask are the same for all.
"""

from __future__ import annotations

import torch
from torch import Tensor


def td_targets(
    reward: Tensor, next_value: Tensor, terminated: Tensor, mask: Tensor, *, gamma: float, n_step: int = 1
) -> Tensor:
    """n-step targets ``y_t = sum_{k<m} gamma^k r_{t+k} + gamma^m v_{t+m}``, ``m = min(n_step, steps left)``.

    Args:
        reward: [E, T].
        next_value: [E, T, ...].
        terminated: [E, T] bool.
        mask: [E, T] float or bool.
        gamma: Discount, 0..1.
        n_step: Look-ahead, >= 1.

    Raises:
        ValueError: ``n_step`` below 1.
    """
    if n_step < 1:
        raise ValueError(f"n_step is {n_step}; expected a whole number >= 1.")
    reward, terminated, has_next = _like(next_value, reward, terminated, _has_next(mask))
    one_step = reward + gamma * next_value.masked_fill(terminated, 0.0)
    target = one_step
    for _ in range(n_step - 1):
        # (k+1)-step return = reward + discounted k-step return of the next step; at the end it stays as it is.
        target = torch.where(has_next, reward + gamma * _shift(target), one_step)
    return target


def td_lambda_targets(
    reward: Tensor, next_value: Tensor, terminated: Tensor, mask: Tensor, *, gamma: float, td_lambda: float
) -> Tensor:
    """TD(lambda) targets ``y_t = r_t + gamma * ((1 - lambda) v_{t+1} + lambda y_{t+1})``, the last step 1-step.

    Arguments as in :func:`td_targets`; ``td_lambda`` in 0..1 (0: 1-step, 1: Monte Carlo up to the bootstrap at a cut).

    Raises:
        ValueError: ``td_lambda`` outside 0..1.
    """
    if not 0 <= td_lambda <= 1:
        raise ValueError(f"td_lambda is {td_lambda}; expected a number in 0..1.")
    reward, terminated, has_next = _like(next_value, reward, terminated, _has_next(mask))
    one_step = reward + gamma * next_value.masked_fill(terminated, 0.0)
    # Only a step with a successor reaches beyond its own one-step target.
    weight = has_next.to(reward.dtype) * td_lambda
    fixed = torch.where(weight > 0, reward + gamma * (1 - td_lambda) * next_value, one_step)
    columns = list(fixed.unbind(1))
    for t in range(len(columns) - 2, -1, -1):
        columns[t] = columns[t] + gamma * weight[:, t] * columns[t + 1]
    return torch.stack(columns, dim=1)


def masked_mean(value: Tensor, mask: Tensor, count: Tensor | float) -> Tensor:
    """``sum(value * mask) / count``; ``count`` is given, because with several learners it is that of all of them."""
    return (value * mask).sum() / count


def _like(value: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """``tensors`` [E, T] with as many dimensions as ``value`` [E, T, ...]."""
    return tuple(tensor.reshape(*tensor.shape, *[1] * (value.dim() - tensor.dim())) for tensor in tensors)


def _has_next(mask: Tensor) -> Tensor:
    """[E, T] bool: is the following step a real one?"""
    following = torch.zeros_like(mask, dtype=torch.bool)
    following[:, :-1] = mask[:, 1:] > 0
    return following


def _shift(value: Tensor) -> Tensor:
    """``value`` one step earlier; the last column is zero."""
    shifted = torch.zeros_like(value)
    shifted[:, :-1] = value[:, 1:]
    return shifted
