"""What happens when an environment fails as a whole: how often another one is made, and with which seed it begins."""

from __future__ import annotations

import logging
from collections.abc import Callable

from rllib_reborn.envs.contract import EnvContractError
from rllib_reborn.envs.rollout import EnvCallError
from rllib_reborn.envs.team_env import VectorTeamEnv
from rllib_reborn.envs.team_game import GameUnavailableError
from rllib_reborn.secret_settings import hidden

logger = logging.getLogger(__name__)

#: The envs of one runner may fail this often without a finished episode in between before the runner gives up.
_MAX_FAILURES_IN_ROW = 3
#: Keep the seeds of later starts apart from those of the first one and of other seeds: primes.
_START_STRIDE, _CLOCK_STRIDE = 15_485_863, 32_452_843


class EnvRestarts:
    """Counts failures of the whole environment, and makes it again.

    Args:
        make_env: Makes the environment, closing the one before.
        name: Its name, for messages.
        seed: Seed of games and exploration; None: unseeded.
        restart_failed: False: the first failure is an error.

    Attributes:
        failures_in_row: Failures without a finished episode in between.
    """

    def __init__(
        self, make_env: Callable[[], VectorTeamEnv], name: str, *, seed: int | None, restart_failed: bool
    ) -> None:
        self.failures_in_row = 0
        self._make_env = make_env
        self._name = name
        self._seed = seed
        self._restart_failed = restart_failed
        self._starts = 0

    def start_seed(self, env_steps: int) -> int | None:
        """Seed of a start from nothing: the runner's own at the very first, another one at each later start and each later
        time of the run (``env_steps``), so that a restored or restarted runner does not play the run's beginning again."""
        if self._seed is None:
            return None
        number = self._starts * _START_STRIDE + env_steps * _CLOCK_STRIDE
        self._starts += 1
        # Small enough for any library's seed; the first start keeps the seed that the user gave.
        return self._seed if number == 0 else (self._seed + number) % 2**31

    def refuse_unavailable(self, failure: EnvCallError) -> None:
        """Raise EnvContractError where the environment cannot be played on this machine at all."""
        cause = failure.__cause__
        if isinstance(cause, GameUnavailableError):
            raise EnvContractError(f"{self._name!r} cannot be played on this machine: {cause}") from cause

    def make_env(self, failure: EnvCallError) -> VectorTeamEnv:
        """Another environment in place of the one that failed.

        Raises:
            EnvContractError: It failed too often.
            EnvCallError: Making it failed.
        """
        cause = failure.__cause__
        self.failures_in_row += 1
        if self.failures_in_row >= _MAX_FAILURES_IN_ROW or not self._restart_failed:
            raise EnvContractError(
                f"{self._name!r} failed {self.failures_in_row} time(s) in a row without a finished episode in "
                f"between, last with {type(cause).__name__}: {hidden(str(cause))}"
            ) from cause
        logger.warning("Env %r failed (%r); it is made again.", self._name, cause)
        try:
            return self._make_env()
        except Exception as error:
            raise EnvCallError from error
