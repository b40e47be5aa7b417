"""How fast a net fits new targets: the error on holdout episodes along updates, and the area under it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rllib_reborn.replay.episode_replay import EpisodeBlock
from rllib_reborn.replay.fields import Episode

Array = npt.NDArray[np.float64]


class Learns(Protocol):
    """What is asked to learn."""

    def values(self, block: EpisodeBlock) -> Array:
        """[sum(L)] its value of every transition, one episode after the other."""

    def learn(self, block: EpisodeBlock) -> None:
        """One update on whole episodes; the targets of their values are in the field ``reward``."""


@dataclasses.dataclass(frozen=True)
class FitPlan:
    """One repetition, the same for every net that is compared.

    Attributes:
        training, holdout: Whole episodes.
        training_targets, holdout_targets: [sum(L)] float64 for each transition of theirs.
        relative: Whether the targets are changes of the value that the net has at the start (``Q_0 + target``), so that no
            net has anything to forget; otherwise they are values.
        batches: [updates, K] episodes of ``training`` for each update.
        at: Updates after which the error is taken, ascending, from 0 to ``len(batches)``.
        seed: Of the repetition.
    """

    training: tuple[Episode, ...]
    holdout: EpisodeBlock
    training_targets: Array
    holdout_targets: Array
    relative: bool
    batches: npt.NDArray[np.int64]
    at: tuple[int, ...]
    seed: int


def split_episodes(
    count: int, seed: int, *, share: float = 0.25
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Numbers of training and of holdout episodes, a random ``share`` of them (at least one), each in ascending order.

    Raises:
        ValueError: Fewer than 2 episodes.
    """
    if count < 2:
        raise ValueError(f"there are {count} episodes; expected at least 2, some to learn from and some to test on.")
    order = np.random.default_rng([seed, 0x51]).permutation(count)
    holdout = min(count - 1, max(1, round(share * count)))
    return np.sort(order[holdout:]), np.sort(order[:holdout])


def draw_batches(episodes: int, batch: int, updates: int, seed: int) -> npt.NDArray[np.int64]:
    """[updates, batch] episodes: each batch without a repetition while there are enough, whole batches at random."""
    rng = np.random.default_rng([seed, 0xBA])
    size = min(batch, episodes)
    return np.stack([rng.choice(episodes, size, replace=False) for _ in range(updates)])


def points(updates: int, count: int = 10) -> tuple[int, ...]:
    """``0, ..., updates``: about ``count + 1`` numbers of updates at which errors are taken, evenly spaced."""
    return tuple(sorted({round(k * updates / count) for k in range(count + 1)}))


@dataclasses.dataclass(frozen=True)
class Curve:
    """What one net did in one repetition.

    Attributes:
        at: Updates.
        errors: [len(at)] holdout error over that of predicting the training targets' mean: 1 is nothing learnt, 0 is all;
            above 1 is worse than that constant, infinite where the values are not finite.
        area: See :func:`area_under`.
    """

    at: tuple[int, ...]
    errors: tuple[float, ...]

    @property
    def area(self) -> float:
        return area_under(self.at, self.errors)


def fit(net: Learns, plan: FitPlan) -> Curve:
    """Let ``net`` learn the plan's targets, and take its holdout error along the way.

    ``error = mean((value - target)^2) / mean((m - target)^2)`` over the transitions of the holdout episodes, ``m`` the mean
    of the training targets. With ``relative`` value means the change of the value since the start.

    Raises:
        ValueError: The holdout targets are constant, so that nothing can be learnt or not learnt.
    """
    scale = float(((plan.holdout_targets - plan.training_targets.mean()) ** 2).mean())
    if not scale > 0:
        raise ValueError("the targets of the holdout episodes are all equal; give more episodes, or other targets.")
    start = net.values(plan.holdout) if plan.relative else np.zeros(len(plan.holdout_targets))
    training = _with_targets(net, plan)
    errors = []
    for update in range(len(plan.batches) + 1):
        if update in plan.at:
            with np.errstate(over="ignore", invalid="ignore"):
                squares = (net.values(plan.holdout) - start - plan.holdout_targets) ** 2
            error = float(squares.mean()) / scale
            errors.append(error if np.isfinite(error) else float("inf"))
        if update < len(plan.batches):
            net.learn(EpisodeBlock.of([training[episode] for episode in plan.batches[update].tolist()]))
    return Curve(plan.at, tuple(errors))


def _with_targets(net: Learns, plan: FitPlan) -> list[Episode]:
    """The training episodes, with what is to be learnt in the field ``reward``."""
    targets = plan.training_targets
    if plan.relative:
        targets = targets + net.values(EpisodeBlock.of(list(plan.training)))
    episodes: list[Episode] = []
    end = 0
    for episode in plan.training:
        length = len(episode["reward"])
        target = targets[end : end + length]
        fields: dict[str, npt.NDArray[Any]] = {**episode, "reward": target.astype(np.float32)}
        episodes.append(fields)
        end += length
    return episodes


def area_under(at: Sequence[int], errors: Sequence[float]) -> float:
    """Mean over updates of ``min(1, error)``, by trapezoids: 1 is nothing learnt, 0 is everything at once.

    Worse than the constant prediction counts as nothing learnt, so that a single burst does not outweigh everything else.

    Raises:
        ValueError: Fewer than two points.
    """
    if len(at) < 2 or len(at) != len(errors):
        raise ValueError(f"there are {len(at)} points and {len(errors)} errors; expected equally many, at least 2.")
    capped = np.minimum(np.asarray(errors, np.float64), 1.0)
    widths = np.diff(np.asarray(at, np.float64))
    return float(((capped[1:] + capped[:-1]) / 2 * widths).sum() / widths.sum())
