"""Everything that is known of B particle worlds, as rows of one array with the games side by side.

All that can be observed is a row of numbers, one of each game: a coordinate of a velocity, of a place, of the way from an
agent to an entity, a bit of a word. So what an agent observes is a list of row numbers, and all observations of all games
are one gather, whatever the game. Rows are contiguous, so that arithmetic runs along the games.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.mpe.world import ParticleWorld

Floats = npt.NDArray[np.float64]
Rows = list[int]


class RowNumbers:
    """Which row is what. E entities: agents, landmarks, goal markers.

    Args:
        world: The world.
        extra: Rows that a game fills by itself.
    """

    def __init__(self, world: ParticleWorld, extra: int = 0) -> None:
        n, self._entities = world.n_agents, world.n_entities
        self._n = n
        self.words = [agent.words for agent in world.agents]
        sizes = (2 * self._entities, 2 * n, 2 * n * self._entities, sum(self.words), extra)
        starts = np.cumsum((0, *sizes)).tolist()
        self.positions, self.velocities, self.offsets, self.messages, self.extras, self.zero = starts
        #: A row of ones follows the row of zeros.
        self.one = self.zero + 1
        self.count = self.zero + 2

    def position(self, entity: int) -> Rows:
        """[x, y] of an entity."""
        return [self.positions + entity, self.positions + self._entities + entity]

    def velocity(self, agent: int) -> Rows:
        """[x, y] of an agent."""
        return [self.velocities + agent, self.velocities + self._n + agent]

    def offset(self, agent: int, entity: int) -> Rows:
        """[x, y] of the way from an agent to an entity."""
        first = self.offsets + agent * self._entities + entity
        return [first, first + self._n * self._entities]

    def message(self, agent: int) -> Rows:
        """The word that an agent said last, one-hot; zeros before its first."""
        first = self.messages + sum(self.words[:agent])
        return list(range(first, first + self.words[agent]))

    def extra(self, start: int, count: int) -> Rows:
        """Rows ``start`` to ``start + count - 1`` of the game's own."""
        return list(range(self.extras + start, self.extras + start + count))

    def others(self, agent: int) -> list[int]:
        """All other agents, in order."""
        return [other for other in range(self._n) if other != agent]


class WorldArrays:
    """The worlds of B games.

    Args:
        world: The world.
        numbers: Which row is what.
        num_envs: Games, B.

    Attributes:
        rows: [F, B] all of them. The arrays below are views of it, unless it says so.
        positions: [2, E, B] of agents, landmarks and goal markers; coordinate first.
        velocities: [2, n, B] of agents.
        offsets: [2, n, E, B] from an agent to an entity.
        messages: [W, B] the words of all agents, one-hot, one agent after the other.
        extra: [X, B] the game's own.
        distances: [n, E, B] from an agent to an entity; an array of its own.
        goals: [G, B] numbers of the landmarks that are goals; an array of its own.
    """

    def __init__(self, world: ParticleWorld, numbers: RowNumbers, num_envs: int) -> None:
        n, E, B = world.n_agents, world.n_entities, num_envs
        self.world = world
        self.num_envs = num_envs
        self.rows: Floats = np.zeros((numbers.count, B))
        self.rows[numbers.one] = 1
        self.positions = self.rows[numbers.positions : numbers.velocities].reshape(2, E, B)
        self.velocities = self.rows[numbers.velocities : numbers.offsets].reshape(2, n, B)
        self.offsets = self.rows[numbers.offsets : numbers.messages].reshape(2, n, E, B)
        self.messages = self.rows[numbers.messages : numbers.extras]
        self.extra = self.rows[numbers.extras : numbers.zero]
        self.distances: Floats = np.zeros((n, E, B))
        self.goals: npt.NDArray[np.intp] = np.zeros((world.n_goals, B), np.intp)
        self._places = self.positions[:, None]
        self._eyes = self.positions[:, :n, None]
        self._squares = np.zeros((2, n, E, B))
        self._games = np.arange(B)

    def measure(self) -> None:
        """Work out offsets and distances from positions."""
        np.subtract(self._places, self._eyes, out=self.offsets)
        squares = self._squares
        np.multiply(self.offsets, self.offsets, out=squares)
        np.add(squares[0], squares[1], out=self.distances)
        np.sqrt(self.distances, out=self.distances)

    def mark_goals(self) -> None:
        """Put the goal markers where the landmarks of ``goals`` are."""
        world = self.world
        for goal in range(world.n_goals):
            landmark = world.n_agents + self.goals[goal]
            self.positions[:, world.goal_marker(goal)] = self.positions[:, landmark, self._games]
