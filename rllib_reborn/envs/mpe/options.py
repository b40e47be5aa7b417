"""Options of the particle worlds: those that all have, and how they are checked."""

from __future__ import annotations

import dataclasses
import math
from types import MappingProxyType
from typing import Any

REWARDS = ("sum", "mean")
OPPONENTS = ("scripted", "random", "noop")

#: What users of mpe2 and of ``pettingzoo:`` look for -> what to do instead.
ELSEWHERE = MappingProxyType(
    {
        "continuous_actions": (
            "value factorisation needs discrete actions, and all actions here are; leave it out, and train continuous ones "
            "with a library for them on mpe2 itself"
        ),
        "render_mode": "render() draws without one; leave it out",
        "benchmark_data": "mpe2 puts it into infos, which a team has none of; leave it out",
        "team": "its entries are options themselves here (reward; agents and opponents where a game has two sides); leave "
        "out 'team'",
    }
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MpeOptions:
    """What all games have.

    Attributes:
        max_cycles: Steps until an episode is cut (truncated), >= 1.
        dynamic_rescaling: In pictures: True draws everybody to scale; False as large as in a field of half-width 1,
            however large the part is that is shown.
        reward: The team's reward from those of its agents: ``sum`` or ``mean``.

    Raises:
        ValueError: A value is not as above; the message names it.
    """

    max_cycles: int = 25
    dynamic_rescaling: bool = True
    reward: str = "sum"

    def __post_init__(self) -> None:
        whole("max_cycles", self.max_cycles, 1)
        flag("dynamic_rescaling", self.dynamic_rescaling)
        one_of("reward", self.reward, REWARDS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoSidedOptions(MpeOptions):
    """What games of two sides have: one of them is the team, the other one its opponents.

    Attributes:
        agents: Our team: ``adversary`` or ``agent`` (the good ones).
        opponents: Who plays the other side: ``scripted``, ``random`` or ``noop`` (action 0).
    """

    agents: str = "agent"
    opponents: str = "scripted"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("agents", self.agents, ("adversary", "agent"))
        given = self.opponents
        if isinstance(given, str) and (":" in given):
            raise ValueError(
                f"opponents is {given!r}; here the others play {', '.join(OPPONENTS)}. Trained teams and functions of one's "
                "own play the same game as pettingzoo:mpe2..., with team.opponents."
            )
        one_of("opponents", given, OPPONENTS)


def whole(name: str, value: Any, low: int, high: int | None = None) -> None:
    """Raise ValueError unless ``value`` is a whole number in low..high."""
    good = isinstance(value, int) and not isinstance(value, bool) and value >= low
    if not good or (high is not None and value > high):
        expected = f">= {low}" if high is None else f"in {low}..{high}"
        raise ValueError(f"{name} is {value!r}; give a whole number {expected}.")


def whole_or_none(name: str, value: Any, low: int) -> None:
    """Raise ValueError unless ``value`` is None or a whole number >= low."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < low):
        raise ValueError(f"{name} is {value!r}; give a whole number >= {low}, or null for all.")


def share(name: str, value: Any) -> None:
    """Raise ValueError unless ``value`` is a number in 0..1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= 1:
        raise ValueError(f"{name} is {value!r}; give a number in 0..1.")


def flag(name: str, value: Any) -> None:
    """Raise ValueError unless ``value`` is a bool."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; give true or false.")


def one_of(name: str, value: Any, known: tuple[str, ...]) -> None:
    """Raise ValueError unless ``value`` is one of ``known``."""
    if value not in known:
        raise ValueError(f"{name} is {value!r}; give one of {', '.join(known)}.")


def stage(curriculum: Any, given: Any, last: int) -> None:
    """Raise ValueError unless ``curriculum`` is a bool and ``given``, the stage, is None or fits it."""
    flag("curriculum", curriculum)
    if given is None:
        return
    whole("curriculum_stage", given, 0, last)
    if not curriculum:
        raise ValueError(f"curriculum_stage is {given!r} without a curriculum; give curriculum: true, or leave it out.")
