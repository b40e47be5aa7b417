"""What a training loop asks of its env runners: collect episodes, take weights, evaluate greedily."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from rllib_reborn.runtime.env_runner import TeamEnvRunner
from rllib_reborn.runtime.evaluation_runners import EvaluationRunners
from rllib_reborn.runtime.remote_sampling import RemoteSampling
from rllib_reborn.runtime.results import Collected, Evaluated, Weights


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
        self.remote = None if sampling is None else RemoteSampling(config, sampling)
        self.also_asked: dict[str, Any] = {}  #: Further arguments of each request.

    # ------------------------------------------------------------------ collecting

    def collect(self, env_steps: int) -> list[Collected]:
        """Newly finished episodes, ordered by runner; empty if none came in time.

        Args:
            env_steps: The run's clock. It goes with the request, so that exploration follows it whatever messages a runner
                has missed.

        Raises:
            WaitGivenUpError: See :meth:`RemoteSampling.wait_only_while`.
            RunnersLostError: They are lost again and again.
        """
        config, group, remote = self._config, self._sampling, self.remote
        assert group is not None
        assert remote is not None
        count = group.num_remote_env_runners()
        total = config.episodes_per_sample or config.num_envs_per_env_runner * max(1, count)
        request = {"num_episodes": -(-total // max(1, count)), "env_steps": env_steps, **self.also_asked}
        if count == 0:
            return [group.local_env_runner.collect(**request)]
        return remote.collect(request)

    def drain(self) -> list[Collected]:
        """Wait for overlapped requests that are under way, so that none is between two states; empty in sync sampling."""
        return [] if self.remote is None else self.remote.drain()

    def discard(self) -> None:
        """The same; what comes of them is not wanted."""
        if self.remote is not None:
            self.remote.under_way()

    # ------------------------------------------------------------------ weights

    def learner_weights(self) -> Weights:
        """The agents' weights from the learners; mixer and targets stay there."""
        state = self._learners.get_state(components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}", inference_only=True)[
            COMPONENT_LEARNER
        ]
        return Weights(state[COMPONENT_RL_MODULE], state.get(WEIGHTS_SEQ_NO, 0))

    def sync_weights(self) -> None:
        """Weights to the sampling runners; with overlapped sampling without waiting for them."""
        weights, group, remote = self.learner_weights(), self._sampling, self.remote
        assert group is not None
        assert remote is not None
        state = {COMPONENT_RL_MODULE: weights.rl_module, WEIGHTS_SEQ_NO: weights.seq_no}
        if group.num_remote_env_runners() == 0:
            group.local_env_runner.set_state(state)
        else:
            remote.set_state(state)

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
