"""Ctrl-C and SIGTERM as a wish to stop where a checkpoint can be written: between two updates."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: What ``signal.signal`` takes and returns.
_Handler = Callable[[int, FrameType | None], Any] | int | None


class Interruption:
    """While entered, the first SIGINT or SIGTERM is noted in :attr:`received`; a second one interrupts at
    once.

    Signal handlers exist in the main thread only; elsewhere (in a Tune worker) entering this raises
    ValueError.
    """

    def __init__(self) -> None:
        self.received: str | None = None  #: Name of the signal, None while there was none.
        self._previous: dict[signal.Signals, _Handler] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name
