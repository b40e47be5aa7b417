"""Greedy evaluation by the env-step clock, and when the algorithm is asked for one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EVALUATION_RESULTS

from rllib_reborn.algorithms.value_factorization.checkpointing import CheckpointedAlgorithm
from rllib_reborn.algorithms.value_factorization.tasks import EVALUATED_TASK, evaluated_task
from rllib_reborn.runtime import ray_internals
from rllib_reborn.runtime.env_runner import TeamEnvRunner
from rllib_reborn.runtime.remote_processes import watch_processes
from rllib_reborn.runtime.results import Weights
from rllib_reborn.runtime.room import shortage_announced
from rllib_reborn.runtime.standstill import games_answer_within

#: Key of what results say of the last evaluation, whenever it was.
LAST_EVALUATION = "last_evaluation"


class EvaluatedAlgorithm(CheckpointedAlgorithm):
    """The evaluation of :class:`ValueFactorization`.

    Under Tune, and where ``evaluation(interval_env_steps=...)`` is set, every result has the last evaluation, and at first
    one that is played before the first row: a scheduler or a searcher cannot use a metric that some results lack. When it
    was played stands under ``last_evaluation/env_steps``, its main numbers beside it.
    """

    def __init__(self, config: Any = None, *args: Any, storage: Any = None, **kwargs: Any) -> None:
        # Where a trial's files go; only Tune gives it.
        self._is_trial = storage is not None
        super().__init__(config, *args, storage=storage, **kwargs)

    @override(Algorithm)
    def setup(self, config: Any) -> None:
        """RLlib's, which starts all processes."""
        with shortage_announced(self.config), games_answer_within(self.config.sample_timeout_s):
            super().setup(config)
        self.processes = watch_processes(self)

    @override(Algorithm)
    def step(self) -> dict[str, Any]:
        """One iteration of RLlib's; with the evaluation that has become due, where one has."""
        for_tune = self.config.env_steps_per_evaluation is not None and self._is_trial
        if for_tune and self._last_evaluation is None:
            self._remember(self.evaluate())
        if self.config.evaluation_parallel_to_training:
            # What has become due is evaluated beside the next iteration, with the weights from before it.
            rest = self.counters.interrupted_env_steps is not None  # an iteration's; its beginning has asked already
            due, weights = not rest and self.take_due_evaluation(), self.runners.learner_weights()
            with ThreadPoolExecutor(max_workers=1) as executor:
                future = executor.submit(self.evaluate_with, weights) if due else None
                try:
                    results: dict[str, Any] = super().step()
                finally:
                    if future is not None:
                        self._evaluation = future.result()
        else:
            results = super().step()
            if self.take_due_evaluation():
                self._evaluation = self.evaluate()
        if self._evaluation is not None:
            results[EVALUATION_RESULTS] = self._evaluation
            self._remember(self._evaluation)
            self._evaluation = None
        if for_tune and self._last_evaluation is not None:
            results[EVALUATION_RESULTS], results[LAST_EVALUATION] = self._last_evaluation
        return results

    def _remember(self, evaluation: dict[str, Any]) -> None:
        """Keep it for Tune, unless every game of it has failed."""
        found = evaluation[ENV_RUNNER_RESULTS]
        if found["episode_return_mean"] is None:
            return
        main = {"return_mean": found["episode_return_mean"], "env_steps": self.counters.env_steps}
        if found["win_rate"] is not None:
            main["win_rate"] = found["win_rate"]
        self._last_evaluation = evaluation, main

    def take_due_evaluation(self) -> bool:
        """Has the env-step clock passed a multiple of the interval since this last said so?"""
        interval, counters = self.config.env_steps_per_evaluation, self.counters
        if interval is None or counters.env_steps // interval <= counters.last_evaluation_env_steps // interval:
            return False
        counters.last_evaluation_env_steps = counters.env_steps
        return True

    @override(Algorithm)
    def evaluate(self, parallel_train_future: Any = None) -> dict[str, Any]:
        """Play ``evaluation_duration`` greedy episodes with the current weights, always from the same seeds.

        Returns:
            ``{"env_runners": {"episode_return_mean": ..., "episode_return_std": ..., "episode_returns": [...],
            "episode_len_mean": ..., "num_episodes": ..., "win_rate": ... or None}}``.
        """
        with games_answer_within(self.config.evaluation_sample_timeout_s):
            return self.evaluate_with(self.runners.learner_weights())

    def stop_runners(self) -> None:
        """End all sampling and evaluating processes for good; what they booked is free again."""
        for kind in ("runners", "evaluation"):
            if kind in self.processes:
                self.processes[kind].stopping()
        self.runners.stop()

    def evaluate_with(self, weights: Weights) -> dict[str, Any]:
        """The same with given weights."""
        self._run_callbacks("on_evaluate_start")
        evaluated = self.runners.evaluate_greedy(weights, self.counters.env_steps, self.restore_env_runners)
        summary = evaluated.summary()
        if weights.task is not None:
            summary[EVALUATED_TASK] = evaluated_task(self.config, self.evaluation_config, weights.task)
        results = {ENV_RUNNER_RESULTS: summary}
        self._run_callbacks("on_evaluate_end", evaluation_metrics=results)
        return results

    def _run_callbacks(self, name: str, **kwargs: Any) -> None:
        functions = getattr(self.config, f"callbacks_{name}")
        ray_internals.run_callbacks(
            name, self.callbacks, functions, algorithm=self, metrics_logger=self.metrics, **kwargs
        )

    def make_evaluation_runner(self) -> TeamEnvRunner:
        """An evaluation runner in this process."""
        config = self.evaluation_config
        runner: TeamEnvRunner = config.env_runner_cls(
            config=config, env_creator=self.env_creator, worker_index=0, num_workers=0
        )
        return runner

    @override(Algorithm)
    def cleanup(self) -> None:
        if hasattr(self, "runners"):
            self.runners.stop_local_evaluation()
        for processes in self.processes.values():
            processes.stopping()
        super().cleanup()
