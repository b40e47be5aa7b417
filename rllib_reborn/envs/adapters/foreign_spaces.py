"""The spaces that a foreign environment declares for one of its agents, in the forms that people give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gymnasium import spaces

from rllib_reborn.envs.adapters.foreign_calls import ask, shown
from rllib_reborn.envs.team_game import FaultyGameError


def space_for(env: Any, name: str, agent: Any, agents: tuple[Any, ...], title: str) -> Any:
    """The space of ``agent``.

    Args:
        env: A PettingZoo environment.
        name: ``observation_space`` or ``action_space``: a method of the agent; or, as in Gymnasium, an attribute, which is
            then that of every agent, or holds one for each by name.
        agent: Whose.
        agents: All agents.
        title: Name of the environment.

    Raises:
        FaultyGameError: There is none.
    """
    given = ask(title, name, getattr, env, name)
    if isinstance(given, spaces.Dict) and set(given.spaces) == set(agents):
        return given.spaces[agent]
    if isinstance(given, Mapping) and not isinstance(given, spaces.Space):
        if agent in given:
            return as_space(given[agent], name, agent, title)
        raise FaultyGameError(
            f"{title}: {name} is {shown(given)}; it has no entry for agent {agent!r}; give one for each."
        )
    return as_space(given, name, agent, title)


def as_space(given: Any, name: str, agent: Any, title: str) -> Any:
    """``given``, or what it returns for ``agent`` where it is a method of the agent.

    Raises:
        FaultyGameError: It raised an exception, or it is neither a space nor a method.
    """
    if callable(given) and not isinstance(given, spaces.Space | type):
        remedy = f"{name}(agent) must give the space of each of possible_agents"
        given = ask(title, f"{name}({agent!r})", given, agent, remedy=remedy)
    if given is None or isinstance(given, spaces.Space):
        return given
    old = " of Gym; take the same one of gymnasium.spaces" if type(given).__module__.startswith("gym.") else ""
    raise FaultyGameError(
        f"{title}: {name} of agent {agent!r} is {shown(given)}{old or '; expected a space of gymnasium.spaces'}."
    )
