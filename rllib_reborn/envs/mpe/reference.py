"""``simple_reference``: each of two agents knows which landmark the other one has to go to, and can say so."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.mpe.options import MpeOptions
from rllib_reborn.envs.mpe.scenario import ParticleScenario
from rllib_reborn.envs.mpe.world import Agent, Color, Landmark, ParticleWorld
from rllib_reborn.envs.mpe.world_arrays import Floats, Rows, WorldArrays
from rllib_reborn.envs.render import BLUE, GREEN, VERMILION

_WORDS = 10
#: What is observed of the landmark that is a goal: its colour.
_GOALS = np.array([[0.75, 0.25, 0.25], [0.25, 0.75, 0.25], [0.25, 0.25, 0.75]])
_COLORS: tuple[Color, ...] = (VERMILION, GREEN, BLUE)


class ReferenceGame(ParticleScenario):
    """See :mod:`rllib_reborn.envs.mpe.reference`.

    Actions are ``move + 5 * word`` with 10 words. An agent observes its velocity, the ways to the 3 landmarks, the colour of
    the one that the other agent has to go to, and the other's last word (one-hot). It does not observe the other's place.
    The team's reward is the distance of each agent to its landmark, negative: mpe2's ``local_ratio`` deals it out otherwise
    between the two, and their sum stays.
    """

    def __init__(self, options: MpeOptions) -> None:
        agents = tuple(Agent(name=f"agent_{i}", collides=False, words=_WORDS) for i in range(2))
        landmarks = tuple(Landmark(color=color) for color in _COLORS)
        super().__init__(options, ParticleWorld(agents=agents, landmarks=landmarks, n_goals=2), extra=6)

    def observed(self, agent: int) -> Rows:
        numbers = self.rows
        marks = [row for mark in (2, 3, 4) for row in numbers.offset(agent, mark)]
        return [*numbers.velocity(agent), *marks, *numbers.extra(3 * agent, 3), *numbers.message(1 - agent)]

    def begin(self, arrays: WorldArrays) -> None:
        arrays.extra[:] = _GOALS[arrays.goals].transpose(0, 2, 1).reshape(6, -1)

    def rewards(self, arrays: WorldArrays) -> Floats:
        # Goal 0, which agent 0 knows, is agent 1's.
        world = self.world
        return -np.stack((arrays.distances[1, world.goal_marker(0)], arrays.distances[0, world.goal_marker(1)]))

    def colors(self, goals: npt.NDArray[np.integer]) -> list[Color]:
        return [_COLORS[goals[1]], _COLORS[goals[0]], *_COLORS]
