"""A team game of one step whose rewards are random, with known distributions that a sum of agents' shapes can represent."""

from __future__ import annotations

from typing import Any

import numpy as np

from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.team_env import TeamObs, TeamSpec, TeamStep, VectorTeamEnv, check_actions

#: Mean reward by how many of the two agents take action 1.
MEANS = (0.0, 1.0, 4.0)


def quantile(noise: str, tau: Any, brave: int = 2) -> Any:
    """The reward's quantile at fractions ``tau`` where ``brave`` agents (0..2) take action 1.

    ``noise``: what is added to the mean, times the number of brave agents: ``uniform`` in -1..1; ``three``: -1, 0 or 1 with
    probabilities 1/4, 1/2, 1/4.
    """
    tau = np.asarray(tau, float)
    drawn = 2 * tau - 1 if noise == "uniform" else np.select([tau < 0.25, tau < 0.75], [-1.0, 0.0], 1.0)
    return MEANS[brave] + brave * drawn


class RandomRewards(VectorTeamEnv):
    """Two agents, two actions; action 1 is better on average, and risky: see :func:`quantile`."""

    def __init__(self, num_envs: int = 1, noise: str = "uniform") -> None:
        self.spec = TeamSpec(n_agents=2, n_actions=2, obs_dim=1, state_dim=1, episode_limit=1)
        self.num_envs = num_envs
        self._noise = noise
        self._streams = RandomStreams(num_envs)
        self._mask = np.ones((num_envs, 2, 2), bool)
        self._obs = TeamObs(
            np.ones((num_envs, 2, 1), np.float32), np.ones((num_envs, 1), np.float32), self._mask.copy()
        )

    def reset(self, *, seed: Any = None, mask: np.ndarray | None = None) -> TeamObs:
        chosen = np.ones(self.num_envs, bool) if mask is None else mask
        if seed is not None:
            self._streams.seed(seed, chosen)
        return self._obs

    def step(self, actions: np.ndarray) -> TeamStep:
        check_actions(actions, self._mask, self.num_envs)
        tau = self._streams.uniform(1)[:, 0]
        brave = actions.sum(1)
        by_count = np.stack([quantile(self._noise, tau, count) for count in range(3)], axis=1)
        reward = by_count[np.arange(self.num_envs), brave].astype(np.float32)
        ended = np.ones(self.num_envs, bool)
        return TeamStep(self._obs, reward, ended, ~ended, {})

    def get_state(self) -> dict[str, Any]:
        return {"streams": self._streams.get_state()}

    def set_state(self, state: dict[str, Any]) -> TeamObs:
        self._streams.set_state(state["streams"])
        return self._obs
