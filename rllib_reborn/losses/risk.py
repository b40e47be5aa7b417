"""RMIX's local loss: each agent's distribution of returns, fitted by quantile regression (docs/method.md 7.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

#: Rows that are handled at a time, so that what is made of them stays in a core's cache.
_BLOCK_ROWS = 128
#: The same where every pair of atoms is compared: N * N' numbers a row.
_BLOCK_ROWS_OF_PAIRS = 16
#: On a GPU a block costs some fifty kernel launches, whatever its size: so many times the rows, a few hundred MB.
_BLOCKS_AT_ONCE_ON_A_GPU = 256


def local_targets(reward: Tensor, next_atoms: Tensor, terminated: Tensor, *, gamma: float) -> Tensor:
    """Targets of the agents' atoms: ``reward + gamma * Z'``.

    Args:
        reward: [steps, n] local rewards: in RMIX the CVaR of the action taken (abstract of the paper).
        next_atoms: [steps, n, N] the target network's atoms of the best action after it.
        terminated: [steps] bool: nothing comes after it.
        gamma: Discount, 0..1.

    Returns:
        [steps, n, N], without a gradient.
    """
    following = next_atoms.detach().masked_fill(terminated.view(-1, 1, 1), 0.0)
    return reward.detach().unsqueeze(2) + gamma * following


def local_distribution_loss(prediction: Tensor, target: Tensor, *, official_code: bool = False) -> Tensor:
    """Quantile Huber loss (kappa 1) of atom i as the quantile ``(i + 0.5) / N``, in the order that the network gives
    them.

    It is :func:`~rllib_reborn.losses.quantile_huber` at these fractions, but compares no pairs: the targets are sorted,
    and running sums over them give the sum for each predicted atom. A fifth of the time, and memory for a few blocks of
    rows.

    Args:
        prediction: [..., N] atoms.
        target: [..., N'] atoms of the target; no gradient flows into them.
        official_code: As the official code has it: the fraction belongs to the *target's* atom, and the sum is over
            these, the mean over predicted ones (docs/method.md D25). All predicted atoms are then drawn to one value.

    Returns:
        [...] losses.
    """
    rows = prediction.reshape(-1, prediction.shape[-1])
    part = _official_code_huber if official_code else _quantile_huber
    step = _BLOCK_ROWS_OF_PAIRS if official_code else _BLOCK_ROWS
    if rows.device.type != "cpu":
        step *= _BLOCKS_AT_ONCE_ON_A_GPU
    loss: Tensor = _InBlocks.apply(rows, target.detach().reshape(len(rows), -1), part, step)
    return loss.view(prediction.shape[:-1])


class _InBlocks(torch.autograd.Function):
    """Loss and gradient of each row from ``part(prediction, target)``, a block of ``step`` rows at a time."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, prediction: Tensor, target: Tensor, part: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], step: int
    ) -> Tensor:
        loss = prediction.new_empty(len(prediction))
        gradient = torch.empty_like(prediction)
        for begin in range(0, len(prediction), step):
            rows = slice(begin, begin + step)
            loss[rows], gradient[rows] = part(prediction[rows], target[rows])
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        return gradient * grad.unsqueeze(1), None, None, None


def _fractions(atoms: Tensor) -> Tensor:
    count = atoms.shape[-1]
    return (torch.arange(count, device=atoms.device, dtype=atoms.dtype) + 0.5) / count


def _quantile_huber(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Loss [rows] and its gradient [rows, N].

    With u = t - p, a target adds ``f * huber(u)`` where u >= 0 and ``(1 - f) * huber(u)`` where u < 0. Of the sorted
    targets those below p - 1, up to p, up to p + 1 and above are neighbours: counts, sums and sums of squares of each
    group are differences of running sums. In float64 and about the targets' mean, so that nothing is lost in these
    differences.
    """
    # Contiguous, as searchsorted wants it.
    in_order = target.sort(dim=1).values.double() if target.is_cuda else _sorted_double(target)
    middle = in_order.mean(1, keepdim=True)
    t, p = in_order - middle, prediction.double() - middle
    none = t.new_zeros(len(t), 1)
    sums = torch.cat([none, t.cumsum(1)], dim=1)
    squares = torch.cat([none, t.square().cumsum(1)], dim=1)
    until = [torch.searchsorted(t, p - 1), torch.searchsorted(t, p), torch.searchsorted(t, p + 1, right=True)]
    sum_below, sum_to_p, sum_to_end = (sums.gather(1, at) for at in until)
    squares_below, squares_to_p, squares_to_end = (squares.gather(1, at) for at in until)
    below, to_p, to_end = (at.double() for at in until)
    count = target.shape[1]
    above = count - to_end

    def near(number: Tensor, of_t: Tensor, of_squares: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of u and of its halved square over targets within 1 of p."""
        return of_t - number * p, 0.5 * (of_squares - 2 * p * of_t + number * p.square())

    first_up, square_up = near(to_end - to_p, sum_to_end - sum_to_p, squares_to_end - squares_to_p)
    first_down, square_down = near(to_p - below, sum_to_p - sum_below, squares_to_p - squares_below)
    far_up = sums[:, -1:] - sum_to_end - above * p
    far_down = below * p - sum_below
    fraction = _fractions(p)
    huber_up, huber_down = square_up + far_up - 0.5 * above, square_down + far_down - 0.5 * below
    loss = (fraction * huber_up + (1 - fraction) * huber_down).sum(1) / count
    gradient = ((1 - fraction) * (below - first_down) - fraction * (first_up + above)) / count
    return loss.to(prediction.dtype), gradient.to(prediction.dtype)


def _sorted_double(target: Tensor) -> Tensor:
    # NumPy sorts short rows of floats some thirty times faster than torch does on the CPU.
    return torch.from_numpy(np.sort(target.numpy(), axis=1)).double()


def _official_code_huber(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Loss [rows] and its gradient [rows, N] by every pair of atoms."""
    error = prediction.unsqueeze(2) - target.unsqueeze(1)  # [rows, N, N']: its sign, too, is the other one
    weight = (_fractions(target) - (error < 0).to(error.dtype)).abs()
    huber = functional.huber_loss(error, torch.zeros_like(error), reduction="none")
    loss = (weight * huber).sum(2).mean(1)
    return loss, (weight * error.clamp(-1, 1)).sum(2) / prediction.shape[1]
