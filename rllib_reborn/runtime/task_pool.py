"""What a training loop asks of its env runners where it goes through a sequence of tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from rllib_reborn.runtime.results import Collected, Weights
from rllib_reborn.runtime.runner_pool import RunnerPool
from rllib_reborn.runtime.task_runner import TaskCollected
from rllib_reborn.runtime.task_schedule import PeriodClock, TaskSchedule


class TaskRunnerPool(RunnerPool):
    """The runners of a run that goes through tasks. Which period is trained is decided here, at the first request of each
    iteration, so that an iteration, and what is evaluated at its end, is of one task; every request says it.

    Args:
        schedule: When which task is trained.
        clock: The counters of the run, in which the present period is noted.
        on_switch: Called when a period begins; at the first one only where a fork goes on from another task.
        *runners, **more_runners: As of :class:`RunnerPool`.
    """

    def __init__(
        self,
        schedule: TaskSchedule,
        clock: PeriodClock,
        on_switch: Callable[[], None],
        *runners: Any,
        **more_runners: Any,
    ) -> None:
        super().__init__(*runners, **more_runners)
        self._schedule = schedule
        self._clock = clock
        self._on_switch = on_switch

    def collect(self, env_steps: int) -> list[Collected]:
        """As :meth:`RunnerPool.collect`. Overlapped requests that are under way when a period ends are waited for and belong
        to it: where there are some, they are what is given back, and the period begins with the next call."""
        clock, wanted = self._clock, self._schedule.period_at(env_steps)
        if clock.looked_in != clock.iterations:
            if wanted != clock.period or self._is_renamed():
                last = self.drain()
                if last:
                    return last
                name = self._schedule.names[self._schedule.task_of(wanted)]
                # A fork begins with the episodes of another run, which knew no tasks, or had others.
                was_another = wanted > 0 if clock.task_name is None else name != clock.task_name
                if clock.period is not None or was_another:
                    self._on_switch()
                clock.period, clock.period_began, clock.task_name = wanted, env_steps, name
            clock.looked_in = clock.iterations
        self.also_asked = {"period": clock.period, "period_began": clock.period_began}
        return [self._without_late_episodes(answer) for answer in super().collect(env_steps)]

    def learner_weights(self) -> Weights:
        """As :meth:`RunnerPool.learner_weights`, with the task that they are to be evaluated on: the one that is trained."""
        period = self._clock.period
        if period is None:  # nothing was collected yet: a run that begins, or a fork of one that knew no tasks
            period = self._schedule.period_at(self._clock.env_steps)
        return super().learner_weights()._replace(task=self._schedule.task_of(period))

    def _is_renamed(self) -> bool:
        """Whether the present period is of another task than it was: a fork has changed the tasks."""
        clock = self._clock
        if clock.period is None or clock.task_name is None:
            return False
        return clock.task_name != self._schedule.names[self._schedule.task_of(clock.period)]

    def _without_late_episodes(self, answer: Collected) -> Collected:
        """Where the replay was emptied, a runner that was not waited for any longer must not bring episodes of before."""
        is_late = isinstance(answer, TaskCollected) and answer.period != self._clock.period
        if not is_late or self._schedule.settings.replay == "keep":
            return answer
        assert isinstance(answer, TaskCollected)
        late = sum(len(block) for block in answer.blocks)
        return dataclasses.replace(answer, blocks=[], outcomes=[], cut_off=answer.cut_off + late)
