"""When games that fail again and again are given up: by how often they fail in so many env steps, for all kinds of
environments alike, and whatever the length of an episode."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.contract import EnvContractError

#: From this share of env steps on, in which a game fails without a finished episode in between, it is given up. Episodes
#: that last longer than a few dozen steps are then hardly ever finished.
_MOST_RATE = 0.1
#: Failures, for each game, before a rate is judged: once is no rate.
_ENOUGH = 10
#: Where they fail less often, and long episodes are seldom finished: failures, for each game, without a finished episode in
#: between; less patience where none was ever finished.
_MOST_IN_ROW, _MOST_AT_FIRST = 1_000, 200


class FailureBudget:
    """Counts games that fail without a finished episode in between, and env steps: of all together, and of each.

    Args:
        env_name: Of the environment, for the message.
        num_envs: Games stepped side by side.
    """

    def __init__(self, env_name: str, num_envs: int) -> None:
        self._env_name = env_name
        self._num_envs = num_envs
        self._in_row = 0
        self._since = 0
        self._ever_finished = False
        self._of_game = np.zeros(num_envs, np.int64)
        self._game_since = np.zeros(num_envs, np.int64)
        self._game_finished = np.zeros(num_envs, np.bool_)

    def note(
        self,
        done: npt.NDArray[np.bool_],
        failed: npt.NDArray[np.bool_],
        env_steps: int,
        env: object = None,
        *,
        each_must_finish: bool = True,
    ) -> None:
        """Take in a step in which games ended.

        Args:
            done: [B] games at an end.
            failed: [B] of these, games that have failed.
            env_steps: Taken so far, this step and all games together.
            env: Asked for ``last_failure`` where it has that.
            each_must_finish: Whether every game has episodes to finish, so that one which always fails would never
                terminate; where any game's will do, it costs its share of the steps and no more.

        Raises:
            EnvContractError: All together, or one game, failed too often.
        """
        finished = done & ~failed
        if finished.any():
            self._in_row, self._since, self._ever_finished = 0, env_steps, True
        self._of_game[failed] += 1
        self._of_game[finished] = 0
        self._game_since[finished] = env_steps
        self._game_finished |= finished
        self._failed(int(failed.sum()), env_steps, _last_failure(env))
        if not each_must_finish:
            return
        worst = int(self._of_game.argmax())
        steps = (env_steps - int(self._game_since[worst])) // self._num_envs
        if _is_too_much(int(self._of_game[worst]), steps, 1, bool(self._game_finished[worst])):
            raise EnvContractError(
                f"game {worst} of {self._num_envs} of {self._env_name!r} failed {self._of_game[worst]} times in "
                f"{steps:,} of its steps without a finished episode in between, while others were finished"
                f"{_last_failure(env)}; run `rllib-reborn envs` on it."
            )

    def all_failed(self, cause: BaseException | None, env_steps: int) -> None:
        """A call of the environment raised: all its games are lost.

        Args:
            cause: What it raised.
            env_steps: Taken so far, all games together.

        Raises:
            EnvContractError: They failed too often.
        """
        self._of_game += 1
        self._failed(self._num_envs, env_steps, f", last with {type(cause).__name__}: {cause}", cause)

    def _failed(self, count: int, env_steps: int, last: str, cause: BaseException | None = None) -> None:
        self._in_row += count
        steps = env_steps - self._since
        if count and _is_too_much(self._in_row, steps, self._num_envs, self._ever_finished):
            raise EnvContractError(
                f"the games of {self._env_name!r} failed {self._in_row:,} times in {steps:,} env steps without a finished "
                f"episode in between{last}; run `rllib-reborn envs` on it."
            ) from cause


def _is_too_much(failures: int, steps: int, games: int, ever_finished: bool) -> bool:
    """Whether ``failures`` in ``steps`` env steps of ``games`` games are."""
    if failures < _ENOUGH * games:
        return False
    return failures >= _MOST_RATE * steps or failures >= games * (_MOST_IN_ROW if ever_finished else _MOST_AT_FIRST)


def _last_failure(env: object) -> str:
    reason = getattr(env, "last_failure", None)
    return f", last with: {reason}" if reason else ""
