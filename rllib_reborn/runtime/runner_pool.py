"""What a training loop asks of its env runners: collect episodes, take weights, evaluate greedily."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from rllib_reborn.runtime import overlapped_sampling
from rllib_reborn.runtime.env_runner import TeamEnvRunner
from rllib_reborn.runtime.evaluation_runners import EvaluationRunners
from rllib_reborn.runtime.idle_watch import IdleWatch
from rllib_reborn.runtime.results import Collected, Evaluated, Weights, without_errors

logger = logging.getLogger(__name__)


#: How long the loop waits for episodes when it has nothing else to do, before it looks after its runners again.
_IDLE_WAIT_S = 1.0


class RunnerPool:
    """The sampling and the evaluation runners of a run, and the learners whose weights they take.

    Args:
        config: Of the algorithm.
        sampling: Sampling runners; None: there are none.
        evaluation: Evaluation runners; None: there are none.
        learners: The learners.
        make_local_evaluation_runner: Makes an evaluation runner in this process, the first time that one is needed: training
            games must not be disturbed.
    """

    def __init__(
        self,
        config: Any,
        sampling: EnvRunnerGroup | None,
        evaluation: EnvRunnerGroup | None,
        learners: LearnerGroup,
        make_local_evaluation_runner: Callable[[], TeamEnvRunner],
    ) -> None:
        self._config = config
        self._sampling = sampling
        self._evaluation = evaluation
        self._learners = learners
        self._evaluating = EvaluationRunners(config, evaluation, make_local_evaluation_runner)
        self._idle = IdleWatch(logger.warning)

    # ------------------------------------------------------------------ collecting

    def collect(self, env_steps: int) -> list[Collected]:
        """Newly finished episodes, ordered by runner; empty if none came in time.

        Args:
            env_steps: The run's clock. It goes with the request, so that exploration follows it whatever messages a runner
                has missed.

        Raises:
            EnvContractError: The environment is broken.
            RuntimeError: A runner failed otherwise.
        """
        config, group = self._config, self._sampling
        assert group is not None
        remote = group.num_remote_env_runners()
        total = config.episodes_per_sample or config.num_envs_per_env_runner * max(1, remote)
        request = {"num_episodes": -(-total // max(1, remote)), "env_steps": env_steps}
        if remote == 0:
            collected: Collected = group.local_env_runner.collect(**request)
            if collected.error is not None:
                collected.error.raise_here()
            return [collected]
        if config.sampling == "async":
            answers = overlapped_sampling.first_ready(group, request, _IDLE_WAIT_S)
        else:
            answers = group.foreach_env_runner(
                "collect", kwargs=request, local_env_runner=False, timeout_seconds=config.sample_timeout_s
            )
            missing = group.num_healthy_remote_env_runners() - len(answers)
            if missing > 0:
                logger.warning(
                    "%d env runner(s) took longer than sample_timeout_s=%g seconds; their episodes are lost. Raise it in "
                    "env_runners(sample_timeout_s=...).",
                    missing,
                    config.sample_timeout_s,
                )
            elif not answers:
                time.sleep(_IDLE_WAIT_S)  # all runners are being restarted
        if answers:
            self._idle.came()
        else:
            self._idle.nothing_came(self._runners_missing)
        return without_errors(answers)

    def _runners_missing(self) -> str | None:
        group = self._sampling
        assert group is not None
        alive, all_of_them = group.num_healthy_remote_env_runners(), group.num_remote_env_runners()
        if alive == all_of_them:
            return None
        return (
            f"{alive} of {all_of_them} env runners are alive; training goes on when Ray has found room for the others"
        )

    def drain(self) -> list[Collected]:
        """Wait for overlapped requests that are under way, so that none is between two states; empty in sync sampling."""
        return without_errors(self._under_way())

    def discard(self) -> None:
        """The same; what comes of them is not wanted."""
        self._under_way()

    def _under_way(self) -> list[Collected]:
        if self._sampling is None or self._config.sampling != "async":
            return []
        return overlapped_sampling.under_way(self._sampling, self._config.sample_timeout_s)

    # ------------------------------------------------------------------ weights

    def learner_weights(self) -> Weights:
        """The agents' weights from the learners; mixer and targets stay there."""
        state = self._learners.get_state(components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}", inference_only=True)[
            COMPONENT_LEARNER
        ]
        return Weights(state[COMPONENT_RL_MODULE], state.get(WEIGHTS_SEQ_NO, 0))

    def sync_weights(self) -> None:
        """Weights to the sampling runners; with overlapped sampling without waiting for them."""
        weights, group = self.learner_weights(), self._sampling
        assert group is not None
        state = {COMPONENT_RL_MODULE: weights.rl_module, WEIGHTS_SEQ_NO: weights.seq_no}
        if group.num_remote_env_runners() == 0:
            group.local_env_runner.set_state(state)
            return
        request = {"state": ray.put(state)}
        if self._config.sampling == "async":
            group.foreach_env_runner_async_fetch_ready(
                func="set_state", kwargs=request, tag="set_state", timeout_seconds=0.0
            )
        else:
            # Waited for, so that what is sampled next depends on the seed alone and not on when a message arrives.
            group.foreach_env_runner("set_state", kwargs=request, local_env_runner=False)

    def sync_all_weights(self, env_steps: int) -> None:
        """Weights and the run's clock to all runners, whatever they have; returns when every healthy one has them."""
        for group in (self._sampling, self._evaluation):
            if group is not None:
                self.sync_weights_of(group, None, env_steps)

    def sync_weights_of(self, group: EnvRunnerGroup, workers: list[int] | None, env_steps: int) -> None:
        """The same to the remote runners ``workers`` of a group; None: to all of it, the local one included."""
        weights = self.learner_weights()
        reference = ray.put(weights.rl_module)

        def force(env_runner: TeamEnvRunner) -> None:
            env_runner.overwrite_weights(ray.get(reference), weights.seq_no, env_steps)

        group.foreach_env_runner(force, local_env_runner=workers is None, remote_worker_ids=workers)

    # ------------------------------------------------------------------ evaluation

    def evaluate_greedy(self, weights: Weights, env_steps: int, restore: Callable[[Any], Any]) -> Evaluated:
        """See :meth:`EvaluationRunners.evaluate_greedy`."""
        return self._evaluating.evaluate_greedy(weights, env_steps, restore)

    def stop(self) -> None:
        """End all sampling and evaluating processes for good: their games end, and what they booked is free again."""
        for group in (self._sampling, self._evaluation):
            if group is not None:
                group.stop()
        self.stop_local_evaluation()

    def stop_local_evaluation(self) -> None:
        """End the evaluation games in this process."""
        self._evaluating.stop_local()
