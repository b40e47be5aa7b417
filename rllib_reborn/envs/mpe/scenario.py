"""What the games differ in: who is in the world, what is observed, what is paid."""

from __future__ import annotations

import abc
import functools

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.mpe.options import MpeOptions, TwoSidedOptions
from rllib_reborn.envs.mpe.scripts import Choices
from rllib_reborn.envs.mpe.world import Color, ParticleWorld
from rllib_reborn.envs.mpe.world_arrays import Floats, RowNumbers, Rows, WorldArrays
from rllib_reborn.envs.team_env import TeamSpec


class ParticleScenario(abc.ABC):
    """One game: its rules as far as they are not physics.

    Args:
        options: Its options.
        world: Who is in it.
        extra: Rows that it fills by itself, see :meth:`begin` and :meth:`look`.
        adversaries: How many of the first agents are adversaries; the team is one side where ``options`` says which.

    Attributes:
        team: Agents that are ours, a slice of all: observations of the state and actions of physics are of all agents, in
            the package's order.
        opponents: The others, a slice too; empty in a game of one side.
    """

    def __init__(self, options: MpeOptions, world: ParticleWorld, *, extra: int = 0, adversaries: int = 0) -> None:
        n = world.n_agents
        self.options = options
        self.world = world
        self.rows = RowNumbers(world, extra)
        self.team, self.opponents = slice(0, n), slice(n, n)
        if isinstance(options, TwoSidedOptions):
            self.team, self.opponents = slice(0, adversaries), slice(adversaries, n)
            if options.agents == "agent":
                self.team, self.opponents = self.opponents, self.team

    @abc.abstractmethod
    def observed(self, agent: int) -> Rows:
        """The rows that an agent observes, in the package's order."""

    @abc.abstractmethod
    def rewards(self, arrays: WorldArrays) -> Floats:
        """[t, B] rewards of the team's agents after a step. The array may be overwritten by the caller."""

    def begin(self, arrays: WorldArrays) -> None:  # noqa: B027  (most games have nothing to fill)
        """Fill the extra rows that last an episode. Goals and landmarks are placed."""

    def look(self, arrays: WorldArrays) -> None:  # noqa: B027  (most games have nothing to fill)
        """Fill the extra rows that change with every step. Offsets and distances are up to date."""

    def success(self, arrays: WorldArrays) -> npt.NDArray[np.bool_] | None:
        """[B] whether the team has reached what ends an episode; None where nothing does."""
        return None

    def scripted(self, arrays: WorldArrays) -> Choices:
        """[k, B] scripted actions of the opponents."""
        raise ValueError(f"{type(self).__name__} has no opponents.")

    def colors(self, goals: npt.NDArray[np.integer]) -> list[Color]:
        """Colours in pictures of agents and landmarks in a game with these goals [G]."""
        return [agent.color for agent in self.world.agents] + [mark.color for mark in self.world.landmarks]

    @functools.cached_property
    def state_rows(self) -> Rows:
        """What all agents observe, in a row."""
        return [row for agent in range(self.world.n_agents) for row in self.observed(agent)]

    @functools.cached_property
    def team_rows(self) -> list[Rows]:
        """For each agent of the team what it observes, all equally long: zeros behind the shorter ones and, where agents
        differ in what they observe or can do, the one-hot number of the agent, as the PettingZoo adapter does it."""
        observed = [self.observed(agent) for agent in range(self.world.n_agents)[self.team]]
        counts = {agent.n_actions for agent in self.world.agents[self.team]}
        longest = max(map(len, observed))
        padded = [[*rows, *[self.rows.zero] * (longest - len(rows))] for rows in observed]
        if len({len(rows) for rows in observed}) == 1 and len(counts) == 1:
            return padded
        zero, one = self.rows.zero, self.rows.one
        return [
            [*rows, *(one if other == place else zero for other in range(len(padded)))]
            for place, rows in enumerate(padded)
        ]

    def spec(self) -> TeamSpec:
        """The team."""
        team = self.world.agents[self.team]
        return TeamSpec(
            n_agents=len(team),
            n_actions=max(agent.n_actions for agent in team),
            obs_dim=len(self.team_rows[0]),
            state_dim=len(self.state_rows),
            episode_limit=self.options.max_cycles,
            agent_ids=tuple(agent.name for agent in team),
            agent_groups=tuple(agent.kind for agent in team),
            has_win=self.ends_with_success,
        )

    @property
    def ends_with_success(self) -> bool:
        """Whether success ends an episode before its limit, and is what counts as won."""
        return bool(getattr(self.options, "terminate_on_success", False))
