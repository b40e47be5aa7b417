"""Games that hang: for ever, once, and where a test wants them to."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from rllib_reborn.envs.team_env import TeamObs, TeamSpec, TeamStep
from rllib_reborn.envs.team_game import GameObs, GameStep, TeamGame
from tests.fakes.envs import MaskedWalk


def hang_once(flag: str | None, calls: int, at: int) -> None:
    """At the ``at``-th call, in the one process that makes the file ``flag`` first."""
    if flag is None or calls < at:
        return
    try:
        os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    while True:
        time.sleep(3600)


class HangingWalk(MaskedWalk):
    """A walk that hangs.

    Args:
        num_envs: Games.
        where: ``step``, ``reset``, ``get_state`` or ``set_state``.
        flag: A file that the first one to hang makes; None: hangs in every process.
        at: At which call of ``where``.
        always: Hang in every process.
    """

    def __init__(
        self, num_envs: int = 1, where: str = "step", flag: str | None = None, at: int = 1, always: bool = False
    ) -> None:
        super().__init__(num_envs)
        self._where, self._flag, self._at, self._always = where, flag, at, always
        self._calls = dict.fromkeys(("step", "reset", "get_state", "set_state"), 0)

    def _perhaps(self, where: str) -> None:
        self._calls[where] += 1
        if where != self._where:
            return
        if self._always and self._calls[where] >= self._at:
            time.sleep(3600)
        hang_once(self._flag, self._calls[where], self._at)

    def step(self, actions: np.ndarray) -> TeamStep:
        self._perhaps("step")
        step = super().step(actions)
        step.info.setdefault("failed", np.zeros(self.num_envs, bool))  # asked for by the checks before training
        return step

    def reset(self, **kwargs: Any) -> TeamObs:
        self._perhaps("reset")
        return super().reset(**kwargs)

    def get_state(self) -> dict[str, Any]:
        self._perhaps("get_state")
        return super().get_state()

    def set_state(self, state: dict[str, Any]) -> TeamObs:
        self._perhaps("set_state")
        return super().set_state(state)


class HangingGame(TeamGame):
    """Two agents, two actions, episodes of five steps; see :class:`HangingWalk`."""

    def __init__(self, flag: str | None = None, at: int = 3) -> None:
        self.spec = TeamSpec(n_agents=2, n_actions=2, obs_dim=1, state_dim=1, episode_limit=5)
        self._flag, self._at, self._calls, self._time = flag, at, 0, 0

    def _obs(self) -> GameObs:
        return GameObs(np.zeros((2, 1), np.float32), np.zeros(1, np.float32), np.ones((2, 2), bool))

    def reset(self, seed: int) -> GameObs:
        self._time = 0
        return self._obs()

    def step(self, actions: np.ndarray) -> GameStep:
        self._calls += 1
        hang_once(self._flag, self._calls, self._at)
        self._time += 1
        return GameStep(self._obs(), float(actions.sum()), False, self._time == 5)


def made(flag: Path) -> bool:
    """Whether something has hung."""
    return flag.exists()
