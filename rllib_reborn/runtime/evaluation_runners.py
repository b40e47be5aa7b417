"""Greedy evaluation on runners of its own: their shares, what happens where some die, the runner in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import ray
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rllib_reborn.runtime.env_runner import TeamEnvRunner
from rllib_reborn.runtime.results import Evaluated, Weights, without_errors
from rllib_reborn.runtime.seeds import remote_seed
from rllib_reborn.runtime.task_runner import TaskEnvRunner

logger = logging.getLogger(__name__)

#: Evaluation shares of runners that died are played by the others, at most this often.
_EVALUATION_ROUNDS = 3
#: Keeps evaluation games of the local runner apart from its training games under one seed (RLlib's own offset).
EVALUATION_SEED_OFFSET = 1_000_000


class EvaluationRunners:
    """The runners that evaluate.

    Args:
        config: Of the algorithm.
        group: Evaluation runners; None: there are none.
        make_local: Makes an evaluation runner in this process, the first time that one is needed.
    """

    def __init__(self, config: Any, group: EnvRunnerGroup | None, make_local: Callable[[], TeamEnvRunner]) -> None:
        self._config = config
        self._group = group
        self._make_local = make_local
        self._local: TeamEnvRunner | None = None

    def evaluate_greedy(self, weights: Weights, env_steps: int, restore: Callable[[Any], Any]) -> Evaluated:
        """``evaluation_duration`` greedy episodes on the evaluation runners, always from the same seeds.

        Args:
            weights: The agents'.
            env_steps: The run's clock.
            restore: Called with the group of evaluation runners before: brings back those that died.
        """
        wanted = int(self._config.evaluation_duration)
        seed = self._config.seed or 0
        group = self._group
        if group is None or group.num_remote_env_runners() == 0:
            runner = self.local()
            runner.overwrite_weights(weights.rl_module, weights.seq_no, env_steps)
            _switch_task(runner, weights.task)
            outcomes = runner.evaluate(wanted, seed + EVALUATION_SEED_OFFSET)
            return Evaluated(0, outcomes, runner.games.counts.take().env_failures)
        restore(group)
        answers = _evaluate_on(group, wanted, seed, weights, self._config.evaluation_sample_timeout_s)
        outcomes = [outcome for answer in answers for outcome in answer.outcomes]
        if len(outcomes) < wanted:
            logger.warning(
                "Evaluation played %d of %d episodes: the other runners died or took longer than "
                "evaluation_sample_timeout_s=%g seconds.",
                len(outcomes),
                wanted,
                self._config.evaluation_sample_timeout_s,
            )
        return Evaluated(0, outcomes, sum(answer.env_failures for answer in answers))

    def local(self) -> TeamEnvRunner:
        """The evaluation runner in this process, made when first needed."""
        if self._group is not None and self._group.local_env_runner is not None:
            runner: TeamEnvRunner = self._group.local_env_runner
            return runner
        if self._local is None:
            self._local = self._make_local()
        return self._local

    def stop_local(self) -> None:
        """End the evaluation games in this process."""
        if self._local is not None:
            self._local.stop()


def _switch_task(runner: TeamEnvRunner, task: int | None) -> None:
    if task is not None and isinstance(runner, TaskEnvRunner):
        runner.switch_task(task)


def _evaluate_on(group: EnvRunnerGroup, wanted: int, seed: int, weights: Weights, timeout_s: float) -> list[Evaluated]:
    """Share ``wanted`` episodes out over the healthy runners; what is lost with some is played by others."""
    reference, task = ray.put(weights.rl_module), weights.task
    answers: list[Evaluated] = []
    for round_number in range(_EVALUATION_ROUNDS):
        healthy = sorted(group.healthy_env_runner_ids())
        missing = wanted - sum(len(answer.outcomes) for answer in answers)
        if missing == 0 or not healthy:
            break
        shares = {worker: missing // len(healthy) + (i < missing % len(healthy)) for i, worker in enumerate(healthy)}

        def evaluate(env_runner: TeamEnvRunner, shares: Any = shares, round_number: int = round_number) -> Evaluated:
            index = env_runner.worker_index
            env_runner.overwrite_weights(ray.get(reference), weights.seq_no, 0)
            _switch_task(env_runner, task)
            return env_runner.evaluate_remote(shares[index], remote_seed(seed, "evaluation", index, 1 + round_number))

        answers += without_errors(
            group.foreach_env_runner(
                evaluate,
                local_env_runner=False,
                remote_worker_ids=[worker for worker in healthy if shares[worker]],
                timeout_seconds=timeout_s,
            )
        )
    return answers
