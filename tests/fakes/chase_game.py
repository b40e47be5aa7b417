"""A tiny game of two sides: unlike predators, one of which dies, and a prey."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

pettingzoo = pytest.importorskip("pettingzoo", reason="not run: pettingzoo is not installed")

LIMIT = 6


class ChaseGame(pettingzoo.ParallelEnv):
    """All that is seen follows from the seed, the step, the agent's name and what was done before.

    Args:
        names: The agents, in their order.
        sizes: Numbers in the observation of ``..._0`` and of all others of a side.
        actions: Actions of ``..._0`` of a side; others have three, from 1 on.
        max_cycles: Steps of an episode.
    """

    def __init__(
        self,
        names: tuple[str, ...] = ("predator_0", "predator_1", "prey_0"),
        sizes: tuple[int, int] = (3, 2),
        actions: int = 4,
        max_cycles: int = LIMIT,
    ) -> None:
        self.metadata = {"name": "chase_v0"}
        self.possible_agents, self.max_cycles = list(names), max_cycles
        self._sizes, self._actions = sizes, actions
        self.received: list[dict[str, Any]] = []

    def observation_space(self, agent: str) -> Any:
        return spaces.Box(-np.inf, np.inf, (self._sizes[not agent.endswith("_0")],), np.float32)

    def action_space(self, agent: str) -> Any:
        return spaces.Discrete(self._actions) if agent.endswith("_0") else spaces.Discrete(3, start=1)

    def _look(self, agents: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        observations, infos = {}, {}
        for agent in agents:
            random = np.random.default_rng([self._seed, self._t, self._action_digest, *agent.encode()])
            observations[agent] = random.normal(size=self.observation_space(agent).shape).astype(np.float32)
            mask = random.random(int(self.action_space(agent).n)) < 0.7
            mask[0] |= not mask.any()
            infos[agent] = {"action_mask": mask.astype(np.int8)}
        return observations, infos

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self._seed, self._t, self._action_digest = seed, 0, 0
        self.agents = self.possible_agents[:]
        return self._look(self.agents)

    def step(self, actions: dict[str, Any]) -> Any:
        assert set(actions) == set(self.agents)
        self.received.append({agent: int(action) for agent, action in actions.items()})
        self._t += 1
        self._action_digest = 7 * self._action_digest + sum(
            len(agent) * int(action) for agent, action in actions.items()
        )
        present = self.agents
        ended = {agent: agent.endswith("_1") and self._t == 4 for agent in present}
        cut = dict.fromkeys(present, self._t == self.max_cycles)
        observations, infos = self._look(present)
        self.agents = [agent for agent in present if not ended[agent] and not cut[agent]]
        return observations, dict.fromkeys(present, 1.0), ended, cut, infos


def prey(observation: Any, mask: Any, space: Any, rng: Any) -> int:
    """The last action that it may do."""
    return int(np.flatnonzero(mask)[-1]) + int(space.start)
