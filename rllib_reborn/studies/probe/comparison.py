"""From areas of several repetitions to intervals, differences and a sentence that claims no more than they show."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from rllib_reborn.evaluation.statistics import Interval, mean_interval, paired_difference

#: What an arm is compared with.
FRESH, AS_IS = "fresh", "as_is"
#: A net that explains less than this share of the targets has nothing of which a part could be a share.
_LEAST_EXPLAINED = 0.02


@dataclasses.dataclass(frozen=True)
class ArmAreas:
    """Areas of one arm.

    Attributes:
        by_seed: Seed of the repetition -> area.
        mean: With its interval over repetitions.
        minus_fresh, minus_as_is: Paired differences to these arms; None where there is no such arm, and for the arm itself.
            Above 0: this arm learns slower.
    """

    by_seed: dict[int, float]
    mean: Interval
    minus_fresh: Interval | None
    minus_as_is: Interval | None


def compare_arms(areas: Mapping[str, Mapping[int, float]]) -> dict[str, ArmAreas]:
    """Intervals of every arm: Student's, 95 %, of the repetitions; differences are paired by seed.

    Args:
        areas: Arm -> seed -> area.

    Raises:
        ValueError: An arm has no area.
    """

    def minus(arm: str, other: str) -> Interval | None:
        if arm == other or other not in areas:
            return None
        return paired_difference(areas[arm], areas[other], method="t")

    return {
        arm: ArmAreas(dict(of_arm), mean_interval(list(of_arm.values())), minus(arm, FRESH), minus(arm, AS_IS))
        for arm, of_arm in areas.items()
    }


def verdict(areas: Mapping[str, Mapping[int, float]]) -> str:
    """One sentence about the net as it was saved and a fresh one, and one about the optimizer's part where it is known."""
    return _verdict(compare_arms(areas), "repetitions", "one repetition has no interval; give --seeds 3 or more")


def verdict_over_checkpoints(means: Sequence[Mapping[str, float]]) -> str:
    """As :func:`verdict`, of several checkpoints; ``means`` as of :func:`over_checkpoints`."""
    return _verdict(over_checkpoints(means), "checkpoints", "one checkpoint has no interval; give several")


def _verdict(found: Mapping[str, ArmAreas], of: str, no_interval: str) -> str:
    if AS_IS not in found or FRESH not in found:
        return f"No verdict: the arms {AS_IS} and {FRESH} are needed for it."
    difference = found[AS_IS].minus_fresh
    assert difference is not None
    if not difference.known:
        return f"No verdict: {no_interval}."
    if min(interval.mean.estimate for interval in (found[AS_IS], found[FRESH])) > 1 - _LEAST_EXPLAINED:
        return "No verdict: neither net learnt these targets in so many updates; give more --updates or --episodes."
    text = f"{_range(difference)} over {difference.n} {of}"
    if _excludes_zero(difference):
        speed = "slower" if difference.estimate > 0 else "faster"
        sentence = f"Learns {speed} than a fresh net: difference of areas {text}."
    else:
        sentence = f"No difference to a fresh net shown: difference of areas {text}."
    reset = found.get("optimizer_reset")
    if _excludes_zero(difference) and difference.estimate > 0 and reset is not None and reset.minus_fresh is not None:
        if _excludes_zero(reset.minus_fresh) and reset.minus_fresh.estimate > 0:
            sentence += f" With an empty optimizer's state it does, too: {_range(reset.minus_fresh)}."
        else:
            sentence += f" With an empty optimizer's state this is not shown: {_range(reset.minus_fresh)}."
    return sentence


def explained_share(areas: Mapping[str, Mapping[int, float]], part: str) -> Interval | None:
    """``(1 - area of part) / (1 - area of as_is)``, a mean over repetitions with Student's interval: how much of what the
    whole net learns of the targets the arm ``part`` learns alone. None where an arm is missing, or the whole net learns
    next to nothing (area above 0.98) in a repetition."""
    if AS_IS not in areas or part not in areas:
        return None
    common = sorted(set(areas[AS_IS]) & set(areas[part]))
    whole = np.array([1 - areas[AS_IS][seed] for seed in common])
    if not len(whole) or whole.min() < _LEAST_EXPLAINED:
        return None
    return mean_interval(np.array([1 - areas[part][seed] for seed in common]) / whole)


def over_checkpoints(means: Sequence[Mapping[str, float]]) -> dict[str, ArmAreas]:
    """As :func:`compare_arms` where the repetitions are checkpoints: each counts once, by its mean area.

    Args:
        means: For each checkpoint arm -> mean area; arms that not all have are left out.
    """
    everywhere = set.intersection(*(set(of_one) for of_one in means)) if means else set()
    arms = [arm for arm in means[0] if arm in everywhere] if means else []
    return compare_arms({arm: {number: of_one[arm] for number, of_one in enumerate(means)} for arm in arms})


def _excludes_zero(interval: Interval) -> bool:
    return interval.known and (interval.low > 0 or interval.high < 0)


def _range(interval: Interval) -> str:
    """With two significant digits in the interval's half width."""
    half = (interval.high - interval.low) / 2
    digits = max(2, min(5, 1 - math.floor(math.log10(half)))) if half > 0 else 3
    return f"{interval.estimate:+.{digits}f} [{interval.low:+.{digits}f}, {interval.high:+.{digits}f}]"
