"""What a config must hold, checked before anything is built; builds no network and starts no game.

Every function raises ValueError with one sentence: the setting, its value, what was expected and the remedy.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rllib_reborn.algorithms.value_factorization.mixer_state import check_mixer_state
from rllib_reborn.algorithms.value_factorization.rllib_settings import check_settings
from rllib_reborn.algorithms.value_factorization.settings import (
    AgentSettings,
    OptimizerSettings,
    ReplayWeightingSettings,
    RewardSettings,
    TargetUpdateSettings,
)
from rllib_reborn.algorithms.value_factorization.tasks import check_task_length
from rllib_reborn.plasticity.interventions import Intervention
from rllib_reborn.runtime.exploration import EpsilonSettings
from rllib_reborn.settings import parse
from rllib_reborn.short_repr import short_repr

#: The largest value of each count and number, far above all use: beyond it a run would wait or allocate without end.
_MOST: Mapping[str, float] = {
    "num_env_runners": 10_000,
    "num_learners": 1_000,
    "evaluation_num_env_runners": 10_000,
    "num_envs_per_env_runner": 100_000,
    "batch_episodes": 1_000_000,
    "buffer_episodes": 1_000_000_000,
    "learning_starts_episodes": 1_000_000_000,
    "n_step": 1_000_000,
    "nonfinite_patience": 1_000_000_000,
    "episodes_per_sample": 1_000_000,
    "evaluation_duration": 1_000_000,
    "updates_per_episode": 100_000,
}
#: Numbers that become float32.
_MOST_NUMBER = 1e30


def check(config: Any) -> None:
    """Everything that :func:`check_types` and :func:`check_unused` leave."""
    if config.is_multi_agent:
        raise ValueError("multi_agent() is set, but the team is ONE RLlib agent here; remove that call.")
    if config.mixer_class.needs_state and config.team_spec.state_dim == 0:
        raise ValueError(
            f"{config.algorithm_name}'s mixer needs a global state, but {config.env!r} has none (state_dim 0); use VDN."
        )
    for model, value, name in (
        (TargetUpdateSettings, config.target_update, "target_update"),
        (EpsilonSettings, config.epsilon, "epsilon"),
        (OptimizerSettings, config.team_optimizer, "optimizer"),
        (AgentSettings, config.team_model, "model"),
        (RewardSettings, config.reward, "reward"),
    ):
        parse(model, value, name)
    model = parse(AgentSettings, config.team_model, "model")
    if model.encoder is not None:
        from rllib_reborn.algorithms.value_factorization.encoder_settings import check_encoder_fits

        measures = bool(config.interventions) or config.dormancy is not None
        check_encoder_fits(config.team_spec, model.encoder, model.encoder_settings or {}, measures=measures)
    check_mixer_state(config.team_spec, config.parse_mixer().model_dump())
    config.parse_algorithm_settings()
    _check_other_processes_find(config)
    _check_numbers(config)
    check_task_length(config)
    _check_replay_weighting(config)
    _check_plasticity(config)
    _check_evaluation(config)
    if config.sampling not in ("sync", "async"):
        raise ValueError(f"sampling is {config.sampling!r}; expected 'sync' or 'async'.")
    if config.sampling == "async" and config.num_env_runners < 1:
        raise ValueError("sampling is 'async' with num_env_runners 0; set num_env_runners to at least 1, or 'sync'.")
    if config.cuda_graph not in ("auto", "off"):
        raise ValueError(f"cuda_graph is {config.cuda_graph!r}; expected 'auto' or 'off'.")
    if config.cuda_graph == "off" and (config.num_gpus_per_learner == 0 or config.num_learners > 1):
        where = "the learner is on the CPU" if config.num_gpus_per_learner == 0 else "there are several learners"
        raise ValueError(f"cuda_graph is 'off', but {where}, where no update is captured anyway; leave it out.")
    _check_replay_device(config)
    if config.replay_in_checkpoints not in ("full", "none"):
        raise ValueError(f"checkpointing(replay=...) is {config.replay_in_checkpoints!r}; expected 'full' or 'none'.")
    if config.framework_str != "torch":
        raise ValueError(f"framework is {config.framework_str!r}; only 'torch' is supported.")


def _check_replay_device(config: Any) -> None:
    if config.replay_device not in ("auto", "cuda", "off"):
        raise ValueError(f"replay_device is {config.replay_device!r}; expected 'auto', 'cuda' or 'off'.")
    if config.replay_device == "auto" or (config.num_gpus_per_learner > 0 and config.num_learners == 0):
        return
    if config.num_gpus_per_learner == 0:
        remedy = "leave it out, or set num_gpus_per_learner to 1 on a machine with a GPU"
        raise ValueError(f"replay_device is {config.replay_device!r}, but the learner is on the CPU; {remedy}.")
    raise ValueError(
        f"replay_device is {config.replay_device!r} with num_learners {config.num_learners}, but learners in other "
        "processes cannot share the replay and are sent each batch; leave it out, or set num_learners to 0."
    )


def _check_other_processes_find(config: Any) -> None:
    """Parts that processes import by their names must not lie in the main script, which is another one there."""
    parts = []
    if config.num_learners or config.num_env_runners or config.evaluation_num_env_runners:
        parts.append(("the mixer", config.mixer_class))
    if config.num_learners:
        parts += [(f"interventions[{at}]", type(one)) for at, one in enumerate(config.parse_interventions())]
    for what, cls in parts:
        if cls.__module__ == "__main__":
            raise ValueError(
                f"{what} is __main__:{cls.__qualname__}, of the main script, where learners and runners in other processes "
                "do not find it; put it into a module of its own and import or name that."
            )


def check_class(name: str, given: Any, base: type) -> None:
    """``given`` in place of ``base`` is a class that does what ``base`` does.

    Raises:
        ValueError: It is not.
    """
    if not isinstance(given, type) or not issubclass(given, base):
        shown = given.__name__ if isinstance(given, type) else repr(given)
        raise ValueError(f"{name} is {shown}; expected a subclass of {base.__name__}, which this training loop calls.")


def check_types(config: Any) -> None:
    """Settings that RLlib's own checks compare with numbers."""
    for name in ("num_env_runners", "num_learners", "evaluation_num_env_runners"):
        _check_whole(name, getattr(config, name), 0)
    _check_whole("num_envs_per_env_runner", config.num_envs_per_env_runner, 1)
    for name in ("double_q", "bootstrap_at_limit"):
        if not isinstance(getattr(config, name), bool):
            raise ValueError(f"{name} is {getattr(config, name)!r}; expected True or False.")
    if isinstance(config.lr, list | tuple):
        _check_schedule("lr", config.lr)
    else:
        _check_number(
            "lr", config.lr, above=0, high=_MOST_NUMBER, alternative="a schedule such as [[0, 1e-3], [1_000_000, 1e-4]]"
        )
    if config.env_steps_per_evaluation is not None:
        _check_whole("evaluation interval_env_steps", config.env_steps_per_evaluation, 1, alternative="None")


def check_unused(config: Any) -> None:
    """Refuse settings of RLlib that would change nothing here."""
    check_settings(config, type(config)())
    if config.batch_mode != "complete_episodes":
        raise ValueError(f"batch_mode is {config.batch_mode!r}; only 'complete_episodes' is supported. Leave it out.")


def _check_numbers(config: Any) -> None:
    whole = ("batch_episodes", "buffer_episodes", "learning_starts_episodes", "n_step", "nonfinite_patience")
    for name in whole:
        _check_whole(name, getattr(config, name), 1)
    for name in ("batch_episodes", "learning_starts_episodes"):
        if getattr(config, name) > config.buffer_episodes:
            raise ValueError(
                f"{name} is {getattr(config, name)}, more than buffer_episodes ({config.buffer_episodes}); lower it or "
                "enlarge the buffer."
            )
    learners = max(1, config.num_learners)
    if config.batch_episodes % learners:
        raise ValueError(
            f"batch_episodes is {config.batch_episodes}, which {learners} learners cannot share equally; use a multiple."
        )
    most_updates = _MOST["updates_per_episode"]
    _check_number("updates_per_episode", config.updates_per_episode, above=0, high=most_updates)
    for one in config.parse_interventions():
        if one.replay_ratio is not None:
            _check_number(f"updates_per_episode of {one.kind!r}", one.replay_ratio, above=0, high=most_updates)
    if config.td_lambda is not None:
        _check_number("td_lambda", config.td_lambda, low=0, high=1, alternative="None")
        if config.n_step != 1:
            raise ValueError(f"n_step is {config.n_step} and td_lambda {config.td_lambda}; use one of them.")
    _check_number("gamma", config.gamma, low=0, high=1)
    if config.grad_clip is not None:
        _check_number("grad_clip", config.grad_clip, above=0, high=_MOST_NUMBER, alternative="None")
    if config.grad_clip_by != "global_norm":
        raise ValueError(f"grad_clip_by is {config.grad_clip_by!r}; only 'global_norm' is supported.")
    if config.episodes_per_sample is not None:
        _check_whole("episodes_per_sample", config.episodes_per_sample, 1, alternative="None")
    if config.seed is not None:
        _check_whole("seed", config.seed, 0, alternative="None")


def _check_replay_weighting(config: Any) -> None:
    weighting = parse(ReplayWeightingSettings, config.replay_weighting, "replay_weighting")
    if weighting.kind == "uniform" or config.in_evaluation:  # evaluation has no replay, and may have shorter episodes
        return
    episodes, limit = config.buffer_episodes, config.team_spec.episode_limit
    if episodes <= config.batch_episodes:
        raise ValueError(
            f"replay_weighting.kind is {weighting.kind!r} with buffer_episodes {episodes} and batch_episodes "
            f"{config.batch_episodes}: every update draws all episodes, however old; enlarge the buffer, lower "
            "batch_episodes, or set kind: uniform."
        )
    oldest, floor = (episodes - 1) * limit, weighting.decay_env_steps * (1 - weighting.min_weight)
    if floor >= oldest:
        raise ValueError(
            f"replay_weighting.decay_env_steps is {weighting.decay_env_steps}, so that min_weight "
            f"({weighting.min_weight:g}) is reached at an age of {floor:,.0f} env steps, which none of {episodes} episodes "
            f"of up to {limit} steps comes to; lower decay_env_steps below "
            f"{oldest / (1 - weighting.min_weight):,.0f}, or enlarge buffer_episodes."
        )


def _check_plasticity(config: Any) -> None:
    config.parse_dormancy()
    interventions: list[Intervention] = config.parse_interventions()
    with_ratio = [one.kind for one in interventions if one.replay_ratio is not None]
    if len(with_ratio) > 1:
        raise ValueError(f"interventions {' and '.join(with_ratio)} each bring a replay ratio; use one of them.")
    decay = parse(OptimizerSettings, config.team_optimizer, "optimizer").weight_decay
    for one in interventions:
        if one.adds_parameters and decay > 0:
            raise ValueError(
                f"optimizer.weight_decay is {decay} with intervention {one.kind!r}, which freezes weights that the "
                "decay would go on moving; set it to 0."
            )


def _check_evaluation(config: Any) -> None:
    if config.evaluation_duration_unit != "episodes" or not isinstance(config.evaluation_duration, int):
        raise ValueError(
            f"evaluation_duration is {config.evaluation_duration!r} {config.evaluation_duration_unit}; expected a whole "
            "number of episodes."
        )
    if config.evaluation_duration < 1:
        raise ValueError(f"evaluation_duration is {config.evaluation_duration}; expected at least 1 episode.")
    _check_whole("evaluation_duration", config.evaluation_duration, 1)


def _check_whole(name: str, value: Any, low: int, *, alternative: str = "") -> None:
    """Raise ValueError unless ``value`` is a whole number of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        other = f", or {alternative}" if alternative else ""
        raise ValueError(f"{name} is {short_repr(value)}; expected a whole number >= {low}{other}.")
    if int(value) > _MOST.get(name, math.inf):
        raise ValueError(f"{name} is {short_repr(value)}; expected a whole number in {low}..{_MOST[name]:,}.")


def _check_number(
    name: str,
    value: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
    alternative: str = "",
) -> None:
    """Raise ValueError unless ``value`` is a finite number in low..high and greater than ``above``."""
    good = (
        isinstance(value, int | float | np.number)
        and not isinstance(value, bool)
        and bool(-math.inf < value < math.inf)
    )
    if not good or not (low <= value <= high and value > above):
        wanted = f"> {above:g}" if low == -math.inf else f">= {low:g}" if high == math.inf else f"in {low:g}..{high:g}"
        wanted += f" and <= {high:g}" if good and value > high and low == -math.inf else ""
        other = f", or {alternative}" if alternative else ""
        raise ValueError(f"{name} is {short_repr(value)}; expected a number {wanted}{other}.")


def _check_schedule(name: str, value: Sequence[Any]) -> None:
    """Raise ValueError unless ``value`` is ``[[0, first], [env steps, next], ...]`` with numbers >= 0 and rising steps."""
    if len(value) < 2 or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value):
        raise ValueError(
            f"{name} is {value!r}; expected a number, or two or more pairs [env steps, value] such as "
            "[[0, 1e-3], [1_000_000, 1e-4]]."
        )
    for position, (steps, reached) in enumerate(value):
        _check_number(f"{name}[{position}], the env steps,", steps, low=0, high=math.inf)
        _check_number(f"{name}[{position}], the value,", reached, low=0, high=math.inf)
    clock = [steps for steps, _ in value]
    if clock[0] != 0 or any(later <= earlier for earlier, later in itertools.pairwise(clock)):
        raise ValueError(f"{name} has the env steps {clock}; expected 0 first, and each larger than the one before.")
