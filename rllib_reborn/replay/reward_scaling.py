"""What the learner sees of the reward: scaled, and standardised by a running deviation where asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


class RewardScaler:
    """``reward * scale / deviation``; the deviation is that of all rewards observed so far (Welford's sums), 1 without
    ``standardise`` and until it is known. The mean is kept: subtracting it would pay for longer or shorter episodes.

    Args:
        scale: Factor, > 0.
        standardise: Divide by the running standard deviation.
    """

    def __init__(self, scale: float = 1.0, *, standardise: bool = False) -> None:
        self.scale = scale
        self.standardise = standardise
        #: Whether rewards become others; if not, nothing has to be observed.
        self.changes_rewards = standardise or scale != 1.0
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0  # sum of squared distances from the mean

    def observe(self, reward: npt.NDArray[np.float32]) -> None:
        """Take collected rewards [k] into the deviation."""
        if not self.standardise or not len(reward):
            return
        values = reward.astype(np.float64)
        count, mean = len(values), float(values.mean())
        squares = float(((values - mean) ** 2).sum())
        total = self.count + count
        gap = mean - self.mean
        self.squares += squares + gap * gap * self.count * count / total
        self.mean += gap * count / total
        self.count = total

    @property
    def deviation(self) -> float:
        if not self.standardise or self.count < 2 or self.squares <= 0:
            return 1.0
        return math.sqrt(self.squares / self.count)

    @property
    def factor(self) -> float:
        """What rewards are multiplied by now."""
        return self.scale / self.deviation

    def __call__(self, reward: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        factor = self.factor
        return reward if factor == 1.0 else (reward * np.float32(factor)).astype(np.float32)

    def get_state(self) -> dict[str, Any]:
        return {"count": self.count, "mean": self.mean, "squares": self.squares}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.count, self.mean, self.squares = state["count"], state["mean"], state["squares"]
