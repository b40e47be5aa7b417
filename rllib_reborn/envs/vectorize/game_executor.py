"""The interface of executors, which run the games of a batch; the arrays that they fill; failures of games."""

from __future__ import annotations

import abc
import dataclasses
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.contract import find_array_fault, first_without_action
from rllib_reborn.envs.mask_entries import ALLOWED_OR_NOT, not_zero_or_one
from rllib_reborn.envs.team_env import TeamObs, TeamSpec
from rllib_reborn.envs.team_game import FaultyGameError, GameObs, GameStep, GameUnavailableError

_SCALARS = (bool, int, float, np.bool_, np.integer, np.floating)


class GameFailedError(RuntimeError):
    """A game cannot be started (or asked) any more; the cause is chained."""


class GameContractError(ValueError):
    """A game returned something that the contract of :class:`TeamGame` forbids; its author must fix it."""


class RemoteGameError(Exception):
    """What happened in another process, as the text of its traceback."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class ResultBuffers:
    """Arrays [rows, ...] for what games return; a row changes only where a game returned something valid. ``info`` holds
    further arrays [rows] that an executor adds when it is constructed."""

    def __init__(self, spec: TeamSpec, rows: int) -> None:
        self.obs = np.zeros((rows, spec.n_agents, spec.obs_dim), spec.obs_dtype)
        self.state = np.zeros((rows, spec.state_dim), spec.state_dtype)
        self.action_mask = np.zeros((rows, spec.n_agents, spec.n_actions), np.bool_)
        self.reward = np.zeros(rows, np.float32)
        self.terminated, self.truncated, self.won = (np.zeros(rows, np.bool_) for _ in range(3))
        self.team_obs = TeamObs(self.obs, self.state, self.action_mask)
        self.info: dict[str, npt.NDArray[Any]] = {}

    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        return (*self.team_obs, self.reward, self.terminated, self.truncated, self.won)

    def put_obs(self, row: int, game_obs: Any) -> None:
        """Take a game's observation.

        Raises:
            GameContractError: It is not as the spec says; nothing was taken.
        """
        if not isinstance(game_obs, GameObs):
            raise GameContractError(f"an observation is a {type(game_obs).__name__}; expected a GameObs.")
        fault = (
            find_array_fault("obs", game_obs.obs, self.obs.shape[1:], self.obs.dtype, "same_kind")
            or find_array_fault("state", game_obs.state, self.state.shape[1:], self.state.dtype, "same_kind")
            # A mask of zeros and ones of any dtype is as good as one of truth values.
            or find_array_fault("action_mask", game_obs.action_mask, self.action_mask.shape[1:], np.bool_, "unsafe")
        )
        if fault is not None:
            raise GameContractError(f"it returned {fault}.")
        _check_mask(game_obs.action_mask)
        for part, target in zip(game_obs, self.team_obs):
            target[row] = part

    def put_step(self, row: int, step: Any) -> None:
        """Take the outcome of a game's step.

        Raises:
            GameContractError: As :meth:`put_obs`.
        """
        if not isinstance(step, GameStep):
            raise GameContractError(f"step returned a {type(step).__name__}; expected a GameStep.")
        for name, value in zip(GameStep._fields[1:], step[1:]):
            if not isinstance(value, _SCALARS):
                raise GameContractError(f"{name} is {value!r}; expected a single number or truth value.")
        self.put_obs(row, step.obs)
        self.reward[row] = step.reward
        self.terminated[row], self.truncated[row], self.won[row] = step.terminated, step.truncated, step.won


def _check_mask(mask: npt.NDArray[Any]) -> None:
    where = not_zero_or_one(mask)
    if where is not None:
        raise GameContractError(f"action_mask of agent {where[0]} holds {mask[where]}; {ALLOWED_OR_NOT}.")
    without = first_without_action(mask)
    if without is not None:
        raise GameContractError(
            f"action_mask allows agent {without[0]} no action; every agent needs one in every observation, the final one "
            "too (action 0 for a dead agent)."
        )


@dataclasses.dataclass(frozen=True)
class Failure:
    """What went wrong with one game.

    Attributes:
        line: In one line.
        text: With the traceback.
        contract: It is a broken contract, not a crash.
        refusal: It is a ValueError, which a game raises for what it cannot do.
        gone: The game is closed (or dead), so that its episode cannot go on.
        permanent: No further attempt can succeed.
        error: The exception; None where it happened in another process.
    """

    line: str
    text: str
    contract: bool = False
    refusal: bool = False
    gone: bool = True
    permanent: bool = False
    error: Exception | None = None

    @staticmethod
    def of(error: Exception, *, gone: bool = True) -> Failure:
        contract, permanent = isinstance(error, GameContractError), isinstance(error, GameUnavailableError)
        is_sentence = contract or permanent or isinstance(error, FaultyGameError)
        line = str(error) if is_sentence else traceback.format_exception_only(error)[-1].strip()
        # What a foreign environment returned is all there is to know; where it raised something, the place matters too.
        returned = isinstance(error, FaultyGameError) and error.__cause__ is None
        text = line if returned else "".join(traceback.format_exception(error))
        return Failure(line, text, contract, isinstance(error, ValueError), gone, permanent, error)

    def as_data(self) -> Failure:
        """Without the exception, which may not be picklable."""
        return dataclasses.replace(self, error=None)

    def as_cause(self) -> Exception:
        return self.error if self.error is not None else RemoteGameError(self.text)


Failures = dict[int, Failure]


class GameExecutor(abc.ABC):
    """Runs games and writes what they return into :class:`ResultBuffers`. The returned failures are keyed by row; they may
    include rows that were not asked for, where games share a process that died."""

    @abc.abstractmethod
    def reset(self, seeds: Mapping[int, int]) -> Failures:
        """Reset the games that are keys with their seeds."""

    @abc.abstractmethod
    def step(self, rows: Sequence[int], actions: npt.NDArray[np.integer[Any]]) -> Failures:
        """Step these games with their rows of ``actions`` [B, n]."""

    @abc.abstractmethod
    def get_states(self) -> tuple[list[Any], Failures]:
        """State of every game; None where it has none."""

    @abc.abstractmethod
    def set_states(self, states: Sequence[Any]) -> Failures:
        """Put back the states of all games."""

    @abc.abstractmethod
    def provenance(self) -> tuple[list[Mapping[str, str]], Failures]:
        """The provenance of the games that have been built."""

    @abc.abstractmethod
    def render(self, row: int) -> tuple[Any, Failures]:
        """Picture of a game."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close all games."""
