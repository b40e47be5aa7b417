"""A batch of games that an executor runs: seeds, step counts, ends of episodes, failures."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.team_env import TeamObs, TeamSpec, TeamStep, VectorTeamEnv, check_actions
from rllib_reborn.envs.team_game import GameUnavailableError
from rllib_reborn.envs.vectorize.game_executor import (
    Failure,
    GameContractError,
    GameExecutor,
    GameFailedError,
    ResultBuffers,
)
from rllib_reborn.secret_settings import hidden

logger = logging.getLogger(__name__)


class ExecutorTeamEnv(VectorTeamEnv):
    """``num_envs`` games that an executor runs; counts their steps, ends and failures.

    An exception from a game costs that game's episode (``info["failed"]``, with its last good observation): the executor
    closes the game, and builds a new one at its next reset. An episode that reaches ``spec.episode_limit`` is truncated
    there. Returned arrays are the env's own buffers, overwritten by the next call.

    Args:
        spec: Of each game.
        num_envs: Games stepped side by side.
        make_executor: ``make_executor(out)`` makes the executor, which writes what games return into ``out``.
        repeatable: Whether equal seeds and actions give equal games.
        reset_attempts: A game that cannot be reset is given up after so many attempts in one call.
        retry_delay_s: Seconds before a reset that failed is tried again, twice as many before the next attempt.
    """

    def __init__(
        self,
        spec: TeamSpec,
        num_envs: int,
        make_executor: Callable[[ResultBuffers], GameExecutor],
        *,
        repeatable: bool = True,
        reset_attempts: int = 3,
        retry_delay_s: float = 0.0,
    ) -> None:
        self.spec, self.num_envs, self.repeatable = spec, num_envs, repeatable
        self._reset_attempts, self._retry_delay_s = reset_attempts, retry_delay_s
        self._out = ResultBuffers(spec, num_envs)
        self._executor = make_executor(self._out)
        self._streams = RandomStreams(num_envs)
        self._seeds = np.zeros(num_envs, np.int64)
        self._steps = np.zeros(num_envs, np.int64)
        #: Games that have no running episode: they must be reset before they are stepped.
        self._over = np.ones(num_envs, np.bool_)
        #: Running episodes whose game is gone; reported as failed at the next step.
        self._lost = np.zeros(num_envs, np.bool_)
        self._failed = np.zeros(num_envs, np.bool_)
        self._ready = self._closed = self._traceback_logged = False
        #: The last line of what the latest failed game raised.
        self.last_failure: str | None = None
        self._info = {"failed": self._failed} | ({"won": self._out.won} if self.spec.has_win else {}) | self._out.info

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
                failures = self._executor.reset({row: int(self._seeds[row]) for row in rows})
            failed = self._flags(failures)
            begun = waiting & ~failed
            self._steps[begun] = 0
            self._over[begun] = False
            self._count_losses({row: failure for row, failure in failures.items() if not waiting[row]})
            self.failed_resets += int((waiting & failed).sum())
            self._refuse_unavailable(failures)
            self._report(failures, "reset")
            waiting = waiting & failed
            if attempt == self._reset_attempts and waiting.any():
                row = int(np.flatnonzero(waiting)[0])
                raise GameFailedError(
                    f"game {row} could not be reset {attempt} times in a row, last with: {failures[row].line}"
                ) from failures[row].as_cause()
            if waiting.any() and self._retry_delay_s:
                time.sleep(self._retry_delay_s * 2 ** (attempt - 1))
        return self._out.team_obs

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
            failures = self._executor.step(np.flatnonzero(~self._lost).tolist(), actions)
        self._failed[:] = self._lost | self._flags(failures)
        self._lost.fill(False)
        self._steps += 1
        for flags in (out.reward, out.terminated, out.truncated, out.won, *out.info.values()):
            flags[self._failed] = 0
        ended = out.terminated | out.truncated
        # Before the limit takes effect: a game that is cut off here has not ended, so it was not won.
        out.won &= ended
        out.truncated |= (self._steps >= self.spec.episode_limit) & ~ended & ~self._failed
        np.logical_or(out.terminated, out.truncated, out=self._over)
        self._over |= self._failed
        self._report(failures, "step")
        return TeamStep(out.team_obs, out.reward, out.terminated, out.truncated, self._info)

    # ------------------------------------------------------------------ state, pictures, end

    def get_state(self) -> dict[str, Any] | None:
        """Random streams, the games' states and the counters; None where a game gives no state or has none (it failed, or
        was never reset)."""
        self._check_open()
        if not self._ready or self._lost.any():
            return None
        with self._undisturbed():
            states, failures = self._executor.get_states()
        self._count_losses(failures)
        self._report(failures, "get_state")
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
        failures = self._executor.set_states(state["games"])
        self._report(failures, "set_state")
        self._refuse(failures, "take its state")
        self._streams.set_state(state["streams"])
        self._seeds[:] = state["seeds"]
        self._steps[:] = state["steps"]
        self._over[:] = state["over"]
        return self._out.team_obs

    def provenance(self) -> Mapping[str, str]:
        """Provenance of all games; see :meth:`VectorTeamEnv.provenance`."""
        self._check_open()
        if not self._ready:
            return {}
        found, failures = self._executor.provenance()
        self._count_losses(failures)
        self._report(failures, "provenance")
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
            picture, failures = self._executor.render(index)
        self._count_losses(failures)
        self._refuse(failures, "be drawn")
        return picture

    def close(self) -> None:
        """Close all games; threads and processes end. May be called twice."""
        if not self._closed:
            self._closed = True
            self._executor.close()

    # ------------------------------------------------------------------ counters and failures

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
        """Where the executor is interrupted (Ctrl-C), the games' states are unknown: all of them then need a reset."""
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

    def _report(self, failures: Mapping[int, Failure], during: str) -> None:
        """Warn of failures, the first time with the traceback; raise what is its author's mistake."""
        for row, failure in failures.items():
            if failure.contract:
                raise GameContractError(f"game {row}, in {during}: {failure.line}") from failure.as_cause()
        for row, failure in failures.items():
            where = f"step {self._steps[row]}" if during == "step" else during
            then = ", and is rebuilt at its next reset" if failure.gone else ""
            detail = failure.line if self._traceback_logged else f"\n{failure.text.rstrip()}"
            self.last_failure = hidden(failure.line)
            logger.warning("Game %d failed in %s (episode seed %d)%s: %s", row, where, self._seeds[row], then, detail)
            self._traceback_logged = True

    def _refuse_unavailable(self, failures: Mapping[int, Failure]) -> None:
        """Raise what no further attempt can fix."""
        for failure in failures.values():
            if failure.permanent:
                if failure.error is not None:
                    raise failure.error
                raise GameUnavailableError(failure.line) from failure.as_cause()

    def _refuse(self, failures: Mapping[int, Failure], what: str) -> None:
        for row, failure in failures.items():
            message = f"game {row} cannot {what}: {failure.line}"
            raise (ValueError if failure.refusal else GameFailedError)(message) from failure.as_cause()
