"""Gymnasium environments as teams: suites whose spaces are Tuples with an entry per agent (lbforaging, rware), and
single-agent environments as a team of one."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.adapters.adapted_game import AdaptedGame
from rllib_reborn.envs.adapters.foreign_calls import ask, one_flag, reset_env, shown, step_env
from rllib_reborn.envs.adapters.foreign_spaces import as_space
from rllib_reborn.envs.adapters.multi_agent_game import MultiAgentGame, MultiAgentStep, drawn_by
from rllib_reborn.envs.adapters.spaces import MASK_KEY, action_range
from rllib_reborn.envs.adapters.suite_fixes import fixes_for
from rllib_reborn.envs.adapters.team_options import TeamOptions
from rllib_reborn.envs.team_game import FaultyGameError

_LIBRARY = "Gymnasium"


class GymnasiumGame(AdaptedGame):
    """The team of a Gymnasium environment: one agent per entry of its Tuple action space, named ``agent_0`` and so on;
    any other action space is that of a team of one.

    ``terminated`` and ``truncated`` may be one for all or a list; masks come from the observations or from
    ``info["action_mask"]``, a list with one per agent. lbforaging and rware report their step limit as terminated; here
    it is the truncation that it is. Any other environment is believed.

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
        super().__init__(_TupleGame(env), env, options, env_options, agent_ids)


def is_gymnasium(value: Any) -> bool:
    """Whether ``value`` is a Gymnasium environment. Imports nothing: if it is one, its library is imported."""
    module = sys.modules.get("gymnasium")
    return module is not None and isinstance(value, module.Env)


class _TupleGame(MultiAgentGame):
    def __init__(self, env: Any) -> None:
        from gymnasium import spaces

        self._env = env
        spec = getattr(env, "spec", None)
        self.title = str(spec.id) if spec is not None else type(env.unwrapped).__name__
        observed, done = self._declared("observation_space"), self._declared("action_space")
        self._single = not isinstance(done, spaces.Tuple)
        n = 1 if self._single else len(done.spaces)
        if not self._single and not (isinstance(observed, spaces.Tuple) and len(observed.spaces) == n):
            raise FaultyGameError(
                f"{self.title} has {n} action spaces and the observation space {observed}; expected a Tuple with an entry "
                "per agent."
            )
        self._observed = (observed,) if self._single else observed.spaces
        self._done = (done,) if self._single else done.spaces
        self.agents = tuple(f"agent_{i}" for i in range(n))
        self._index = {agent: i for i, agent in enumerate(self.agents)}
        self._fixes = fixes_for(env)
        self._ended: dict[Any, bool] = {}

    def _declared(self, name: str) -> Any:
        """A space of the environment; a plain list of spaces is as good as a Tuple."""
        from gymnasium import spaces

        given = ask(self.title, name, getattr, self._env, name, remedy=f"set {name} to a space of gymnasium.spaces")
        if isinstance(given, list | tuple) and given and all(isinstance(one, spaces.Space) for one in given):
            return spaces.Tuple(given)
        if given is None or callable(given):
            raise FaultyGameError(f"{self.title}: {name} is {shown(given)}; set it to a space of gymnasium.spaces.")
        return as_space(given, name, "agent_0", self.title)

    def observation_space(self, agent: Any) -> Any:
        return self._observed[self._index[agent]]

    def action_space(self, agent: Any) -> Any:
        return self._done[self._index[agent]]

    def reset(self, seed: int) -> MultiAgentStep:
        self._fixes.before_reset(self._env.unwrapped)
        observations, info = reset_env(self._env, seed, self.title, _LIBRARY)
        self._fixes.after_reset(self._env.unwrapped)
        self._ended = {}
        infos = self._infos(
            info, "reset()"
        )  # first: two observations alone, as resets once returned, look like two values
        return MultiAgentStep(self._each(observations, "observations"), {}, {}, {}, infos, self.agents)

    def _first(self, agent: Any) -> Any:
        return action_range(self.action_space(agent), agent, flatten=True).of_env(0)

    def step(self, actions: Mapping[Any, Any]) -> MultiAgentStep:
        # The environment wants an action of everybody; who is dead does its first one.
        joint = tuple(actions[agent] if agent in actions else self._first(agent) for agent in self.agents)
        sent = joint[0] if self._single else joint
        observations, rewards, terminated, truncated, info = step_env(
            self._env, sent, self.title, _LIBRARY, self.agents
        )
        ended, cut = self._flags(terminated, "terminated"), self._flags(truncated, "truncated")
        if all(ended.values()) and self._fixes.ended_by_limit(self._env.unwrapped):
            ended, cut = dict.fromkeys(ended, False), dict.fromkeys(cut, True)
        # One flag for all speaks of the episode: who ended by a flag of its own has not begun anew because it is False.
        if np.ndim(terminated) or np.ndim(truncated):
            self._ended = {agent: ended[agent] or cut[agent] for agent in self.agents}
        else:
            ended = {agent: ended[agent] or self._ended.get(agent, False) for agent in self.agents}
        return MultiAgentStep(
            self._each(observations, "observations"),
            self._each(rewards, "rewards"),
            ended,
            cut,
            self._infos(info, "step()"),
            self.agents,
        )

    def _each(self, values: Any, what: str) -> dict[Any, Any]:
        if self._single:
            return {self.agents[0]: values}
        if not isinstance(values, list | tuple) and (not hasattr(values, "__len__") or isinstance(values, dict | str)):
            how = "one value" if np.isscalar(values) and not isinstance(values, str) else shown(values)
            raise FaultyGameError(f"{self.title} returned {how} as {what}; wrap it so that it returns one per agent.")
        if len(values) != len(self.agents):
            raise FaultyGameError(
                f"{self.title} returned {len(values)} {what}; expected {len(self.agents)}, one per agent."
            )
        return dict(zip(self.agents, values))

    def _flags(self, given: Any, what: str) -> dict[Any, bool]:
        if isinstance(given, bool):
            return dict.fromkeys(self.agents, given)
        if given is None:
            raise FaultyGameError(f"{self.title} returned None as {what}; expected True or False, or a list of them.")
        several = isinstance(given, list | tuple) or np.ndim(given) > 0
        if several and not (self._single and len(given) == 1):
            flags = self._each(given, what) if not self._single else {self.agents[0]: given}
            return {agent: one_flag(flag, f"the flag {what} of agent {agent!r}") for agent, flag in flags.items()}
        return dict.fromkeys(self.agents, one_flag(given, f"the flag {what}"))

    def _infos(self, info: Any, call: str) -> dict[Any, Any]:
        if info is not None and not isinstance(info, dict):
            raise FaultyGameError(
                f"{self.title}: {call} returned {shown(info)} as info; expected a dict, {{}} where there is nothing to say."
            )
        masks = info.get(MASK_KEY) if info else None
        if masks is None:
            return {}
        return {agent: {MASK_KEY: mask} for agent, mask in self._each(masks, "action masks").items()}

    def render(self) -> npt.NDArray[np.uint8]:
        return drawn_by(self._env, self.title)

    def close(self) -> None:
        self._env.close()
