"""From an experiment to RLlib's AlgorithmConfig, by the same fluent calls that a Python user makes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from rllib_reborn.algorithms import ValueFactorizationConfig, algorithm_config_class
from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.schema import Experiment, experiment_model
from rllib_reborn.replay.fields import field_layout
from rllib_reborn.replay.memory import ReplayMemoryError, available_memory, check_fits, largest_size
from rllib_reborn.secret_settings import without_secrets

# What may differ between a run and its resumption. None of it changes how is learnt; another number of runners or of their
# games ("resources") changes which episodes are played, and running ones are dropped then, with a warning.
FREE_ON_RESUME = ("resources", "checkpoint", "logging", "stop")
# Where the config keeps an argument of ``training(...)`` under another name (RLlib's old stack has these
# two).
_ATTRIBUTES = {"model": "team_model", "optimizer": "team_optimizer"}
_LOG_LEVELS = {"debug": "DEBUG", "info": "INFO", "warning": "WARN", "error": "ERROR"}


def build_config(experiment: Experiment, team: TeamSpec | None = None) -> ValueFactorizationConfig:
    """The validated AlgorithmConfig of an experiment; starts nothing.

    Args:
        experiment: The experiment.
        team: The environment's, where it was asked already.

    Raises:
        ExperimentError: The algorithm is unknown, or the settings do not fit together or do not fit the
            environment.
    """
    config = configure(experiment)
    if team is not None:
        config.set_team(team)
    try:
        config.validate()
    except ValueError as error:
        raise ExperimentError(str(error)) from error
    return config


def configure(experiment: Experiment) -> ValueFactorizationConfig:
    """As :func:`build_config`, without a look at the environment and at how the settings fit together.

    Raises:
        ExperimentError: The algorithm is unknown, or refuses a setting.
    """
    evaluation, resources = experiment.evaluation, experiment.resources
    learners: dict[str, Any] = {
        "num_learners": resources.num_learners,
        "num_gpus_per_learner": resources.num_gpus_per_learner,
    }
    if resources.num_cpus_per_learner is not None:
        learners["num_cpus_per_learner"] = resources.num_cpus_per_learner
    try:
        return (
            algorithm_config_class(experiment.algorithm)()
            .environment(
                experiment.env,
                env_config=dict(experiment.env_config),
                task_sequence=None if experiment.task_sequence is None else experiment.task_sequence.model_dump(),
            )
            .env_runners(
                num_env_runners=resources.num_env_runners,
                num_envs_per_env_runner=resources.num_envs_per_env_runner,
                num_cpus_per_env_runner=resources.num_cpus_per_env_runner,
                custom_resources_per_env_runner=dict(resources.custom_resources_per_env_runner),
                sample_timeout_s=resources.sample_timeout_s,
            )
            .time_limits(answer_timeout_s=resources.answer_timeout_s, learner_timeout_s=resources.learner_timeout_s)
            .learners(**learners)
            .training(**experiment.training.given(full=False), interventions=experiment.interventions)
            .evaluation(
                interval_env_steps=evaluation.interval_env_steps,
                evaluation_duration=evaluation.episodes,
                evaluation_num_env_runners=evaluation.num_env_runners,
                evaluation_parallel_to_training=evaluation.parallel_to_training,
                evaluation_sample_timeout_s=resources.evaluation_timeout_s,
            )
            .checkpointing(replay=experiment.checkpoint.replay)
            .reporting(min_sample_timesteps_per_iteration=experiment.logging.report_interval_env_steps)
            .debugging(seed=experiment.seed, log_level=_LOG_LEVELS[experiment.logging.level])
        )
    except ValueError as error:
        raise ExperimentError(str(error)) from error


def resolved_dict(experiment: Experiment, config: ValueFactorizationConfig) -> dict[str, Any]:
    """The experiment as plain data with the algorithm's own defaults written out in ``training``."""
    settings = config.to_dict()
    section = type(experiment_model(experiment.algorithm).model_fields["training"].default)
    used = {name: settings[_ATTRIBUTES.get(name, name)] for name in section.model_fields}
    for name, model in (
        ("mixer", config.mixer_settings_class),
        ("algorithm_settings", config.algorithm_settings_class),
    ):
        if not model.model_fields:
            del used[name]
    return experiment.to_dict() | {"training": section.model_validate(used).given()}


def config_hash(resolved: Mapping[str, Any]) -> str:
    """Hash of all that must not change when a run is resumed."""
    fixed = {key: value for key, value in resolved.items() if key not in FREE_ON_RESUME}
    return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()


def first_difference(mine: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """The first key that must be equal on resume and is not, with both values, or None."""
    left, right = _flat(mine), _flat(other)
    # A setting that only this version knows has its default here, and did not exist there.
    arguments = {key for key in left if key.startswith("env_config.")}
    for key in sorted(arguments | right.keys()):
        if key.split(".")[0] not in FREE_ON_RESUME and left.get(key) != right.get(key):
            mine_shown, other_shown = (without_secrets(side.get(key), key) for side in (left, right))
            return f"{key} is {mine_shown!r} here and {other_shown!r} there"
    return None


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """``(key, before, now)`` of every setting that is another one, ``stop`` and what concerns files and processes aside. Of
    interventions of other kinds the kinds alone; secrets as ``***``."""
    kinds = [[one["kind"] for one in data.get("interventions") or []] for data in (before, now)]
    if kinds[0] == kinds[1]:
        before, now = _by_place(before), _by_place(now)
    else:
        before, now = dict(before) | {"interventions": kinds[0]}, dict(now) | {"interventions": kinds[1]}
    left, right = _flat(before), _flat(now)
    return [
        (key, without_secrets(left.get(key), key), without_secrets(right.get(key), key))
        for key in sorted(left.keys() | right.keys())
        if key.split(".")[0] not in FREE_ON_RESUME and left.get(key) != right.get(key)
    ]


def _by_place(data: Mapping[str, Any]) -> dict[str, Any]:
    """``interventions`` as a mapping, ``{"0": {...}}``, so that single settings are compared."""
    return dict(data) | {"interventions": {str(at): one for at, one in enumerate(data.get("interventions") or [])}}


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def replay_limit_bytes(config: ValueFactorizationConfig) -> int:
    """Bytes that the replay can grow to: every episode as long as the limit allows."""
    spec = config.team_spec
    layout = field_layout(spec.n_agents, spec.n_actions, spec.obs_dim, spec.state_dim, spec.obs_dtype, spec.state_dtype)
    return largest_size(layout, config.buffer_episodes, spec.episode_limit)


def check_replay_fits(config: ValueFactorizationConfig) -> None:
    """Raise unless the replay, when full, fits into the memory that is free now.

    Raises:
        ExperimentError: It does not; the message says how many episodes would.
    """
    try:
        check_fits(
            replay_limit_bytes(config),
            available_memory(),
            episodes=config.buffer_episodes,
            episode_limit=config.team_spec.episode_limit,
        )
    except ReplayMemoryError as error:
        raise ExperimentError(str(error)) from error
