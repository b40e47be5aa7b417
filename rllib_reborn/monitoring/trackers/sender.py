"""A thread that sends things in order to somebody who may be slow, or not there for a while."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)

#: Seconds between two attempts.
RETRY_S = 5.0
#: What waits to be sent at most: rows of hours.
MOST_WAITING = 20_000


class Sender:
    """Does what it is handed one after the other on a thread of its own; what fails for the moment is tried again until
    :meth:`close`, what fails for good ends it.

    Args:
        name: Who it sends to, for messages.
        fails_for_good: Whether an error would come again.
    """

    def __init__(self, name: str, fails_for_good: Callable[[Exception], bool]) -> None:
        self._name = name
        self._fails_for_good = fails_for_good
        self._waiting: queue.Queue[Callable[[], object] | None] = queue.Queue(MOST_WAITING)
        self._closing = threading.Event()
        self._last_error: Exception | None = None
        self._ended_by: Exception | None = None
        # A daemon: one that hangs in a call must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name=f"sender to {name}", daemon=True)
        self._thread.start()

    def put(self, what: Callable[[], object]) -> None:
        """Hand over what is to be done; returns at once.

        Raises:
            RuntimeError: The sender has ended, or too much waits already.
        """
        if self._ended_by is not None:
            raise RuntimeError(_text(self._ended_by)) from self._ended_by
        try:
            self._waiting.put_nowait(what)
        except queue.Full:
            raise RuntimeError(f"{MOST_WAITING} entries wait to be sent{self._because()}") from None

    def close(self, patience_s: float) -> None:
        """Wait until all is done, ``patience_s`` seconds at most; then leave the rest.

        Raises:
            RuntimeError: What was handed over last has failed for good.
            TimeoutError: Something is left.
        """
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            patience_s = 0.0
        self._thread.join(patience_s)
        self._closing.set()
        if self._thread.is_alive():
            left = self._waiting.qsize()
            raise TimeoutError(f"not all was sent within {patience_s:g} s, {left} entries are left{self._because()}")
        if self._ended_by is not None:
            raise RuntimeError(_text(self._ended_by)) from self._ended_by

    def _work(self) -> None:
        while (what := self._waiting.get()) is not None:
            while not self._closing.is_set():
                try:
                    what()
                except Exception as error:
                    if self._fails_for_good(error):
                        self._ended_by = error
                        return
                    self._note(error)
                    self._closing.wait(RETRY_S)
                else:
                    self._last_error = None
                    break

    def _note(self, error: Exception) -> None:
        if self._last_error is None:
            logger.warning("%s: %s; it is tried again, and training goes on.", self._name, _text(error))
        self._last_error = error

    def _because(self) -> str:
        return "" if self._last_error is None else f" ({_text(self._last_error)})"


def _text(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
