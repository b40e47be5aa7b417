"""The one training loop that all algorithms share: collect, replay, update, sync weights, evaluate, count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    REPLAY_BUFFER_SAMPLE_TIMER,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

from rllib_reborn.algorithms.value_factorization.activity_clock import ActivityClock
from rllib_reborn.algorithms.value_factorization.config import ValueFactorizationConfig, set_algorithm_class
from rllib_reborn.algorithms.value_factorization.interruptible import InterruptibleAlgorithm
from rllib_reborn.algorithms.value_factorization.learner import ENV_STEPS, EPISODES
from rllib_reborn.algorithms.value_factorization.learner_updates import Update, learner_batches, run_updates
from rllib_reborn.algorithms.value_factorization.metrics import TEAM_METRICS, team_metrics
from rllib_reborn.algorithms.value_factorization.replay_mirror import ReplayMirror
from rllib_reborn.algorithms.value_factorization.settings import RewardSettings
from rllib_reborn.algorithms.value_factorization.setup import build_envs, make_mirror, make_replay, share_module
from rllib_reborn.algorithms.value_factorization.tasks import counters_of, make_runner_pool, task_columns
from rllib_reborn.callbacks.scheduler import PLASTICITY_EVENTS, PlasticityScheduler, plasticity_metric_names
from rllib_reborn.plasticity.interventions.edits import SurgeryRefused
from rllib_reborn.replay import EpisodeReplay, ReplayMemoryError, ReplaySample
from rllib_reborn.replay.reward_scaling import RewardScaler
from rllib_reborn.runtime.env_creator import register_team_env
from rllib_reborn.runtime.interruption import InterruptedIterationError
from rllib_reborn.runtime.results import Collected
from rllib_reborn.runtime.task_schedule import epsilon_of
from rllib_reborn.settings import parse

#: A row has the mean of what its updates have logged, each learner for itself; of more numbers than this, of the last ones.
_MOST_SCALARS = 1_000_000


class ValueFactorization(InterruptibleAlgorithm):
    """The loop of every algorithm here; an algorithm is a subclass that names its config."""

    config: ValueFactorizationConfig
    config_class: ClassVar[type[ValueFactorizationConfig]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "config_class" in vars(cls):
            set_algorithm_class(cls.config_class, cls)

    @classmethod
    @override(Algorithm)
    def get_default_config(cls) -> ValueFactorizationConfig:
        return cls.config_class()

    def __init__(self, config: Any = None, *args: Any, **kwargs: Any) -> None:
        # In a fresh process (a Tune trial, a restored checkpoint) nobody has registered the env name yet.
        name = config.env if isinstance(config, AlgorithmConfig) else (config or {}).get("env")
        if name is not None:
            register_team_env(name)
        self.replay: EpisodeReplay | None = None
        self.mirror: ReplayMirror | None = None  #: The replay's copy on the learner's GPU, if there is one.
        super().__init__(config, *args, **kwargs)

    @override(Algorithm)
    def setup(self, config: Any) -> None:
        self.counters, self.activity = counters_of(config), ActivityClock()
        super().setup(config)
        config = self.config
        self.runners = make_runner_pool(self)
        share_module(self.learner_group, self.env_runner)
        build_envs(self)
        self._refuse_interventions()
        self._interventions = config.parse_interventions()
        ratios = [one.replay_ratio for one in self._interventions if one.replay_ratio is not None]
        self._updates_per_episode = float(ratios[0] if ratios else config.updates_per_episode)
        self._epsilon = epsilon_of(config, self.counters)
        seed = config.seed if config.seed is not None else int(np.random.SeedSequence().generate_state(1)[0])
        self.plasticity_scheduler = PlasticityScheduler(self._interventions, config.parse_dormancy(), seed)
        self._plasticity_metrics = plasticity_metric_names(self.learner_group, self.plasticity_scheduler)
        self._plasticity_events: list[dict[str, Any]] = []
        reward = parse(RewardSettings, config.reward, "reward")
        self.reward_scaler = RewardScaler(scale=reward.scale, standardise=reward.standardise)
        try:
            self.replay = make_replay(config)
            self.mirror = make_mirror(config, self.learner_group, self.replay)
        except ReplayMemoryError:
            self.cleanup()  # stop() needs what Tune's trainable makes after this
            raise
        # RLlib sends initial weights only together with connector states, which this loop has none of.
        self.runners.sync_all_weights(self.counters.env_steps)

    def _refuse_interventions(self) -> None:
        """Raise SurgeryRefused where an intervention refuses these networks, which the learners have built."""
        answers = self.learner_group.foreach_learner(lambda learner: learner.refused_intervention())
        if (refusal := next(iter(answers)).get()) is not None:
            self.cleanup()
            raise SurgeryRefused(refusal)

    # ------------------------------------------------------------------ training

    @override(Algorithm)
    def training_step(self) -> None:
        if self.is_interrupted():
            raise InterruptedIterationError
        if self.counters.interrupted_env_steps is not None:
            self.complete_training_step()
            return
        timed = self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER))
        with timed, self.activity.round_of_sampling(self.counters):
            self.receive(self.runners.collect(self.counters.env_steps))
        self.update(self.counters.updates_due(self._updates_per_episode, self.config.learning_starts_episodes))

    def update(self, count: int) -> None:
        """``count`` updates, then new weights for the runners; an interruption leaves the rest for later."""
        self.counters.updates_left = count
        for done in run_updates(self.learner_group, self._make_updates(count)):
            self.metrics.log_value((TIMERS, LEARNER_UPDATE_TIMER), done.seconds, reduce="ema")
            self.activity.learning += done.seconds
            for name, value in (item for scalars in done.scalars for item in scalars.items()):
                key = (LEARNER_RESULTS, DEFAULT_MODULE_ID, name)
                self.metrics.log_value(key, value, reduce="mean", window=_MOST_SCALARS)
            self._plasticity_events += done.events
            self.counters.updates += 1
            self.counters.updates_left -= 1
            self.counters.env_steps_trained += done.update.env_steps
        if self.counters.updates_left < count:
            answers = self.learner_group.foreach_learner(
                lambda learner: learner.take_metrics(), timeout_seconds=self.config.sample_timeout_s
            )
            self.metrics.aggregate([answer.get() for answer in answers], key=LEARNER_RESULTS)
        if self.counters.updates_left:
            raise InterruptedIterationError
        if count:
            with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
                self.runners.sync_weights()

    def receive(self, collected: list[Collected]) -> None:
        """Take in what runners have collected: replay, counters, metrics."""
        assert self.replay is not None
        if collected:
            self.metrics.aggregate([answer.metrics for answer in collected], key=ENV_RUNNER_RESULTS)
        for answer in collected:
            for block in answer.blocks:
                if self.reward_scaler.changes_rewards:
                    self.reward_scaler.observe(block.fields["reward"])
                self.replay.add(block)
            self.counters.add(answer)
        for answer in collected:  # what is sound is taken in
            if answer.error is not None:
                answer.error.raise_here()

    def _make_updates(self, count: int) -> Iterator[Update]:
        """``count`` updates: a batch each, and what is due. One is drawn while earlier ones are still under way."""
        assert self.replay is not None
        sample: ReplaySample
        learners, first = max(1, self.config.num_learners), self.counters.updates
        for number in range(first, first + count):
            if self.is_interrupted():
                return
            clock = self.counters.clock(updates_before=number)
            with self.metrics.log_time((TIMERS, REPLAY_BUFFER_SAMPLE_TIMER)):
                if self.mirror is None:
                    sample = self.replay.sample(self.config.batch_episodes, shards=learners)
                else:
                    sample = self.mirror.sample(self.config.batch_episodes)
            request, episode_columns = None, {}
            if self.plasticity_scheduler.has_work:
                request = self.plasticity_scheduler.request(clock, self.replay)
                episode_columns = self.plasticity_scheduler.batch_columns(len(sample.indices), clock)
            batches = learner_batches(
                sample,
                learners,
                scaler=self.reward_scaler if self.reward_scaler.changes_rewards else None,
                episode_columns=episode_columns,
                step_columns=self.step_columns(sample, clock),
            )
            timesteps = {ENV_STEPS: self.counters.env_steps, EPISODES: self.counters.episodes}
            yield Update(batches, timesteps, sample.env_steps, request)

    def step_columns(self, sample: ReplaySample, clock: Mapping[str, int]) -> dict[str, npt.NDArray[Any]]:
        """Further columns of a learner's batch, [env steps, ...] in the order of ``sample``; drawn from the run's seed and
        ``clock``, so that a resumed run draws what an uninterrupted one does."""
        return {}

    @override(Algorithm)
    def step(self) -> dict[str, Any]:
        """One ``train()``: training steps, an evaluation when one is due, and the metrics row under ``"team"``."""
        results = super().step()
        results[NUM_ENV_STEPS_SAMPLED_LIFETIME] = self.counters.env_steps
        results[PLASTICITY_EVENTS] = events = self._plasticity_events
        self._plasticity_events = []
        self.counters.iterations += 1
        self.counters.interventions += sum(event["event"] == "intervention" for event in events)
        assert self.replay is not None
        results[TEAM_METRICS] = team_metrics(
            results,
            self.counters,
            self.counters.take_interval(),
            events,
            epsilon=self._epsilon.at(self.counters.env_steps),
            tasks=task_columns(self.config, self.counters, results),
            learner_metrics=self.config.learner_class.own_metrics,
            plasticity_metrics=self._plasticity_metrics,
            replay=self.replay,
        )
        return results
