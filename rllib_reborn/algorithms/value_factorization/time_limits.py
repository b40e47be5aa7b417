"""How long the processes of an algorithm are waited for, as settings of its config."""

from __future__ import annotations

from typing import Any, Self

from ray.rllib.algorithms.algorithm_config import NotProvided

from rllib_reborn.algorithms.value_factorization.environment import EnvironmentConfig
from rllib_reborn.limits import ANSWER_S, EVALUATION_S, LEARNER_S, SAMPLE_S


class TimeLimitsConfig(EnvironmentConfig):
    """The part of :class:`ValueFactorizationConfig` that is about waiting; ``docs/reliability.md`` has all limits."""

    #: For configs that an earlier version has saved.
    answer_timeout_s: float = ANSWER_S
    learner_timeout_s: float = LEARNER_S

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class)
        # RLlib's 60 and 120 s are short for slow games, and who takes longer is given up.
        self.sample_timeout_s = SAMPLE_S
        self.evaluation_sample_timeout_s = EVALUATION_S
        self.answer_timeout_s = ANSWER_S
        self.learner_timeout_s = LEARNER_S
        # RLlib's is half an hour, in which no other runner samples.
        self.env_runner_restore_timeout_s = ANSWER_S

    def time_limits(self, *, answer_timeout_s: float = NotProvided, learner_timeout_s: float = NotProvided) -> Self:
        """Sets how long processes are waited for; ``env_runners(sample_timeout_s=...)`` and
        ``evaluation(evaluation_sample_timeout_s=...)`` set it for sampling and evaluating.

        Args:
            answer_timeout_s: Seconds, > 0, for a runner to take weights, to give its state and the like; then it is ended,
                and another one is started. Default 120.
            learner_timeout_s: Seconds, > 0, for a learner to do an update, to give its state and the like; then training
                ends, and goes on from its last checkpoint. Default 600.

        Raises:
            ValueError: One is no such number.
        """
        for name, value in (("answer_timeout_s", answer_timeout_s), ("learner_timeout_s", learner_timeout_s)):
            if value is not NotProvided:
                setattr(self, name, _seconds(name, value))
        if answer_timeout_s is not NotProvided:
            self.env_runner_restore_timeout_s = self.answer_timeout_s
        return self


def _seconds(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise ValueError(f"{name} is {value!r}; expected a number of seconds > 0.")
    return float(value)
