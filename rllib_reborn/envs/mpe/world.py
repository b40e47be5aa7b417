"""A particle world as data: who is in it, how large, how fast, and what it can say.

The numbers are those of the multi-agent particle environments (Lowe et al., "Multi-agent actor-critic for mixed
cooperative-competitive environments", NeurIPS 2017; Mordatch and Abbeel, AAAI 2018) as mpe2 1.1.1 has them.
"""

from __future__ import annotations

import dataclasses

from rllib_reborn.envs.render import BLUE, INK

Color = tuple[int, int, int]

#: Choices of an agent that moves: none, left, right, down, up.
MOVES = ((0.0, 0.0), (-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agent:
    """One agent. Lengths are in units of half the playing field's width, times in seconds.

    Attributes:
        name: Its name in the package, such as ``adversary_0``.
        size: Radius.
        collides: Whether it pushes, and is pushed by, others that collide.
        moves: Whether it moves; then it chooses one of :data:`MOVES` in each step.
        words: How many words it can say, one in each step; 0: it is silent.
        force: With which it moves in the chosen direction; masses are 1.
        max_speed: Its greatest speed; None: there is none.
        color: In pictures.
    """

    name: str
    size: float = 0.05
    collides: bool = True
    moves: bool = True
    words: int = 0
    force: float = 5.0
    max_speed: float | None = None
    color: Color = BLUE

    @property
    def kind(self) -> str:
        """The name without its number."""
        return self.name.rpartition("_")[0]

    @property
    def n_actions(self) -> int:
        """Action ``move + 5 * word``; of one that does not move, ``word``."""
        return (len(MOVES) if self.moves else 1) * max(1, self.words)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Landmark:
    """Something that stands still for an episode.

    Attributes:
        size: Radius.
        collides: Whether it pushes agents that collide.
        start: It is put into the square of this half-width, uniformly at random.
        color: In pictures.
    """

    size: float = 0.05
    collides: bool = False
    start: float = 1.0
    color: Color = INK


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParticleWorld:
    """Who is in a world.

    Attributes:
        agents: In the package's order. They start in the square of half-width 1, uniformly at random, and at rest.
        landmarks: In the package's order; those that collide come first.
        n_goals: Landmarks that each reset draws, independently and uniformly, for what the game is about.
    """

    agents: tuple[Agent, ...]
    landmarks: tuple[Landmark, ...]
    n_goals: int = 0

    @property
    def n_agents(self) -> int:
        return len(self.agents)

    @property
    def n_landmarks(self) -> int:
        return len(self.landmarks)

    @property
    def n_entities(self) -> int:
        """Agents, landmarks, and a marker for each goal: a second landmark in the place of the one that was drawn."""
        return self.n_agents + self.n_landmarks + self.n_goals

    def goal_marker(self, goal: int) -> int:
        """Number of the entity that marks goal ``goal``."""
        return self.n_agents + self.n_landmarks + goal
