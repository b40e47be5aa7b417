"""The contract of one game of a team, for environments that are not stepped in batches. ``vectorize/`` makes a
:class:`~rllib_reborn.envs.team_env.VectorTeamEnv` of many of them."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.team_env import TeamSpec


class GameObs(NamedTuple):
    """What the team of one game sees. Arrays may be the game's own buffers: copy what must outlive the next call."""

    obs: npt.NDArray[Any]  #: [n, d], dtype ``spec.obs_dtype``
    state: npt.NDArray[Any]  #: [s], dtype ``spec.state_dtype``
    action_mask: npt.NDArray[np.bool_]  #: [n, A]; at least one True per agent


class GameStep(NamedTuple):
    """The outcome of one joint action. ``terminated`` and ``truncated`` as in
    :class:`~rllib_reborn.envs.team_env.TeamStep`; ``obs`` is the final observation where the game ended."""

    obs: GameObs
    reward: float  #: the team's
    terminated: bool
    truncated: bool
    won: bool = False  #: read only where ``spec.has_win`` and the game has ended


class GameUnavailableError(RuntimeError):
    """The game cannot be played on this machine whatever is tried (a program is missing, say); the message says how to fix
    that. After any other exception the game is rebuilt."""


class FaultyGameError(ValueError):
    """A game, or the foreign environment that it is made of, raised an exception or returned what it must not. The message
    is a whole sentence: what was found, what was expected, and what to do."""


class TeamGame(abc.ABC):
    """One game of one cooperative team.

    Rules:

    * Construction starts nothing expensive; ``spec`` is known before the first ``reset``.
    * Agents keep a fixed order; one that is dead has zeros as its observation and action 0 alone available.
    * All randomness comes from the seed of ``reset``: equal seeds and actions give equal games. One that cannot promise
      that says ``repeatable = False``.
    * ``step`` is called only with available actions, and not after the end of a game.
    * An exception from ``reset`` or ``step`` costs the running episode: the game is closed and a new one built.
    """

    spec: TeamSpec
    repeatable: bool = True

    @abc.abstractmethod
    def reset(self, seed: int) -> GameObs:
        """Start a new episode, all of whose randomness comes from ``seed`` (0..2**31 - 1)."""

    @abc.abstractmethod
    def step(self, actions: npt.NDArray[np.integer[Any]]) -> GameStep:
        """Play one joint action: ``actions`` [n], each available by the mask of the last observation."""

    def get_state(self) -> dict[str, Any] | None:
        """All that decides the future, as numpy arrays and plain data; None where the game cannot give it: its running
        episode is then restarted after a restore."""
        return None

    def set_state(self, state: dict[str, Any]) -> GameObs:
        """Put back what :meth:`get_state` gave; returns the current observation."""
        raise ValueError(f"{type(self).__name__} cannot restore a running game; reset it instead.")

    def render(self) -> npt.NDArray[np.uint8]:
        """Picture [height, width, 3].

        Raises:
            ValueError: The game cannot be drawn.
        """
        raise ValueError(f"{type(self).__name__} cannot be drawn.")

    def provenance(self) -> Mapping[str, str]:
        """On which programs outside of this package the game runs, such as ``{"game_version": "4.10.0.75689"}``; empty where
        there are none or, before the first reset, none is known."""
        return {}

    def close(self) -> None:  # noqa: B027  (most games hold nothing to close)
        """Release processes and files. May be called twice."""
