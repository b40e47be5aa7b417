"""The straight line through measured points, and how well it fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Line:
    """A straight line through points.

    Attributes:
        slope: Of ``y`` for each 1 of ``x``.
        residual: Root mean square of what the points lie off.
        halves: Slopes through the first and through the second half of the points.
    """

    slope: float
    residual: float
    halves: tuple[float, float]


def line_through(x: Sequence[float], y: Sequence[float]) -> Line:
    """Least squares; at least four points with different ``x``."""
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    slope, start = np.polyfit(xs, ys, 1)
    off = ys - (start + slope * xs)
    middle = len(xs) // 2
    halves = [float(np.polyfit(xs[part], ys[part], 1)[0]) for part in (slice(0, middle), slice(middle, None))]
    return Line(float(slope), float(np.sqrt(np.mean(off**2))), (halves[0], halves[1]))
