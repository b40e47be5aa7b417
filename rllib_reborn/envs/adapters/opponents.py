"""Who plays the agents that are not of our team, and a scripted prey for ``simple_tag``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.adapters.by_path import load_callable
from rllib_reborn.envs.adapters.frozen_team import PREFIX, FrozenTeam
from rllib_reborn.envs.adapters.members import given_mask
from rllib_reborn.envs.adapters.named_game import Moment, NamedGame
from rllib_reborn.envs.adapters.sides import policies_of
from rllib_reborn.envs.adapters.spaces import MASK_KEY, action_range
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

    def __init__(self, game: NamedGame, agents: Sequence[Any], given: str | Mapping[str, str] | None) -> None:
        kinds = {"": given} if isinstance(given, str) else dict(given or {})
        entries = policies_of(game.title, agents, game.agents, {entry: entry for entry in kinds})
        frozen: dict[str, list[Any]] = {}
        self._spaces: dict[Any, Any] = {}
        self._policies: dict[Any, OpponentPolicy] = {}
        for agent, entry in entries.items():
            if kinds[entry].startswith(PREFIX):
                frozen.setdefault(entry, []).append(agent)
                continue
            self._spaces[agent] = game.action_space(agent)
            self._policies[agent] = _policy(kinds[entry])
            if ":" not in kinds[entry]:
                action_range(self._spaces[agent], agent)
        self._frozen = [FrozenTeam(kinds[entry], members, game) for entry, members in frozen.items()]
        self._rng = np.random.default_rng(0)
        self._finished: set[Any] = set()
        self._moment: Moment | None = None

    def begin(self, moment: Moment, seed: int) -> None:
        """A new episode."""
        self._rng = np.random.default_rng([seed, _SALT])
        self._finished = set()
        self._moment = moment
        for team in self._frozen:
            team.begin(moment)

    def advance(self, moment: Moment) -> None:
        """Take in the outcome of a step."""
        self._finished |= {a for a in self._policies if moment.terminated.get(a) or moment.truncated.get(a)}
        self._moment = moment
        for team in self._frozen:
            team.advance(moment)

    def chosen(self) -> dict[Any, Any]:
        """The actions of those who are alive and see something.

        Raises:
            ValueError: A policy chose what is no action or is not available, or a mask holds what is neither 0 nor 1.
        """
        moment = self._moment
        if moment is None:
            return {}
        actions: dict[Any, Any] = {}
        for agent, policy in self._policies.items():
            observation = moment.observations.get(agent)
            if agent in self._finished or agent not in moment.present or observation is None:
                continue
            given = given_mask(observation, moment.infos.get(agent))
            mask = None if given is None else agents_mask(given, f"opponent {agent!r}")
            seen = _without_mask(observation)
            space = self._spaces[agent]
            action = policy(seen, mask, space, self._rng)
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


def _without_mask(observation: Any) -> Any:
    if not isinstance(observation, dict) or MASK_KEY not in observation:
        return observation
    rest = {key: value for key, value in observation.items() if key != MASK_KEY}
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

#: Moves of MPE's five actions: none, left, right, down, up.
_MOVES = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], np.float64)
_LANDMARKS = 2
#: How far ahead the prey looks: a few steps at full speed (1.3 per second, 0.1 s a step).
_REACH = 0.3
#: The arena is the square of half-width 1; the game punishes the prey beyond 0.9.
_EDGE = 0.9
_EDGE_COST = 20.0


def flee(
    observation: npt.NDArray[np.floating[Any]], action_mask: Any, action_space: Any, rng: np.random.Generator
) -> int:
    """The prey of MPE's ``simple_tag``: runs from the nearest adversary and stays in the arena. Draws nothing.

    Of its five actions it takes the one whose place a few steps on is farthest from the nearest adversary; places
    beyond 0.9 from the centre are worth the less the farther out they are. It does not look at obstacles.

    Args:
        observation: As ``simple_tag`` gives it to a good agent: own velocity (2), own position (2), where each
            landmark is from here (2 each), where each other agent is from here (2 each). One good agent, two obstacles
            (the game's defaults) and any number of adversaries: with other numbers the layout is another.
        action_mask: Not used; the game has none.
        action_space: ``Discrete(5)``.
        rng: Not used.

    Raises:
        ValueError: The observation or the action space is not of this form.
    """
    start = 4 + 2 * _LANDMARKS
    seen = np.asarray(observation, np.float64)
    if seen.ndim != 1 or seen.size < start + 2 or seen.size % 2 or getattr(action_space, "n", None) != len(_MOVES):
        raise ValueError(
            f"flee was given an observation of shape {seen.shape} and {action_space}; it plays the one good agent of "
            "simple_tag with two obstacles and discrete actions."
        )
    position, adversaries = seen[2:4], seen[start:].reshape(-1, 2)
    steps = _REACH * _MOVES
    distance = np.linalg.norm(adversaries[None] - steps[:, None], axis=-1).min(axis=1)
    outside = np.maximum(np.abs(position + seen[:2] * 0.1 + steps) - _EDGE, 0).sum(axis=1)
    return int(np.argmax(distance - _EDGE_COST * outside))
