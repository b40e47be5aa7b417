"""Observations of the nearest only: ``num_agent_neighbors`` and ``num_landmark_neighbors``."""

from __future__ import annotations

import numpy as np

from rllib_reborn.envs.mpe.world_arrays import Floats


def write_nearest(rows: Floats, distances: Floats, count: int, *values: Floats) -> int:
    """Of m entities the ``count`` nearest, closest first.

    Args:
        rows: [r, B], of which the first ``2 * count`` for each of ``values`` are filled: x and y of the nearest, then of the
            next, zeros where there are fewer than ``count``.
        distances: [m, B] to them.
        count: How many.
        *values: [2, m, B] each, what is observed of them.

    Returns:
        How many rows were filled.
    """
    order = distances.argsort(axis=0)[:count]
    filled = 0
    for value in values:
        places = rows[filled : filled + 2 * count].reshape(count, 2, -1)
        places[: len(order)] = np.take_along_axis(value, order[None], axis=1).transpose(1, 0, 2)
        places[len(order) :] = 0
        filled += 2 * count
    return filled
