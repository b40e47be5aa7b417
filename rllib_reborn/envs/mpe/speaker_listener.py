"""``simple_speaker_listener``: the speaker knows which landmark the listener has to go to, and can only speak."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.mpe.options import MpeOptions
from rllib_reborn.envs.mpe.scenario import ParticleScenario
from rllib_reborn.envs.mpe.world import Agent, Color, Landmark, ParticleWorld
from rllib_reborn.envs.mpe.world_arrays import Floats, Rows, WorldArrays
from rllib_reborn.envs.render import BLUE, GREEN, INK, VERMILION

_GOALS = np.array([[0.65, 0.15, 0.15], [0.15, 0.65, 0.15], [0.15, 0.15, 0.65]])
_COLORS: tuple[Color, ...] = (VERMILION, GREEN, BLUE)


class SpeakerListener(ParticleScenario):
    """See :mod:`rllib_reborn.envs.mpe.speaker_listener`.

    The speaker stands still, chooses one of 3 words and observes the colour of the goal. The listener moves and observes its
    velocity, the ways to the 3 landmarks and the speaker's last word (one-hot). Both are paid the squared distance from
    listener to goal, negative.
    """

    def __init__(self, options: MpeOptions) -> None:
        agents = (
            Agent(name="speaker_0", size=0.075, collides=False, moves=False, words=3, color=INK),
            Agent(name="listener_0", size=0.075, collides=False),
        )
        landmarks = tuple(Landmark(size=0.04, color=color) for color in _COLORS)
        super().__init__(options, ParticleWorld(agents=agents, landmarks=landmarks, n_goals=1), extra=3)

    def observed(self, agent: int) -> Rows:
        if agent == 0:
            return self.rows.extra(0, 3)
        marks = [row for mark in (2, 3, 4) for row in self.rows.offset(1, mark)]
        return [*self.rows.velocity(1), *marks, *self.rows.message(0)]

    def begin(self, arrays: WorldArrays) -> None:
        arrays.extra[:] = _GOALS[arrays.goals[0]].T

    def rewards(self, arrays: WorldArrays) -> Floats:
        x, y = arrays.offsets[:, 1, self.world.goal_marker(0)]
        return np.repeat(-(x * x + y * y)[None], 2, axis=0)

    def colors(self, goals: npt.NDArray[np.integer]) -> list[Color]:
        return [INK, _COLORS[goals[0]], *_COLORS]
