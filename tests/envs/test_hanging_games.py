"""Games that hang, on threads and in processes: given up, counted, replaced, and not heard of again."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any

import numpy as np
import pytest

from rllib_reborn.envs.vectorize import VectorizedTeamEnv
from tests.fakes.hanging import HangingGame

LATE_S = 0.2


class WakingGame(HangingGame):
    """One game hangs in a call until ``wake`` is set, and then does what it would have done."""

    wake = threading.Event()
    left = 0
    closed = 0

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where
        if where == "init":
            self._wait()

    def _wait(self) -> None:
        if WakingGame.left:
            WakingGame.left -= 1
            WakingGame.wake.wait()

    def reset(self, seed: int) -> Any:
        if self._where == "reset":
            self._wait()
        return super().reset(seed)

    def step(self, actions: np.ndarray) -> Any:
        if self._where in ("step", "raise"):
            waited = WakingGame.left
            self._wait()
            if waited and self._where == "raise":
                raise RuntimeError("too late")
        step = super().step(actions)
        return step._replace(reward=float(id(self)))

    def close(self) -> None:
        WakingGame.closed += 1


def actions(env: VectorizedTeamEnv) -> np.ndarray:
    return np.zeros((env.num_envs, 2), np.int64)


@pytest.mark.parametrize("where", ["step", "raise"])
def test_a_game_on_a_thread_that_hangs_is_replaced_and_what_it_does_later_is_lost(where):
    WakingGame.wake.clear()
    env = VectorizedTeamEnv(partial(WakingGame, where), 3, workers="threads", step_timeout_s=LATE_S)
    env.reset(seed=0)
    WakingGame.left = 1
    failed = env.step(actions(env)).info["failed"].copy()
    assert failed.sum() == 1
    assert "did not answer within 0.2 s" in (env.last_failure or "")
    env.reset(mask=failed)
    after = env.step(actions(env))
    assert not after.info["failed"].any()
    rewards = after.reward.copy()
    WakingGame.wake.set()
    time.sleep(LATE_S)
    np.testing.assert_array_equal(rewards, after.reward)  # the env's own buffer
    assert not env.step(actions(env)).info["failed"].any()
    WakingGame.closed = 0
    env.close()
    assert WakingGame.closed == 3, "the game that hung is left alone"


@pytest.mark.parametrize("where", ["reset", "init"])
def test_a_game_on_a_thread_that_hangs_while_it_begins_is_tried_again(where):
    WakingGame.wake.clear()
    WakingGame.left = 0
    env = VectorizedTeamEnv(partial(WakingGame, where), 3, workers="threads", step_timeout_s=LATE_S / 10)
    WakingGame.left = 1
    env.reset(seed=0)
    assert env.failed_resets == 1
    WakingGame.wake.set()
    time.sleep(LATE_S)
    assert not env.step(actions(env)).info["failed"].any()
    env.close()


def test_closing_waits_for_no_game_for_ever(monkeypatch):
    monkeypatch.setattr("rllib_reborn.envs.vectorize.local_executors.CLOSE_GAMES_S", LATE_S)
    stuck = threading.Event()
    monkeypatch.setattr(HangingGame, "close", lambda self: stuck.wait() and None)
    env = VectorizedTeamEnv(HangingGame, 2, workers="threads")
    env.reset(seed=0)
    begun = time.monotonic()
    env.close()
    assert time.monotonic() - begun < 30
    stuck.set()


def test_without_a_limit_of_its_own_a_process_has_that_of_every_game(tmp_path, monkeypatch):
    monkeypatch.setattr("rllib_reborn.envs.vectorize.process_executor.GAME_STEP_S", 2.0)
    env = VectorizedTeamEnv(partial(HangingGame, str(tmp_path / "hung"), 2), 2, workers="processes", num_workers=2)
    env.reset(seed=0)
    assert not env.step(actions(env)).info["failed"].any()
    failed = env.step(actions(env)).info["failed"].copy()
    assert failed.sum() == 1
    assert "did not answer within 2 s and was ended" in (env.last_failure or "")
    env.reset(mask=failed)
    assert not env.step(actions(env)).info["failed"].any()
    env.close()
