"""When something is due: a multiple of an interval on one of a run's clocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

ClockUnit = Literal["env_steps", "updates", "episodes", "iterations"]
CLOCK_UNITS: tuple[str, ...] = get_args(ClockUnit)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Due each time the clock passes ``start + k * every``, k = 1, 2, ..., up to and including ``stop``.

    Attributes:
        every: Interval, >= 1, in ``unit``.
        unit: The clock: env steps, gradient updates, episodes or training iterations of the run.
        start: Nothing is due up to here; the first time is at ``start + every``.
        stop: Nothing is due behind here, at least ``start + every``; None: no end.
    """

    every: int
    unit: ClockUnit = "env_steps"
    start: int = 0
    stop: int | None = None

    def __post_init__(self) -> None:
        check_whole("every", self.every, 1)
        check_whole("start", self.start, 0)
        if self.stop is not None:
            check_whole("stop", self.stop, 0)
            if self.stop < self.start + self.every:
                raise ValueError(
                    f"stop is {self.stop}, before the first due time {self.start + self.every} (start {self.start} + every "
                    f"{self.every}), so nothing would ever be due. Raise stop, or lower every or start."
                )
        if self.unit not in CLOCK_UNITS:
            raise ValueError(f"unit is {self.unit!r}; expected one of {', '.join(CLOCK_UNITS)}.")

    def due(self, previous: Mapping[str, int], now: Mapping[str, int]) -> bool:
        """Has the clock passed a due time since ``previous``? Pure: the same clocks give the same answer.

        Args:
            previous, now: Every clock of :data:`CLOCK_UNITS` by name, at the last time this was asked and now.
        """
        return self._count(now[self.unit]) > self._count(previous[self.unit])

    def _count(self, clock: int) -> int:
        """Due times up to ``clock``."""
        if self.stop is not None:
            clock = min(clock, self.stop)
        return max(0, clock - self.start) // self.every


def check_whole(name: str, value: Any, low: int) -> None:
    """Raise ValueError unless ``value`` is a whole number of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{name} is {value!r}; expected a whole number >= {low}.")
