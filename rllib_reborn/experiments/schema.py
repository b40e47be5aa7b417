"""The experiment: every key that a YAML file may have, with its type, range, default and meaning.

Defaults of ``training`` are not here: a key that is not given keeps the default of the algorithm's Config
class, and the resolved ``config.yaml`` of a run says what that was.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import Field
from pydantic_core import PydanticCustomError

from rllib_reborn.algorithms import algorithm_config_class
from rllib_reborn.algorithms.value_factorization.settings import (
    AgentSettings,
    OptimizerSettings,
    ReplayWeightingSettings,
    RewardSettings,
    TargetUpdateSettings,
)
from rllib_reborn.envs.task_sequence import sequence_name
from rllib_reborn.limits import ANSWER_S, EVALUATION_S, LEARNER_S, SAMPLE_S
from rllib_reborn.monitoring.trackers import TrackerName
from rllib_reborn.plasticity.dormancy_check import make_dormancy_check
from rllib_reborn.plasticity.interventions import make_intervention, to_dict
from rllib_reborn.runtime.exploration import EpsilonSettings
from rllib_reborn.runtime.task_schedule import TaskSequenceSettings
from rllib_reborn.settings import REASON_GIVEN, Settings

# Upper ends are far above all use; beyond them a run would wait or allocate without end.
Count = Annotated[int, Field(ge=1, le=10**15)]
Episodes = Annotated[int, Field(ge=1, le=10**6)]
Processes = Annotated[int, Field(ge=0, le=10_000)]
Share = Annotated[float, Field(ge=0, le=10_000)]
Positive = Annotated[float, Field(gt=0, le=1e30)]
Seconds = Annotated[float, Field(gt=0, le=1e9)]

# The placeholder of a key that was not given. It is never read: only keys in ``model_fields_set`` are.
NOT_GIVEN: Any = None


def _checked(make: Callable[[Any], Any], value: Any, where: str = "") -> Any:
    """``make(value)``, its ValueError as an error of pydantic, with ``where`` in front."""
    try:
        return make(value)
    except ValueError as error:
        raise PydanticCustomError(REASON_GIVEN, "{reason}", {"reason": f"{where}{error}"}) from None


class TrainingSection(Settings):
    """How to learn: the arguments of ``Config.training(...)``, which documents them. What ``mixer`` and
    ``algorithm_settings`` hold is the algorithm's: see :func:`experiment_model`."""

    lr: Positive = NOT_GIVEN
    gamma: Annotated[float, Field(ge=0, le=1)] = NOT_GIVEN
    grad_clip: Positive | None = NOT_GIVEN
    batch_episodes: Count = NOT_GIVEN
    buffer_episodes: Count = NOT_GIVEN
    learning_starts_episodes: Count = NOT_GIVEN
    updates_per_episode: Positive = NOT_GIVEN
    target_update: TargetUpdateSettings = NOT_GIVEN
    epsilon: EpsilonSettings = NOT_GIVEN
    double_q: bool = NOT_GIVEN
    bootstrap_at_limit: bool = NOT_GIVEN
    n_step: Count = NOT_GIVEN
    td_lambda: Annotated[float, Field(ge=0, le=1)] | None = NOT_GIVEN
    optimizer: OptimizerSettings = NOT_GIVEN
    model: AgentSettings = NOT_GIVEN
    mixer: dict[str, Any] = NOT_GIVEN
    algorithm_settings: dict[str, Any] = NOT_GIVEN
    replay_weighting: ReplayWeightingSettings = NOT_GIVEN
    reward: RewardSettings = NOT_GIVEN
    sampling: Literal["sync", "async"] = NOT_GIVEN
    episodes_per_sample: Count | None = NOT_GIVEN
    nonfinite_patience: Count = NOT_GIVEN
    cuda_graph: Literal["auto", "off"] = NOT_GIVEN
    replay_device: Literal["auto", "cuda", "off"] = NOT_GIVEN
    dormancy: dict[str, Any] | None = NOT_GIVEN

    @pydantic.field_validator("dormancy")
    @classmethod
    def _dormancy_is_valid(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if value is None else dataclasses.asdict(_checked(make_dormancy_check, value))

    def given(self, *, full: bool = True) -> dict[str, Any]:
        """The keys that were given, nested settings as plain dicts; not ``full``: these too with their given keys
        alone."""
        values = {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}
        return {
            name: value.model_dump(mode="json", exclude_unset=not full) if isinstance(value, Settings) else value
            for name, value in values.items()
        }


class EvaluationSection(Settings):
    """Greedy evaluation.

    Attributes:
        interval_env_steps: Evaluate each time so many env steps were made; null: only after training.
        episodes: Episodes of one evaluation during training.
        num_env_runners: Processes that evaluate; 0: the driver does.
        parallel_to_training: Evaluate while training goes on (needs ``num_env_runners`` of 1 or more).
        final_episodes: Episodes of the evaluation after training, for the policy and for a random one.
    """

    interval_env_steps: Count | None = 10_000
    episodes: Episodes = 32
    num_env_runners: Processes = 0
    parallel_to_training: bool = False
    final_episodes: Episodes = 64

    @pydantic.model_validator(mode="after")
    def _parallel_needs_runners(self) -> Self:
        if self.parallel_to_training and self.num_env_runners == 0:
            raise PydanticCustomError(
                "no_eval_runners",
                "parallel_to_training needs num_env_runners of 1 or more: the driver cannot do both at once",
            )
        return self


class ResourcesSection(Settings):
    """Who works, and on what.

    Attributes:
        num_env_runners: Processes that sample; 0: the driver samples (exact resume, easy debugging).
        num_envs_per_env_runner: Games side by side in each.
        num_cpus_per_env_runner: Cores that Ray books for each.
        custom_resources_per_env_runner: What Ray books of a node's own resources for each, by name: ``{"sc2": 8}`` for
            8 games of StarCraft II, on nodes that were started with, say, ``ray start --resources='{"sc2": 24}'``.
            Runners that evaluate book the same. A Ray that is started with the run has as many as the run books.
        sample_timeout_s: Seconds to wait for a sampling process before it is given up: it is ended, and another one started.
        evaluation_timeout_s: The same for a process that evaluates.
        answer_timeout_s: The same for weights, states and whatever else a process is asked for.
        learner_timeout_s: Seconds to wait for a learner process before training ends, to be gone on with from its last
            checkpoint.
        wait_timeout_s: Seconds to wait for a cluster that is too small for all processes; null: for ever, saying so.
        num_learners: Learner processes; 0: the driver learns.
        num_gpus_per_learner: GPUs of each; fractions only with one learner.
        num_cpus_per_learner: Cores that Ray books for each; null: RLlib decides.
    """

    num_env_runners: Processes = 0
    num_envs_per_env_runner: Annotated[int, Field(ge=1, le=100_000)] = 8
    num_cpus_per_env_runner: Share = 1.0
    custom_resources_per_env_runner: dict[str, Positive] = Field(default_factory=dict)
    sample_timeout_s: Seconds = SAMPLE_S
    evaluation_timeout_s: Seconds = EVALUATION_S
    answer_timeout_s: Seconds = ANSWER_S
    learner_timeout_s: Seconds = LEARNER_S
    wait_timeout_s: Seconds | None = None
    num_learners: Annotated[int, Field(ge=0, le=1_000)] = 0
    num_gpus_per_learner: Share = 0.0
    num_cpus_per_learner: Share | None = None

    @pydantic.field_validator("custom_resources_per_env_runner")
    @classmethod
    def _ray_counts_the_rest_itself(cls, value: dict[str, float]) -> dict[str, float]:
        for name in ("CPU", "GPU", "memory", "object_store_memory"):
            if name in value:
                raise PydanticCustomError(
                    "not_custom",
                    "{name} is a resource of Ray's own; CPUs are booked by num_cpus_per_env_runner",
                    {"name": name},
                )
        return value


class CheckpointSection(Settings):
    """What is saved and when; a checkpoint at the end of training is always written.

    Attributes:
        replay: ``full`` saves the replay with it (exact resume; gigabytes for long games), ``none`` leaves
            it out.
        interval_env_steps: Env steps between two checkpoints; null: only at the end.
        interval_s: Seconds between two checkpoints, at the end of an iteration; null: env steps alone decide.
        keep: Newest checkpoints to keep.
    """

    replay: Literal["full", "none"] = "full"
    interval_env_steps: Count | None = 50_000
    interval_s: Seconds | None = None
    keep: Count = 2


class LoggingSection(Settings):
    """What is reported while training.

    Attributes:
        report_interval_env_steps: Env steps of one iteration, i.e. of one row of ``metrics.jsonl``, at least.
        level: The least severe messages of Ray and RLlib that are shown. At ``error`` what worker processes print
            is not shown either; it is in Ray's own log folder.
        dashboard: Start Ray's dashboard (on 127.0.0.1), where no cluster runs yet.
        trackers: What else the rows, the config and the report's figures are written to, of ``tensorboard``, ``wandb``,
            ``mlflow`` and ``csv``. Where to is said by the trackers' own environment variables (docs/trackers.md).
        prometheus: Export the run's metrics through Ray's agents (docs/monitoring.md): ``auto``: on a cluster that the run
            joins; true: on a Ray of its own too; false: never.
    """

    report_interval_env_steps: Count = 1_000
    level: Literal["debug", "info", "warning", "error"] = "error"
    dashboard: bool = False
    trackers: list[TrackerName] = Field(default_factory=list)
    prometheus: bool | Literal["auto"] = "auto"

    @pydantic.field_validator("trackers")
    @classmethod
    def _each_tracker_once(cls, value: list[TrackerName]) -> list[TrackerName]:
        for name in value:
            if value.count(name) > 1:
                raise PydanticCustomError("named_twice", "{name} is there more than once", {"name": name})
        return value


class StopSection(Settings):
    """When training ends: at the first of the limits that are given. No schedule depends on them."""

    env_steps: Count | None = None
    iterations: Count | None = None
    time_s: Seconds | None = None

    def fraction(self, *, env_steps: float, iteration: int, time_s: float) -> float:
        """How far a run is, by the limit that is nearest; 1 or more: it has ended."""
        pairs = ((env_steps, self.env_steps), (iteration, self.iterations), (time_s, self.time_s))
        return max(done / limit for done, limit in pairs if limit is not None)

    @pydantic.model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.env_steps is None and self.iterations is None and self.time_s is None:
            raise PydanticCustomError("no_limit", "give at least one of env_steps, iterations, time_s")
        return self


class Experiment(Settings):
    """One training run as data. ``extends`` is resolved by :mod:`rllib_reborn.experiments.load` and not
    part of it.

    Attributes:
        algorithm: A name of :data:`rllib_reborn.algorithms.ALGORITHMS`, or ``module:Class`` of a config of your own.
        env: A name that ``envs`` lists, ``pettingzoo:...``, ``gymnasium:...``, or ``module:callable``. A list of two or
            more: tasks that one set of networks is trained on, one after the other; it becomes the name ``a -> b``.
        env_config: Arguments of the environment that differ from the name's preset; of a list those that all tasks share,
            and ``tasks``, a list with a mapping of further ones for each.
        task_sequence: How a run goes through a list of environments; null: ``env`` is one.
        interventions: What is done against plasticity loss: a list of ``kind`` and settings, each as
            :data:`rllib_reborn.plasticity.interventions.KINDS` documents it.
        seed: Decides every random choice of the run.
    """

    algorithm: str
    env: str
    env_config: dict[str, Any] = Field(default_factory=dict)
    task_sequence: TaskSequenceSettings | None = None
    training: TrainingSection = TrainingSection()
    interventions: list[dict[str, Any]] = Field(default_factory=list)
    evaluation: EvaluationSection = EvaluationSection()
    resources: ResourcesSection = ResourcesSection()
    checkpoint: CheckpointSection = CheckpointSection()
    logging: LoggingSection = LoggingSection()
    stop: StopSection
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @pydantic.field_validator("env", mode="before")
    @classmethod
    def _name_of_one_or_several(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            key = next(iter(value), "key")
            raise PydanticCustomError(
                REASON_GIVEN,
                "a mapping with {key}; expected the name of an environment, or a list of names. Options of an environment "
                "go into env_config: env_config.{key}=...",
                {"key": str(key)},
            )
        return _checked(sequence_name, value) if isinstance(value, list) else value

    @pydantic.field_validator("interventions")
    @classmethod
    def _interventions_are_valid(cls, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [to_dict(_checked(make_intervention, entry, f"entry {at}: ")) for at, entry in enumerate(value)]

    def to_dict(self) -> dict[str, Any]:
        """Plain data in the order of the fields, which reads back to an equal experiment."""
        data = self.model_dump(mode="json", exclude={"training"})
        training = {"training": self.training.given()}
        # Where there is one environment, as in the files of earlier versions.
        left_out = set() if self.task_sequence is not None else {"task_sequence"}
        return {name: (training | data)[name] for name in type(self).model_fields if name not in left_out}


@functools.cache
def experiment_model(algorithm: str) -> type[Experiment]:
    """:class:`Experiment` with the settings that the algorithm's own ``training.mixer`` and
    ``training.algorithm_settings`` have; for an unknown algorithm, which
    :func:`~rllib_reborn.experiments.build.build_config` reports, anything goes."""
    try:
        config = algorithm_config_class(algorithm)()
    except ValueError:
        return Experiment
    section = pydantic.create_model(
        "TrainingSection",
        __base__=TrainingSection,
        mixer=(config.mixer_settings_class, NOT_GIVEN),
        algorithm_settings=(config.algorithm_settings_class, NOT_GIVEN),
    )
    return pydantic.create_model("Experiment", __base__=Experiment, training=(section, section()))
