"""How a sweep asks its runs to stop: what Tune sends reaches a process only after its iteration."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path


@dataclasses.dataclass
class StopRequest:
    """A file in the sweep's folder, which processes on all machines see.

    Attributes:
        path: The file.
        every_s: Seconds between two looks at it; a look can take milliseconds on a network's disk.
        clock: Seconds; replaced in tests.
    """

    path: Path
    every_s: float = 1.0
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._looked_at = -float("inf")
        self._is_made = False

    def make(self) -> None:
        """Ask them."""
        self.path.touch()

    def take_back(self) -> None:
        """Whoever looks from now on is not asked."""
        self.path.unlink(missing_ok=True)

    def is_made(self) -> bool:
        """Whether this process has been asked; asked once, it stays so."""
        now = self.clock()
        if not self._is_made and now - self._looked_at >= self.every_s:
            self._looked_at, self._is_made = now, self.path.exists()
        return self._is_made
