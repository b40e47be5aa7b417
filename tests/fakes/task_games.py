"""Matrix games of one team with different best joint actions: what one learns in the one is wrong in the other."""

from __future__ import annotations

import numpy as np

from rllib_reborn.envs.matrix_games import PAYOFFS, MatrixGame


def rising(num_envs: int = 1) -> MatrixGame:
    """The last actions pay most, 6; the first ones nothing."""
    return MatrixGame(PAYOFFS["monotonic"], num_envs)


def falling(num_envs: int = 1) -> MatrixGame:
    """The first actions pay most, 6; the last ones nothing."""
    return MatrixGame(np.flip(np.array(PAYOFFS["monotonic"])), num_envs)


def shifted(num_envs: int = 1, by: float = 0.0) -> MatrixGame:
    """Every return is one of 0..6 plus ``by``, which tells the task."""
    return MatrixGame(np.array(PAYOFFS["monotonic"]) + by, num_envs)
