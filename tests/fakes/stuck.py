"""Waits inside of a library, where no handler of Python's runs."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.fakes.envs import MaskedWalk


def wait_in_c() -> None:
    """For ever: for a lock that this thread has."""
    mutex, library = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


class StuckWalk(MaskedWalk):
    """Once a Ray is there, makes the file ``flag`` at call number ``at`` of ``step``, and never returns."""

    def __init__(self, num_envs: int = 1, flag: str = "", at: int = 50) -> None:
        super().__init__(num_envs)
        self._flag, self._left = flag, at

    def step(self, actions: Any) -> Any:
        self._left -= "ray" in sys.modules and sys.modules["ray"].is_initialized()
        if self._left == 0:
            Path(self._flag).touch()
            wait_in_c()
        step = super().step(actions)
        step.info.setdefault("failed", np.zeros(self.num_envs, bool))  # asked for by the checks before training
        return step
