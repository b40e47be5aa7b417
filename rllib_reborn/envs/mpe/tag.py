"""``simple_tag``: adversaries hunt faster prey (the good agents) among obstacles."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.mpe.hunts import chase_or_flee, leaving
from rllib_reborn.envs.mpe.neighbours import write_nearest
from rllib_reborn.envs.mpe.options import TwoSidedOptions, flag, stage, whole, whole_or_none
from rllib_reborn.envs.mpe.scenario import ParticleScenario
from rllib_reborn.envs.mpe.scripts import Choices
from rllib_reborn.envs.mpe.world import Agent, Landmark, ParticleWorld
from rllib_reborn.envs.mpe.world_arrays import Floats, Rows, WorldArrays
from rllib_reborn.envs.render import GREEN, VERMILION

#: Force and greatest speed of the prey as shares of the full ones, by stage of the curriculum.
_STAGES = (0.5, 0.75, 1.0)
_PRIZE = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class TagOptions(TwoSidedOptions):
    """Options of ``simple_tag``.

    Attributes:
        num_good: Prey, >= 1.
        num_adversaries: Hunters, >= 1.
        num_obstacles: Obstacles, >= 0.
        curriculum: Whether the prey is slower, by ``curriculum_stage``.
        curriculum_stage: 0 (with ``curriculum``, unless given): half as fast; 1: three quarters; 2: as without a
            curriculum. mpe2 changes it by a method of the environment; here it is an option, of a sequence of tasks for one.
        terminate_on_success: Whether an episode ends, won by the adversaries, when all prey are touched at once.
        num_agent_neighbors: How many other agents, the nearest, an agent observes; None: all.
        num_landmark_neighbors: The same for obstacles.
    """

    agents: str = "adversary"
    num_good: int = 1
    num_adversaries: int = 3
    num_obstacles: int = 2
    curriculum: bool = False
    curriculum_stage: int | None = None
    terminate_on_success: bool = False
    num_agent_neighbors: int | None = None
    num_landmark_neighbors: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("num_good", self.num_good, 1)
        whole("num_adversaries", self.num_adversaries, 1)
        whole("num_obstacles", self.num_obstacles, 0)
        stage(self.curriculum, self.curriculum_stage, len(_STAGES) - 1)
        flag("terminate_on_success", self.terminate_on_success)
        whole_or_none("num_agent_neighbors", self.num_agent_neighbors, 1)
        whole_or_none("num_landmark_neighbors", self.num_landmark_neighbors, 1)


class Tag(ParticleScenario):
    """See :mod:`rllib_reborn.envs.mpe.tag`.

    An agent observes its velocity and place, the ways to the obstacles and to the other agents, and the velocities of the
    other prey; with ``num_agent_neighbors`` those of the agents it observes, zeros for adversaries. Every adversary is paid
    10 for each touch between any adversary and a prey; a prey pays 10 for each of its own, and for leaving the field.
    """

    options: TagOptions

    def __init__(self, options: TagOptions) -> None:
        self._k, n = options.num_adversaries, options.num_adversaries + options.num_good
        pace = _STAGES[options.curriculum_stage or 0] if options.curriculum else 1.0
        hunters = tuple(
            Agent(name=f"adversary_{i}", size=0.075, force=3.0, max_speed=1.0, color=VERMILION) for i in range(self._k)
        )
        prey = tuple(
            Agent(name=f"agent_{i}", size=0.05, force=4.0 * pace, max_speed=1.3 * pace, color=GREEN)
            for i in range(options.num_good)
        )
        obstacles = (Landmark(size=0.2, collides=True, start=0.9),) * options.num_obstacles
        self._near_agents, self._near_landmarks = options.num_agent_neighbors, options.num_landmark_neighbors
        self._each = 4 * (self._near_agents or 0) + 2 * (self._near_landmarks or 0)
        world = ParticleWorld(agents=hunters + prey, landmarks=obstacles)
        super().__init__(options, world, extra=n * self._each, adversaries=self._k)

    def observed(self, agent: int) -> Rows:
        numbers, world, first = self.rows, self.world, agent * self._each
        observed = [*numbers.velocity(agent), *numbers.position(agent)]
        if self._near_landmarks is None:
            marks = range(world.n_agents, world.n_entities)
            observed += [row for mark in marks for row in numbers.offset(agent, mark)]
        else:
            observed += numbers.extra(first, 2 * self._near_landmarks)
            first += 2 * self._near_landmarks
        if self._near_agents is not None:
            return observed + numbers.extra(first, 4 * self._near_agents)
        others = numbers.others(agent)
        observed += [row for other in others for row in numbers.offset(agent, other)]
        return observed + [row for other in others if other >= self._k for row in numbers.velocity(other)]

    def look(self, arrays: WorldArrays) -> None:
        if not self._each:
            return
        n, row = self.world.n_agents, 0
        shown = arrays.velocities.copy()
        shown[:, : self._k] = 0
        for agent in range(n):
            others, distances, offsets = self.rows.others(agent), arrays.distances[agent], arrays.offsets[:, agent]
            if self._near_landmarks is not None:
                row += write_nearest(arrays.extra[row:], distances[n:], self._near_landmarks, offsets[:, n:])
            if self._near_agents is not None:
                both = offsets[:, others], shown[:, others]
                row += write_nearest(arrays.extra[row:], distances[others], self._near_agents, *both)

    def rewards(self, arrays: WorldArrays) -> Floats:
        touches = self._touches(arrays)
        if self.options.agents == "adversary":
            return np.repeat(_PRIZE * np.add.reduce(touches, axis=(0, 1), dtype=np.float64)[None], self._k, axis=0)
        paid = -_PRIZE * np.add.reduce(touches, axis=0, dtype=np.float64)
        for coordinate in arrays.positions[:, self._k : self.world.n_agents]:
            paid -= leaving(coordinate)
        return paid

    def success(self, arrays: WorldArrays) -> npt.NDArray[np.bool_] | None:
        if not self.options.terminate_on_success:
            return None
        caught: npt.NDArray[np.bool_] = np.logical_and.reduce(
            np.logical_or.reduce(self._touches(arrays), axis=0), axis=0
        )
        return caught

    def scripted(self, arrays: WorldArrays) -> Choices:
        return chase_or_flee(arrays, self._k, fleeing=self.options.agents == "adversary")

    def _touches(self, arrays: WorldArrays) -> npt.NDArray[np.bool_]:
        """[hunters, prey, B]"""
        touches: npt.NDArray[np.bool_] = arrays.distances[: self._k, self._k : self.world.n_agents] < 0.05 + 0.075
        return touches
