"""A game that takes its time and no CPU, so that iterations are long on any machine."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.envs.team_game import GameObs, GameStep, TeamGame

_AGENTS, _ACTIONS, _LIMIT = 2, 3, 10


class SlowGame(TeamGame):
    """Two agents are paid for the same choice, and win by more than five of ten.

    Args:
        step_s: Seconds that each step sleeps.
    """

    spec = TeamSpec(n_agents=_AGENTS, n_actions=_ACTIONS, obs_dim=4, state_dim=2, episode_limit=_LIMIT, has_win=True)

    def __init__(self, step_s: float = 0.02) -> None:
        self._step_s = step_s

    def reset(self, seed: int) -> GameObs:
        self._random = np.random.default_rng(seed)
        self._time, self._points = 0, 0.0
        return self._look()

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> GameStep:
        time.sleep(self._step_s)
        reward = float(actions[0] == actions[1])
        self._time, self._points = self._time + 1, self._points + reward
        return GameStep(self._look(), reward, False, self._time == _LIMIT, self._points > _LIMIT / 2)

    def _look(self) -> GameObs:
        mask = np.ones((_AGENTS, _ACTIONS), np.bool_)
        return GameObs(self._random.random((_AGENTS, 4), np.float32), self._random.random(2, np.float32), mask)
