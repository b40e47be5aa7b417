"""What ``simple_tag`` and ``simple_world_comm`` share: the price of leaving the field, and how scripted sides play."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.mpe.scripts import Choices, as_observed, flee, head_for
from rllib_reborn.envs.mpe.world_arrays import Floats, WorldArrays


def leaving(coordinate: Floats) -> Floats:
    """What a prey pays for a coordinate of its place: nothing up to 0.9 from the centre, then 10 for each unit, beyond 1
    exponentially more, and 10 at the most."""
    away = np.abs(coordinate)
    near = np.where(away < 0.9, 0.0, (away - 0.9) * 10)
    paid: Floats = np.where(away < 1.0, near, np.minimum(np.exp(2 * np.minimum(away, 3.0) - 2), 10.0))
    return paid


def chase_or_flee(
    arrays: WorldArrays, adversaries: int, *, fleeing: bool, hidden: npt.NDArray[np.bool_] | None = None
) -> Choices:
    """Moves of the prey, which runs from the nearest adversary, or of adversaries, which head for the nearest prey.

    Args:
        arrays: The worlds.
        adversaries: How many of the first agents are adversaries.
        fleeing: Whether the moves of the prey are asked for, as it observes the game (in float32).
        hidden: [n, n, B] whom an agent cannot see; None: it sees all. Who sees none stays, if it chases, and keeps to the
            field, if it flees.

    Returns:
        [k, B]
    """
    n = arrays.world.n_agents
    ours, theirs = slice(0, adversaries), slice(adversaries, n)
    if fleeing:
        return flee(
            as_observed(arrays.positions[:, theirs]),
            as_observed(arrays.velocities[:, theirs]),
            as_observed(arrays.offsets[:, theirs, ours]),
            None if hidden is None else hidden[theirs, ours],
        )
    distances = arrays.distances[ours, theirs]
    if hidden is not None:
        distances = np.where(hidden[ours, theirs], np.inf, distances)
    choice = distances.argmin(axis=1)
    way = np.take_along_axis(arrays.offsets[:, ours, theirs], choice[None, :, None], axis=2)[:, :, 0]
    moves = head_for(way, arrays.velocities[:, ours])
    return moves if hidden is None else np.where(np.isfinite(distances.min(axis=1)), moves, 0)
