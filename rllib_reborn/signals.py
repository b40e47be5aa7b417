"""What SIGINT, SIGTERM and SIGHUP mean to a command: the first one ends it in good order, and a second one ends it soon."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType

from rllib_reborn.limits import SECOND_SIGNAL_S

#: The first byte of a status that says which signal ended a process.
_BY_SIGNAL = 128


def ending_signals() -> tuple[signal.Signals, ...]:
    """Those that ask for an end here. Who was started with ``nohup`` is not asked by SIGHUP."""
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is None or signal.getsignal(hangup) is signal.SIG_IGN:
        return signal.SIGINT, signal.SIGTERM
    return signal.SIGINT, signal.SIGTERM, hangup


def let_go_of_terminal() -> None:
    """After SIGHUP: output that went to the terminal, which is gone, goes nowhere, in place of failing at each line."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        if os.isatty(number) or _is_gone(number):
            os.dup2(nowhere, number)
    os.close(nowhere)


def _is_gone(number: int) -> bool:
    """Whether a descriptor belongs to a terminal that was closed, and does not count as one any more."""
    try:
        os.ttyname(number)
    except OSError as error:
        return error.errno == 5  # EIO
    return False


class SecondSignal:
    """Once started, a second signal ends this process and all that it has started, whatever hangs in it.

    The first one is left to whoever handles it. Python's own handlers run between two of its instructions, so they never
    run where the main thread waits inside of a library; but the number of every signal is written to a pipe at once, and a
    thread of this class reads it.
    """

    def __init__(self, limit_s: float = SECOND_SIGNAL_S) -> None:
        self._limit_s = limit_s
        self._numbers: Sequence[int] = ending_signals()
        self._received: list[int] = []

    def start(self) -> None:
        """Watch from now on, until the process ends. In the main thread."""
        import psutil  # noqa: F401  # not when it is needed: the main thread may hang in an import

        ours, written = socket.socketpair()
        written.setblocking(False)
        signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
        self._written = written  # kept, because it is closed with its last reference
        for number in self._numbers:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _end_in_good_order)
        threading.Thread(target=self._watch, args=(ours,), name="second signal", daemon=True).start()

    def end(self, status: int) -> None:
        """To be called when all is done: where a second signal came, end at once. Python's own end of a process that Ray was
        in takes seconds, in which no thread runs that could cut it short."""
        if len(self._received) > 1:
            sys.stdout.flush()
            sys.stderr.flush()
            end_everything(status)

    def _watch(self, pipe: socket.socket) -> None:
        while len(self._received) < 2:
            self._received += [number for number in pipe.recv(64) if number in self._numbers]
        time.sleep(self._limit_s)
        number = self._received[1]
        name = signal.Signals(number).name
        with contextlib.suppress(OSError, ValueError):
            os.write(
                2, f"error: did not end within {self._limit_s:g} s of a second {name}, and is ended now.\n".encode()
            )
        end_everything(_BY_SIGNAL + number)


def end_everything(status: int) -> None:
    """End all processes that this one has started, and those that they have, and then this one, at once."""
    import psutil

    for _ in range(2):  # again: one may have started another one meanwhile
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                process.kill()
    os._exit(status)


def _end_in_good_order(number: int, frame: FrameType | None) -> None:
    if number == getattr(signal, "SIGHUP", None):
        let_go_of_terminal()
    raise KeyboardInterrupt


def watch_for_second_signal() -> SecondSignal:
    """A :class:`SecondSignal` that is started, in a process that is one command and nothing else."""
    watch = SecondSignal()
    if threading.current_thread() is threading.main_thread() and sys.platform != "win32":
        watch.start()
    return watch
