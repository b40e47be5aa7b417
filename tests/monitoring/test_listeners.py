"""Listeners of a run: all are notified, and none can end it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.monitoring import RunFacts, RunListeners

FACTS = RunFacts(Path("runs/x"), {}, "QMIX", "matrix/climbing", 0)


class Recorder:
    """Writes down what it is called with; raises in the calls named."""

    def __init__(self, *fails_in: str) -> None:
        self.calls: list[str] = []
        self._fails_in = fails_in

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call in self._fails_in:
            raise ValueError(f"no {call}")

    def on_start(self, run: RunFacts) -> None:
        self._note("start")

    def on_iteration(self, row: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> None:
        self._note(f"iteration {row['iteration']} with {len(events)}")

    def on_checkpoint(self, path: Path) -> None:
        self._note(f"checkpoint {path.name}")

    def on_wait(self, reason: str) -> None:
        self._note(f"wait {reason}")

    def on_final_evaluation(self, final: Mapping[str, Any]) -> None:
        self._note(f"final {final['return_mean']}")

    def close(self) -> None:
        self._note("close")


def notify_of_all(listeners: RunListeners) -> None:
    listeners.on_wait("room")
    listeners.on_start(FACTS)
    listeners.on_iteration({"iteration": 1}, [{}, {}])
    listeners.on_checkpoint(Path("checkpoints/checkpoint_000001"))
    listeners.on_final_evaluation({"return_mean": 3.0})
    listeners.close()


EVERY_CALL = ["wait room", "start", "iteration 1 with 2", "checkpoint checkpoint_000001", "final 3.0", "close"]


def test_all_are_notified_of_all() -> None:
    first, second = Recorder(), Recorder()
    notify_of_all(RunListeners([first, second]))
    assert first.calls == second.calls == EVERY_CALL


@pytest.mark.parametrize("place", range(len(EVERY_CALL) - 1))
def test_one_that_fails_is_closed_and_the_others_go_on(place: int, caplog: pytest.LogCaptureFixture) -> None:
    bad, good = Recorder(EVERY_CALL[place]), Recorder()
    with caplog.at_level(logging.WARNING):
        notify_of_all(RunListeners([bad, good]))
    assert bad.calls == [*EVERY_CALL[: place + 1], "close"]
    assert good.calls == EVERY_CALL
    assert [record.message for record in caplog.records] == [
        f"Recorder is not called again in this run (ValueError: no {EVERY_CALL[place]}); training goes on."
    ]


def test_closing_one_that_cannot_be_closed_closes_the_others(caplog: pytest.LogCaptureFixture) -> None:
    bad, good = Recorder("close"), Recorder()
    listeners = RunListeners([bad, good])
    listeners.close()
    listeners.close()
    assert (bad.calls, good.calls) == (["close"], ["close"])
    assert "could not be closed" in caplog.text
