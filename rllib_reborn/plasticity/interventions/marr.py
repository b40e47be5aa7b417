"""MARR (ICML 2024), reset replay: a high replay ratio, shrink-and-perturb towards the beginning, amplitude scaling."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from rllib_reborn.plasticity.interventions.base import TargetPolicy, check_number
from rllib_reborn.plasticity.interventions.shrink_perturb import ShrinkPerturb, Towards
from rllib_reborn.plasticity.schedule import ClockUnit


@dataclasses.dataclass(frozen=True, kw_only=True)
class MARR(ShrinkPerturb):
    """The official settings of MARR-SMAC (docs/method.md 6); the ReBorn paper compares with it and gives none.

    Every 2,000 episodes ``theta <- 0.8 theta + 0.2 theta_0`` with the run's own initial weights, for agents and mixer,
    online and target: "mirror" writes the same edit to the target's own weights. Its mixing dim, 32, is the mixer's setting.

    Attributes:
        updates_per_episode: Replay ratio, > 0: 50 updates per rollout of 8 episodes. The training loop uses it in place
            of its own setting.
        amplitude: Range (low, high) of z, drawn again for each sampled episode, that multiplies its observations and
            state; 0 < low <= high. None: no scaling. The training loop does it; this class holds the range.
    """

    kind: ClassVar[str] = "marr"

    every: int = 2_000
    unit: ClockUnit = "episodes"
    target_networks: TargetPolicy = "mirror"
    towards: Towards = "initial"
    updates_per_episode: float = 6.25
    amplitude: tuple[float, float] | None = (0.8, 1.2)

    @property
    def replay_ratio(self) -> float:
        return self.updates_per_episode

    def batch_columns(self, episodes: int, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
        """``amplitude`` [episodes], uniform in the range of that name; nothing where there is none."""
        return {} if self.amplitude is None else {"amplitude": rng.uniform(*self.amplitude, episodes)}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("updates_per_episode", self.updates_per_episode, 1e-6)
        if self.amplitude is None:
            return
        if not isinstance(self.amplitude, tuple | list) or len(self.amplitude) != 2:
            raise ValueError(f"amplitude is {self.amplitude!r}; expected [low, high], e.g. [0.8, 1.2], or null.")
        low, high = self.amplitude
        check_number("amplitude[0]", low, 1e-6)
        check_number("amplitude[1]", high, low)
        object.__setattr__(self, "amplitude", (float(low), float(high)))
