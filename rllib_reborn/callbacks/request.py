"""What the algorithm sends to all learners with an update at which something is due."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

#: A dense batch of whole episodes, see :class:`~rllib_reborn.replay.ReplaySample`.
Batch = Mapping[str, npt.NDArray[Any]]


@dataclasses.dataclass(frozen=True)
class PlasticityRequest:
    """Equal on every rank. What is due is decided by the algorithm, from the run's clocks, and stands in here: so all
    ranks do the same without asking each other.

    Attributes:
        clock: Clocks of the run, by :data:`~rllib_reborn.plasticity.schedule.CLOCK_UNITS`; ``updates`` counts this one.
        seed: Seed of the run, for what is drawn.
        interventions: Positions in the config's ``interventions`` of those that are due.
        dormancy: Whether a dormancy check is due.
        scoring_batch: Scoring batches, by ``(source, episodes)`` as the interventions and the check ask for them.
        holdout_batch: Batch on which function drift is measured; None where no intervention is due.
    """

    clock: Mapping[str, int]
    seed: int
    interventions: tuple[int, ...]
    dormancy: bool
    scoring_batch: Mapping[tuple[str, int], Batch]
    holdout_batch: Batch | None


def update_rng(seed: int, clock: Mapping[str, int], purpose: str) -> np.random.Generator:
    """Draws for a request: from the run's seed and clock, so that taking one disturbs no other random stream."""
    return np.random.default_rng([seed, clock["updates"], clock["env_steps"], *purpose.encode()])
