"""Iterations that can be broken off between two updates and completed later, by this process or by another one."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

from rllib_reborn.algorithms.value_factorization.evaluation import EvaluatedAlgorithm
from rllib_reborn.runtime.interruption import InterruptedIterationError
from rllib_reborn.runtime.remote_processes import LearnersLostError
from rllib_reborn.runtime.standstill import games_answer_within

_SAMPLED = (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME)


class InterruptibleAlgorithm(EvaluatedAlgorithm, abc.ABC):
    """The interruption of :class:`ValueFactorization`."""

    #: Looked at before each training step and each update; by itself never true, as ``bool()`` is not.
    is_interrupted: Callable[[], bool] = bool
    #: Of :attr:`TrainingCounters.interrupted_env_steps`, what RLlib's own count lacks at present.
    _taken_back = 0
    #: Env steps of the iteration that an error has broken off, where all state is whole nevertheless, so that a checkpoint
    #: can be made of it; None: there was no such error.
    whole_env_steps: int | None = None

    @abc.abstractmethod
    def update(self, count: int) -> None:
        """``count`` updates."""

    def interrupt_when(self, is_interrupted: Callable[[], bool]) -> None:
        """From now on ``train()`` raises :class:`InterruptedIterationError` soon after ``is_interrupted()`` has become true.
        The next ``train()`` is the rest of that iteration."""
        self.is_interrupted = is_interrupted
        if self.runners.remote is not None:
            # Where no runner is alive, an iteration may never end.
            self.runners.remote.wait_only_while(lambda: not is_interrupted())

    @override(Algorithm)
    def step(self) -> dict[str, Any]:
        """One iteration, or the rest of one that was interrupted.

        Raises:
            InterruptedIterationError: See :meth:`interrupt_when`.
        """
        done = self.counters.interrupted_env_steps or 0
        before = self._sampled() - done
        # RLlib ends an iteration by how much its own count has risen since the beginning of this very call.
        self._add_to_sampled(-done)
        self._taken_back, self.whole_env_steps = done, None
        evaluated = self.counters.last_evaluation_env_steps
        try:
            moved = lambda: (self.counters.updates, self.counters.env_steps)  # noqa: E731
            with games_answer_within(self.config.sample_timeout_s, progress=moved):
                results: dict[str, Any] = super().step()
        except InterruptedIterationError as error:
            self._give_back()
            self.counters.interrupted_env_steps = error.env_steps = self._sampled() - before
            raise
        except Exception as error:
            # As an interruption, unless it came out of the learners.
            if not self.counters.updates_left and not isinstance(error, LearnersLostError):
                self._give_back()
                self.counters.interrupted_env_steps = self.whole_env_steps = self._sampled() - before
                self.counters.last_evaluation_env_steps = evaluated
            raise
        self.count_losses()
        return results

    def complete_training_step(self) -> None:
        """What is left of the training step that was interrupted."""
        self._give_back()
        self.counters.interrupted_env_steps = None
        self.update(self.counters.updates_left)

    def _give_back(self) -> None:
        self._add_to_sampled(self._taken_back)
        self._taken_back = 0

    def _sampled(self) -> int:
        return int(self.metrics.peek(_SAMPLED, default=0))

    def _add_to_sampled(self, env_steps: int) -> None:
        if env_steps:
            self.metrics.log_value(_SAMPLED, env_steps, reduce="lifetime_sum")
