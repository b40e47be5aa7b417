"""The checks of an experiment's environment before training. Needs no Ray."""

from __future__ import annotations

import logging

from rllib_reborn.envs.checker import UNAVAILABLE, check_team_env
from rllib_reborn.envs.contract import EnvContractError
from rllib_reborn.envs.factories import close_or_warn
from rllib_reborn.envs.registry import ENVS, is_built_per_game, launches_external_process, make_team_env, team_spec
from rllib_reborn.envs.task_sequence import Tasks, is_sequence
from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.envs.team_game import GameUnavailableError
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.own_ray import cluster_address
from rllib_reborn.experiments.schema import Experiment
from rllib_reborn.monitoring.trackers import why_unusable
from rllib_reborn.runtime.standstill import games_answer_within

logger = logging.getLogger(__name__)

# Without these nothing can be learnt; the other checks concern exact repetition; where they fail, a warning is logged.
_FATAL = frozenset({"shapes", "values", "action_mask"})
_STEPS = 50
_GAMES = 2  # of environments that step a batch


def check_env_name(experiment: Experiment) -> TeamSpec:
    """The team of the environment, which exists and takes ``env_config``.

    Raises:
        ExperimentError: It does not.
    """
    try:
        return team_spec(experiment.env, **experiment.env_config)
    except ValueError as error:
        raise ExperimentError(str(error)) from error


def check_driver_starts_no_program(experiment: Experiment) -> None:
    """Raise where the driver would sample or evaluate with an environment that starts a program for each game: a game that
    crashes or exhausts the memory of its machine must not end the run, and a learner must not wait for a game.

    Raises:
        ExperimentError: It would; the message says which key to set.
    """
    if not launches_external_process(experiment.env):
        return
    evaluation = experiment.evaluation
    for key, does, runners in (
        ("resources.num_env_runners", "sample", experiment.resources.num_env_runners),
        ("evaluation.num_env_runners", "evaluate", evaluation.num_env_runners),
    ):
        if runners == 0 and not (does == "evaluate" and evaluation.interval_env_steps is None):
            otherwise = ", or evaluation.interval_env_steps=null" if does == "evaluate" else ""
            raise ExperimentError(
                f"{key} is 0, so that the driver would {does} and start the games of {experiment.env!r} itself; expected 1 "
                f"or more processes that do: {key}=1{otherwise}."
            )


def check_trackers(experiment: Experiment) -> None:
    """Raise where a tracker of the run could not write: its package is missing, or the key for its server.

    Raises:
        ExperimentError: One could not; the message says what to do.
    """
    reason = why_unusable(experiment.logging.trackers)
    if reason is not None:
        raise ExperimentError(f"logging.trackers: {reason}, or leave it out.")


def check_env(experiment: Experiment) -> TeamSpec:
    """As :func:`_check_env`, within ``resources.sample_timeout_s`` for each call of the environment; of a sequence of tasks,
    each of them."""
    with games_answer_within(experiment.resources.sample_timeout_s):
        if not is_sequence(experiment.env):
            return _check_env(experiment)
        team = check_env_name(experiment)
        tasks = Tasks.of(experiment.env, experiment.env_config)
        for name, options in zip(tasks.names, tasks.options, strict=True):
            _check_env(experiment.model_copy(update={"env": name, "env_config": options}))
        return team


def _check_env(experiment: Experiment) -> TeamSpec:
    """Play a few random steps and raise if the environment breaks its contract. An environment that
    starts a program for each game is not played; whether it is installed is looked up.

    Returns:
        The team of the environment that was played: what takes a minute to start is not built once more to ask.

    Raises:
        ExperimentError: An array has a wrong shape, a value is not finite, an agent has no allowed action,
            or the environment fails or cannot be played here; the message says what was found.
    """
    entry = ENVS.get(experiment.env)
    if entry is not None and entry.check is not None:
        team = check_env_name(experiment)
        # On a cluster the game is where the runners are, and need not be here.
        if experiment.resources.num_env_runners == 0 or cluster_address() is None:
            try:
                entry.check(**experiment.env_config)
            except GameUnavailableError as error:
                raise ExperimentError(f"environment {experiment.env!r} cannot be played here: {error}") from error
        return team
    try:
        games = 1 if is_built_per_game(experiment.env) else _GAMES
        env = make_team_env(experiment.env, games, **experiment.env_config)
    except (ValueError, EnvContractError) as error:
        raise ExperimentError(str(error)) from error
    team = env.spec
    try:
        patience_s = experiment.resources.sample_timeout_s
        results = check_team_env(env, experiment.seed, steps=_STEPS, patience_s=patience_s)
    finally:
        close_or_warn(env, experiment.env)
    sentences = {result.name: result.sentence for result in results}
    for result in results:
        if result.name == UNAVAILABLE:
            raise ExperimentError(f"environment {experiment.env!r} cannot be played here: {result.sentence}")
        # A fault that keeps a check from being made is as bad as one that it finds.
        if (result.ok is False or result.same_as is not None) and result.name in _FATAL:
            raise ExperimentError(
                f"environment {experiment.env!r} cannot be trained on: {sentences[result.same_as or result.name]} "
                f"('envs {experiment.env}' shows all checks.)"
            )
    for result in results:
        if result.ok is False:
            logger.warning("environment %s: %s", experiment.env, result.sentence)
    return team
