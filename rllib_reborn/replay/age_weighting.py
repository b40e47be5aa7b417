"""Sample Weight Decay (Wu et al. 2026, arXiv 2604.01913, section 5): the older an episode, the less often it is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.replay.episode_replay import EpisodeReplay


def ages(lengths: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Env steps of all episodes behind each, [E] int64; the last one's is 0. The paper's age of a transition is the number
    of steps since it was added; an episode is added, and drawn, as a whole.

    Args:
        lengths: [E] env steps of each episode, in the order in which they were added.
    """
    steps = np.asarray(lengths, np.int64)
    return steps.sum() - steps.cumsum()


def draw_probabilities(age: npt.ArrayLike, decay_env_steps: int, min_weight: float) -> npt.NDArray[np.float64]:
    """``w = max(min_weight, 1 - age / decay_env_steps)`` over their sum, [E] float64.

    Args:
        age: [E] env steps, >= 0; E >= 1.
        decay_env_steps: The paper's T, >= 1.
        min_weight: Its least weight, 0 < min_weight <= 1, so that nothing in the replay is out of reach.
    """
    weights = np.maximum(min_weight, 1.0 - np.asarray(age, np.float64) / decay_env_steps)
    return weights / weights.sum()


def weighted_draw(
    rng: np.random.Generator, probabilities: npt.NDArray[np.float64], count: int
) -> npt.NDArray[np.int64]:
    """``count`` positions, drawn one after the other, none more than once oftener than another.

    Each is drawn by the probabilities of those that are left, so that within a batch no position comes twice and a small
    batch has nearly the given shares. (The paper draws with replacement, from far more transitions than are in a batch.)

    Args:
        rng: Moves on.
        probabilities: [E] float64, each > 0, of sum 1.
        count: >= 1; where more than E, each position comes ``count // E`` times, and the rest is drawn.
    """
    held = len(probabilities)
    rounds, rest = divmod(count, held)
    drawn = rng.choice(held, rest, replace=False, p=probabilities)
    return np.concatenate([np.tile(np.arange(held), rounds), drawn])


#: Key in ``batch_metrics``: mean age of the drawn episodes, in env steps; None before the first draw.
DRAWN_AGE_MEAN = "drawn_age_mean"


class AgeWeightedReplay(EpisodeReplay):
    """An :class:`EpisodeReplay` whose batches to learn from prefer young episodes. What is drawn to measure (``rng`` of
    :meth:`sample`) is drawn uniformly, as ever.

    Ages follow from the order and the lengths of the episodes, which checkpoints hold in any case: a replay that was saved
    without weights goes on with them, and the other way round.

    Args:
        capacity, layout, episode_limit, seed, memory_limit: As there.
        decay_env_steps, min_weight: See :func:`draw_probabilities`.

    Raises:
        ReplayMemoryError: As there.
    """

    def __init__(
        self,
        capacity: int,
        layout: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]],
        episode_limit: int,
        *,
        decay_env_steps: int,
        min_weight: float,
        seed: int | None = None,
        memory_limit: int | None = None,
    ) -> None:
        super().__init__(capacity, layout, episode_limit, seed=seed, memory_limit=memory_limit)
        self.decay_env_steps = decay_env_steps
        self.min_weight = min_weight
        self.batch_metrics = {DRAWN_AGE_MEAN: None}

    def _draw(self, episodes: int, rng: np.random.Generator | None) -> npt.NDArray[np.int64]:
        if rng is not None:
            return super()._draw(episodes, rng)
        age = ages(np.fromiter((len(episode["reward"]) for episode in self._episodes), np.int64, len(self)))
        drawn = weighted_draw(self._rng, draw_probabilities(age, self.decay_env_steps, self.min_weight), episodes)
        self.batch_metrics = {DRAWN_AGE_MEAN: float(age[drawn].mean())}
        return drawn

    def clear(self) -> None:
        super().clear()
        self.batch_metrics = {DRAWN_AGE_MEAN: None}

    def get_state(self) -> dict[str, Any]:
        # For the row of metrics that is under way.
        return super().get_state() | self.batch_metrics

    def set_state(self, state: Mapping[str, Any]) -> None:
        super().set_state(state)
        self.batch_metrics = {DRAWN_AGE_MEAN: state.get(DRAWN_AGE_MEAN)}
