"""Games of named agents whose every outcome is written in the test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

pettingzoo = pytest.importorskip("pettingzoo", reason="not run: pettingzoo is not installed")

BOX = spaces.Box(-np.inf, np.inf, (2,), np.float32)


class ScriptedParallelEnv(pettingzoo.ParallelEnv):
    """Agents see (their number, the step); ``script[t]`` says what happens at step t + 1.

    Args:
        script: Per step a dict with any of ``rewards``, ``terminated``, ``truncated`` (agent -> value); agents that are
            flagged leave.
        observation_spaces: Agent -> space; default two numbers.
        action_spaces: Agent -> space; default ``Discrete(3)``.
        masks: None, ``info`` or ``observation``: where the masks of ``mask_of`` are given.
    """

    def __init__(
        self,
        script: list[dict[str, Any]],
        agents: tuple[str, ...] = ("a_0", "a_1"),
        observation_spaces: dict[str, Any] | None = None,
        action_spaces: dict[str, Any] | None = None,
        masks: str | None = None,
        max_cycles: int = 10,
    ) -> None:
        self.metadata = {"name": "scripted_v0"}
        self.possible_agents = list(agents)
        self.max_cycles = max_cycles
        self.script, self.masks = script, masks
        self.mask_of: dict[str, list[int]] = {agent: [1, 1, 0] for agent in agents}
        self._observation_spaces = observation_spaces or {}
        self._action_spaces = action_spaces or {}
        self.resets: list[int | None] = []
        self.received: list[dict[str, Any]] = []

    def observation_space(self, agent: str) -> Any:
        if self.masks == "observation":
            return spaces.Dict({"observation": BOX, "action_mask": spaces.MultiBinary(3)})
        return self._observation_spaces.get(agent, BOX)

    def action_space(self, agent: str) -> Any:
        return self._action_spaces.get(agent, spaces.Discrete(3))

    def see(self, agent: str) -> Any:
        obs = np.array([self.possible_agents.index(agent) + 1, self.t], np.float32)
        return (
            {"observation": obs, "action_mask": np.array(self.mask_of[agent])} if self.masks == "observation" else obs
        )

    def _infos(self) -> dict[str, Any]:
        return {a: {"action_mask": self.mask_of[a]} if self.masks == "info" else {} for a in self.agents}

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.resets.append(seed)
        self.t = 0
        self.agents = self.possible_agents[:]
        return {a: self.see(a) for a in self.agents}, self._infos()

    def step(self, actions: dict[str, Any]) -> Any:
        self.received.append(dict(actions))
        moment = self.script[self.t] if self.t < len(self.script) else {}
        self.t += 1
        present = self.agents[:]
        ended = {a: bool(moment.get("terminated", {}).get(a)) for a in present}
        cut = {a: bool(moment.get("truncated", {}).get(a)) for a in present}
        rewards = dict.fromkeys(present, 0.0) | moment.get("rewards", {})
        out = ({a: self.see(a) for a in present}, rewards, ended, cut, self._infos())
        self.agents = [a for a in present if not ended[a] and not cut[a]]
        return out


class WithState(ScriptedParallelEnv):
    """Has a state of three numbers, the step and two constants, and declares its space only if asked to."""

    def __init__(self, *args: Any, declare: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if declare:
            self.state_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)

    def state(self) -> np.ndarray:
        return np.array([self.t, 8, 9], np.float32)


def parallel_env(max_cycles: int = 10, die_at: int = 2) -> ScriptedParallelEnv:
    """As a module of a suite has it: the first agent dies at step ``die_at``, the other lives on."""
    script: list[dict[str, Any]] = [{} for _ in range(max_cycles)]
    script[die_at - 1] = {"terminated": {"a_0": True}, "rewards": {"a_0": 1.0, "a_1": 2.0}}
    script[max_cycles - 1] = {"truncated": {"a_1": True}}
    return ScriptedParallelEnv(script, max_cycles=max_cycles)
