"""Ends a call of an environment that hangs in the main thread: in Python, asleep, or waiting for the system."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

#: Does nothing to a process that has not asked for it, and is sent by nothing here but :func:`interrupt`.
_SIGNAL = getattr(signal, "SIGURG", None)


class HungCallError(RuntimeError):
    """A call did not return in time; it was ended."""


class HungCalls:
    """While :meth:`watched`, calls of an environment in this thread can be ended from another one.

    Args:
        limit_s: Seconds that a call may take, for the message.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._hung: FrameType | None = None

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Nothing can be ended in another thread than the main one, whose handlers signals have."""
        if _SIGNAL is None or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(_SIGNAL, self._end)
        try:
            yield
        finally:
            self._hung = None
            signal.signal(_SIGNAL, before)

    def end(self, call: FrameType) -> None:
        """End ``call``, which is under way in the main thread: it raises :class:`HungCallError`, unless it has returned by
        then, or is inside of a library that looks at no signal."""
        if _SIGNAL is not None:
            self._hung = call
            signal.pthread_kill(threading.main_thread().ident, _SIGNAL)  # type: ignore[arg-type]

    def _end(self, number: int, frame: FrameType | None) -> None:
        hung, self._hung = self._hung, None
        while frame is not None and hung is not None:
            if frame is hung:
                raise HungCallError(f"it did not return within {self.limit_s:g} s and was interrupted")
            frame = frame.f_back
