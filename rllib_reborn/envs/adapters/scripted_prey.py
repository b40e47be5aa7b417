"""A scripted prey for MPE's ``simple_tag``, as the opponent of a team of predators."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.mpe import scripts

_MOVES = 5
_LANDMARKS = 2


def flee(
    observation: npt.NDArray[np.floating[Any]], action_mask: Any, action_space: Any, rng: np.random.Generator
) -> int:
    """The prey of MPE's ``simple_tag``: runs from the nearest adversary and stays on the playing field, by
    :func:`rllib_reborn.envs.mpe.scripts.flee`, as that of ``mpe/simple_tag``. Draws nothing.

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
        or getattr(action_space, "n", None) != _MOVES
    ):
        raise ValueError(
            f"flee was given an observation of shape {observed.shape} and {action_space}; it plays the one good agent of "
            "simple_tag with two obstacles and discrete actions."
        )
    of_one_game = observed.reshape(-1, 2).T[:, :, None]
    velocity, position, adversaries = of_one_game[:, :1], of_one_game[:, 1:2], of_one_game[:, None, start // 2 :]
    return int(scripts.flee(position, velocity, adversaries)[0, 0])
