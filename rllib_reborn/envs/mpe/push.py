"""``simple_push``: an agent has to reach a goal that its adversary, who does not know it, keeps it away from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.mpe.options import TwoSidedOptions
from rllib_reborn.envs.mpe.scenario import ParticleScenario
from rllib_reborn.envs.mpe.scripts import Choices, head_for
from rllib_reborn.envs.mpe.world import Agent, Color, Landmark, ParticleWorld
from rllib_reborn.envs.mpe.world_arrays import Floats, Rows, WorldArrays
from rllib_reborn.envs.render import BLUE, GREEN, VERMILION

_ADVERSARY, _AGENT = 0, 1
_MARKS = (2, 3)
#: Colours as the agent observes them: its own, by goal; the landmarks', always.
_OWN_COLORS = np.array([[0.25, 0.25 + 0.5, 0.25], [0.25, 0.25, 0.25 + 0.5]])
_MARK_COLORS = np.array([0.1, 0.1 + 0.8, 0.1, 0.1, 0.1, 0.1 + 0.8])
_COLORS: tuple[Color, ...] = (GREEN, BLUE)


class Push(ParticleScenario):
    """See :mod:`rllib_reborn.envs.mpe.push`.

    The agent observes its velocity, the way to the goal, its own colour (which tells the goal), the ways to both landmarks,
    their colours, and the way to the adversary; it pays its distance to the goal. The adversary observes its velocity and
    the ways to both landmarks and to the agent; it is paid the agent's distance to the goal less its own.

    Scripted: the agent heads for the goal; the adversary for the landmark that is nearer to the agent.
    """

    options: TwoSidedOptions

    def __init__(self, options: TwoSidedOptions) -> None:
        agents = (Agent(name="adversary_0", color=VERMILION), Agent(name="agent_0"))
        landmarks = tuple(Landmark(color=color) for color in _COLORS)
        world = ParticleWorld(agents=agents, landmarks=landmarks, n_goals=1)
        super().__init__(options, world, extra=9, adversaries=1)
        self._goal = world.goal_marker(0)

    def observed(self, agent: int) -> Rows:
        numbers = self.rows
        velocity, other = numbers.velocity(agent), numbers.offset(agent, 1 - agent)
        marks = [row for mark in _MARKS for row in numbers.offset(agent, mark)]
        if agent == _ADVERSARY:
            return [*velocity, *marks, *other]
        goal = numbers.offset(agent, self._goal)
        return [*velocity, *goal, *numbers.extra(0, 3), *marks, *numbers.extra(3, 6), *other]

    def begin(self, arrays: WorldArrays) -> None:
        arrays.extra[:3] = _OWN_COLORS[arrays.goals[0]].T
        arrays.extra[3:] = _MARK_COLORS[:, None]

    def rewards(self, arrays: WorldArrays) -> Floats:
        agent = arrays.distances[_AGENT, self._goal]
        if self.options.agents == "agent":
            return -agent[None]
        return (agent - arrays.distances[_ADVERSARY, self._goal])[None]

    def scripted(self, arrays: WorldArrays) -> Choices:
        if self.options.agents == "adversary":
            return head_for(arrays.offsets[:, _AGENT, None, self._goal], arrays.velocities[:, _AGENT, None])
        first, second = (arrays.distances[_AGENT, mark] for mark in _MARKS)
        ways = [arrays.offsets[:, _ADVERSARY, mark] for mark in _MARKS]
        guess = np.where(first <= second, *ways)
        return head_for(guess[:, None], arrays.velocities[:, _ADVERSARY, None])

    def colors(self, goals: npt.NDArray[np.integer]) -> list[Color]:
        return [VERMILION, _COLORS[goals[0]], *_COLORS]
