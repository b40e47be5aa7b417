"""Threads that games are played on, of which one that hangs is left alone."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

AnswerT = TypeVar("AnswerT")
#: ``(call, row, where the answer goes)``; None: the thread ends.
_Task = tuple[Callable[[int], AnswerT], int, "queue.SimpleQueue[tuple[int, AnswerT]]"]


class GameThreads(Generic[AnswerT]):
    """Up to ``count`` threads, started when they are needed. They do not keep the program from ending, as those of
    ``concurrent.futures`` do, whose end waits for one that hangs.

    Args:
        count: Of threads that work at the same time.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._tasks: queue.SimpleQueue[_Task[AnswerT] | None] = queue.SimpleQueue()
        self._started = 0

    def each(self, call: Callable[[int], AnswerT], rows: Sequence[int], limit_s: float) -> dict[int, AnswerT]:
        """``call(row)`` for every row, at the same time; it must not raise.

        Args:
            call: What is called.
            rows: What with.
            limit_s: Seconds for all of them together.

        Returns:
            The answers that came in time, by row. Whoever is late is never waited for again, and its thread is replaced.
        """
        while self._started < min(self._count, len(rows)):
            self._start()
        answers: queue.SimpleQueue[tuple[int, AnswerT]] = queue.SimpleQueue()
        for row in rows:
            self._tasks.put((call, row, answers))
        found: dict[int, AnswerT] = {}
        deadline = time.monotonic() + limit_s
        try:
            while len(found) < len(rows):
                row, answer = answers.get(timeout=max(0.0, deadline - time.monotonic()))
                found[row] = answer
        except queue.Empty:
            self._leave_alone()
        return found

    def close(self) -> None:
        """Threads end once they have nothing to do; none is waited for."""
        for _ in range(self._started):
            self._tasks.put(None)
        self._started = 0

    def _leave_alone(self) -> None:
        """New threads and tasks in place of these: a late one would take what is asked next, or answer it too late."""
        self.close()
        self._tasks = queue.SimpleQueue()

    def _start(self) -> None:
        threading.Thread(target=_work, args=(self._tasks,), name=f"team-game-{self._started}", daemon=True).start()
        self._started += 1


def _work(tasks: queue.SimpleQueue[_Task[AnswerT] | None]) -> None:
    while (task := tasks.get()) is not None:
        call, row, answers = task
        answers.put((row, call(row)))
