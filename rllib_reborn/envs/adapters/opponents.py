"""Who plays the agents that are not of our team."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from rllib_reborn.envs.adapters.agent_layout import EndedAgents, given_mask
from rllib_reborn.envs.adapters.by_path import load_callable
from rllib_reborn.envs.adapters.frozen_team import PREFIX, FrozenTeam
from rllib_reborn.envs.adapters.multi_agent_game import MultiAgentGame, MultiAgentStep
from rllib_reborn.envs.adapters.spaces import MASK_KEY, action_range
from rllib_reborn.envs.adapters.team_selection import policies_of
from rllib_reborn.envs.mask_entries import agents_mask

#: (observation, action mask or None, action space, random generator) -> action of that space.
OpponentPolicy = Callable[[Any, Any, Any, np.random.Generator], Any]

_SALT = 0x0990


class Opponents:
    """The agents that are not ours, in one game. All that they draw comes from the seed of the reset.

    Args:
        game: The game.
        agents: Those of its agents that are not ours, in its order.
        given: ``TeamOptions.opponents``. All agents that one entry with ``policy:<folder>`` means are one team.

    Raises:
        ValueError: An agent has no policy; an entry means no such agent; there is no such function, or no such folder;
            the policy in it is of other sizes; or ``random`` or ``noop`` is to play actions that are not Discrete.
    """

    def __init__(self, game: MultiAgentGame, agents: Sequence[Any], given: str | Mapping[str, str] | None) -> None:
        kinds = {"": given} if isinstance(given, str) else dict(given or {})
        entries = policies_of(game.title, agents, game.agents, {entry: entry for entry in kinds})
        frozen: dict[str, list[Any]] = {}
        self._spaces: dict[Any, Any] = {}
        self._observed: dict[Any, Any] = {}
        self._policies: dict[Any, OpponentPolicy] = {}
        for agent, entry in entries.items():
            if kinds[entry].startswith(PREFIX):
                frozen.setdefault(entry, []).append(agent)
                continue
            self._spaces[agent] = game.action_space(agent)
            self._observed[agent] = game.observation_space(agent)
            self._policies[agent] = _policy(kinds[entry])
            if ":" not in kinds[entry]:
                action_range(self._spaces[agent], agent)
        self._frozen = [FrozenTeam(kinds[entry], ours, game) for entry, ours in frozen.items()]
        self._rng = np.random.default_rng(0)
        self._ended = EndedAgents()
        self._alive: set[Any] = set()
        self._step = 0
        self._outcome: MultiAgentStep | None = None

    def begin(self, outcome: MultiAgentStep, seed: int) -> None:
        """A new episode."""
        self._rng = np.random.default_rng([seed, _SALT])
        self._ended.clear()
        self._alive = {agent for agent in self._policies if agent in outcome.present}
        self._step = 0
        self._outcome = outcome
        for team in self._frozen:
            team.begin(outcome)

    def advance(self, outcome: MultiAgentStep) -> None:
        """Take in the outcome of a step.

        Raises:
            ValueError: Whether an opponent has ended is not clear.
        """
        self._step += 1
        self._alive = {agent for agent in self._policies if self._ended.in_game(agent, outcome, self._step)[0]}
        self._outcome = outcome
        for team in self._frozen:
            team.advance(outcome)

    def chosen(self) -> dict[Any, Any]:
        """The actions of those who are alive and see something.

        Raises:
            ValueError: A policy chose what is no action or is not available, or a mask holds what is neither 0 nor 1.
        """
        outcome = self._outcome
        if outcome is None:
            return {}
        actions: dict[Any, Any] = {}
        for agent, policy in self._policies.items():
            observation = outcome.observations.get(agent)
            if agent not in self._alive or observation is None:
                continue
            given = given_mask(observation, outcome.infos.get(agent))
            mask = None if given is None else agents_mask(given, f"opponent {agent!r}")
            observed = _without_mask(observation, self._observed[agent])
            space = self._spaces[agent]
            action = policy(observed, mask, space, self._rng)
            _check(agent, action, space, mask)
            actions[agent] = action
        for team in self._frozen:
            actions |= team.chosen()
        return actions


def _policy(kind: str) -> OpponentPolicy:
    return _BUILT_IN[kind] if kind in _BUILT_IN else load_callable(kind, "a policy of team.opponents")


def _check(agent: Any, action: Any, space: Any, mask: Any) -> None:
    if not space.contains(action):
        raise ValueError(f"the policy of opponent {agent!r} chose {action!r}, which is not in {space}.")
    start = getattr(space, "start", None)
    if mask is not None and start is not None and not mask[int(action) - int(start)]:
        raise ValueError(f"the policy of opponent {agent!r} chose {action!r}, which its action mask forbids.")


def _without_mask(observation: Any, space: Any) -> Any:
    if not isinstance(observation, dict) or MASK_KEY not in observation:
        return observation
    rest = {key: value for key, value in observation.items() if key != MASK_KEY}
    if len(rest) == 1 and not isinstance(space, spaces.Dict):
        return next(iter(rest.values()))
    return rest["observation"] if set(rest) == {"observation"} else rest


def _random(observation: Any, mask: Any, space: Any, rng: np.random.Generator) -> int:
    if mask is None:
        return int(space.start) + int(rng.integers(int(space.n)))
    allowed = np.flatnonzero(mask)
    if not len(allowed):
        raise ValueError("an opponent that plays at random has a mask that allows nothing.")
    return int(space.start) + int(rng.choice(allowed))


def _noop(observation: Any, mask: Any, space: Any, rng: np.random.Generator) -> int:
    return int(space.start)


_BUILT_IN: dict[str, OpponentPolicy] = {"random": _random, "noop": _noop}
