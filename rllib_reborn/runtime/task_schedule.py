"""When which task of a sequence is trained on, and how exploration follows."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from rllib_reborn.envs.task_sequence import is_sequence, task_names
from rllib_reborn.runtime.exploration import EpsilonSettings
from rllib_reborn.settings import Settings, parse

#: Upper end of a number of env steps, far above all use.
_MOST_STEPS = 10**15


class TaskSequenceSettings(Settings):
    """How a run goes through the tasks of its environment, ``env: [a, b, ...]``.

    Attributes:
        every_env_steps: Env steps of one task; has no default. The task of period k = 0, 1, ..., which begins with the first
            iteration that begins at or after ``k * every_env_steps`` env steps of the run, is number k modulo the number of
            tasks.
        replay: ``keep``: episodes of earlier tasks stay in the replay until newer ones take their place; ``clear``: it is
            emptied at each switch, and ``training.learning_starts_episodes`` are collected again before the next update.
        repeat: Begin with the first task again after the last one; false: the last one is trained on to the end.
        epsilon: ``continue``: exploration goes on along its schedule, which counts the env steps of the whole run;
            ``restart``: the schedule begins anew with each task.
    """

    every_env_steps: Annotated[int, Field(ge=1, le=_MOST_STEPS)]
    replay: Literal["keep", "clear"] = "keep"
    repeat: bool = True
    epsilon: Literal["continue", "restart"] = "continue"


@dataclasses.dataclass(frozen=True)
class TaskSchedule:
    """Periods of a run, one after the other, each with its task.

    Attributes:
        names: Of the tasks.
        settings: How the run goes through them.
    """

    names: tuple[str, ...]
    settings: TaskSequenceSettings

    @classmethod
    def of(cls, config: Any) -> TaskSchedule | None:
        """That of a config whose environment is a sequence; None: it is none.

        Raises:
            ValueError: Its settings are not valid.
        """
        if not is_sequence(config.env):
            return None
        return cls(task_names(config.env), parse(TaskSequenceSettings, config.task_sequence, "task_sequence"))

    def period_at(self, env_steps: int) -> int:
        """The period, >= 0, to which an iteration belongs that begins after so many env steps of the run."""
        period = env_steps // self.settings.every_env_steps
        return period if self.settings.repeat else min(period, len(self.names) - 1)

    def task_of(self, period: int) -> int:
        """Number of the task of a period."""
        return period % len(self.names)


class EpsilonSchedule(Protocol):
    """What is asked of exploration's schedule."""

    def at(self, env_steps: float) -> float:
        """Epsilon after ``env_steps`` env steps of the whole run."""


class EpsilonOfTask(EpsilonSettings):
    """The same schedule, but its clock begins at ``begins_at`` env steps of the run."""

    begins_at: int = 0

    def at(self, env_steps: float) -> float:
        """See :meth:`EpsilonSettings.at`."""
        return super().at(env_steps - self.begins_at)


class PeriodClock(Protocol):
    """The counters of a run with a sequence of tasks.

    Attributes:
        period: The period that is trained; None: nothing was collected yet.
        period_began: Env steps of the run at its beginning.
        task_name: Name of its task; None: nothing was collected yet.
        env_steps: Env steps of the run so far.
        looked_in: Number of the iteration in which it was last looked whether the next one begins; -1: in none.
        iterations: Complete iterations.
    """

    period: int | None
    period_began: int
    task_name: str | None
    env_steps: int
    looked_in: int
    iterations: int


class RestartedEpsilon:
    """Epsilon of the run for the driver, where the schedule begins anew with each task.

    Args:
        settings: The schedule.
        clock: The counters of the run.
    """

    def __init__(self, settings: EpsilonSettings, clock: PeriodClock) -> None:
        self._settings = settings
        self._clock = clock

    def at(self, env_steps: float) -> float:
        """See :class:`EpsilonSchedule`."""
        return self._settings.at(env_steps - self._clock.period_began)


def epsilon_of(config: Any, counters: Any) -> EpsilonSchedule:
    """Exploration's schedule of a config; ``counters`` are the run's.

    Raises:
        ValueError: The settings are not valid.
    """
    settings, schedule = parse(EpsilonSettings, config.epsilon, "epsilon"), TaskSchedule.of(config)
    restarts = schedule is not None and schedule.settings.epsilon == "restart"
    return RestartedEpsilon(settings, counters) if restarts else settings
