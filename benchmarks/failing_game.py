"""A small game one of whose steps in a hundred raises, for the soak."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.envs.team_game import GameObs, GameStep, TeamGame

FAILING_SHARE = 0.01
_AGENTS, _ACTIONS, _LIMIT = 2, 3, 10


class FailingGame(TeamGame):
    """Two agents are paid for the same choice; a step fails with probability ``failing_share``, so that what is made of
    exceptions, tracebacks and rebuilt games can pile up.

    Args:
        failing_share: Share of steps that raise, 0..1.
    """

    spec = TeamSpec(n_agents=_AGENTS, n_actions=_ACTIONS, obs_dim=4, state_dim=2, episode_limit=_LIMIT)

    def __init__(self, failing_share: float = FAILING_SHARE) -> None:
        self._failing_share = failing_share

    def reset(self, seed: int) -> GameObs:
        self._random = np.random.default_rng(seed)
        self._time = 0
        return self._look()

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> GameStep:
        if self._random.random() < self._failing_share:
            raise RuntimeError(f"step {self._time} of this game failed, as one in a hundred does.")
        self._time += 1
        return GameStep(self._look(), float(actions[0] == actions[1]), False, self._time == _LIMIT)

    def _look(self) -> GameObs:
        mask = np.ones((_AGENTS, _ACTIONS), np.bool_)
        return GameObs(self._random.random((_AGENTS, 4), np.float32), self._random.random(2, np.float32), mask)
