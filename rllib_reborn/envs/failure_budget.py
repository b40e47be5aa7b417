"""When games that fail again and again are given up."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Each game may report ``failed`` this often, on average, without a finished episode in between.
_MAX_FAILED_GAMES_IN_ROW = 10


class EnvContractError(RuntimeError):
    """The environment returned something that its contract forbids (NaN, a wrong shape, an endless episode), or fails so
    often that no episode of it is ever finished."""


class FailureBudget:
    """Counts games that fail (``info["failed"]``) without a finished episode in between.

    Args:
        env_name: Of the environment, for the message.
        num_envs: Games stepped side by side.
    """

    def __init__(self, env_name: str, num_envs: int) -> None:
        self._env_name = env_name
        self._most = _MAX_FAILED_GAMES_IN_ROW * num_envs
        self._in_row = 0

    def note(self, done: npt.NDArray[np.bool_], failed: npt.NDArray[np.bool_], env: object = None) -> None:
        """Take in a step: ``done`` [B] games are at an end, of which ``failed`` [B] have failed.

        Raises:
            EnvContractError: As :meth:`failed`.
        """
        if (done & ~failed).any():
            self.finished()
        self.failed(int(failed.sum()), env)

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
            reason = getattr(env, "last_failure", None)
            raise EnvContractError(
                f"the games of {self._env_name!r} failed {self._in_row} times without a finished episode in between"
                f"{f', last with: {reason}' if reason else ''}; run `rllib-reborn envs` on it."
            )
