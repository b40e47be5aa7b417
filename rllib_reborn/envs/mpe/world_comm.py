"""``simple_world_comm``: a hunt with food for the prey, forests that hide, and a leader of the adversaries who can speak."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.mpe.hunts import chase_or_flee, leaving
from rllib_reborn.envs.mpe.options import TwoSidedOptions, whole
from rllib_reborn.envs.mpe.scenario import ParticleScenario
from rllib_reborn.envs.mpe.scripts import Choices
from rllib_reborn.envs.mpe.world import Agent, Color, Landmark, ParticleWorld
from rllib_reborn.envs.mpe.world_arrays import Floats, Rows, WorldArrays
from rllib_reborn.envs.render import BLUE, GREEN, ORANGE, VERMILION

_WORDS = 4
_PRIZE = 5.0
_FOREST: Color = (190, 220, 190)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorldCommOptions(TwoSidedOptions):
    """Options of ``simple_world_comm``.

    Attributes:
        num_good: Prey, >= 1.
        num_adversaries: Hunters, >= 1; the first one leads.
        num_obstacles: Obstacles, >= 0.
        num_food: Pieces of food, >= 1.
        num_forests: Forests, >= 0.
    """

    agents: str = "adversary"
    num_good: int = 2
    num_adversaries: int = 4
    num_obstacles: int = 1
    num_food: int = 2
    num_forests: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low in (
            ("num_good", 1),
            ("num_adversaries", 1),
            ("num_obstacles", 0),
            ("num_food", 1),
            ("num_forests", 0),
        ):
            whole(name, getattr(self, name), low)


class WorldComm(ParticleScenario):
    """See :mod:`rllib_reborn.envs.mpe.world_comm`.

    The leader's actions are ``move + 5 * word`` with 4 words. An agent observes its velocity and place, the ways to all
    landmarks (obstacles, food, forests) and to the other agents, the other prey's velocities, 1 or -1 for each forest that
    it is in or not, and, if it hunts, the leader's last word (one-hot). Zeros stand for agents that it cannot see: two see
    each other where both are in one forest or neither is in any; the leader sees all. An adversary is paid 5 for each touch
    between any adversary and a prey, less a tenth of its distance to the nearest prey; a prey pays 5 for each of its own
    touches and double for leaving the field, and is paid 2 for each piece of food it touches, less 0.05 of the distance to
    the nearest.
    """

    options: WorldCommOptions

    def __init__(self, options: WorldCommOptions) -> None:
        self._k, self._n = options.num_adversaries, options.num_adversaries + options.num_good
        self._forests = options.num_forests
        names = ["leadadversary_0", *(f"adversary_{i}" for i in range(self._k - 1))]
        hunters = tuple(
            Agent(name=name, size=0.075, words=0 if i else _WORDS, force=3.0, max_speed=1.0, color=VERMILION)
            for i, name in enumerate(names)
        )
        prey = tuple(
            Agent(name=f"agent_{i}", size=0.045, force=4.0, max_speed=1.3, color=GREEN) for i in range(options.num_good)
        )
        obstacles = (Landmark(size=0.2, collides=True, start=0.9),) * options.num_obstacles
        food = (Landmark(size=0.03, start=0.9, color=ORANGE),) * options.num_food
        forests = (Landmark(size=0.3, start=0.9, color=_FOREST),) * self._forests
        first_food = self._n + options.num_obstacles
        self._food = slice(first_food, first_food + options.num_food)
        self._wood = slice(self._food.stop, self._food.stop + self._forests)
        # The game's own rows: who is in which forest [n, f], then the ways [2, n, n] and velocities [2, n, n] that are seen.
        self._inside_rows = self._n * self._forests
        extra = self._inside_rows + 4 * self._n**2
        world = ParticleWorld(agents=hunters + prey, landmarks=obstacles + food + forests)
        super().__init__(options, world, extra=extra, adversaries=self._k)
        # A touch is as far as both radii reach; of agents and landmarks.
        sizes = np.array([agent.size for agent in world.agents])
        self._reach_forest = (sizes + 0.3)[:, None, None]
        self._reach_food = 0.045 + 0.03
        self._hidden: npt.NDArray[np.bool_] | None = None

    def observed(self, agent: int) -> Rows:
        numbers, n = self.rows, self._n
        hunts = agent < self._k

        def seen_row(quantity: int, other: int) -> Rows:
            first = self._inside_rows + quantity * 2 * n * n + agent * n + other
            return [*numbers.extra(first, 1), *numbers.extra(first + n * n, 1)]

        marks = [row for mark in range(n, self.world.n_entities) for row in numbers.offset(agent, mark)]
        others = numbers.others(agent)
        ways = [row for other in others for row in seen_row(0, other)]
        velocities = [row for other in others if other >= self._k for row in seen_row(1, other)]
        inside = numbers.extra(agent * self._forests, self._forests)
        own = [*numbers.velocity(agent), *numbers.position(agent), *marks, *ways]
        return [*own, *velocities, *inside, *numbers.message(0)] if hunts else [*own, *inside, *velocities]

    def look(self, arrays: WorldArrays) -> None:
        n, games = self._n, arrays.num_envs
        inside = arrays.distances[:, self._wood] < self._reach_forest
        rows = self._inside_rows
        arrays.extra[:rows] = np.where(inside.reshape(rows, games), 1.0, -1.0)
        anywhere = np.logical_or.reduce(inside, axis=1)
        sees: npt.NDArray[np.bool_] = ~(anywhere[:, None] | anywhere[None])
        for forest in range(self._forests):
            sees |= inside[:, None, forest] & inside[None, :, forest]
        sees[0] = True
        self._hidden = ~sees
        ways = arrays.extra[rows : rows + 2 * n * n].reshape(2, n, n, games)
        velocities = arrays.extra[rows + 2 * n * n :].reshape(2, n, n, games)
        np.multiply(arrays.offsets[:, :, :n], sees, out=ways)
        np.multiply(arrays.velocities[:, None], sees, out=velocities)

    def rewards(self, arrays: WorldArrays) -> Floats:
        k, n = self._k, self._n
        distances = arrays.distances[:k, k:n]
        touches = distances < 0.045 + 0.075
        if self.options.agents == "adversary":
            hunters = distances.min(axis=1)
            hunters *= -0.1
            hunters += _PRIZE * np.add.reduce(touches, axis=(0, 1), dtype=np.float64)
            return hunters
        paid = -_PRIZE * np.add.reduce(touches, axis=0, dtype=np.float64)
        for coordinate in arrays.positions[:, k:n]:
            paid -= 2 * leaving(coordinate)
        food = arrays.distances[k:n, self._food]
        paid += 2 * np.add.reduce(food < self._reach_food, axis=1, dtype=np.float64)
        paid -= 0.05 * food.min(axis=1)
        return paid

    def scripted(self, arrays: WorldArrays) -> Choices:
        fleeing = self.options.agents == "adversary"
        return chase_or_flee(arrays, self._k, fleeing=fleeing, hidden=self._hidden)

    def colors(self, goals: npt.NDArray[np.integer]) -> list[Color]:
        return [BLUE, *super().colors(goals)[1:]]
