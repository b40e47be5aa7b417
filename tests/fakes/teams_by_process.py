"""Environments whose agents are in another order, or other ones, from construction to construction or from process to
process. What they were built with is counted in the file that ``BUILDS`` names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.envs.team_game import GameObs, GameStep, TeamGame

#: Environment variable with the file to which every construction adds a line with its process.
BUILDS = "TEST_BUILDS"
#: Environment variable with the process whose agents are in the order given (the one in which a test began).
FIRST = "TEST_FIRST_PROCESS"
NAMES = ("ann", "bob", "cat")


def note_build() -> None:
    if os.environ.get(BUILDS):
        with Path(os.environ[BUILDS]).open("a") as file:
            file.write(f"{os.getpid()}\n")


def elsewhere() -> bool:
    """Whether this is another process than that in which the test began."""
    return os.environ.get(FIRST, str(os.getpid())) != str(os.getpid())


class Named(ParallelEnv):
    """Agents that see their own number and are paid for naming it: who is mistaken for another one earns nothing."""

    metadata: ClassVar[dict[str, Any]] = {"name": "named_v0"}
    max_cycles = 4

    def __init__(self, agents: tuple[str, ...] = NAMES) -> None:
        note_build()
        self.possible_agents = list(agents)

    def observation_space(self, agent: str) -> Any:
        return spaces.Box(0, 1, (len(NAMES),), np.float32)

    def action_space(self, agent: str) -> Any:
        return spaces.Discrete(len(NAMES))

    def reset(self, seed: Any = None, options: Any = None) -> Any:
        self.agents, self.t = list(self.possible_agents), 0
        return self._observations(), {}

    def step(self, actions: Any) -> Any:
        self.t += 1
        who, cut = list(self.agents), self.t >= self.max_cycles
        rewards = {agent: float(actions[agent] == NAMES.index(agent)) for agent in who}
        observations = self._observations()
        self.agents = [] if cut else who
        return observations, rewards, dict.fromkeys(who, False), dict.fromkeys(who, cut), {}

    def _observations(self) -> Any:
        return {agent: np.eye(len(NAMES), dtype=np.float32)[NAMES.index(agent)] for agent in self.agents}


_constructions = 0


def shuffled() -> Named:
    """Another order at every construction."""
    global _constructions
    _constructions += 1
    turn = _constructions % len(NAMES)
    return Named(NAMES[turn:] + NAMES[:turn])


def reversed_elsewhere() -> Named:
    """Another order in other processes."""
    return Named(NAMES[::-1] if elsewhere() else NAMES)


def smaller_elsewhere() -> Named:
    """Fewer agents in other processes."""
    return Named(NAMES[:2] if elsewhere() else NAMES)


def failing_elsewhere() -> Named:
    """Cannot be built in other processes."""
    if elsewhere():
        raise OSError("no licence on this machine")
    return Named()


class OwnGame(TeamGame):
    """A game that says itself what its team is; in other processes in another order."""

    def __init__(self) -> None:
        note_build()
        names = NAMES[::-1] if elsewhere() else NAMES
        self.spec = TeamSpec(n_agents=3, n_actions=2, obs_dim=1, state_dim=1, episode_limit=3, agent_ids=names)
        self._t = 0

    def reset(self, seed: int) -> GameObs:
        self._t = 0
        return self._obs()

    def step(self, actions: Any) -> GameStep:
        self._t += 1
        return GameStep(self._obs(), 1.0, False, self._t >= 3)

    def _obs(self) -> GameObs:
        return GameObs(np.zeros((3, 1), np.float32), np.zeros(1, np.float32), np.ones((3, 2), np.bool_))
