"""A game of pictures: each agent sees where a bright square is and is paid for saying so."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

PLACES = 3


class Pictures(ParallelEnv):
    """Two agents, pictures of ``size`` x ``size`` x 3 bytes with noise and a square in one of three places; a step pays the
    share of agents that name the place of their own square. Best return 1 a step, random a third."""

    metadata: ClassVar[dict[str, Any]] = {"name": "pictures_v0"}
    max_cycles = 4

    def __init__(self, size: int = 42) -> None:
        self.size = size
        self.possible_agents = ["left_eye", "right_eye"]

    def observation_space(self, agent: str) -> Any:
        return spaces.Box(0, 255, (self.size, self.size, 3), np.uint8)

    def action_space(self, agent: str) -> Any:
        return spaces.Discrete(PLACES)

    def reset(self, seed: Any = None, options: Any = None) -> Any:
        self._rng = np.random.default_rng(seed)
        self.agents, self._t = list(self.possible_agents), 0
        return self._look(), {}

    def step(self, actions: Any) -> Any:
        self._t += 1
        reward = {agent: float(actions[agent] == self._places[agent]) / 2 for agent in self.agents}
        over = dict.fromkeys(self.agents, self._t >= self.max_cycles)
        observations = self._look()
        if self._t >= self.max_cycles:
            self.agents = []
        return observations, reward, dict.fromkeys(over, False), over, {}

    def _look(self) -> dict[str, Any]:
        self._places = {agent: int(self._rng.integers(PLACES)) for agent in self.agents}
        return {agent: self._picture(place) for agent, place in self._places.items()}

    def _picture(self, place: int) -> Any:
        picture = self._rng.integers(0, 60, (self.size, self.size, 3), dtype=np.uint8)
        width = self.size // PLACES
        picture[width : 2 * width, place * width : (place + 1) * width] = 240
        return picture
