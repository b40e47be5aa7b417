"""RLlib's ``MultiAgentEnv`` as a team. The only adapter that imports Ray, and nothing imports it that does not have such
an environment in hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rllib_reborn.envs.adapters.adapted_game import AdaptedGame
from rllib_reborn.envs.adapters.multi_agent_game import MultiAgentGame, MultiAgentStep, as_picture
from rllib_reborn.envs.adapters.team_options import TeamOptions

_ALL = "__all__"
_COMMON = "__common__"


class RLlibGame(AdaptedGame):
    """The team of an RLlib ``MultiAgentEnv``.

    Agents are in the order of ``possible_agents``. One that gets no observation in a step waits: it has zeros as its
    observation, only action 0, and is not sent. ``__all__`` ends the episode for all agents that have no flag of their
    own. The global state is ``infos["__common__"]["state"]`` where the environment declares its ``state_space``, or with
    ``team={"state": "env"}`` (which resets the game once at construction to learn its size).

    Args:
        env: The environment; it belongs to the game from now on, and is closed with it.
        options: How it becomes a team.
        env_options: What ``env`` was built with, to find the episode limit in.

    Raises:
        ValueError: It cannot become a team; the message says what to change.
    """

    def __init__(
        self,
        env: MultiAgentEnv,
        options: TeamOptions | None = None,
        env_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(_RLlibGame(env), env, options, env_options)


def is_multi_agent_env(value: Any) -> bool:
    return isinstance(value, MultiAgentEnv)


def env_context(env_options: Mapping[str, Any]) -> EnvContext:
    """Options as RLlib hands them over: a dict that also says of which runner. Games here do not know it: each is seeded."""
    return EnvContext(dict(env_options), worker_index=0, num_workers=0)


class _RLlibGame(MultiAgentGame):
    may_wait = True
    has_state = True

    def __init__(self, env: MultiAgentEnv) -> None:
        self._env = env
        self.title = type(env).__name__
        given = env.possible_agents
        # The order of a set of names differs from process to process.
        self.agents = tuple(given) if isinstance(given, list | tuple) else tuple(sorted(given or (), key=str))
        if not self.agents:
            raise ValueError(f"{self.title} has no possible_agents; set it to the list of all agents that may appear.")
        self.state_space = getattr(env, "state_space", None)
        self._state: Any = None

    def observation_space(self, agent: Any) -> Any:
        return self._space(self._env.get_observation_space(agent), "observation", agent)

    def action_space(self, agent: Any) -> Any:
        return self._space(self._env.get_action_space(agent), "action", agent)

    def _space(self, space: Any, what: str, agent: Any) -> Any:
        if space is None:
            raise ValueError(f"{self.title} has no {what} space for agent {agent!r}; set {what}_spaces.")
        return space

    def reset(self, seed: int) -> MultiAgentStep:
        observations, infos = self._env.reset(seed=seed)
        self._remember(infos)
        return MultiAgentStep(observations, {}, {}, {}, infos, self.agents)

    def step(self, actions: Mapping[Any, Any]) -> MultiAgentStep:
        observations, rewards, terminated, truncated, infos = self._env.step(dict(actions))
        self._remember(infos)
        ended, cut = dict(terminated), dict(truncated)
        all_ended, all_cut = ended.pop(_ALL, False), cut.pop(_ALL, False)
        for agent in self.agents:
            if not ended.get(agent) and not cut.get(agent):
                ended[agent], cut[agent] = all_ended, all_cut
        return MultiAgentStep(observations, rewards, ended, cut, infos, self.agents)

    def _remember(self, infos: Any) -> None:
        common = infos.get(_COMMON) if isinstance(infos, dict) else None
        self._state = common.get("state") if isinstance(common, dict) else None

    def state(self) -> Any:
        if self._state is None:
            raise ValueError(f"{self.title} gave no infos['{_COMMON}']['state']; give it at every reset and step.")
        return self._state

    def render(self) -> npt.NDArray[np.uint8]:
        return as_picture(self._env.render(), self.title)

    def close(self) -> None:
        self._env.close()
