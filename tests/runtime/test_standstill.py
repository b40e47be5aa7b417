"""Nothing is said while things go on; where they stand still, it is said what is waited for."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rllib_reborn.envs.rollout import Rollout
from rllib_reborn.runtime import standstill
from rllib_reborn.runtime.ray_internals import WatchedActorManager
from tests.fakes.envs import MaskedWalk


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@contextlib.contextmanager
def waiting(wait: Callable[[], Any], **kwargs: Any) -> Iterator[tuple[Clock, list[str]]]:
    """A thread that is watched and inside of ``wait``."""
    clock, lines, inside = Clock(), [], threading.Event()

    def work() -> None:
        with standstill.standstill_announced(lines.append, clock=clock, **kwargs):
            inside.set()
            wait()

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(10)
    time.sleep(0.1)  # until it waits
    yield clock, lines
    thread.join(10)


def looks(clock: Clock, *moments: float) -> None:
    for clock.now in moments:
        standstill.look()


def test_after_half_a_minute_and_then_every_minute() -> None:
    end = threading.Event()
    with waiting(end.wait) as (clock, lines):
        looks(clock, 0.0, 29.0)
        assert lines == []
        looks(clock, 31.0, 60.0, 90.0)
        assert len(lines) == 1
        looks(clock, 92.0, 120.0, 150.0, 153.0)
        assert [line.split(":")[0] for line in lines] == [
            "nothing has moved for 31 s",
            "nothing has moved for 92 s",
            "nothing has moved for 153 s",
        ]
        end.set()
    looks(clock, 500.0)
    assert len(lines) == 3, "it is watched no longer"


def test_a_clock_that_goes_on_is_no_standstill_and_the_end_of_one_is_said() -> None:
    end, steps = threading.Event(), SimpleNamespace(count=0)
    with waiting(end.wait, progress=lambda: steps.count) as (clock, lines):
        for moment in range(0, 300, 20):
            steps.count += 1
            looks(clock, moment)
        assert lines == []
        looks(clock, 320.0)
        steps.count += 1
        looks(clock, 340.0)
        assert lines[-1] == "it goes on, after 60 s"
        end.set()


def test_games_are_named_and_their_steps_are_progress() -> None:
    """Each step takes its time in the very same place, as that of a slow game does."""
    go_on, end = threading.Semaphore(0), threading.Event()

    class Slow(MaskedWalk):
        def step(self, actions: np.ndarray) -> Any:
            if not end.is_set():
                go_on.acquire()
            return super().step(actions)

    class Actor:
        def begin(self, mask: Any, seed: Any) -> None: ...

        def act(self, obs: Any) -> Any:
            return obs.action_mask.argmax(2)

    rollout = Rollout(Slow(2), Actor(), "some/game")
    rollout.begin(0)
    with waiting(lambda: rollout.run(steps=40)) as (clock, lines):
        for moment in range(0, 200, 20):
            go_on.release()
            time.sleep(0.02)
            looks(clock, moment)
        assert lines == []
        looks(clock, 200.0, 240.0)
        assert lines == [
            "nothing has moved for 60 s: waiting for the games of 'some/game' in this process, after 20 env steps"
        ]
        end.set()
        go_on.release(100)


def test_remote_processes_are_named_with_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()
    manager = WatchedActorManager()
    manager.watcher = SimpleNamespace(limit_s=120.0, name="env runner", late=lambda *args: None)  # type: ignore[assignment]
    monkeypatch.setattr("ray.wait", lambda *args, **kwargs: ([], [end.wait()]))

    def call() -> None:
        manager._fetch_result(remote_actor_ids=[2, 1], remote_calls=["a", "b"], tags=[None, None])

    with waiting(call) as (clock, lines):
        looks(clock, 0.0, 30.0)
        assert lines == ["nothing has moved for 30 s: waiting for env runner 1, 2 to answer (for 120 s at most)"]
        end.set()


def test_a_watch_inside_of_another_adds_its_progress_alone() -> None:
    lines: list[str] = []
    with standstill.standstill_announced(lines.append):
        before = len(standstill._watched)
        with standstill.standstill_announced(progress=lambda: 7):
            assert len(standstill._watched) == before
            assert standstill._watched[-1].progress() == 7
        assert standstill._watched[-1].progress() == ()
    assert len(standstill._watched) == before - 1
