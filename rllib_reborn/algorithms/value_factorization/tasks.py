"""A run that goes through a sequence of tasks: its settings checked, its counters, its runners."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EVALUATION_RESULTS

from rllib_reborn.algorithms.value_factorization.counters import TrainingCounters
from rllib_reborn.envs.task_sequence import TASK, is_sequence, task_names
from rllib_reborn.runtime.env_runner import TeamEnvRunner
from rllib_reborn.runtime.results import Collected
from rllib_reborn.runtime.runner_pool import RunnerPool
from rllib_reborn.runtime.task_pool import TaskRunnerPool
from rllib_reborn.runtime.task_runner import TaskCollected, TaskEnvRunner
from rllib_reborn.runtime.task_schedule import TaskSchedule

#: Key of the number of the task in what an evaluation gives.
EVALUATED_TASK = "task"


@dataclasses.dataclass
class TaskCounters(TrainingCounters):
    """The counters of a run that goes through tasks; see :class:`~rllib_reborn.runtime.task_schedule.PeriodClock`."""

    period: int | None = None
    period_began: int = 0
    task_name: str | None = None
    looked_in: int = -1
    #: Running episodes that were dropped at switches; they are no faults.
    episodes_cut_off: int = 0

    def add(self, collected: Collected) -> None:
        """See :meth:`TrainingCounters.add`."""
        super().add(collected)
        if isinstance(collected, TaskCollected):
            self.episodes_cut_off += collected.cut_off


def counters_of(config: Any) -> TrainingCounters:
    """New counters of a run.

    Args:
        config: The algorithm's.
    """
    return TaskCounters() if is_sequence(config.env) else TrainingCounters()


def task_columns(config: Any, counters: TrainingCounters, results: Mapping[str, Any]) -> dict[str, Any]:
    """What a row of ``metrics.jsonl`` has of the tasks; empty where the environment is no sequence.

    Args:
        config: The algorithm's.
        counters: Its counters.
        results: RLlib's, of this iteration.
    """
    schedule = TaskSchedule.of(config)
    if schedule is None or not isinstance(counters, TaskCounters):
        return {}
    period, evaluation = counters.period or 0, results.get(EVALUATION_RESULTS, {}).get(ENV_RUNNER_RESULTS, {})
    return {
        "task/index": schedule.task_of(period),
        "task/switches": period,
        "task/episodes_cut_off": counters.episodes_cut_off,
        "eval/task": evaluation.get(EVALUATED_TASK),
    }


def make_runner_pool(algorithm: Any) -> RunnerPool:
    """The runners of an algorithm that has its groups of runners, its learners and its counters."""
    config = algorithm.config
    runners = (
        config,
        algorithm.env_runner_group,
        algorithm.eval_env_runner_group,
        algorithm.learner_group,
        algorithm.make_evaluation_runner,
    )
    schedule = TaskSchedule.of(config)
    if schedule is None:
        return RunnerPool(*runners)

    def on_switch() -> None:
        if schedule.settings.replay == "clear":
            algorithm.replay.clear()
            algorithm.counters.replay_lost()

    return TaskRunnerPool(schedule, algorithm.counters, on_switch, *runners)


def present_task(algorithm: Any) -> int | None:
    """Number of the task that an algorithm was trained on last; None: its environment is no sequence."""
    schedule = TaskSchedule.of(algorithm.config)
    return None if schedule is None else schedule.task_of(algorithm.counters.period or 0)


def evaluated_task(config: Any, evaluation_config: Any, task: int | None) -> int | None:
    """Number of the task that an evaluation was played on, where it is played on those that are trained.

    Args:
        config, evaluation_config: The algorithm's.
        task: The one that was to be.
    """
    return task if evaluation_config.env == config.env else None


def runner_class(config: Any) -> type:
    """The class of a config's env runners.

    Raises:
        ValueError: The config has one of its own, which does not know of tasks.
    """
    given: type = config.env_runner_cls
    if not is_sequence(config.env):
        return TeamEnvRunner if given is TaskEnvRunner else given
    if given is TeamEnvRunner:
        return TaskEnvRunner
    if not issubclass(given, TaskEnvRunner):
        raise ValueError(
            f"env_runner_cls is {given.__name__} with a sequence of tasks; expected a subclass of {TaskEnvRunner.__name__}."
        )
    return given


def check_tasks(config: Any) -> None:
    """Whether the settings of a sequence of tasks fit the rest of a config.

    Raises:
        ValueError: They do not; the message says which, and what to do.
    """
    schedule = TaskSchedule.of(config) if config.task_sequence is not None else None
    if is_sequence(config.env) and TASK in config.env_config:
        raise ValueError(
            f"env_config.{TASK} is {config.env_config[TASK]!r}, but task_sequence decides which task is trained, and "
            "evaluation plays that one; leave it out."
        )
    if schedule is None:
        if config.task_sequence is not None:
            raise ValueError(
                f"task_sequence is set and env is {config.env!r}, one environment, so that it would have no effect; give "
                "env=[a, b, ...], or leave it out."
            )
        if is_sequence(config.env):
            raise ValueError(
                f"env is a sequence of {len(task_names(config.env))} tasks and task_sequence is not set; give "
                "task_sequence.every_env_steps, the env steps of one task."
            )


def check_task_length(config: Any) -> None:
    """Whether a task of a sequence is long enough to be trained; for numbers that are valid by themselves.

    Raises:
        ValueError: It is not; the message says how long it has to be.
    """
    schedule = TaskSchedule.of(config)
    if schedule is None or config.in_evaluation:
        return
    given, limit = schedule.settings.every_env_steps, config.team_spec.episode_limit
    most, first = _longest_iteration(config), config.learning_starts_episodes
    if schedule.settings.replay == "clear" and given < most + first * limit:
        raise ValueError(
            f"task_sequence.every_env_steps is {given:,} with replay 'clear', and after each switch an iteration of up to "
            f"{most:,} env steps and {first} episodes (learning_starts_episodes) of up to {limit} may pass before the next "
            f"update; expected at least {most + first * limit:,}, fewer learning_starts_episodes, or replay 'keep'."
        )
    if given < most:
        raise ValueError(
            f"task_sequence.every_env_steps is {given:,}, and one iteration may take {most:,} env steps (report interval "
            f"{config.min_sample_timesteps_per_iteration or 0:,}, and a last rollout of all games), so that tasks would be "
            f"passed over; expected at least {most:,}, a shorter report interval, or fewer games."
        )


def _longest_iteration(config: Any) -> int:
    """Env steps that an iteration takes at most, where no game fails: its rollouts end with the one that reaches the report
    interval, and in one each game plays its share of episodes, none longer than the limit."""
    runners = max(1, config.num_env_runners)
    games = config.num_envs_per_env_runner
    episodes = -(-(config.episodes_per_sample or games * runners) // runners)
    rollout = -(-episodes // games) * games * runners * config.team_spec.episode_limit
    return int(max(1, config.min_sample_timesteps_per_iteration or 0) - 1 + rollout)
