"""``simple_adversary``: N agents hide from an adversary which of N landmarks they are after."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.mpe.neighbours import write_nearest
from rllib_reborn.envs.mpe.options import TwoSidedOptions, whole, whole_or_none
from rllib_reborn.envs.mpe.scenario import ParticleScenario
from rllib_reborn.envs.mpe.scripts import Choices, head_for
from rllib_reborn.envs.mpe.world import Agent, Color, Landmark, ParticleWorld
from rllib_reborn.envs.mpe.world_arrays import Floats, Rows, WorldArrays
from rllib_reborn.envs.render import GREEN, VERMILION


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdversaryOptions(TwoSidedOptions):
    """Options of ``simple_adversary``.

    Attributes:
        N: Agents beside the adversary, and landmarks, >= 1.
        num_agent_neighbors: How many other agents, the nearest, an agent observes; None: all.
        num_landmark_neighbors: The same for landmarks; the way to the goal is observed in any case.
    """

    N: int = 2
    num_agent_neighbors: int | None = None
    num_landmark_neighbors: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("N", self.N, 1)
        whole_or_none("num_agent_neighbors", self.num_agent_neighbors, 1)
        whole_or_none("num_landmark_neighbors", self.num_landmark_neighbors, 1)


class Adversary(ParticleScenario):
    """See :mod:`rllib_reborn.envs.mpe.adversary`.

    An agent observes the ways to the goal, to the landmarks and to the others; the adversary (agent 0 of all) the same
    without the goal. Neither observes its velocity. Each agent is paid the adversary's distance to the goal less that of
    the nearest agent; the adversary pays its distance to the goal.

    Scripted: the adversary heads for the landmark to which an agent is nearest; agent i for the i-th landmark after the
    goal, so that one of them is at each.
    """

    options: AdversaryOptions

    def __init__(self, options: AdversaryOptions) -> None:
        self._n, self._marks = options.N + 1, slice(options.N + 1, 2 * options.N + 1)
        hunter = Agent(name="adversary_0", size=0.15, collides=False, color=VERMILION)
        agents = (hunter, *(Agent(name=f"agent_{i}", size=0.15, collides=False) for i in range(options.N)))
        self._near_agents, self._near_landmarks = options.num_agent_neighbors, options.num_landmark_neighbors
        self._each = 2 * (self._near_agents or 0) + 2 * (self._near_landmarks or 0)
        world = ParticleWorld(agents=agents, landmarks=(Landmark(size=0.08),) * options.N, n_goals=1)
        super().__init__(options, world, extra=self._n * self._each, adversaries=1)
        self._goal = world.goal_marker(0)

    def observed(self, agent: int) -> Rows:
        numbers, first = self.rows, agent * self._each
        observed = numbers.offset(agent, self._goal) if agent else []
        if self._near_landmarks is None:
            marks = range(self._marks.start, self._marks.stop)
            observed += [row for mark in marks for row in numbers.offset(agent, mark)]
        else:
            observed += numbers.extra(first, 2 * self._near_landmarks)
            first += 2 * self._near_landmarks
        if self._near_agents is None:
            return observed + [row for other in numbers.others(agent) for row in numbers.offset(agent, other)]
        return observed + numbers.extra(first, 2 * self._near_agents)

    def look(self, arrays: WorldArrays) -> None:
        row = 0
        for agent in range(self._n if self._each else 0):
            others = self.rows.others(agent)
            for count, entities in ((self._near_landmarks, self._marks), (self._near_agents, others)):
                if count is not None:
                    rows, ways = arrays.extra[row:], arrays.offsets[:, agent, entities]
                    row += write_nearest(rows, arrays.distances[agent, entities], count, ways)

    def rewards(self, arrays: WorldArrays) -> Floats:
        distances = arrays.distances[:, self._goal]
        if self.options.agents == "adversary":
            return -distances[:1]
        return np.repeat((distances[0] - distances[1:].min(axis=0))[None], self.options.N, axis=0)

    def scripted(self, arrays: WorldArrays) -> Choices:
        games = np.arange(arrays.num_envs)
        if self.options.agents == "agent":
            guess = self._marks.start + arrays.distances[1:, self._marks].min(axis=0).argmin(axis=0)
            return head_for(arrays.offsets[:, 0, guess, games][:, None], arrays.velocities[:, :1])
        agents = np.arange(self.options.N)[:, None]
        marks = self._marks.start + (arrays.goals[0] + agents) % self.options.N
        return head_for(arrays.offsets[:, 1 + agents, marks, games], arrays.velocities[:, 1:])

    def colors(self, goals: npt.NDArray[np.integer]) -> list[Color]:
        colors = super().colors(goals)
        colors[self._n + int(goals[0])] = GREEN
        return colors
