"""A scripted prey for MPE's ``simple_tag``, as the opponent of a team of predators."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

#: Moves of MPE's five actions: none, left, right, down, up.
_MOVES = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], np.float64)
_LANDMARKS = 2
#: How far ahead the prey looks: a few steps at full speed (1.3 per second, 0.1 s a step).
_REACH = 0.3
#: The playing field is the square of half-width 1; the game punishes the prey beyond 0.9.
_EDGE = 0.9
_EDGE_COST = 20.0


def flee(
    observation: npt.NDArray[np.floating[Any]], action_mask: Any, action_space: Any, rng: np.random.Generator
) -> int:
    """The prey of MPE's ``simple_tag``: runs from the nearest adversary and stays on the playing field. Draws nothing.

    Of its five actions it takes the one whose place a few steps on is farthest from the nearest adversary; places
    beyond 0.9 from the centre are worth the less the farther out they are. It does not look at obstacles.

    Args:
        observation: As ``simple_tag`` gives it to a good agent: own velocity (2), own position (2), where each
            landmark is from here (2 each), where each other agent is from here (2 each). One good agent, two obstacles
            (the game's defaults) and any number of adversaries: with other numbers the layout is another.
        action_mask: Not used; the game has none.
        action_space: ``Discrete(5)``.
        rng: Not used.

    Raises:
        ValueError: The observation or the action space is not of this form.
    """
    start = 4 + 2 * _LANDMARKS
    observed = np.asarray(observation, np.float64)
    if (
        observed.ndim != 1
        or observed.size < start + 2
        or observed.size % 2
        or getattr(action_space, "n", None) != len(_MOVES)
    ):
        raise ValueError(
            f"flee was given an observation of shape {observed.shape} and {action_space}; it plays the one good agent of "
            "simple_tag with two obstacles and discrete actions."
        )
    position, adversaries = observed[2:4], observed[start:].reshape(-1, 2)
    steps = _REACH * _MOVES
    distance = np.linalg.norm(adversaries[None] - steps[:, None], axis=-1).min(axis=1)
    outside = np.maximum(np.abs(position + observed[:2] * 0.1 + steps) - _EDGE, 0).sum(axis=1)
    return int(np.argmax(distance - _EDGE_COST * outside))
