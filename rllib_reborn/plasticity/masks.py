"""Which neurons a score singles out. Pure: scores in, [H] bool out; what is done about the neurons is decided
elsewhere. A threshold is a number, or a quantile of the layer's scores.

All scores here are relative to their layer's mean (the mean over active neurons is 1), and neurons that are not active
score exactly 1 (:mod:`rllib_reborn.plasticity.scores`); so thresholds on either side of 1 never select them, and quantiles
look at active neurons alone.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

#: Thresholds of the ReBorn paper (docs/method.md 1).
ALPHA = 0.1
BETA = 3.0
#: Relative update activity below which a neuron is stagnant, above which it is volatile (docs/method.md 9.1).
STAGNANT_BELOW = 0.25
VOLATILE_ABOVE = 4.0
#: Relative gradient magnitude at which GraMa resets a neuron (docs/method.md 9.2).
GRAMA_AT_MOST = 0.01


def check_thresholds(alpha: float, beta: float) -> None:
    """Refuse thresholds by which a neuron of average activity would be dormant or over-active, or one neuron both.

    Args:
        alpha: Dormant at or below; 0 <= alpha < 1.
        beta: Over-active at or above; 1 < beta, finite.

    Raises:
        ValueError: Otherwise; the message names the value and what to do.
    """
    for name, value in (("alpha", alpha), ("beta", beta)):
        if not _is_finite(value):
            raise ValueError(f"{name} is {value!r}; expected a finite number.")
    if alpha < 0:
        raise ValueError(f"alpha is {alpha:g}; expected 0 <= alpha < 1 (0 selects dead neurons only).")
    if beta <= alpha:
        raise ValueError(
            f"alpha {alpha:g} and beta {beta:g} overlap: a neuron could be dormant and over-active at once. Lower alpha or "
            f"raise beta until alpha < 1 < beta (the paper: {ALPHA:g} and {BETA:g})."
        )
    if alpha >= 1:
        raise ValueError(
            f"alpha is {alpha:g}; expected 0 <= alpha < 1: the mean score of a layer is 1, so average neurons would be "
            f"dormant. Lower alpha (the paper: {ALPHA:g})."
        )
    if beta <= 1:
        raise ValueError(
            f"beta is {beta:g}; expected beta > 1: the mean score of a layer is 1, so average neurons would be over-active. "
            f"Raise beta (the paper: {BETA:g})."
        )


def dormant(scores: Tensor, alpha: float = ALPHA) -> Tensor:
    """[H] bool: ``s <= alpha`` (docs/method.md 1, Def. 2; Algorithm 1 writes ``<``, D5)."""
    return scores <= alpha


def overactive(scores: Tensor, beta: float = BETA, strict: bool = False) -> Tensor:
    """[H] bool: ``s >= beta`` (Def. 4), or ``s > beta`` with ``strict``, as the official code has it (D5)."""
    return scores > beta if strict else scores >= beta


def stagnant(relative_activity: Tensor, below: float = STAGNANT_BELOW) -> Tensor:
    """[H] bool: relative update activity ``< below``: hardly updated relative to its weights (docs/method.md 9.1)."""
    return relative_activity < below


def volatile(relative_activity: Tensor, above: float = VOLATILE_ABOVE) -> Tensor:
    """[H] bool: relative update activity ``> above`` (docs/method.md 9.1)."""
    return relative_activity > above


def insensitive(gradient_scores: Tensor, at_most: float = GRAMA_AT_MOST) -> Tensor:
    """[H] bool: GraMa score ``<= at_most`` (docs/method.md 9.2)."""
    return gradient_scores <= at_most


def check_quantile(name: str, quantile: Any) -> None:
    """Raise ValueError unless ``quantile`` is a number strictly between 0 and 1."""
    if not _is_finite(quantile) or not 0 < quantile < 1:
        raise ValueError(f"{name} is {quantile!r}; expected a number between 0 and 1, such as 0.1 or 0.95.")


def lowest(scores: Tensor, quantile: float, active: Tensor) -> Tensor:
    """The ``floor(quantile * N)`` lowest scores of the N active neurons, of those below 1.

    A neuron that ties with the last of them counts too, for equal scores are treated equally: of a layer whose neurons are
    half dead a quantile of 0.1 gives all the dead ones. A score of 1 or more, the layer's mean, never counts: a layer whose
    neurons are all alike has none, and no neuron is among the lowest and the highest. A layer with ``quantile * N < 1`` has
    none.

    Args:
        scores: [H], relative to their mean; a NaN never counts.
        quantile: 0 < quantile < 1.
        active: [H] bool.

    Returns:
        [H] bool.
    """
    return _extreme(scores, quantile, active) & (scores < 1)


def highest(scores: Tensor, quantile: float, active: Tensor) -> Tensor:
    """The ``floor((1 - quantile) * N)`` highest scores of the N active neurons, of those above 1; ties and
    small layers as in :func:`lowest`. [H] bool."""
    return _extreme(-scores, 1 - quantile, active) & (scores > 1)


def _extreme(scores: Tensor, share: float, active: Tensor) -> Tensor:
    """[H] bool: the lowest ``share`` of the active scores, and what ties with the last of them."""
    chosen = scores[active]
    # A hair more, as 1 - 0.9 of ten neurons is one of them.
    count = math.floor(share * len(chosen) + 1e-9)
    if count == 0:
        return torch.zeros_like(active)
    last = chosen.sort().values[count - 1]
    return (scores <= last) & active


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
