"""Says that nothing comes from the env runners, and why, instead of a silence without end."""

from __future__ import annotations

import time
from collections.abc import Callable

from rllib_reborn.limits import FIRST_LINE_S as FIRST_S
from rllib_reborn.limits import NEXT_LINE_S as THEN_S


class IdleWatch:
    """Looked at by whoever waits, again and again.

    Args:
        say: Is given each message.
        clock: Seconds; replaced in tests.
    """

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._since: float | None = None
        self._next = FIRST_S

    def came(self) -> None:
        """Something came; where a message was given, this is said too."""
        if self._since is not None and self._next > FIRST_S:
            self._say(f"episodes come again, after {self._clock() - self._since:.0f} s")
        self._since, self._next = None, FIRST_S

    def nothing_came(self, why: Callable[[], str | None]) -> None:
        """Nothing came.

        Args:
            why: The rest of the message, asked only where one is due; None: this is no reason to say anything.
        """
        now = self._clock()
        if self._since is None:
            self._since = now
        waited = now - self._since
        if waited < self._next:
            return
        reason = why()
        if reason is not None:
            self._say(f"no episodes for {waited:.0f} s: {reason}")
            self._next = waited + THEN_S
