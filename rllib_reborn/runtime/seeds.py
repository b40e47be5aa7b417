"""Which seed which runner plays with: remote runners of one run, and runs of different seeds, share no random streams."""

from __future__ import annotations

from typing import Literal

import numpy as np

Role = Literal["training", "evaluation"]
_ROLES: dict[Role, int] = {"training": 1, "evaluation": 2}


def remote_seed(seed: int, role: Role, worker_index: int, part: int = 0) -> int:
    """Seed of the games of a remote runner, in 0..2**31 - 1 (small enough for any library).

    A hash and no sum: seed + index would make runner 2 of seed 1 play the games of runner 1 of seed 2.

    Args:
        seed: The run's, >= 0.
        role: What the runner's games are for.
        worker_index: The runner's, >= 1.
        part: Tells apart several starts of one runner.
    """
    entropy = (seed, _ROLES[role], worker_index, part)
    return int(np.random.SeedSequence(entropy).generate_state(1)[0]) >> 1
