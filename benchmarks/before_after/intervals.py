"""Ratios of interleaved pairs: their median, its interval, and the rule that says whether a row has become slower."""

from __future__ import annotations

import statistics
from typing import NamedTuple

import numpy as np

#: A median ratio after/before of at most this passes whatever its interval.
MOST = 1.02
_RESAMPLES = 10_000


class Ratio(NamedTuple):
    """Median of the ratios after/before, and the bounds of its 95% bootstrap interval (percentiles)."""

    median: float
    low: float
    high: float

    @property
    def passes(self) -> bool:
        """At most :data:`MOST`, or no more than what chance does: an interval with 1.00 inside."""
        return self.median <= MOST or self.low <= 1.0 <= self.high


def median_ratio(before: list[float], after: list[float]) -> Ratio:
    """The ratio of two rows of times, pair by pair.

    Args:
        before, after: Times of pair 0, 1, ...; equally many, at least one, all > 0. The same numbers give the same interval.
    """
    ratios = np.array([later / earlier for earlier, later in zip(before, after, strict=True)])
    drawn = np.random.default_rng(0).choice(ratios, (_RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return Ratio(statistics.median(ratios.tolist()), float(low), float(high))
