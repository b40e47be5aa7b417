"""Observations of the nearest only: ``num_agent_neighbors`` and ``num_landmark_neighbors``."""

from __future__ import annotations

import numpy as np

from rllib_reborn.envs.mpe.world_arrays import Floats


def nearest(distances: Floats, count: int, *values: Floats) -> list[Floats]:
    """Of m entities the ``count`` nearest, closest first.

    Args:
        distances: [m, B] to them.
        count: How many.
        *values: [2, m, B] each, what is known of them.

    Returns:
        For each of ``values`` [2, count, B]; zeros where there are fewer than ``count``.
    """
    order = distances.argsort(axis=0)[:count]
    chosen = []
    for value in values:
        out = np.zeros((2, count, distances.shape[1]))
        out[:, : len(order)] = np.take_along_axis(value, order[None], axis=1)
        chosen.append(out)
    return chosen
