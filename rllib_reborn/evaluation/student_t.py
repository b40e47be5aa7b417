"""Quantiles of Student's t, without scipy."""

from __future__ import annotations

import math
from statistics import NormalDist

_LARGE_DF = 200


def student_t_quantile(level: float, df: int) -> float:
    """The ``t`` for which ``P(|T| <= t) = level``, ``T`` Student with ``df >= 1`` degrees of freedom.

    Up to 200 degrees the exact finite series (Abramowitz and Stegun 26.7.3-4) is inverted by bisection;
    above, the Cornish-Fisher expansion (26.7.5) is exact to better than 1e-8.

    Raises:
        ValueError: ``level`` is not in (0, 1), or ``df`` is not >= 1.
    """
    check_level(level)
    if df < 1:
        raise ValueError(f"df is {df}; expected a whole number >= 1.")
    if df > _LARGE_DF:
        z = NormalDist().inv_cdf((1 + level) / 2)
        return (
            z
            + (z**3 + z) / (4 * df)
            + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2)
            + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * df**3)
        )
    # In the angle theta = atan(t / sqrt(df)) the range is bounded, so bisection needs no bracket search.
    low, high = 0.0, math.pi / 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_central(middle, df) < level else (low, middle)
    return math.tan((low + high) / 2) * math.sqrt(df)


def _t_central(theta: float, df: int) -> float:
    """``P(|T| <= sqrt(df) tan(theta))``."""
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = df % 2
    term = cosine if odd else 1.0
    total = 0.0
    for k in range(2 + odd, df + 1, 2):
        total += term
        term *= (k - 1) / k * cosine * cosine
    return 2 / math.pi * (theta + sine * total) if odd else sine * total


def check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a number between 0 and 1, such as 0.95.")
