"""Conditional value at risk of a distribution that is given by equally probable atoms.

``CVaR_alpha`` is the mean of the lowest share ``alpha`` of the probability (docs/method.md 7.6): of
N atoms the lowest ``alpha * N`` count, the last of them with what is left over where that is not a whole number, and
their sum is divided by ``alpha * N``. At ``alpha = 1`` it is the mean.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Rows that are handled at a time on the CPU, so that their atoms stay in a core's cache.
BLOCK_ROWS = 2048


def tail_weights(levels: Sequence[float], atoms: int, *, official_code: bool = False) -> Tensor:
    """What each atom, lowest first, adds to the CVaR of each level.

    Args:
        levels: K risk levels, each in (0, 1].
        atoms: ``N >= 1``.
        official_code: As the official code has it (docs/method.md D17): it sums ``k + 1`` atoms and divides by ``k``,
            where ``k = ceil(alpha * N - 1)`` in float32, so that every level is too large by about ``1 / k`` and some
            (0.3 of 100 atoms) take an atom more besides.

    Returns:
        [K, N] float64; every row falls from one value to zero, and without ``official_code`` sums to 1.

    Raises:
        ValueError: A level outside (0, 1], no atom, or with ``official_code`` a level of at most one atom (k is 0).
    """
    if isinstance(atoms, bool) or not isinstance(atoms, int) or atoms < 1:
        raise ValueError(f"atoms is {atoms!r}; expected a whole number >= 1.")
    # On the CPU also where networks are built on torch's meta device: these are constants, and no weights to be loaded.
    weights = torch.zeros(len(levels), atoms, dtype=torch.float64, device="cpu")
    for row, level in zip(weights, levels):
        if not 0 < level <= 1:
            raise ValueError(f"the risk level is {level!r}; expected a number in (0, 1].")
        if official_code:
            k = math.ceil(np.float32(level) * np.float32(atoms) - np.float32(1))
            if k < 1:
                raise ValueError(
                    f"risk level {level!r} takes one of {atoms} atoms, for which the official code divides by 0; use more "
                    "atoms or compat None."
                )
            row[: k + 1] = 1 / k
            continue
        mass = round(level * atoms, 9) or level * atoms  # 0.3 of 100 atoms are 30 and not 30.000000000000004
        whole = math.floor(mass)
        row[:whole] = 1 / mass
        if whole < atoms:
            row[whole] = (mass - whole) / mass
    return weights


def ascending(atoms: Tensor) -> Tensor:
    """``atoms`` [..., N] sorted, lowest first, without a gradient; new memory."""
    if atoms.device.type == "cpu":
        # NumPy sorts short rows of floats some thirty times faster than torch does on the CPU.
        return torch.from_numpy(np.sort(atoms.detach().numpy(), axis=-1))
    return atoms.detach().sort(dim=-1).values


def cvar_at(atoms: Tensor, weights: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """CVaR of each row at its own level.

    Args:
        atoms: [rows, N], in any order.
        weights: [K, N] from :func:`tail_weights`, of the atoms' dtype.
        level: [rows] int64, which row of ``weights``.

    Returns:
        [rows], whose gradient goes to the atoms that count (equal atoms at the edge of the tail share theirs), and
        [rows, K], the CVaR of every level, without a gradient.
    """
    value, of_levels = _CVaR.apply(atoms, weights, level)
    return value, of_levels


def cvar(atoms: Tensor, level: float) -> Tensor:
    """CVaR of equally probable ``atoms`` [..., N] at one level in (0, 1]: [...], with a gradient.

    Raises:
        ValueError: The level is outside (0, 1].
    """
    weights = cached_weights((level,), atoms.shape[-1], False, atoms.device, atoms.dtype)
    rows = atoms.reshape(-1, atoms.shape[-1])
    value, _ = cvar_at(rows, weights, torch.zeros(len(rows), dtype=torch.int64, device=atoms.device))
    return value.view(atoms.shape[:-1])


@functools.cache  # a captured update reads it where it is
def cached_weights(
    levels: tuple[float, ...], atoms: int, official_code: bool, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """:func:`tail_weights` in one tensor for all who ask, not to be written to."""
    with torch.inference_mode(False):  # it outlives the caller's mode
        return tail_weights(levels, atoms, official_code=official_code).to(device, dtype)


class _CVaR(torch.autograd.Function):
    """:func:`cvar_at` by sorted values alone: which atoms count follows from the value of the last one that does."""

    @staticmethod
    def forward(ctx: Any, atoms: Tensor, weights: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        step = len(atoms) if atoms.device.type != "cpu" else BLOCK_ROWS
        last = (weights > 0).sum(1) - 1  # [K] rank of the last atom that counts
        of_levels = atoms.new_empty(len(atoms), len(weights))
        edge = atoms.new_empty(len(atoms), 1)
        for begin in range(0, len(atoms), max(step, 1)):
            rows = slice(begin, begin + step)
            in_order = ascending(atoms[rows])
            torch.mm(in_order, weights.t(), out=of_levels[rows])
            edge[rows] = in_order.gather(1, last[level[rows]].unsqueeze(1))
        ctx.save_for_backward(atoms, edge, weights, level)
        ctx.mark_non_differentiable(of_levels)
        return of_levels.gather(1, level.unsqueeze(1)).squeeze(1), of_levels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        atoms, edge, weights, level = ctx.saved_tensors
        step = len(atoms) if atoms.device.type != "cpu" else BLOCK_ROWS
        whole, total = weights[:, 0][level].unsqueeze(1), weights.sum(1)[level].unsqueeze(1)
        out = torch.empty_like(atoms)
        for begin in range(0, len(atoms), max(step, 1)):
            rows = slice(begin, begin + step)
            below, at_edge = (atoms[rows] < edge[rows]).to(atoms.dtype), (atoms[rows] == edge[rows]).to(atoms.dtype)
            # What the atoms below leave over of the weights' sum.
            left = total[rows] - whole[rows] * below.sum(1, keepdim=True)
            of_edge = left / at_edge.sum(1, keepdim=True)
            of_row = grad[rows].unsqueeze(1)
            torch.mul(below, whole[rows] * of_row, out=out[rows]).addcmul_(at_edge, of_edge * of_row)
        return out, None, None
