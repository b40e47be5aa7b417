"""PettingZoo environments as teams."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.adapters.adapted_game import AdaptedGame
from rllib_reborn.envs.adapters.foreign_calls import (
    agent_names,
    ask,
    by_agent,
    infos_by_agent,
    present_agents,
    reset_env,
    step_env,
)
from rllib_reborn.envs.adapters.foreign_spaces import space_for
from rllib_reborn.envs.adapters.multi_agent_game import MultiAgentGame, MultiAgentStep, drawn_by
from rllib_reborn.envs.adapters.suite_fixes import fixes_for
from rllib_reborn.envs.adapters.team_options import TeamOptions
from rllib_reborn.envs.adapters.team_state import NO_STATE
from rllib_reborn.envs.team_game import FaultyGameError

_LIBRARY = "PettingZoo"
_NEEDED = ("possible_agents", "reset", "step", "observation_space", "action_space")


class PettingZooGame(AdaptedGame):
    """The team of a PettingZoo environment: a ``ParallelEnv``, or an ``AECEnv`` that PettingZoo can convert to one.

    Agents are in the order of ``possible_agents``. Construction resets nothing, unless the environment has a ``state()``
    without declaring ``state_space``: then it is reset once to learn the size.

    Args:
        env: The environment; it belongs to the game from now on, and is closed with it.
        options: How it becomes a team.
        env_options: What ``env`` was built with, to find the episode limit in.
        agent_ids: The order of the agents, see :class:`AdaptedGame`.

    Raises:
        ValueError: It cannot become a team; the message says what to change.
    """

    def __init__(
        self,
        env: Any,
        options: TeamOptions | None = None,
        env_options: Mapping[str, Any] | None = None,
        agent_ids: Sequence[str] = (),
    ) -> None:
        super().__init__(_ParallelGame(env), env, options, env_options, agent_ids)


def is_pettingzoo(value: Any) -> bool:
    """Whether ``value`` is a PettingZoo environment. Imports nothing: if it is one, its library is imported."""
    module = sys.modules.get("pettingzoo.utils.env")
    return module is not None and isinstance(value, module.ParallelEnv | module.AECEnv)


class _ParallelGame(MultiAgentGame):
    rewards_all = True

    def __init__(self, env: Any) -> None:
        title = _title(env)
        # Converted, it has methods of its own in place of these.
        self._declares = env
        env = _as_parallel(env)
        missing = [name for name in _NEEDED if not ask(title, name, hasattr, env, name)]
        if missing:
            raise ValueError(
                f"{type(env).__name__} has no {missing[0]}; a PettingZoo environment must have it (possible_agents gives "
                "the fixed order of the agents)."
            )
        self._env = env
        self.title = title
        self.agents = agent_names(env.possible_agents, title)
        if not self.agents:
            raise FaultyGameError(
                f"{title}: possible_agents is empty; set it to the list of all agents that may appear."
            )
        self.state_space = getattr(env, "state_space", None)
        self._fixes = fixes_for(env)
        self.has_state = self.may_probe = _overrides_state(env)

    def observation_space(self, agent: Any) -> Any:
        return space_for(self._declares, "observation_space", agent, self.agents, self.title)

    def action_space(self, agent: Any) -> Any:
        return space_for(self._declares, "action_space", agent, self.agents, self.title)

    def reset(self, seed: int) -> MultiAgentStep:
        inner = getattr(self._env, "unwrapped", self._env)
        self._fixes.before_reset(inner)
        observations, infos = reset_env(self._env, seed, self.title, _LIBRARY)
        self._fixes.after_reset(inner)
        call = "reset()"
        return MultiAgentStep(
            by_agent(observations, "observations", call, self.title),
            {},
            {},
            {},
            infos_by_agent(infos, call, self.title),
            present_agents(self._env, call, self.title),
        )

    def step(self, actions: Mapping[Any, Any]) -> MultiAgentStep:
        title, call = self.title, "step()"
        observations, rewards, ended, cut, infos = step_env(self._env, dict(actions), title, _LIBRARY, self.agents)
        return MultiAgentStep(
            by_agent(observations, "observations", call, title),
            by_agent(rewards, "rewards", call, title),
            by_agent(ended, "terminations", call, title),
            by_agent(cut, "truncations", call, title),
            infos_by_agent(infos, call, title),
            present_agents(self._env, call, title),
        )

    def state(self) -> Any:
        return ask(self.title, "state()", self._env.state, remedy=NO_STATE)

    def render(self) -> npt.NDArray[np.uint8]:
        return drawn_by(self._env, self.title)

    def close(self) -> None:
        self._env.close()


def _as_parallel(env: Any) -> Any:
    module = sys.modules.get("pettingzoo.utils.env")
    if module is None or not isinstance(env, module.AECEnv):
        return env
    if not (getattr(env, "metadata", None) or {}).get("is_parallelizable", False):
        raise ValueError(
            f"{_title(env)} is played in turns: its metadata does not say is_parallelizable, so its agents cannot act "
            "together in one step, as a team does."
        )
    title = _title(env)
    for agent in ask(title, "possible_agents", getattr, env, "possible_agents", None) or ():
        if not isinstance(agent, str):
            raise FaultyGameError(
                f"{title}: possible_agents has {agent!r}; PettingZoo converts an AECEnv, which is played in turns, only if "
                "all names are strings."
            )
    conversions = importlib.import_module("pettingzoo.utils.conversions")
    return ask(title, "aec_to_parallel()", conversions.aec_to_parallel, env)


def _title(env: Any) -> str:
    metadata = getattr(env, "metadata", None) or {}
    return str(metadata.get("name") or type(env).__name__)


def _overrides_state(env: Any) -> bool:
    """Whether ``state()`` is more than PettingZoo's own, which only raises. Wrappers pass it on, so that what counts is
    what they wrap."""
    inner = getattr(env, "unwrapped", env)
    own = getattr(type(inner), "state", None)
    module = sys.modules.get("pettingzoo.utils.env")
    inherited = () if module is None else (module.ParallelEnv.state, getattr(module.AECEnv, "state", None))
    return own is not None and own not in inherited
