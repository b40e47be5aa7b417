"""Games of this process, one after another or on threads."""

from __future__ import annotations

import dataclasses
import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.envs.team_game import TeamGame
from rllib_reborn.envs.vectorize.game_executor import Failure, Failures, GameContractError, GameExecutor, ResultBuffers
from rllib_reborn.envs.vectorize.game_threads import GameThreads
from rllib_reborn.limits import CLOSE_GAMES_S, GAME_STEP_S, SLOW_CALL_FACTOR

logger = logging.getLogger(__name__)


class SerialExecutor(GameExecutor):
    """Games of this process, played one after another; a game is built when it is first needed.

    Args:
        make_game: Builds a game.
        spec: Of the team.
        out: Where results go.
        first_game: A game that is built already, and taken for the first one that is needed.
    """

    def __init__(
        self,
        make_game: Callable[[], TeamGame],
        spec: TeamSpec,
        out: ResultBuffers,
        *,
        first_game: TeamGame | None = None,
    ) -> None:
        self._make_game, self._spec, self._out = make_game, spec, out
        # A list, from which one of several threads takes it.
        self._built = [] if first_game is None else [first_game]
        self._games: list[TeamGame | None] = [None] * len(out.reward)

    def reset(self, seeds: Mapping[int, int]) -> Failures:
        return self._each(lambda row: self._begin(row, seeds[row]), list(seeds), slow=True)

    def step(self, rows: Sequence[int], actions: npt.NDArray[np.integer[Any]]) -> Failures:
        return self._each(lambda row: self._play(row, actions[row]), rows)

    def _begin(self, row: int, seed: int) -> None:
        game = self._game(row)
        obs = game.reset(seed)
        if self._games[row] is game:  # it was not given up meanwhile
            self._out.put_obs(row, obs)

    def _play(self, row: int, actions: npt.NDArray[np.integer[Any]]) -> None:
        game = self._game(row)
        step = game.step(actions)
        if self._games[row] is game:
            self._out.put_step(row, step)

    def get_states(self) -> tuple[list[Any], Failures]:
        states: list[Any] = [None] * len(self._games)

        def ask(row: int) -> None:
            game = self._games[row]
            states[row] = None if game is None else game.get_state()

        failures = self._each(ask, range(len(states)), slow=True)
        return states, failures

    def set_states(self, states: Sequence[Any]) -> Failures:
        return self._each(
            lambda row: self._out.put_obs(row, self._game(row).set_state(states[row])),
            range(len(self._games)),
            slow=True,
        )

    def provenance(self) -> tuple[list[Mapping[str, str]], Failures]:
        found: list[Mapping[str, str]] = []

        def ask(row: int) -> None:
            game = self._games[row]
            if game is not None:
                found.append(dict(game.provenance()))

        failures = self._each(ask, range(len(self._games)), slow=True)
        return found, failures

    def render(self, row: int) -> tuple[Any, Failures]:
        # That a game cannot be drawn is no reason to end its episode; and one that was built for it has nothing to show.
        try:
            game = self._games[row]
            if game is None:
                raise ValueError("it has failed and is rebuilt at its next reset; call reset.")
            return game.render(), {}
        except Exception as error:
            return None, {row: Failure.of(error, gone=False)}

    def close(self) -> None:
        self._take_first()
        for row in range(len(self._games)):
            self._close_game(row)

    def _take_first(self) -> None:
        if self._games[0] is None:
            self._games[0] = self._built_game()

    def _close_game(self, row: int) -> None:
        close_error = self._drop(row)
        if close_error:
            logger.warning("Closing game %d failed:\n%s", row, close_error)

    def _each(self, play: Callable[[int], None], rows: Sequence[int], *, slow: bool = False) -> Failures:
        """Call ``play`` for every row; whatever it raises costs that game. ``slow``: it may take longer than a step."""
        failures: Failures = {}
        for row in rows:
            failure = self._try(play, row)
            if failure is not None:
                failures[row] = failure
        return failures

    def _try(self, play: Callable[[int], None], row: int) -> Failure | None:
        games = self._games
        try:
            play(row)
        except Exception as error:
            failure = Failure.of(error)
            if self._games is not games:
                return failure  # it was given up, and the game is another one by now
            close_error = self._drop(row)
            if close_error:
                failure = dataclasses.replace(
                    failure, text=f"{failure.text}\nClosing the game failed too:\n{close_error}"
                )
            return failure
        return None

    def _game(self, row: int) -> TeamGame:
        games = self._games
        game = games[row]
        if game is None:
            game = self._built_game()
            game = games[row] = self._make_game() if game is None else game
            if game.spec != self._spec:
                raise GameContractError(f"make_game built a game with {game.spec}; the first one had {self._spec}.")
        return game

    def _built_game(self) -> TeamGame | None:
        try:
            return self._built.pop()
        except IndexError:
            return None

    def _drop(self, row: int) -> str:
        """Close a game for good; returns the traceback where that failed, else nothing."""
        game, self._games[row] = self._games[row], None
        try:
            if game is not None:
                game.close()
        except Exception:
            return traceback.format_exc()
        return ""


class ThreadExecutor(SerialExecutor):
    """Games of this process, played at the same time. Each writes its own rows only. One that hangs is left alone with its
    thread, and another one is built in its place.

    Args:
        make_game, spec, out, first_game: See :class:`SerialExecutor`.
        threads: At most.
        step_timeout_s: Seconds for one step of all games; other calls may take :data:`SLOW_CALL_FACTOR` times as long. None:
            :data:`GAME_STEP_S` for each call.
    """

    def __init__(
        self,
        make_game: Callable[[], TeamGame],
        spec: TeamSpec,
        out: ResultBuffers,
        threads: int,
        *,
        step_timeout_s: float | None = None,
        first_game: TeamGame | None = None,
    ) -> None:
        super().__init__(make_game, spec, out, first_game=first_game)
        self._threads: GameThreads[Failure | None] = GameThreads(min(threads, len(out.reward)))
        self._limit_s = GAME_STEP_S if step_timeout_s is None else step_timeout_s
        self._slow_limit_s = GAME_STEP_S if step_timeout_s is None else step_timeout_s * SLOW_CALL_FACTOR

    def close(self) -> None:
        self._take_first()
        self._threads.each(lambda row: self._try(self._close_game, row), range(len(self._games)), CLOSE_GAMES_S)
        self._threads.close()

    def _each(self, play: Callable[[int], None], rows: Sequence[int], *, slow: bool = False) -> Failures:
        limit = self._slow_limit_s if slow else self._limit_s
        answers = self._threads.each(lambda row: self._try(play, row), rows, limit)
        failures: Failures = {}
        if len(answers) < len(rows):
            # Those that are late have the old list, and nothing that they do to it is looked at.
            self._games = [game if row in answers or row not in rows else None for row, game in enumerate(self._games)]
        for row in rows:
            if row not in answers:
                sentence = f"the game did not answer within {limit:g} s and is left alone"
                failures[row] = Failure(sentence, sentence)
            elif (failure := answers[row]) is not None:
                failures[row] = failure
        return failures
