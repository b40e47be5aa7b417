"""Ctrl-C, SIGTERM and SIGHUP as a wish to stop where a checkpoint can be written: between two updates."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self

from rllib_reborn.signals import ending_signals, let_go_of_terminal

#: What ``signal.signal`` takes and returns.
_Handler = Callable[[int, FrameType | None], Any] | int | None


class Interruption:
    """While entered, the first SIGINT, SIGTERM or SIGHUP is noted in :attr:`received`; a second one interrupts at once. Of a
    SIGHUP that the process was started to ignore (``nohup``) nothing is noted.

    Signal handlers exist in the main thread only; elsewhere (in a Tune worker) entering this raises
    ValueError.
    """

    def __init__(self) -> None:
        self.received: str | None = None  #: Name of the signal, None while there was none.
        self._previous: dict[signal.Signals, _Handler] = {}
        self._is_patient = True

    def __enter__(self) -> Self:
        for number in ending_signals():
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, where nothing can be lost, the first signal interrupts too.

        Raises:
            KeyboardInterrupt: By the signal.
        """
        self._is_patient = False
        try:
            if self.received is not None:
                raise KeyboardInterrupt
            yield
        finally:
            self._is_patient = True

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == getattr(signal, "SIGHUP", None):
            let_go_of_terminal()
        is_second, self.received = self.received is not None, self.received or signal.Signals(number).name
        if is_second or not self._is_patient:
            raise KeyboardInterrupt
