"""User-defined games as a batch: the choice of the executor."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any, Literal, get_args

from rllib_reborn.envs.team_game import TeamGame
from rllib_reborn.envs.vectorize.executor_env import ExecutorTeamEnv
from rllib_reborn.envs.vectorize.game_executor import GameExecutor, ResultBuffers
from rllib_reborn.envs.vectorize.local_executors import SerialExecutor, ThreadExecutor
from rllib_reborn.envs.vectorize.process_executor import ProcessExecutor

logger = logging.getLogger(__name__)

Workers = Literal["inline", "threads", "processes"]


class VectorizedTeamEnv(ExecutorTeamEnv):
    """``num_envs`` games of one :class:`TeamGame` as one :class:`VectorTeamEnv`. A trajectory depends on the seed of its
    game, neither on ``num_envs`` nor on ``workers``. What else it does with games is :class:`ExecutorTeamEnv`'s.

    Args:
        make_game: Builds one game, without arguments; all games that it builds must have equal specs. For
            ``workers="processes"`` it must be picklable. It is called once here, for the spec (without processes that
            is the first game to be played); the other games are built at their first reset.
        num_envs: Games stepped side by side, >= 1.
        workers: ``inline``: one after another; ``threads``: all at once, for games that wait (for a program, a socket);
            ``processes``: for games that calculate, crash or hang. Processes are spawned, so the main script needs its
            ``if __name__ == "__main__":``.
        num_workers: Threads (default ``num_envs``) or processes (default: as many as there are CPUs); never more than
            ``num_envs`` are started. Each process plays a contiguous share of the games.
        step_timeout_s: Seconds that one step of one game may take, threads and processes only: a process that takes longer
            than its games may together is ended, a game on a thread is left alone with it, and their episodes fail. Resets
            and states may take 10 times as long. None: :data:`~rllib_reborn.limits.GAME_STEP_S` for any call.
        reset_attempts, retry_delay_s: See :class:`ExecutorTeamEnv`.
        first_game: A game of the same kind that has been built already, to use for the spec.

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
        first_game: TeamGame | None = None,
    ) -> None:
        check_arguments(num_envs, workers, num_workers, step_timeout_s)
        game = make_game() if first_game is None else first_game
        if not isinstance(game, TeamGame):
            raise ValueError(f"make_game returned a {type(game).__name__}; expected a TeamGame.")
        spec, repeatable = game.spec, game.repeatable
        if workers == "processes":
            _close(game)

        def make_executor(out: ResultBuffers) -> GameExecutor:
            if workers == "inline":
                return SerialExecutor(make_game, spec, out, first_game=game)
            if workers == "threads":
                return ThreadExecutor(
                    make_game, spec, out, num_workers or num_envs, step_timeout_s=step_timeout_s, first_game=game
                )
            count = min(num_envs, num_workers or os.cpu_count() or 1)
            return ProcessExecutor(make_game, spec, out, count, step_timeout_s)

        super().__init__(
            spec,
            num_envs,
            make_executor,
            repeatable=repeatable,
            reset_attempts=reset_attempts,
            retry_delay_s=retry_delay_s,
        )


def check_arguments(num_envs: Any, workers: Any, num_workers: Any, step_timeout_s: Any) -> None:
    """Raise ValueError, naming the first one, unless these arguments of :class:`VectorizedTeamEnv` go together."""
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
        if workers == "inline":
            raise ValueError(
                f"step_timeout_s is {step_timeout_s}, but a game that is played inline cannot be given up; use "
                "workers='processes' or 'threads', or leave it out."
            )


def _close(game: TeamGame) -> None:
    """Close the game that was built for its spec alone."""
    try:
        game.close()
    except Exception:
        logger.warning("Closing the game that was built for its spec failed.", exc_info=True)
