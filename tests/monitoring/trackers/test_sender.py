"""The thread that sends to servers: in order, again after a failure, and never waited for without an end."""

from __future__ import annotations

import functools
import logging
import threading

import pytest

from rllib_reborn.monitoring.trackers import sender as module
from rllib_reborn.monitoring.trackers.sender import Sender


def is_refusal(error: Exception) -> bool:
    return isinstance(error, ValueError)


def test_all_is_done_in_order() -> None:
    done: list[int] = []
    sender = Sender("x", is_refusal)
    for number in range(100):
        sender.put(functools.partial(done.append, number))
    sender.close(30)
    assert done == list(range(100))


def test_what_fails_for_the_moment_is_tried_again_and_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.001)
    attempts: list[str] = []

    def first() -> None:
        attempts.append("first")
        if len(attempts) < 4:
            raise ConnectionError("no answer\nand more")

    sender = Sender("mlflow", is_refusal)
    with caplog.at_level(logging.WARNING):
        sender.put(first)
        sender.put(lambda: attempts.append("second"))
        sender.close(30)
    assert attempts == ["first"] * 4 + ["second"]
    assert [record.message for record in caplog.records] == [
        "mlflow: ConnectionError: no answer; it is tried again, and training goes on."
    ]


def test_what_fails_for_good_ends_it() -> None:
    ended = threading.Event()

    def refused() -> None:
        ended.set()
        raise ValueError("no such name")

    sender = Sender("mlflow", is_refusal)
    sender.put(refused)
    ended.wait(30)
    with pytest.raises(RuntimeError, match="ValueError: no such name"):
        sender.close(30)
    with pytest.raises(RuntimeError, match="ValueError: no such name"):
        sender.put(lambda: None)


def test_closing_does_not_wait_for_a_call_that_hangs() -> None:
    hanging = threading.Event()
    sender = Sender("mlflow", is_refusal)
    sender.put(functools.partial(hanging.wait, 60))
    sender.put(lambda: None)
    with pytest.raises(TimeoutError, match=r"not all was sent within 0\.05 s"):
        sender.close(0.05)
    hanging.set()


def test_what_waits_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    hanging = threading.Event()
    sender = Sender("mlflow", is_refusal)
    is_hanging = threading.Event()

    def hang() -> None:
        is_hanging.set()
        hanging.wait(60)

    sender.put(hang)
    is_hanging.wait(60)
    for _ in range(2):
        sender.put(lambda: None)
    with pytest.raises(RuntimeError, match="2 entries wait to be sent"):
        sender.put(lambda: None)
    hanging.set()
