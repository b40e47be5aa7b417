"""Games of this process, one after another or on threads."""

from __future__ import annotations

import dataclasses
import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.envs.team_game import TeamGame
from rllib_reborn.envs.vectorize.game_executor import Failure, Failures, GameContractError, GameExecutor, ResultBuffers

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
        # That a game cannot be drawn is no reason to end its episode; and one that was built for it has nothing to show.
        try:
            game = self._games[row]
            if game is None:
                raise ValueError("it has failed and is rebuilt at its next reset; call reset.")
            return game.render(), {}
        except Exception as error:
            return None, {row: Failure.of(error, gone=False)}

    def close(self) -> None:
        if self._games[0] is None:
            self._games[0] = self._built_game()
        for row in range(len(self._games)):
            close_error = self._drop(row)
            if close_error:
                logger.warning("Closing game %d failed:\n%s", row, close_error)

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
            close_error = self._drop(row)
            if close_error:
                failure = dataclasses.replace(
                    failure, text=f"{failure.text}\nClosing the game failed too:\n{close_error}"
                )
            return failure
        return None

    def _game(self, row: int) -> TeamGame:
        game = self._games[row]
        if game is None:
            game = self._built_game()
            game = self._games[row] = self._make_game() if game is None else game
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
    """Games of this process, played at the same time. Each writes its own rows only."""

    def __init__(
        self,
        make_game: Callable[[], TeamGame],
        spec: TeamSpec,
        out: ResultBuffers,
        threads: int,
        *,
        first_game: TeamGame | None = None,
    ) -> None:
        super().__init__(make_game, spec, out, first_game=first_game)
        # Starts no thread before there is something to do.
        self._pool = ThreadPoolExecutor(min(threads, len(out.reward)), thread_name_prefix="team-game")

    def close(self) -> None:
        self._pool.shutdown()
        super().close()

    def _each(self, play: Callable[[int], None], rows: Sequence[int]) -> Failures:
        outcomes = self._pool.map(lambda row: self._try(play, row), rows)
        return {row: failure for row, failure in zip(rows, outcomes) if failure is not None}
