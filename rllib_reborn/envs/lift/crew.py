"""What plays games for a batch, what it writes into, and what it answers where a game fails."""

from __future__ import annotations

import abc
import dataclasses
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.mask_entries import ALLOWED_OR_NOT, not_zero_or_one
from rllib_reborn.envs.team_env import TeamObs, TeamSpec
from rllib_reborn.envs.team_game import GameObs, GameStep, GameUnavailableError

_SCALARS = (bool, int, float, np.bool_, np.integer, np.floating)


class GameFailedError(RuntimeError):
    """A game cannot be started (or asked) any more; the cause is chained."""


class GameContractError(ValueError):
    """A game returned something that the contract of :class:`TeamGame` forbids; its author must mend it."""


class RemoteGameError(Exception):
    """What happened in another process, as the text of its traceback."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class Outcome:
    """Arrays [rows, ...] for what games return; a row changes only where a game returned something good. ``info`` has what a
    crew tells beside, [rows] each; it names that when it is made."""

    def __init__(self, spec: TeamSpec, rows: int) -> None:
        self.obs = np.zeros((rows, spec.n_agents, spec.obs_dim), spec.obs_dtype)
        self.state = np.zeros((rows, spec.state_dim), spec.state_dtype)
        self.action_mask = np.zeros((rows, spec.n_agents, spec.n_actions), np.bool_)
        self.reward = np.zeros(rows, np.float32)
        self.terminated, self.truncated, self.won = (np.zeros(rows, np.bool_) for _ in range(3))
        self.seen = TeamObs(self.obs, self.state, self.action_mask)
        self.info: dict[str, npt.NDArray[Any]] = {}

    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        return (*self.seen, self.reward, self.terminated, self.truncated, self.won)

    def put_obs(self, row: int, seen: Any) -> None:
        """Take a game's observation.

        Raises:
            GameContractError: It is not as the spec says; nothing was taken.
        """
        if not isinstance(seen, GameObs):
            raise GameContractError(f"an observation is a {type(seen).__name__}; expected a GameObs.")
        for name, part, target in zip(GameObs._fields, seen, self.seen):
            _check_array(name, part, target)
        _check_mask_entries(seen.action_mask)
        if not seen.action_mask.any(axis=1).all():
            agent = int(np.flatnonzero(~seen.action_mask.any(axis=1))[0])
            raise GameContractError(
                f"action_mask allows agent {agent} no action; every agent needs one in every observation, the final one "
                "too (action 0 for a dead agent)."
            )
        for part, target in zip(seen, self.seen):
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


def _check_array(name: str, part: Any, target: npt.NDArray[Any]) -> None:
    """Does ``part`` fit a row of ``target``?"""
    if not isinstance(part, np.ndarray):
        raise GameContractError(f"{name} is a {type(part).__name__}; expected an array of shape {target.shape[1:]}.")
    if part.shape != target.shape[1:]:
        raise GameContractError(f"{name} has shape {part.shape}; the spec says {target.shape[1:]}.")
    # A mask of zeros and ones is as good as one of truth values; floats in an array of bytes would lose their fractions.
    if part.dtype != target.dtype and name != "action_mask" and not np.can_cast(part.dtype, target.dtype, "same_kind"):
        raise GameContractError(f"{name} has dtype {part.dtype}, which does not fit the spec's {target.dtype}.")


def _check_mask_entries(mask: npt.NDArray[Any]) -> None:
    where = not_zero_or_one(mask)
    if where is not None:
        raise GameContractError(f"action_mask of agent {where[0]} holds {mask[where]}; {ALLOWED_OR_NOT}.")


@dataclasses.dataclass(frozen=True)
class Failure:
    """What went wrong with one game.

    Attributes:
        line: In one line.
        text: With the traceback.
        contract: It is a broken contract, not a crash.
        refusal: It is a ValueError, which a game raises for what it cannot do.
        gone: The game is closed (or dead), so that its episode cannot go on.
        hopeless: It says that no further attempt can succeed.
        error: The exception; None where it happened in another process.
    """

    line: str
    text: str
    contract: bool = False
    refusal: bool = False
    gone: bool = True
    hopeless: bool = False
    error: Exception | None = None

    @staticmethod
    def of(error: Exception, *, gone: bool = True) -> Failure:
        contract, hopeless = isinstance(error, GameContractError), isinstance(error, GameUnavailableError)
        line = str(error) if contract or hopeless else traceback.format_exception_only(error)[-1].strip()
        text = "".join(traceback.format_exception(error))
        return Failure(line, text, contract, isinstance(error, ValueError), gone, hopeless, error)

    def as_data(self) -> Failure:
        """Without the exception, which may not be picklable."""
        return dataclasses.replace(self, error=None)

    def as_cause(self) -> Exception:
        return self.error if self.error is not None else RemoteGameError(self.text)


Failures = dict[int, Failure]


class Crew(abc.ABC):
    """Plays games and writes what they return into an :class:`Outcome`. Rows that failed are keys of what is answered; with
    them may come rows that were not asked for, where games die together."""

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
        """What the games that are there say of themselves."""

    @abc.abstractmethod
    def render(self, row: int) -> tuple[Any, Failures]:
        """Picture of a game."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close all games."""
