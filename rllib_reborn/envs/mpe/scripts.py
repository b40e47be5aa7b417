"""Scripted behaviour of agents that are not of the team, for many games at once. Nothing here is random.

Arrays are coordinate first and games last: m agents, k others, B games.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.mpe.world import MOVES
from rllib_reborn.envs.mpe.world_arrays import Floats

#: How far ahead the prey looks: a few steps at full speed (1.3 per second, 0.1 s a step).
_REACH = 0.3
#: The playing field is the square of half-width 1; games punish the prey beyond 0.9.
_EDGE = 0.9
_EDGE_COST = 20.0
_STEPS = (_REACH * np.array(MOVES)).T[:, None, :, None]
#: Seconds that whoever heads for a place looks ahead, so that it is slow when it arrives.
_BRAKING_S = 0.3
#: Whoever is nearer than this stays.
_CLOSE = 0.02

Choices = npt.NDArray[np.intp]


def flee(
    position: npt.NDArray[Any],
    velocity: npt.NDArray[Any],
    threats: npt.NDArray[Any],
    hidden: npt.NDArray[np.bool_] | None = None,
) -> Choices:
    """Run from the nearest threat and stay on the playing field.

    Of the five moves the one is taken whose place a few steps on is farthest from the nearest threat; places beyond 0.9
    from the centre are worth the less the farther out they are. Obstacles play no part.

    Args:
        position: [2, m, B] where each is.
        velocity: [2, m, B]
        threats: [2, m, k, B] the ways to those it runs from, k >= 1.
        hidden: [m, k, B] whom it cannot see; None: it sees all. Where it sees none, it only keeps to the field.

    Returns:
        [m, B] moves.
    """
    gaps = threats[:, :, :, None] - _STEPS[:, :, None]
    gaps *= gaps
    squares = gaps[0] + gaps[1]
    if hidden is not None:
        squares[np.broadcast_to(hidden[:, :, None], squares.shape)] = np.inf
    distance = np.sqrt(squares.min(axis=1))
    if hidden is not None:
        distance[np.isinf(distance)] = 0
    ahead = (position + velocity * 0.1)[:, :, None] + _STEPS
    np.abs(ahead, out=ahead)
    ahead -= _EDGE
    np.maximum(ahead, 0, out=ahead)
    chosen: Choices = np.argmax(distance - _EDGE_COST * (ahead[0] + ahead[1]), axis=1)
    return chosen


def head_for(way: Floats, velocity: Floats) -> Choices:
    """Go to a place, along the coordinate that is farther off, and stop there.

    Args:
        way: [2, m, B] to the place.
        velocity: [2, m, B]

    Returns:
        [m, B] moves.
    """
    aim = way - _BRAKING_S * velocity
    far = np.abs(aim)
    sideways = np.where(aim[0] < 0, 1, 2)
    upright = np.where(aim[1] < 0, 3, 4)
    chosen = np.where(far[0] > far[1], sideways, upright)
    return np.where(np.maximum(far[0], far[1]) < _CLOSE, 0, chosen)


def as_observed(values: Floats) -> Floats:
    """``values`` as whoever observes them has them: observations are float32."""
    return values.astype(np.float32).astype(np.float64)
