"""Many single games of one kind, stepped as a batch: in this process, on threads, or in processes of their own.

Who does what: :class:`CrewedTeamEnv` draws seeds, keeps the books (steps, ends, failures) and owns the output arrays. A
:class:`Crew` plays. :class:`LiftedTeamEnv` has three of them for games of one's own: ``_Games`` plays one after another,
``_GamesOnThreads`` all at once, ``_GamesInProcesses`` in child processes, each of which runs a ``_Games`` of its own. A crew
never raises for what a game did: it answers with a :class:`Failure`.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import itertools
import logging
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import util
from multiprocessing.connection import Connection, wait
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.team_env import TeamObs, TeamSpec, TeamStep, VectorTeamEnv, check_actions
from rllib_reborn.envs.team_game import GameObs, GameStep, GameUnavailableError, TeamGame

logger = logging.getLogger(__name__)

Workers = Literal["inline", "threads", "processes"]

#: Whatever is not a step (a reset may start a program) may take so many times as long as one.
_SLOW_CALL_FACTOR = 10
#: A child process must be up (Python started, modules imported) within so many seconds, whatever the load.
_START_PATIENCE_S = 120.0
#: A child process is given so many seconds to close its games before it is ended.
_CLOSE_PATIENCE_S = 10.0


_SCALARS = (bool, int, float, np.bool_, np.integer, np.floating)


class GameFailedError(RuntimeError):
    """A game cannot be started (or asked) any more; the cause is chained."""


class GameContractError(ValueError):
    """A game returned something that the contract of :class:`TeamGame` forbids; its author must mend it."""


class RemoteGameError(Exception):
    """What happened in another process, as the text of its traceback."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class CrewedTeamEnv(VectorTeamEnv):
    """``num_envs`` games that a crew plays; here are the books.

    An exception from a game costs that game's episode (``info["failed"]``, with its last good observation): the crew closes
    the game, and builds it anew at its next reset. An episode that runs on at ``spec.episode_limit`` is truncated there.
    Returned arrays are the env's own buffers, overwritten by the next call.

    Args:
        spec: Of each game.
        num_envs: Games stepped side by side.
        make_crew: ``make_crew(out)`` makes the crew, which writes what games return into ``out``.
        repeatable: Whether equal seeds and actions give equal games.
        reset_attempts: A game that cannot be reset is given up after so many attempts in one call.
        retry_delay_s: Seconds before a reset that failed is tried again, twice as many before the next attempt.
    """

    def __init__(
        self,
        spec: TeamSpec,
        num_envs: int,
        make_crew: Callable[[Outcome], Crew],
        *,
        repeatable: bool = True,
        reset_attempts: int = 3,
        retry_delay_s: float = 0.0,
    ) -> None:
        self.spec, self.num_envs, self.repeatable = spec, num_envs, repeatable
        self._reset_attempts, self._retry_delay_s = reset_attempts, retry_delay_s
        self._out = Outcome(spec, num_envs)
        self._crew = make_crew(self._out)
        self._streams = RandomStreams(num_envs)
        self._seeds = np.zeros(num_envs, np.int64)
        self._steps = np.zeros(num_envs, np.int64)
        #: Games that have no running episode: they must be reset before they are stepped.
        self._over = np.ones(num_envs, np.bool_)
        #: Running episodes whose game is gone, of which the caller is told at the next step.
        self._lost = np.zeros(num_envs, np.bool_)
        self._failed = np.zeros(num_envs, np.bool_)
        self._ready = self._closed = self._told = False
        #: The last line of what the latest failed game raised, for whoever asks why.
        self.last_failure: str | None = None
        self._info = {"failed": self._failed} | ({"won": self._out.won} if self.spec.has_win else {})

    # ------------------------------------------------------------------ playing

    def reset(self, *, seed: int | Sequence[int] | None = None, mask: npt.NDArray[np.bool_] | None = None) -> TeamObs:
        """See :meth:`VectorTeamEnv.reset`. An episode's seed is the next number of its game's stream; a game whose reset
        fails is tried again with the number after it.

        Raises:
            GameUnavailableError: A game says that it cannot be played here; it is not tried again.
            GameFailedError: A game's reset failed ``reset_attempts`` times in a row.
            GameContractError: A game returned something that its contract forbids.
            ValueError: ``mask`` has a wrong shape, leaves out games at the first reset, or the env is closed.
        """
        chosen = self._chosen(mask)
        if seed is not None:
            self._streams.seed(seed, chosen)
        self._ready = True
        self._over |= chosen
        self._lost &= ~chosen
        waiting = chosen
        for attempt in range(1, self._reset_attempts + 1):
            if not waiting.any():
                break
            self._seeds[waiting] = self._streams.bits_at(waiting, 1)[:, 0] >> np.uint64(33)
            rows = np.flatnonzero(waiting).tolist()
            with self._undisturbed():
                failures = self._crew.reset({row: int(self._seeds[row]) for row in rows})
            failed = self._flags(failures)
            begun = waiting & ~failed
            self._steps[begun] = 0
            self._over[begun] = False
            self._count_losses({row: failure for row, failure in failures.items() if not waiting[row]})
            self.failed_resets += int((waiting & failed).sum())
            self._refuse_unavailable(failures)
            self._tell(failures, "reset")
            waiting = waiting & failed
            if attempt == self._reset_attempts and waiting.any():
                row = int(np.flatnonzero(waiting)[0])
                raise GameFailedError(
                    f"game {row} could not be reset {attempt} times in a row, last with: {failures[row].line}"
                ) from failures[row].as_cause()
            if waiting.any() and self._retry_delay_s:
                time.sleep(self._retry_delay_s * 2 ** (attempt - 1))
        return self._out.seen

    def step(self, actions: npt.NDArray[np.integer[Any]]) -> TeamStep:
        """See :meth:`VectorTeamEnv.step`.

        Raises:
            GameContractError: A game returned something that its contract forbids.
            ValueError: An action is not available, a game has ended and was not reset, or the env is closed.
        """
        self._check_open()
        if self._over.any():
            row = int(np.flatnonzero(self._over)[0])
            state = "has ended and was not reset" if self._ready else "was never reset"
            raise ValueError(f"game {row} {state}; call reset (with a mask of such games) before the next step.")
        actions = np.asarray(actions)
        out = self._out
        check_actions(actions, out.action_mask, self.num_envs)
        with self._undisturbed():
            failures = self._crew.step(np.flatnonzero(~self._lost).tolist(), actions)
        self._failed[:] = self._lost | self._flags(failures)
        self._lost.fill(False)
        self._steps += 1
        for flags in (out.reward, out.terminated, out.truncated, out.won):
            flags[self._failed] = 0
        ended = out.terminated | out.truncated
        # Before the limit takes effect: a game that the lift cuts off has not ended, and says nothing of winning.
        out.won &= ended
        out.truncated |= (self._steps >= self.spec.episode_limit) & ~ended & ~self._failed
        np.logical_or(out.terminated, out.truncated, out=self._over)
        self._over |= self._failed
        self._tell(failures, "step")
        return TeamStep(out.seen, out.reward, out.terminated, out.truncated, self._info)

    # ------------------------------------------------------------------ state, pictures, end

    def get_state(self) -> dict[str, Any] | None:
        """Random streams, the games' states and the books; None where a game gives no state or has none (it failed, or was
        never reset)."""
        self._check_open()
        if not self._ready or self._lost.any():
            return None
        with self._undisturbed():
            states, failures = self._crew.get_states()
        self._count_losses(failures)
        self._tell(failures, "get_state")
        if any(state is None for state in states):
            return None
        return {
            "streams": self._streams.get_state(),
            "games": states,
            "seeds": self._seeds.copy(),
            "steps": self._steps.copy(),
            "over": self._over.copy(),
        }

    def set_state(self, state: dict[str, Any]) -> TeamObs:
        """See :meth:`VectorTeamEnv.set_state`.

        Raises:
            ValueError: The state is that of another number of games, or the games cannot take states.
            GameFailedError: A game failed while taking its state.
            GameContractError: A game returned something that its contract forbids.
        """
        self._check_open()
        if len(state["games"]) != self.num_envs:
            raise ValueError(
                f"state holds {len(state['games'])} games; this env has {self.num_envs}. Make it with as many, or reset it."
            )
        # Should a game fail below, none of them is where the caller thinks it is: all need a reset.
        self._over.fill(True)
        self._lost.fill(False)
        self._ready = True
        failures = self._crew.set_states(state["games"])
        self._tell(failures, "set_state")
        self._refuse(failures, "take its state")
        self._streams.set_state(state["streams"])
        self._seeds[:] = state["seeds"]
        self._steps[:] = state["steps"]
        self._over[:] = state["over"]
        return self._out.seen

    def provenance(self) -> Mapping[str, str]:
        """What the games say of themselves; see :meth:`VectorTeamEnv.provenance`."""
        self._check_open()
        if not self._ready:
            return {}
        found, failures = self._crew.provenance()
        self._count_losses(failures)
        self._tell(failures, "provenance")
        names = dict.fromkeys(name for one in found for name in one)
        return {name: ", ".join(sorted({one[name] for one in found if name in one})) for name in names}

    def render(self, index: int = 0) -> npt.NDArray[np.uint8]:
        """Picture of game ``index`` as [height, width, 3] uint8.

        Raises:
            ValueError: There is no such game, it was never reset, or it cannot be drawn.
            GameFailedError: It failed in another way.
        """
        self._check_open()
        if not 0 <= index < self.num_envs:
            raise ValueError(f"game {index} cannot be drawn; there are games 0..{self.num_envs - 1}.")
        if not self._ready:
            raise ValueError(f"game {index} cannot be drawn before the first reset; call reset.")
        with self._undisturbed():
            picture, failures = self._crew.render(index)
        self._count_losses(failures)
        self._refuse(failures, "be drawn")
        return picture

    def close(self) -> None:
        """Close all games; threads and processes end. May be called twice."""
        if not self._closed:
            self._closed = True
            self._crew.close()

    # ------------------------------------------------------------------ books

    def _chosen(self, mask: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_]:
        """A copy of ``mask`` [B], checked."""
        self._check_open()
        chosen = np.ones(self.num_envs, np.bool_) if mask is None else np.array(mask, np.bool_)
        if chosen.shape != (self.num_envs,):
            raise ValueError(f"reset mask has shape {chosen.shape}; expected ({self.num_envs},).")
        if not self._ready and not chosen.all():
            raise ValueError("the first reset must start all games; give no mask.")
        return chosen

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"this {type(self).__name__} is closed; make a new one.")

    @contextlib.contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Where the crew is interrupted (Ctrl-C), nobody knows how far it came: all games then need a reset."""
        try:
            yield
        except BaseException:
            self._over.fill(True)
            raise

    def _flags(self, failures: Iterable[int]) -> npt.NDArray[np.bool_]:
        flags = np.zeros(self.num_envs, np.bool_)
        flags[list(failures)] = True
        return flags

    def _count_losses(self, failures: Mapping[int, Failure]) -> None:
        """What failed outside of a step fails at the next, where an episode was running."""
        self._lost |= self._flags(row for row, failure in failures.items() if failure.gone) & ~self._over

    def _tell(self, failures: Mapping[int, Failure], during: str) -> None:
        """Warn of failures, the first time with the traceback; raise what is its author's mistake."""
        for row, failure in failures.items():
            if failure.contract:
                raise GameContractError(f"game {row}, in {during}: {failure.line}") from failure.as_cause()
        for row, failure in failures.items():
            where = f"step {self._steps[row]}" if during == "step" else during
            then = ", and is built anew at its next reset" if failure.gone else ""
            detail = failure.line if self._told else f"\n{failure.text.rstrip()}"
            self.last_failure = failure.line
            logger.warning("Game %d failed in %s (episode seed %d)%s: %s", row, where, self._seeds[row], then, detail)
            self._told = True

    def _refuse_unavailable(self, failures: Mapping[int, Failure]) -> None:
        """Raise what no further attempt can mend."""
        for failure in failures.values():
            if failure.hopeless:
                if failure.error is not None:
                    raise failure.error
                raise GameUnavailableError(failure.line) from failure.as_cause()

    def _refuse(self, failures: Mapping[int, Failure], what: str) -> None:
        for row, failure in failures.items():
            message = f"game {row} cannot {what}: {failure.line}"
            raise (ValueError if failure.refusal else GameFailedError)(message) from failure.as_cause()


class LiftedTeamEnv(CrewedTeamEnv):
    """``num_envs`` games of one :class:`TeamGame` as one :class:`VectorTeamEnv`. A trajectory depends on the seed of its
    game, neither on ``num_envs`` nor on ``workers``. What else it does with games is :class:`CrewedTeamEnv`'s.

    Args:
        make_game: Builds one game, without arguments; all games that it builds must have equal specs. For
            ``workers="processes"`` it must be picklable. It is called once here, for the spec; games to be played are
            built at their first reset.
        num_envs: Games stepped side by side, >= 1.
        workers: ``inline``: one after another; ``threads``: all at once, for games that wait (for a program, a socket);
            ``processes``: for games that calculate, crash or hang. Processes are spawned, so the main script needs its
            ``if __name__ == "__main__":``.
        num_workers: Threads (default ``num_envs``) or processes (default: as many as there are CPUs); never more than
            ``num_envs`` are started. Each process plays a contiguous share of the games.
        step_timeout_s: Seconds that one step of one game may take, processes only: a process that takes longer than its
            games may together is ended, and their episodes fail. Resets and states may take 10 times as long. None: no
            limit.
        reset_attempts, retry_delay_s: See :class:`CrewedTeamEnv`.

    Raises:
        ValueError: An argument is out of range, ``make_game`` does not return a :class:`TeamGame`, or it must be picklable
            and is not.
    """

    def __init__(
        self,
        make_game: Callable[[], TeamGame],
        num_envs: int = 1,
        *,
        workers: Workers = "inline",
        num_workers: int | None = None,
        step_timeout_s: float | None = None,
        reset_attempts: int = 3,
        retry_delay_s: float = 0.0,
    ) -> None:
        check_arguments(num_envs, workers, num_workers, step_timeout_s)
        spec, repeatable = _spec_of(make_game)

        def make_crew(out: Outcome) -> Crew:
            if workers == "inline":
                return _Games(make_game, spec, out)
            if workers == "threads":
                return _GamesOnThreads(make_game, spec, out, num_workers or num_envs)
            count = min(num_envs, num_workers or os.cpu_count() or 1)
            return _GamesInProcesses(make_game, spec, out, count, step_timeout_s)

        super().__init__(
            spec,
            num_envs,
            make_crew,
            repeatable=repeatable,
            reset_attempts=reset_attempts,
            retry_delay_s=retry_delay_s,
        )


# ----------------------------------------------------------------------------------------------------------
# what travels between the books and the games


class Outcome:
    """Arrays [rows, ...] for what games return; a row changes only where a game returned something good."""

    def __init__(self, spec: TeamSpec, rows: int) -> None:
        self.obs = np.zeros((rows, spec.n_agents, spec.obs_dim), spec.obs_dtype)
        self.state = np.zeros((rows, spec.state_dim), spec.state_dtype)
        self.action_mask = np.zeros((rows, spec.n_agents, spec.n_actions), np.bool_)
        self.reward = np.zeros(rows, np.float32)
        self.terminated, self.truncated, self.won = (np.zeros(rows, np.bool_) for _ in range(3))
        self.seen = TeamObs(self.obs, self.state, self.action_mask)

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


# ----------------------------------------------------------------------------------------------------------
# in this process


class _Games(Crew):
    """Games of this process, played one after another; a game is built when it is first needed."""

    def __init__(self, make_game: Callable[[], TeamGame], spec: TeamSpec, out: Outcome) -> None:
        self._make_game, self._spec, self._out = make_game, spec, out
        self._games: list[TeamGame | None] = [None] * len(out.reward)

    def reset(self, seeds: Mapping[int, int]) -> Failures:
        return self._each(lambda row: self._out.put_obs(row, self._game(row).reset(seeds[row])), list(seeds))

    def step(self, rows: Sequence[int], actions: npt.NDArray[np.integer[Any]]) -> Failures:
        return self._each(lambda row: self._out.put_step(row, self._game(row).step(actions[row])), rows)

    def get_states(self) -> tuple[list[Any], Failures]:
        states: list[Any] = [None] * len(self._games)

        def ask(row: int) -> None:
            game = self._games[row]
            states[row] = None if game is None else game.get_state()

        failures = self._each(ask, range(len(states)))
        return states, failures

    def set_states(self, states: Sequence[Any]) -> Failures:
        return self._each(
            lambda row: self._out.put_obs(row, self._game(row).set_state(states[row])), range(len(self._games))
        )

    def provenance(self) -> tuple[list[Mapping[str, str]], Failures]:
        found: list[Mapping[str, str]] = []

        def ask(row: int) -> None:
            game = self._games[row]
            if game is not None:
                found.append(dict(game.provenance()))

        failures = self._each(ask, range(len(self._games)))
        return found, failures

    def render(self, row: int) -> tuple[Any, Failures]:
        # That a game cannot be drawn is no reason to end its episode.
        try:
            return self._game(row).render(), {}
        except Exception as error:
            return None, {row: Failure.of(error, gone=False)}

    def close(self) -> None:
        for row in range(len(self._games)):
            trouble = self._drop(row)
            if trouble:
                logger.warning("Closing game %d failed:\n%s", row, trouble)

    def _each(self, play: Callable[[int], None], rows: Sequence[int]) -> Failures:
        """Call ``play`` for every row; whatever it raises costs that game."""
        failures: Failures = {}
        for row in rows:
            failure = self._try(play, row)
            if failure is not None:
                failures[row] = failure
        return failures

    def _try(self, play: Callable[[int], None], row: int) -> Failure | None:
        try:
            play(row)
        except Exception as error:
            failure = Failure.of(error)
            trouble = self._drop(row)
            if trouble:
                failure = dataclasses.replace(failure, text=f"{failure.text}\nClosing the game failed too:\n{trouble}")
            return failure
        return None

    def _game(self, row: int) -> TeamGame:
        game = self._games[row]
        if game is None:
            game = self._games[row] = self._make_game()
            if game.spec != self._spec:
                raise GameContractError(f"make_game built a game with {game.spec}; the first one had {self._spec}.")
        return game

    def _drop(self, row: int) -> str:
        """Close a game for good; returns the traceback where that failed, else nothing."""
        game, self._games[row] = self._games[row], None
        try:
            if game is not None:
                game.close()
        except Exception:
            return traceback.format_exc()
        return ""


class _GamesOnThreads(_Games):
    """Games of this process, played at the same time. Each writes its own rows only."""

    def __init__(self, make_game: Callable[[], TeamGame], spec: TeamSpec, out: Outcome, threads: int) -> None:
        super().__init__(make_game, spec, out)
        # Starts no thread before there is something to do.
        self._pool = ThreadPoolExecutor(min(threads, len(out.reward)), thread_name_prefix="team-game")

    def close(self) -> None:
        self._pool.shutdown()
        super().close()

    def _each(self, play: Callable[[int], None], rows: Sequence[int]) -> Failures:
        outcomes = self._pool.map(lambda row: self._try(play, row), rows)
        return {row: failure for row, failure in zip(rows, outcomes) if failure is not None}


# ----------------------------------------------------------------------------------------------------------
# in processes of their own


class _GamesInProcesses(Crew):
    """Child processes, each with a contiguous share of the games; a dead or hanging one is started anew when one of its
    games is needed."""

    def __init__(
        self,
        make_game: Callable[[], TeamGame],
        spec: TeamSpec,
        out: Outcome,
        processes: int,
        step_timeout_s: float | None,
    ) -> None:
        self._out, self._rows = out, range(len(out.reward))
        try:
            pickled = pickle.dumps(make_game)
        except Exception as error:
            raise ValueError(
                f"make_game is {make_game!r}, which cannot be sent to another process ({error}); give a function at the top "
                "level of an importable module, or a functools.partial of one, or use other workers than 'processes'."
            ) from error
        bounds = [len(self._rows) * k // processes for k in range(processes + 1)]
        self._hosts = [
            _Host(pickled, spec, range(first, end), step_timeout_s) for first, end in itertools.pairwise(bounds)
        ]
        # When this object is forgotten, and at the end of the program before multiprocessing waits for its children.
        self._end = util.Finalize(self, _end_all, args=(self._hosts,), exitpriority=10)

    def reset(self, seeds: Mapping[int, int]) -> Failures:
        asked = {
            host: ("reset", ({row - host.first: seeds[row] for row in host.rows if row in seeds},))
            for host in self._hosts
            if any(row in seeds for row in host.rows)
        }
        answers, failures = self._ask(asked, slow=True)
        for host, arrays in answers.items():
            good = [row for row in host.rows if row in seeds and row not in failures]
            self._take(host, good, arrays)
        return failures

    def step(self, rows: Sequence[int], actions: npt.NDArray[np.integer[Any]]) -> Failures:
        wanted = set(rows)
        asked = {}
        for host in self._hosts:
            mine = [row - host.first for row in host.rows if row in wanted]
            if mine:
                asked[host] = ("step", (mine, actions[host.first : host.rows.stop]))
        answers, failures = self._ask(asked, slow=False)
        for host, arrays in answers.items():
            self._take(host, [row for row in host.rows if row in wanted and row not in failures], arrays)
        return failures

    def get_states(self) -> tuple[list[Any], Failures]:
        answers, failures = self._ask(dict.fromkeys(self._hosts, ("get_states", ())), slow=True)
        states: list[Any] = [None] * len(self._rows)
        for host, share in answers.items():
            states[host.first : host.rows.stop] = share
        return states, failures

    def set_states(self, states: Sequence[Any]) -> Failures:
        asked = {host: ("set_states", (states[host.first : host.rows.stop],)) for host in self._hosts}
        answers, failures = self._ask(asked, slow=True)
        for host, arrays in answers.items():
            self._take(host, [row for row in host.rows if row not in failures], arrays)
        return failures

    def provenance(self) -> tuple[list[Mapping[str, str]], Failures]:
        answers, failures = self._ask(dict.fromkeys(self._hosts, ("provenance", ())), slow=True)
        return [one for share in answers.values() for one in share], failures

    def render(self, row: int) -> tuple[Any, Failures]:
        host = next(host for host in self._hosts if row in host.rows)
        answers, failures = self._ask({host: ("render", (row - host.first,))}, slow=True)
        # Where its neighbours died with it, the game that was asked comes first.
        return answers.get(host), dict(sorted(failures.items(), key=lambda item: item[0] != row))

    def close(self) -> None:
        self._end()

    def _ask(
        self, asked: Mapping[_Host, tuple[str, tuple[Any, ...]]], *, slow: bool
    ) -> tuple[dict[_Host, Any], Failures]:
        """All hosts at the same time: their answers, and what failed by row (all rows of a host that is lost)."""
        try:
            return self._answers(asked, slow=slow)
        except BaseException:
            # Answers that are still on their way would be taken for those to the next request.
            for host in asked:
                host.end(0.0)
            raise

    def _answers(
        self, asked: Mapping[_Host, tuple[str, tuple[Any, ...]]], *, slow: bool
    ) -> tuple[dict[_Host, Any], Failures]:
        failures: Failures = {}
        answers: dict[_Host, Any] = {}
        lost: dict[_Host, str] = {}
        for host, (method, arguments) in asked.items():
            try:
                host.send(method, arguments)
            except _LostHostError as error:
                lost[host] = str(error)
        for host in asked:
            if host in lost:
                continue
            try:
                broken, answers[host] = host.receive(slow=slow)
            except _LostHostError as error:
                lost[host] = str(error)
            else:
                failures |= {row + host.first: failure for row, failure in broken.items()}
        for host, sentence in lost.items():
            failures |= {row: Failure(sentence, sentence) for row in host.rows}
        return answers, failures

    def _take(self, host: _Host, rows: list[int], arrays: tuple[npt.NDArray[Any], ...]) -> None:
        """Copy a host's rows; those of games that failed keep their last good observation."""
        if len(rows) == len(host.rows):
            for mine, theirs in zip(self._out.arrays(), arrays):
                mine[host.first : host.rows.stop] = theirs
        elif rows:
            local = [row - host.first for row in rows]
            for mine, theirs in zip(self._out.arrays(), arrays):
                mine[rows] = theirs[local]


class _LostHostError(Exception):
    """A child process is dead, or was ended because it took too long; the message is a sentence."""


class _Host:
    """The parent's side of one child process, which is started when it is first needed."""

    def __init__(self, pickled: bytes, spec: TeamSpec, rows: range, step_timeout_s: float | None) -> None:
        self.rows, self.first = rows, rows.start
        self._pickled, self._spec, self._step_timeout_s = pickled, spec, step_timeout_s
        self._process: Any = None
        self._pipe: Connection | None = None
        self._up = False

    def send(self, method: str, arguments: tuple[Any, ...]) -> None:
        """Ask; the process is started where there is none.

        Raises:
            _LostHostError: It is dead.
        """
        if self._process is None:
            self._start()
        assert self._pipe is not None
        try:
            self._pipe.send((method, arguments))
        except OSError:
            raise _LostHostError(self._end_as("died")) from None

    def receive(self, *, slow: bool) -> Any:
        """The answer.

        Raises:
            _LostHostError: The process is dead, or took too long and was ended.
        """
        if not self._up:
            trouble = self._next(_START_PATIENCE_S, "start")
            if trouble is not None:
                raise _LostHostError(f"{self._end_as('gave up')}: {trouble}")
            self._up = True
        patience = self._step_timeout_s
        if patience is not None:
            patience *= len(self.rows) * (_SLOW_CALL_FACTOR if slow else 1)
        return self._next(patience, "answer")

    def end(self, patience_s: float) -> None:
        """End the process and what its games have started, after a grace for a clean end."""
        process, pipe, self._process, self._pipe = self._process, self._pipe, None, None
        self._up = False
        if process is None:
            return
        assert pipe is not None
        # Reading (and dropping) what is still on its way, because a child that cannot write does not end. Not with join():
        # that would free the process id, by which the group is ended below.
        deadline = time.monotonic() + patience_s
        try:
            while pipe.poll(max(0.0, deadline - time.monotonic())) and time.monotonic() < deadline:
                pipe.recv_bytes()
        except (EOFError, OSError):
            pass
        _kill_group(process.pid)
        process.kill()
        process.join()
        pipe.close()

    def ask_to_close(self) -> None:
        if self._pipe is not None:
            # Where it is dead already there is nothing left to ask for.
            with contextlib.suppress(OSError):
                self._pipe.send(("close", ()))

    def _start(self) -> None:
        # Spawned: Ray's processes have threads, and a fork of a process with threads may deadlock.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        name = f"team-games-{self.rows[0]}-{self.rows[-1]}"
        arguments = (theirs, self._pickled, self._spec, len(self.rows))
        process = context.Process(target=_serve, args=arguments, name=name, daemon=True)
        process.start()
        theirs.close()
        self._pipe, self._process = ours, process

    def _next(self, patience_s: float | None, what: str) -> Any:
        assert self._pipe is not None
        try:
            if self._pipe.poll(patience_s):
                return self._pipe.recv()
        except (EOFError, OSError):
            raise _LostHostError(self._end_as("died")) from None
        raise _LostHostError(self._end_as(f"did not {what} within {patience_s:g} s and was ended"))

    def _end_as(self, what: str) -> str:
        """End the process; returns the sentence that it ``what``."""
        process, up = self._process, self._up
        if what == "died":
            wait([process.sentinel], 1.0)  # its pipe closes a moment before it exits, with a code that tells why
        self.end(0.0)
        if what == "died":
            what += f" with exit code {process.exitcode}" + ("" if up else " while starting; standard error says why")
        games = f"games {self.rows[0]} to {self.rows[-1]}" if len(self.rows) > 1 else f"game {self.rows[0]}"
        return f"the process {process.pid} of {games} {what}"


def _end_all(hosts: Sequence[_Host]) -> None:
    for host in hosts:
        host.ask_to_close()
    deadline = time.monotonic() + _CLOSE_PATIENCE_S
    for host in hosts:
        host.end(max(0.0, deadline - time.monotonic()))


def _serve(pipe: Connection, pickled: bytes, spec: TeamSpec, count: int) -> None:
    """The child process: plays ``count`` games, and answers ``(failures by row, answer)`` to every request."""
    _end_with_parent()
    try:
        make_game = pickle.loads(pickled)
    except Exception:
        pipe.send(f"make_game could not be unpickled there:\n{traceback.format_exc()}")
        return
    out = Outcome(spec, count)
    games = _Games(make_game, spec, out)
    try:
        pipe.send(None)  # up
        while True:
            method, arguments = pipe.recv()
            if method == "close":
                return
            answer = getattr(games, method)(*arguments)
            if isinstance(answer, dict):
                failures, content = answer, out.arrays() if method == "step" else tuple(out.seen)
            else:
                content, failures = answer
            failures = {row: failure.as_data() for row, failure in failures.items()}
            try:
                pipe.send((failures, content))
            except (TypeError, AttributeError, pickle.PicklingError) as error:
                # A state or picture of strange objects. Nothing was sent, so that an answer is still owed.
                unsent = Failure.of(error, gone=False).as_data()
                pipe.send((dict.fromkeys(range(count), unsent), [None] * count))
    except (EOFError, OSError):
        pass  # the parent is gone, or has given this process up
    finally:
        games.close()


def _end_with_parent() -> None:
    """From now on this process and what its games start (one process group) end when the parent process does.

    Not by PR_SET_PDEATHSIG: it fires already when the *thread* that started this process ends (RLlib trains on a thread of
    its own per iteration while it evaluates), and it would leave alone the programs that games have started.
    """
    if hasattr(os, "setsid"):
        os.setsid()  # a Ctrl-C in the terminal is then the parent's affair, too
        signal.signal(signal.SIGTERM, lambda *_: _kill_group(0))
    parent, number = multiprocessing.parent_process(), os.getppid()
    assert parent is not None

    def watch() -> None:
        while parent.is_alive() and os.getppid() == number:
            parent.join(1.0)
        _kill_group(0)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _kill_group(number: int) -> None:
    """End all processes of the group ``number`` (0: one's own), if there is such a group."""
    if hasattr(os, "killpg"):
        # Where there is none, the process has not become a group yet, or all of it is gone.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(number, signal.SIGKILL)


# ----------------------------------------------------------------------------------------------------------
# arguments


def check_arguments(num_envs: Any, workers: Any, num_workers: Any, step_timeout_s: Any) -> None:
    """Raise ValueError, naming the first one, unless these arguments of :class:`LiftedTeamEnv` go together."""
    if not isinstance(num_envs, int) or num_envs < 1:
        raise ValueError(f"num_envs is {num_envs!r}; give a whole number >= 1.")
    if workers not in get_args(Workers):
        raise ValueError(f"workers is {workers!r}; give one of {get_args(Workers)}.")
    if num_workers is not None:
        if not isinstance(num_workers, int) or num_workers < 1:
            raise ValueError(f"num_workers is {num_workers!r}; give a whole number >= 1, or None.")
        if workers == "inline":
            raise ValueError(f"num_workers is {num_workers}, but workers='inline' has none; leave it out.")
    if step_timeout_s is not None:
        if not isinstance(step_timeout_s, int | float) or not step_timeout_s > 0:
            raise ValueError(f"step_timeout_s is {step_timeout_s!r}; give a number > 0, or None.")
        if workers != "processes":
            raise ValueError(
                f"step_timeout_s is {step_timeout_s}, but only a process can be ended; use workers='processes' or leave it "
                "out."
            )


def _spec_of(make_game: Callable[[], TeamGame]) -> tuple[TeamSpec, bool]:
    """Spec of the games, and whether they are repeatable."""
    game = make_game()
    if not isinstance(game, TeamGame):
        raise ValueError(f"make_game returned a {type(game).__name__}; expected a TeamGame.")
    spec = game.spec
    try:
        game.close()
    except Exception:
        logger.warning("Closing the game that was built for its spec failed.", exc_info=True)
    return spec, game.repeatable
