"""What happens when an environment fails as a whole: how often another one is made, and with which seed it begins."""

from __future__ import annotations

import logging
from collections.abc import Callable

from rllib_reborn.envs.contract import EnvContractError
from rllib_reborn.envs.rollout import EnvCallError
from rllib_reborn.envs.team_env import VectorTeamEnv
from rllib_reborn.envs.team_game import GameUnavailableError

logger = logging.getLogger(__name__)

#: Another environment may fail to be made, or to begin, so often in a row. How often one may fail in its steps:
#: :class:`~rllib_reborn.envs.failure_budget.FailureBudget`.
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
        failures: How often an environment failed as a whole, was not made or did not begin.
    """

    def __init__(
        self, make_env: Callable[[], VectorTeamEnv], name: str, *, seed: int | None, restart_failed: bool
    ) -> None:
        self.failures = 0
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

    def begin_again(
        self,
        failure: EnvCallError,
        put: Callable[[VectorTeamEnv], None],
        begin: Callable[[int | None], None],
        env_steps: int,
    ) -> None:
        """Put another environment in place of the one that failed, and begin its episodes.

        Args:
            failure: Of the environment.
            put: Called with the other one.
            begin: Called with the seed of its games.
            env_steps: The run's clock.

        Raises:
            EnvContractError: None can be made or begun; or the environment cannot be played on this machine.
        """
        for attempt in range(1, _MAX_FAILURES_IN_ROW + 1):
            self.failures += 1
            self.refuse_unavailable(failure)
            cause = failure.__cause__
            if attempt == _MAX_FAILURES_IN_ROW or not self._restart_failed:
                raise EnvContractError(
                    f"{self._name!r} failed {attempt} time(s) in a row without a step in between, last with "
                    f"{type(cause).__name__}: {cause}"
                ) from cause
            logger.warning("Env %r failed (%r); it is made again.", self._name, cause)
            try:
                put(self._made())
                return begin(self.start_seed(env_steps))
            except EnvCallError as again:
                failure = again

    def _made(self) -> VectorTeamEnv:
        try:
            return self._make_env()
        except Exception as error:
            raise EnvCallError from error
