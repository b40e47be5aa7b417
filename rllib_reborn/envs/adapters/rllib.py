"""RLlib's ``MultiAgentEnv`` as a team. The only adapter that imports Ray, and nothing imports it that does not have such
an environment in hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.rllib.env.wrappers.group_agents_wrapper import GroupAgentsWrapper

from rllib_reborn.envs.adapters.adapted_game import AdaptedGame
from rllib_reborn.envs.adapters.foreign_calls import (
    agent_names,
    ask,
    by_agent,
    infos_by_agent,
    one_flag,
    reset_env,
    shown,
    step_env,
)
from rllib_reborn.envs.adapters.foreign_spaces import as_space
from rllib_reborn.envs.adapters.multi_agent_game import MultiAgentGame, MultiAgentStep, drawn_by
from rllib_reborn.envs.adapters.team_options import TeamOptions
from rllib_reborn.envs.team_game import FaultyGameError

_LIBRARY = "RLlib"
_ALL = "__all__"
_COMMON = "__common__"
_STATE = "state"  #: RLlib's old ENV_STATE


class RLlibGame(AdaptedGame):
    """The team of an RLlib ``MultiAgentEnv``.

    Agents are in the order of ``possible_agents``. One that gets no observation in a step waits: it has zeros as its
    observation, only action 0, and is not sent. ``__all__`` ends the episode for all agents that have no flag of their
    own. The global state is ``infos["__common__"]["state"]`` where the environment declares its ``state_space``, or with
    ``team={"state": "env"}`` (which resets the game once at construction to learn its size). One that was grouped for
    RLlib's own QMIX (``with_agent_groups``) may have it beside the observation, as ``{"obs": ..., "state": ...}``.

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
        env: MultiAgentEnv,
        options: TeamOptions | None = None,
        env_options: Mapping[str, Any] | None = None,
        agent_ids: Sequence[str] = (),
    ) -> None:
        ungrouped, options = _ungrouped(env, options or TeamOptions())
        game = _StateSeenGame(ungrouped) if ungrouped is not env and _sees_state(ungrouped) else _RLlibGame(ungrouped)
        super().__init__(game, ungrouped, options, env_options, agent_ids)


def is_multi_agent_env(value: Any) -> bool:
    return isinstance(value, MultiAgentEnv)


def env_context(env_options: Mapping[str, Any]) -> EnvContext:
    """Options as RLlib hands them over: a dict that also says of which runner. Games here do not know it: each is seeded."""
    return EnvContext(dict(env_options), worker_index=0, num_workers=0)


def _possible_agents(env: MultiAgentEnv) -> Any:
    """All agents, in a fixed order.

    RLlib's wrappers of PettingZoo environments take theirs from a set, whose order differs from process to process; what
    they wrap has them in order.
    """
    given = env.possible_agents
    for attribute in ("par_env", "env"):
        wrapped = getattr(getattr(env, attribute, None), "possible_agents", None)
        if wrapped and given is not None and {*wrapped} == {*given}:
            return wrapped
    return given


def _ungrouped(env: MultiAgentEnv, options: TeamOptions) -> tuple[MultiAgentEnv, TeamOptions]:
    """What ``with_agent_groups`` wraps, as RLlib's own QMIX wanted its environments: there a group acted as one agent with a
    Tuple of actions, and here it is the team.

    Raises:
        ValueError: There are several groups, and ``options`` do not say which agents are the team.
    """
    if not isinstance(env, GroupAgentsWrapper):
        return env, options
    if options.agents is None:
        if len(env.groups) != 1:
            raise ValueError(
                f"{type(env.env).__name__} has the groups {', '.join(map(repr, env.groups))}, and one team is trained; say "
                "whose agents it is, and who plays the others: team={'agents': [...], 'opponents': ...}."
            )
        (grouped,) = env.groups.values()
        if {*grouped} != {*(_possible_agents(env.env) or grouped)}:
            options = dataclasses.replace(options, agents=tuple(map(str, grouped)))
    return env.env, options


def _sees_state(env: MultiAgentEnv) -> bool:
    """Whether every agent's observation is a dict with the global state in it."""
    agents = _possible_agents(env) or ()
    found = [env.get_observation_space(agent) for agent in agents]
    return bool(found) and all(isinstance(space, spaces.Dict) and {"obs", _STATE} <= {*space.spaces} for space in found)


class _RLlibGame(MultiAgentGame):
    may_wait = True
    has_state = True

    def __init__(self, env: MultiAgentEnv) -> None:
        self._env = env
        self.title = type(env).__name__
        given = ask(self.title, "possible_agents", _possible_agents, env)
        self.agents = () if given is None else agent_names(given, self.title)
        if not self.agents:
            raise ValueError(f"{self.title} has no possible_agents; set it to the list of all agents that may appear.")
        self.state_space = getattr(env, "state_space", None)
        self._state: Any = None

    def observation_space(self, agent: Any) -> Any:
        return self._space(self._env.get_observation_space, "observation", agent)

    def action_space(self, agent: Any) -> Any:
        return self._space(self._env.get_action_space, "action", agent)

    def _space(self, get: Callable[[Any], Any], what: str, agent: Any) -> Any:
        call = f"get_{what}_space({agent!r})"
        remedy = f"give {what}_spaces an entry for each of possible_agents"
        space = as_space(ask(self.title, call, get, agent, remedy=remedy), f"{what}_space", agent, self.title)
        if space is None:
            raise ValueError(f"{self.title} has no {what} space for agent {agent!r}; set {what}_spaces.")
        return space

    def reset(self, seed: int) -> MultiAgentStep:
        observations, infos = reset_env(self._env, seed, self.title, _LIBRARY)
        observations = by_agent(observations, "observations", "reset()", self.title)
        if observations and all(observation is None for observation in observations.values()):
            raise FaultyGameError(
                f"{self.title}: reset() returned None as the observation of every agent; return what they see, and leave "
                "out those that wait."
            )
        infos = infos_by_agent(infos, "reset()", self.title)
        self._remember(infos)
        return MultiAgentStep(observations, {}, {}, {}, infos, self.agents)

    def step(self, actions: Mapping[Any, Any]) -> MultiAgentStep:
        title, call = self.title, "step()"
        observations, rewards, terminated, truncated, infos = step_env(
            self._env, dict(actions), title, _LIBRARY, self.agents
        )
        observations = by_agent(observations, "observations", call, title)
        rewards = by_agent(rewards, "rewards", call, title)
        infos = infos_by_agent(infos, call, title)
        self._remember(infos)
        ended = dict(by_agent(terminated, "terminateds", call, title))
        cut = dict(by_agent(truncated, "truncateds", call, title))
        all_ended = one_flag(ended.pop(_ALL, False), f"the flag terminateds[{_ALL!r}]")
        all_cut = one_flag(cut.pop(_ALL, False), f"the flag truncateds[{_ALL!r}]")
        for agent in self.agents:
            own = one_flag(ended.get(agent), f"the flag terminated of agent {agent!r}")
            if not own and not one_flag(cut.get(agent), f"the flag truncated of agent {agent!r}"):
                ended[agent], cut[agent] = all_ended, all_cut
        return MultiAgentStep(observations, rewards, ended, cut, infos, self.agents)

    def _remember(self, infos: Any) -> None:
        common = infos.get(_COMMON) if isinstance(infos, dict) else None
        self._state = common.get("state") if isinstance(common, dict) else None

    def state(self) -> Any:
        if self._state is None:
            raise FaultyGameError(f"{self.title} gave no infos['{_COMMON}']['state']; give it at every reset and step.")
        return self._state

    def render(self) -> npt.NDArray[np.uint8]:
        return drawn_by(self._env, self.title)

    def close(self) -> None:
        self._env.close()


class _StateSeenGame(_RLlibGame):
    """A game whose agents see the global state, which is for the mixer alone: RLlib's QMIX took it out of what the agents
    are given, and read that of the first one."""

    may_probe = True

    def __init__(self, env: MultiAgentEnv) -> None:
        super().__init__(env)
        self.state_space = env.get_observation_space(self.agents[0])[_STATE]

    def observation_space(self, agent: Any) -> Any:
        space = super().observation_space(agent)
        return spaces.Dict({key: part for key, part in space.items() if key != _STATE})

    def reset(self, seed: int) -> MultiAgentStep:
        return self._without_state(super().reset(seed))

    def step(self, actions: Mapping[Any, Any]) -> MultiAgentStep:
        return self._without_state(super().step(actions))

    def _without_state(self, outcome: MultiAgentStep) -> MultiAgentStep:
        observations = dict(outcome.observations)
        for agent in reversed(self.agents):  # the first one's is read last, and stays
            obs = observations.get(agent)
            if obs is None:
                continue
            if not isinstance(obs, Mapping) or _STATE not in obs:
                raise FaultyGameError(
                    f"{self.title}: the observation of {agent!r} is {shown(obs)}; expected a dict with {_STATE!r} in it, "
                    "as its space says."
                )
            self._state = obs[_STATE]
            observations[agent] = {key: part for key, part in obs.items() if key != _STATE}
        return outcome._replace(observations=observations)

    def state(self) -> Any:
        if self._state is None:
            raise FaultyGameError(
                f"{self.title} gave no agent an observation, and {_STATE!r} is read there; give the agents what they see."
            )
        return self._state
