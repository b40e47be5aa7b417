"""When games that fail again and again are given up."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.contract import EnvContractError

#: Each game may report ``failed`` this often, on average, without a finished episode in between.
_MAX_FAILED_GAMES_IN_ROW = 10
#: Where every game has episodes to finish, one may fail this often in a row whatever the others do.
_MAX_FAILURES_OF_A_GAME = 100


class FailureBudget:
    """Counts games that fail (``info["failed"]``) without a finished episode in between: of all together, and of each.

    Args:
        env_name: Of the environment, for the message.
        num_envs: Games stepped side by side.
    """

    def __init__(self, env_name: str, num_envs: int) -> None:
        self._env_name = env_name
        self._most = _MAX_FAILED_GAMES_IN_ROW * num_envs
        self._in_row = 0
        self._of_game = np.zeros(num_envs, np.int64)

    def note(
        self,
        done: npt.NDArray[np.bool_],
        failed: npt.NDArray[np.bool_],
        env: object = None,
        *,
        each_must_finish: bool = True,
    ) -> None:
        """Take in a step.

        Args:
            done: [B] games at an end.
            failed: [B] of these, games that have failed.
            env: As in :meth:`failed`.
            each_must_finish: Whether every game has episodes to finish, so that one which always fails would never
                terminate; where any game's will do, it costs its share of the steps and no more.

        Raises:
            EnvContractError: As :meth:`failed`; or one game failed too often in a row.
        """
        if (done & ~failed).any():
            self.finished()
        self.failed(int(failed.sum()), env)
        self._of_game = np.where(failed, self._of_game + 1, np.where(done, 0, self._of_game))
        worst = int(self._of_game.argmax())
        if each_must_finish and self._of_game[worst] >= _MAX_FAILURES_OF_A_GAME:
            raise EnvContractError(
                f"game {worst} of {len(self._of_game)} of {self._env_name!r} failed {self._of_game[worst]} times in a row, "
                f"while others were finished{_last_failure(env)}; run `rllib-reborn envs` on it."
            )

    def finished(self) -> None:
        """An episode was finished: earlier failures are forgiven."""
        self._in_row = 0

    def failed(self, count: int, env: object = None) -> None:
        """``count`` games failed, >= 0.

        Args:
            count: How many.
            env: The environment, asked for ``last_failure`` where it has that.

        Raises:
            EnvContractError: Too many have failed in a row.
        """
        self._in_row += count
        if count and self._in_row >= self._most:
            raise EnvContractError(
                f"the games of {self._env_name!r} failed {self._in_row} times without a finished episode in between"
                f"{_last_failure(env)}; run `rllib-reborn envs` on it."
            )


def _last_failure(env: object) -> str:
    reason = getattr(env, "last_failure", None)
    return f", last with: {reason}" if reason else ""
