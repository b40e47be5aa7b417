"""One step of time in B particle worlds: forces, contacts, motion, words.

Formulas of the particle environments' core, in mpe2's order of operations, so that numbers come out equal: explicit Euler
steps of 0.1 s, velocities damped by a quarter in each, and contacts that push with ``100 * softplus(-gap / 0.001) * 0.001``
along the line between the centres, where ``gap`` is the distance less both radii.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.mpe.world import MOVES, ParticleWorld
from rllib_reborn.envs.mpe.world_arrays import Floats, WorldArrays

STEP_S = 0.1
DAMPING = 0.25
CONTACT_FORCE = 1e2
CONTACT_MARGIN = 1e-3
#: Farther apart than this bodies do not push each other here. In the package they do, by less than 1e-50: no float32
#: observation shows it.
_REACH = 0.12
#: Keeps the direction of a contact finite where two centres coincide; then there is no force.
_TINY = 1e-300


class Physics:
    """Moves all worlds by one step.

    Args:
        world: The world. If any agents collide, all do; landmarks that collide come first.
        num_envs: Games, B.
    """

    def __init__(self, world: ParticleWorld, num_envs: int) -> None:
        n, B = world.n_agents, num_envs
        self._n, self._world = n, world
        agents, most = world.agents, max(agent.n_actions for agent in world.agents)
        push = np.zeros((2, n, most))
        word = np.zeros((n, most), np.intp)
        for number, agent in enumerate(agents):
            for action in range(agent.n_actions):
                moves = len(MOVES) if agent.moves else 1
                push[:, number, action] = np.multiply(MOVES[action % moves], agent.force)
                word[number, action] = action // moves
        self._push: Floats = push.reshape(2, n * most)
        self._word = word.reshape(-1)
        self._first_action = (np.arange(n) * most)[:, None]
        self._choice = np.zeros((n, B), np.intp)
        self._talkers = [
            (number, slice(start, start + agent.words), np.arange(agent.words)[:, None])
            for number, agent in enumerate(agents)
            if agent.words
            for start in [sum(before.words for before in agents[:number])]
        ]
        self._contacts = _Contacts(world, num_envs) if agents[0].collides else None
        # What agents do themselves comes first, then what contacts do.
        pushes = 0 if self._contacts is None else self._contacts.pushes
        self._forces: Floats = np.zeros((2, n + pushes, B))
        self._own: Floats = self._forces[:, :n]
        self._force: Floats = np.zeros((2, n, B))
        self._way: Floats = np.zeros((2, n, B))
        limits = [np.inf if agent.max_speed is None else agent.max_speed for agent in agents]
        self._max_speed: Floats | None = np.repeat(limits, B).reshape(n, B) if np.isfinite(limits).any() else None

    def advance(self, arrays: WorldArrays, actions: npt.NDArray[np.integer[Any]]) -> None:
        """Play the actions.

        Args:
            arrays: The worlds, whose offsets and distances are up to date; positions, velocities and words change.
            actions: [n, B], those of all agents.
        """
        choice, force, velocities = self._choice, self._own, arrays.velocities
        np.add(actions, self._first_action, out=choice)
        self._push[0].take(choice, None, force[0], "clip")
        self._push[1].take(choice, None, force[1], "clip")
        if self._contacts is not None and self._contacts.write(arrays, self._forces):
            force = self._contacts.add_up(self._forces, self._force)

        np.multiply(velocities, STEP_S, out=self._way)
        arrays.positions[:, : self._n] += self._way
        velocities *= 1 - DAMPING
        np.multiply(force, STEP_S, out=self._way)
        velocities += self._way
        if self._max_speed is not None:
            self._limit(velocities, self._max_speed)
        for number, rows, words in self._talkers:
            np.equal(words, self._word.take(choice[number]), out=arrays.messages[rows])

    def _limit(self, velocities: Floats, max_speed: Floats) -> None:
        squares = np.multiply(velocities, velocities, out=self._way)
        speed = np.sqrt(squares[0] + squares[1])
        fast = (speed > max_speed).reshape(-1).nonzero()[0]
        if len(fast):
            flat = velocities.reshape(2, -1)
            flat[:, fast] = flat[:, fast] / speed.reshape(-1)[fast] * max_speed.reshape(-1)[fast]


class _Contacts:
    """Who pushes whom: pairs of entities that collide, of which one at least is an agent."""

    def __init__(self, world: ParticleWorld, num_envs: int) -> None:
        n, E, B = world.n_agents, world.n_entities, num_envs
        sizes = [*(agent.size for agent in world.agents), *(mark.size for mark in world.landmarks if mark.collides)]
        bodies = len(sizes)
        pairs = [(a, b) for a in range(n) for b in range(a + 1, bodies)]
        count = len(pairs)
        self._pairs = np.array([a * E + b for a, b in pairs], np.intp)
        self._touch = np.repeat([sizes[a] + sizes[b] for a, b in pairs], B).reshape(count, B)
        self.pushes = 2 * count
        # For each agent, in the package's order, what it is moved by: its own force, then the others'. The second of a pair
        # is pushed along the way from the first, the first against it.
        number = {pair: n + index for index, pair in enumerate(pairs)}
        self._moved_by = np.zeros((bodies, n), np.intp)
        for agent in range(n):
            others = [body for body in range(bodies) if body != agent]
            self._moved_by[:, agent] = [
                agent,
                *(number[other, agent] if other < agent else count + number[agent, other] for other in others),
            ]
        self._gathered: Floats = np.zeros((2, bodies, n, B))
        self._distances: Floats = np.zeros((count, B))
        self._flat = (n * E, B)
        # Of each pair in each game, numbered in a row: where it stands among offsets, and its pushes among forces.
        self._offset_place = (self._pairs[:, None] * B + np.arange(B)).reshape(-1)
        self._push_place = n * B, (n + count) * B

    def write(self, arrays: WorldArrays, forces: Floats) -> bool:
        """Whether any two bodies push each other; if so, their pushes are written into ``forces`` [2, n + pushes, B] behind
        the agents' own."""
        distances = self._distances
        arrays.distances.reshape(self._flat).take(self._pairs, 0, distances, "clip")
        gaps = (distances - self._touch).reshape(-1)
        near = (gaps < _REACH).nonzero()[0]
        if not len(near):
            return False
        depth = gaps[near]
        depth /= -CONTACT_MARGIN
        np.logaddexp(0.0, depth, out=depth)
        depth *= CONTACT_MARGIN
        push = arrays.offsets.reshape(2, -1).take(self._offset_place[near], 1)
        push *= CONTACT_FORCE
        push /= np.maximum(distances.reshape(-1)[near], _TINY)
        push *= depth
        second, first = self._push_place
        flat = forces.reshape(2, -1)
        flat[:, second:] = 0
        flat[:, second + near] = push
        flat[:, first + near] = -push
        return True

    def add_up(self, forces: Floats, total: Floats) -> Floats:
        """Fill ``total`` [2, n, B] with what moves each agent, added one after the other as in the package; ``forces``
        [2, n + pushes, B] are the agents' own and those of contacts."""
        forces.take(self._moved_by, 1, self._gathered, "clip")
        return np.add.reduce(self._gathered, axis=1, out=total)
