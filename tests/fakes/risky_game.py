"""A game of two agents in which a risky joint action is better on average and worse in the tail. Vectorised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.team_env import TeamObs, TeamSpec, TeamStep, VectorTeamEnv, check_actions

#: Team reward of the second step by stage: 0 has none; 1 after the safe joint action; 2 and 3 after the risky one, with luck
#: and without.
PAYOFF = np.array([0.0, 1.0, 5.0, -4.0], np.float32)
#: How likely luck is. The risky mean is 2.75, its lowest quarter -4.
CHANCE = 0.75


class RiskyGame(VectorTeamEnv):
    """Two steps. First both agents choose: 0 is safe, 1 risky, and the joint action is risky where both choose 1. Then they
    see what became of it (the stage, one-hot), and :data:`PAYOFF` comes whatever they do. The state says nothing, so that
    the values of the stages must be the agents' and not the mixer's.

    Luck is drawn at the first step, from the game's stream.
    """

    def __init__(self, num_envs: int = 1) -> None:
        self.num_envs = num_envs
        self.spec = TeamSpec(n_agents=2, n_actions=2, obs_dim=4, state_dim=1, episode_limit=2)
        self._streams = RandomStreams(num_envs)
        self._stage = np.zeros(num_envs, np.int64)

    def reset(self, *, seed: int | Sequence[int] | None = None, mask: npt.NDArray[np.bool_] | None = None) -> TeamObs:
        chosen = np.ones(self.num_envs, bool) if mask is None else mask
        if seed is not None:
            self._streams.seed(seed, chosen)
        self._stage[chosen] = 0
        return self._obs()

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> TeamStep:
        check_actions(actions, np.ones((self.num_envs, 2, 2), bool), self.num_envs)
        lucky = self._streams.uniform(1)[:, 0] < CHANCE
        over, reward = self._stage > 0, PAYOFF[self._stage]
        risky = (np.asarray(actions) == 1).all(1)
        self._stage = np.where(over, self._stage, np.where(risky, np.where(lucky, 2, 3), 1))
        return TeamStep(self._obs(), reward, over, np.zeros_like(over), {"failed": np.zeros_like(over)})

    def _obs(self) -> TeamObs:
        obs = np.eye(4, dtype=np.float32)[self._stage]
        everything = np.ones((self.num_envs, 2, 2), bool)
        return TeamObs(np.repeat(obs[:, None], 2, axis=1), np.ones((self.num_envs, 1), np.float32), everything)
