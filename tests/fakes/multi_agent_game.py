"""An RLlib MultiAgentEnv whose agents die one after another."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from ray.rllib.env.multi_agent_env import MultiAgentEnv


class Falling(MultiAgentEnv):
    """Three agents see (own number, step, a random number) and get 1 for each step that they live, one more when they
    fall. Agent i falls at a random step; the last one alive is cut at ``max_steps``.

    Args:
        max_steps: Steps of the longest episode.
        state: Whether the state is given in ``infos["__common__"]``.
        immortal: The agent that does not fall.
    """

    def __init__(self, max_steps: int = 12, state: bool = False, immortal: int | None = None) -> None:
        super().__init__()
        self.possible_agents = ["walker_0", "walker_1", "walker_2"]
        self.observation_spaces = {a: spaces.Box(-np.inf, np.inf, (3,), np.float32) for a in self.possible_agents}
        self.action_spaces = {a: spaces.Discrete(3, start=1) for a in self.possible_agents}
        self.max_steps, self._immortal = max_steps, immortal
        if state:
            self.state_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self._state = state
        self.received: list[dict[str, Any]] = []

    def _see(self, agents: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        noise = float(self._rng.random())
        observations = {a: np.array([self.possible_agents.index(a), self._t, noise], np.float32) for a in agents}
        infos = {"__common__": {"state": np.array([self._t, len(agents)], np.float32)}} if self._state else {}
        return observations, infos

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        self._rng = np.random.default_rng(seed)
        self._t = 0
        self._falls = {a: int(self._rng.integers(1, self.max_steps + 3)) for a in self.possible_agents}
        if self._immortal is not None:
            self._falls[self.possible_agents[self._immortal]] = self.max_steps + 10
        self.agents = list(self.possible_agents)
        return self._see(self.agents)

    def step(self, action_dict: dict[str, Any]) -> Any:
        assert set(action_dict) == set(self.agents), (action_dict, self.agents)
        assert set(action_dict.values()) <= {1, 2, 3}
        self.received.append(dict(action_dict))
        self._t += 1
        now = list(self.agents)
        ended = {a: self._falls[a] <= self._t for a in now}
        self.agents = [a for a in now if not ended[a]]
        cut = {"__all__": bool(self.agents) and self._t >= self.max_steps}
        rewards = {a: 2.0 if ended[a] else 1.0 for a in now}
        observations, infos = self._see(now)
        return observations, rewards, ended | {"__all__": not self.agents}, cut, infos
