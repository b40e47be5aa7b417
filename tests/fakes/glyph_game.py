"""Small games of pictures and of several parts, which depend on what is in them and not on where it is."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from pettingzoo import ParallelEnv

#: 3 x 3 points each, of as many points: no sum over the picture tells one from another.
GLYPHS = np.array(
    [
        [[1, 0, 1], [0, 1, 0], [1, 0, 1]],
        [[0, 1, 0], [1, 1, 1], [0, 1, 0]],
        [[1, 1, 1], [0, 1, 0], [0, 1, 0]],
        [[1, 0, 0], [1, 0, 0], [1, 1, 1]],
    ],
    np.uint8,
)
SIZE = 8


class Glyphs(ParallelEnv):
    """Two agents, each with a picture of 8 x 8 x 3 bytes: noise, and one of four glyphs of five bright points anywhere in
    it, in a random colour. A step pays the share of agents that name their own glyph. Best return 4, random 1."""

    metadata: ClassVar[dict[str, Any]] = {"name": "glyphs_v0"}
    max_cycles = 4

    def __init__(self) -> None:
        self.possible_agents = ["left", "right"]

    def observation_space(self, agent: str) -> Any:
        return spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)

    def action_space(self, agent: str) -> Any:
        return spaces.Discrete(len(GLYPHS))

    def reset(self, seed: Any = None, options: Any = None) -> Any:
        self._rng = np.random.default_rng(seed)
        self.agents, self._t = list(self.possible_agents), 0
        return self._look(), {}

    def step(self, actions: Any) -> Any:
        self._t += 1
        reward = {agent: float(actions[agent] == self._right[agent]) / 2 for agent in self.agents}
        over = dict.fromkeys(self.agents, self._t >= self.max_cycles)
        observations = self._look()
        if self._t >= self.max_cycles:
            self.agents = []
        return observations, reward, dict.fromkeys(over, False), over, {}

    def _look(self) -> dict[str, Any]:
        self._right = {}
        observations = {}
        for agent in self.agents:
            glyph = int(self._rng.integers(len(GLYPHS)))
            observations[agent], self._right[agent] = self._observation(glyph)
        return observations

    def _observation(self, glyph: int) -> tuple[Any, int]:
        """What an agent gets, and the action that is right."""
        return self._picture(glyph), glyph

    def _picture(self, glyph: int) -> npt.NDArray[np.uint8]:
        picture = self._rng.integers(0, 100, (SIZE, SIZE, 3), dtype=np.uint8)
        row, column = self._rng.integers(0, SIZE - 2, 2)
        colour = self._rng.integers(0, 3)
        place = picture[row : row + 3, column : column + 3, colour]
        place[GLYPHS[glyph] == 1] = 255
        return picture


class Cued(Glyphs):
    """A Dict of such a picture, of the first two glyphs, and a cue. Right is the glyph's number, with cue 1 two more.
    Best return 4, random 1, 2 for whoever reads the cue alone."""

    def observation_space(self, agent: str) -> Any:
        return spaces.Dict({"eye": super().observation_space(agent), "cue": spaces.Discrete(2)})

    def _observation(self, glyph: int) -> tuple[Any, int]:
        glyph, cue = glyph % 2, int(self._rng.integers(2))
        return {"eye": self._picture(glyph), "cue": cue}, glyph + 2 * cue


class Numbers(Glyphs):
    """No pictures: the glyph one-hot, and a number."""

    def observation_space(self, agent: str) -> Any:
        return spaces.Box(0.0, 1.0, (5,), np.float32)

    def _observation(self, glyph: int) -> tuple[Any, int]:
        return np.array([*(np.arange(4) == glyph), self._rng.random()], np.float32), glyph


class Turned(Glyphs):
    """Pictures of noise of 6 x 6 points, or of as many in 4 rows."""

    def __init__(self, size: int = 6, turned: bool = False) -> None:
        super().__init__()
        self._shape = (4, size * size // 4, 3) if turned else (size, size, 3)

    def observation_space(self, agent: str) -> Any:
        return spaces.Box(0, 255, self._shape, np.uint8)

    def _observation(self, glyph: int) -> tuple[Any, int]:
        return self._rng.integers(0, 255, self._shape, dtype=np.uint8), glyph
