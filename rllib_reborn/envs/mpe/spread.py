"""``simple_spread``: N agents cover N landmarks and do not bump into each other."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.mpe.neighbours import write_nearest
from rllib_reborn.envs.mpe.options import MpeOptions, flag, share, stage, whole, whole_or_none
from rllib_reborn.envs.mpe.scenario import ParticleScenario
from rllib_reborn.envs.mpe.world import Agent, Landmark, ParticleWorld
from rllib_reborn.envs.mpe.world_arrays import Floats, Rows, WorldArrays

#: Numbers of each other agent's words in an observation; nobody ever says any here.
_WORDS = 2
#: A landmark is covered by an agent that is nearer.
_COVERED = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpreadOptions(MpeOptions):
    """Options of ``simple_spread``.

    Attributes:
        N: Agents, and as many landmarks, >= 1.
        local_ratio: Share 0..1 of an agent's own penalty (1 for each agent it overlaps) in its reward; the rest is the
            sum over landmarks of the distance to the nearest agent, negative.
        curriculum: Whether overlapping costs nothing in stage 0 of ``curriculum_stage``.
        curriculum_stage: 0 (with ``curriculum``, unless given) or 1: as without a curriculum. mpe2 changes it by a method
            of the environment; here it is an option, of a sequence of tasks for one.
        terminate_on_success: Whether an episode ends, won, when each landmark has an agent nearer than 0.1.
        num_agent_neighbors: How many other agents, the nearest, an agent observes; None: all.
        num_landmark_neighbors: The same for landmarks.
    """

    N: int = 3
    local_ratio: float = 0.5
    curriculum: bool = False
    curriculum_stage: int | None = None
    terminate_on_success: bool = False
    num_agent_neighbors: int | None = None
    num_landmark_neighbors: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("N", self.N, 1)
        share("local_ratio", self.local_ratio)
        stage(self.curriculum, self.curriculum_stage, 1)
        flag("terminate_on_success", self.terminate_on_success)
        whole_or_none("num_agent_neighbors", self.num_agent_neighbors, 1)
        whole_or_none("num_landmark_neighbors", self.num_landmark_neighbors, 1)


class Spread(ParticleScenario):
    """See :mod:`rllib_reborn.envs.mpe.spread`.

    An agent observes its velocity and place, the ways to the landmarks and to the other agents, and two zeros for each of
    these, which say nothing.
    """

    options: SpreadOptions

    def __init__(self, options: SpreadOptions) -> None:
        self._n = n = options.N
        agents = tuple(Agent(name=f"agent_{i}", size=0.15) for i in range(n))
        self._near_agents, self._near_landmarks = options.num_agent_neighbors, options.num_landmark_neighbors
        self._each = 2 * (self._near_agents or 0) + 2 * (self._near_landmarks or 0)
        super().__init__(options, ParticleWorld(agents=agents, landmarks=(Landmark(),) * n), extra=n * self._each)
        self._penalty = not options.curriculum or options.curriculum_stage == 1

    def observed(self, agent: int) -> Rows:
        numbers, first = self.rows, agent * self._each
        observed = [*numbers.velocity(agent), *numbers.position(agent)]
        if self._near_landmarks is None:
            observed += [row for mark in range(self._n, 2 * self._n) for row in numbers.offset(agent, mark)]
        else:
            observed += numbers.extra(first, 2 * self._near_landmarks)
            first += 2 * self._near_landmarks
        others = self._n - 1
        if self._near_agents is None:
            observed += [row for other in numbers.others(agent) for row in numbers.offset(agent, other)]
        else:
            observed += numbers.extra(first, 2 * self._near_agents)
            others = self._near_agents
        return [*observed, *[numbers.zero] * (_WORDS * others)]

    def look(self, arrays: WorldArrays) -> None:
        n, row = self._n, 0
        for agent in range(n if self._each else 0):
            others = self.rows.others(agent)
            for count, entities in ((self._near_landmarks, slice(n, None)), (self._near_agents, others)):
                if count is not None:
                    rows, ways = arrays.extra[row:], arrays.offsets[:, agent, entities]
                    row += write_nearest(rows, arrays.distances[agent, entities], count, ways)

    def rewards(self, arrays: WorldArrays) -> Floats:
        n, local = self._n, self.options.local_ratio
        covered = np.add.reduce(np.minimum.reduce(arrays.distances[:, n:], axis=0), axis=0)
        own: Floats = np.zeros(arrays.distances[:, 0].shape)
        if self._penalty:
            # Everybody overlaps itself.
            own -= np.add.reduce(arrays.distances[:, :n] < 0.15 + 0.15, axis=1, dtype=np.float64) - 1
        own *= local
        own -= covered * (1 - local)
        return own

    def success(self, arrays: WorldArrays) -> npt.NDArray[np.bool_] | None:
        if not self.options.terminate_on_success:
            return None
        reached: npt.NDArray[np.bool_] = (arrays.distances[:, self._n :].min(axis=0) < _COVERED).all(axis=0)
        return reached
