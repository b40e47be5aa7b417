"""How long the training loop has spent on what, for those who watch a run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any


class ActivityClock:
    """Seconds that the training loop of this process has spent, by what it did. What is in none of them is evaluation,
    checkpoints, weights on their way to runners, and the rest.

    Attributes:
        sampling: Rounds of sampling that brought env steps: games in this process are played, or runners waited for.
        waiting: Rounds that brought none: no runner is alive, or none has finished an episode.
        learning: Updates.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.sampling = self.waiting = self.learning = 0.0
        self._clock = clock

    @contextlib.contextmanager
    def round_of_sampling(self, counters: Any) -> Iterator[None]:
        """Count the time inside, by whether ``counters.env_steps`` rises there."""
        env_steps, start = counters.env_steps, self._clock()
        try:
            yield
        finally:
            seconds = self._clock() - start
            if counters.env_steps > env_steps:
                self.sampling += seconds
            else:
                self.waiting += seconds
