"""Every setting of RLlib's config: read here, refused because it would change nothing here, or RLlib's own bookkeeping.

RLlib's config is asked for its settings, so that one which a new Ray brings is refused until somebody has classified it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback

from rllib_reborn.runtime import ray_internals

#: Hooks of RLlib's callbacks that are called; the others are refused.
CALLED_HOOKS = frozenset(
    {
        "on_algorithm_init",
        "on_checkpoint_loaded",
        "on_env_runners_recreated",
        "on_environment_created",
        "on_evaluate_end",
        "on_evaluate_start",
        "on_sample_end",
        "on_train_result",
    }
)

#: Settings that this training loop reads, or the parts of RLlib that it uses; some of them only to refuse a value.
READ = frozenset(
    {
        *(f"callbacks_{hook}" for hook in CALLED_HOOKS),
        "batch_mode",
        "callbacks_class",
        "create_env_on_local_worker",
        "create_local_env_runner",
        "custom_resources_for_main_process",
        "custom_resources_per_env_runner",
        "custom_resources_per_learner",
        "delay_between_env_runner_restarts_s",
        "env",
        "env_config",
        "env_runner_cls",
        "env_runner_health_probe_timeout_s",
        "env_runner_restore_timeout_s",
        "evaluation_config",
        "evaluation_duration",
        "evaluation_duration_unit",
        "evaluation_interval",
        "evaluation_num_env_runners",
        "evaluation_parallel_to_training",
        "evaluation_sample_timeout_s",
        "framework_str",
        "gamma",
        "grad_clip",
        "grad_clip_by",
        "ignore_env_runner_failures",
        "learner_class",
        "local_gpu_idx",
        "log_level",
        "log_sys_usage",
        "lr",
        "max_num_env_runner_restarts",
        "max_requests_in_flight_per_env_runner",
        "metrics_num_episodes_for_smoothing",
        "min_sample_timesteps_per_iteration",
        "min_time_s_per_iteration",
        "num_consecutive_env_runner_failures_tolerance",
        "num_cpus_for_main_process",
        "num_cpus_per_env_runner",
        "num_cpus_per_learner",
        "num_env_runners",
        "num_envs_per_env_runner",
        "num_gpus_per_env_runner",
        "num_gpus_per_learner",
        "num_learners",
        "placement_strategy",
        "policies",  # multi_agent() is refused in a sentence of its own
        "restart_failed_env_runners",
        "restart_failed_sub_environments",
        "sample_timeout_s",
        "seed",
        "stats_cls_lookup",
        "torch_ddp_kwargs",
        "use_msgpack_checkpoints",
        "validate_config",
        "validate_env_runners_after_construction",
    }
)

#: What no user sets: RLlib's notes on a config, and switches that its own checks set.
BOOKKEEPING: Mapping[str, str] = MappingProxyType(
    {
        "algo_class": "the Algorithm that belongs to the config",
        "disable_action_flattening": "set by RLlib's checks; actions never pass through RLlib's preprocessors here",
        "disable_initialize_loss_from_dummy_batch": "set by RLlib's checks, for its old stack",
        "disable_preprocessor_api": "set by RLlib's checks; observations never pass through its preprocessors here",
        "dont_auto_sync_env_runner_states": "weights are sent by this loop, and there are no connector states",
        "in_evaluation": "whether a config is that of evaluation runners",
        "is_atari": "what RLlib has found of a Gymnasium environment",
        "is_frozen": "whether the config can still be changed",
        "is_online": "set by RLlib's algorithms for offline data",
        "per_module_overrides": "made of algorithm_config_overrides_per_module, which is refused",
        "prior_exploration_config": "the old stack's exploration_config, which is refused",
        "simple_optimizer": "set by RLlib's checks, for its old stack",
        "tf_policy_handles_more_than_one_loss": "TensorFlow of the old stack",
        "fake_gpus": "RLlib's own tests",
    }
)

_CONNECTORS = "put what it does into the environment, or into a module of your own (docs/your_env.md)"
_OLD = "it belongs to RLlib's old stack"
_OFFLINE = "there is no training from offline data here"
_TENSORFLOW = "the networks are torch's"
_COMPILED = "networks are not compiled here"
_TEAM = "the team is ONE RLlib agent here"

#: What nothing here reads, and what to set in its place, or why there is nothing.
REFUSED: Mapping[str, str] = MappingProxyType(
    {
        # batches
        "num_epochs": "set updates_per_episode",
        "minibatch_size": "set batch_episodes",
        "train_batch_size": "set batch_episodes",
        "train_batch_size_per_learner": "set batch_episodes, which all learners share",
        "shuffle_batch_per_epoch": "every update draws episodes anew",
        "rollout_fragment_length": "set episodes_per_sample: runners answer with whole episodes",
        "episode_lookback_horizon": "runners answer with whole episodes",
        "episodes_to_numpy": "runners answer with numpy arrays in any case",
        "max_requests_in_flight_per_learner": "one update is under way at a time",
        "num_aggregator_actors_per_learner": "batches are drawn from the replay, in the algorithm's process",
        "max_requests_in_flight_per_aggregator_actor": "there are no aggregator actors",
        "min_train_timesteps_per_iteration": "set min_sample_timesteps_per_iteration",
        "count_steps_by": "one env step of the team is what is counted",
        # networks, loss, optimizer
        "model": "set training(model={...})",
        "model_config": "set training(model={...}) and training(mixer={...})",
        "rl_module_spec": "set training(model={...}) and training(mixer={...})",
        "algorithm_config_overrides_per_module": "there is one module; set it in training()",
        "optimizer": "set training(optimizer={...})",
        "learner_config_dict": "set algorithm_settings={...}, which a config class of your own declares (CONTRIBUTING.md)",
        "torch_lr_scheduler_classes": "set lr=[[0, 1e-3], [1_000_000, 1e-4]]",
        "torch_grad_scaler_class": "losses are computed in 32 bits",
        "torch_skip_nan_gradients": "gradients that are not finite are always skipped; see nonfinite_patience",
        "log_gradients": "train/grad_norm stands in every row",
        "torch_compile_learner": _COMPILED,
        "torch_compile_learner_what_to_compile": _COMPILED,
        "torch_compile_learner_dynamo_backend": _COMPILED,
        "torch_compile_learner_dynamo_mode": _COMPILED,
        "torch_compile_worker": _COMPILED,
        "torch_compile_worker_dynamo_backend": _COMPILED,
        "torch_compile_worker_dynamo_mode": _COMPILED,
        "eager_tracing": _TENSORFLOW,
        "eager_max_retraces": _TENSORFLOW,
        "tf_session_args": _TENSORFLOW,
        "local_tf_session_args": _TENSORFLOW,
        "enable_tf1_exec_eagerly": _TENSORFLOW,
        "export_native_model_files": "save_to_path() holds torch's state dicts",
        "checkpoint_trainable_policies_only": "there is one module, and it is trained",
        "num_gpus": "set num_gpus_per_learner",
        # exploration
        "explore": "set epsilon={...}; evaluation is greedy in any case",
        "exploration_config": "set training(epsilon={...})",
        # environments
        "observation_space": "the environment says its own",
        "action_space": "the environment says its own",
        "clip_rewards": "set training(reward={...})",
        "normalize_actions": "actions are choices here, not numbers",
        "clip_actions": "actions are choices here, not numbers",
        "disable_env_checking": "rllib-reborn envs NAME checks an environment",
        "render_env": "rllib-reborn evaluate RUN --video FILE draws games",
        "action_mask_key": "masks are found in observations and infos (docs/your_env.md)",
        "gym_env_vectorize_mode": "set num_envs_per_env_runner; docs/your_env.md has games in processes of their own",
        "remote_worker_envs": "set num_env_runners; docs/your_env.md has games in processes of their own",
        "remote_env_batch_wait_ms": "set num_env_runners; docs/your_env.md has games in processes of their own",
        "extra_python_environs_for_driver": "set environment variables before Python starts",
        "extra_python_environs_for_worker": "set env_vars in ray.init(runtime_env={...})",
        "env_to_module_connector": _CONNECTORS,
        "module_to_env_connector": _CONNECTORS,
        "learner_connector": _CONNECTORS,
        "add_default_connectors_to_env_to_module_pipeline": "there are no connectors here",
        "add_default_connectors_to_module_to_env_pipeline": "there are no connectors here",
        "add_default_connectors_to_learner_pipeline": "there are no connectors here",
        "merge_env_runner_states": "there are no connectors whose states could be merged",
        "broadcast_env_runner_states": "there are no connectors whose states could be sent",
        "use_env_runner_state_server": "there are no connectors whose states could be kept",
        "env_runner_state_server_max_concurrency": "there are no connectors whose states could be kept",
        "observation_filter": _CONNECTORS,
        "preprocessor_pref": _CONNECTORS,
        "update_worker_filter_stats": _CONNECTORS,
        "use_worker_filter_stats": _CONNECTORS,
        "sync_filters_on_rollout_workers_timeout_s": _CONNECTORS,
        "compress_observations": "the replay holds raw arrays; set buffer_episodes",
        "sample_collector": _OLD,
        "sampler_perf_stats_ema_coef": _OLD,
        "fake_sampler": _OLD,
        # agents
        "policy_mapping_fn": _TEAM,
        "policies_to_train": _TEAM,
        "policy_map_capacity": _TEAM,
        "policy_states_are_swappable": _TEAM,
        "observation_fn": _TEAM,
        # evaluation and metrics
        "custom_evaluation_function": "override Algorithm.evaluate(), or use the callback on_evaluate_end",
        "evaluation_auto_duration_min_env_steps_per_sample": "set evaluation_duration to a number of episodes",
        "evaluation_auto_duration_max_env_steps_per_sample": "set evaluation_duration to a number of episodes",
        "evaluation_unhealthy_workers_timeout_s": "set evaluation_sample_timeout_s",
        "evaluation_error_after_n_consecutive_skips": "an evaluation is never skipped",
        "evaluation_force_reset_envs_before_iteration": "every evaluation begins new games",
        "off_policy_estimation_methods": _OFFLINE,
        "ope_split_batch_by_episode": _OFFLINE,
        "keep_per_episode_custom_metrics": "use the callback on_sample_end, which is given whole episodes",
        "metrics_episode_collection_timeout_s": "set sample_timeout_s",
        # what RLlib offers beside this
        "enable_rl_module_and_learner": "only RLlib's new API stack is supported",
        "enable_env_runner_and_connector_v2": "only RLlib's new API stack is supported",
        "input_": _OFFLINE,
        "postprocess_inputs": _OFFLINE,
        "actions_in_input_normalized": _OFFLINE,
        "shuffle_buffer_size": _OFFLINE,
        "materialize_data": _OFFLINE,
        "materialize_mapped_data": _OFFLINE,
        "map_batches_kwargs": _OFFLINE,
        "iter_batches_kwargs": _OFFLINE,
        "ignore_final_observation": _OFFLINE,
        "ignore_offline_eval_runner_failures": _OFFLINE,
        "broadcast_offline_eval_runner_states": _OFFLINE,
    }
)

#: Families of further ones, by how the name begins.
_FAMILIES: Mapping[str, str] = MappingProxyType(
    {
        "input_": _OFFLINE,
        "output": _OFFLINE,
        "offline_": _OFFLINE,
        "prelearner_": _OFFLINE,
        "dataset_": _OFFLINE,
        "callbacks_on_offline": _OFFLINE,
    }
)


def instead_of(name: str) -> str | None:
    """What to set in place of a setting that is refused, or why there is nothing; None: it is not refused.

    Args:
        name: Of the setting, without a leading underscore.
    """
    if name in READ or name in BOOKKEEPING:
        return None
    if name in REFUSED:
        return REFUSED[name]
    if name.startswith("callbacks_on_"):
        return _instead_of_hook(name.removeprefix("callbacks_"))
    family = next((why for prefix, why in _FAMILIES.items() if name.startswith(prefix)), None)
    if family is None and ("offline_eval" in name or "eval_runner" in name):
        family = _OFFLINE
    if family is None and ray_internals.is_deprecated_setting(name):
        family = "Ray itself has given it up"
    return family or "this version of rllib_reborn does not know it"


def is_classified(name: str) -> bool:
    """Whether somebody has looked at a setting: it is read, bookkeeping, or refused for a reason."""
    why = instead_of(name)
    return why is None or not why.startswith("this version")


def check_settings(config: AlgorithmConfig, unset: AlgorithmConfig) -> None:
    """Refuse settings of RLlib that would change nothing here.

    Args:
        config: The config.
        unset: One of the same class on which nothing was set.

    Raises:
        ValueError: One sentence with the setting, its value and what to set in its place.
    """
    if config.in_evaluation:
        return  # made by RLlib of the other one, whose evaluation_config has been looked at
    before, of_rllib = ray_internals.settings(unset), ray_internals.settings(AlgorithmConfig())
    evaluation = config.evaluation_config if isinstance(config.evaluation_config, Mapping) else {}
    given = [("", ray_internals.settings(config)), ("evaluation_config: ", evaluation)]
    for where, name, value in ((where, *item) for where, found in given for item in found.items()):
        if name not in of_rllib:
            continue
        instead = instead_of(name)
        # Evaluation runners do not explore, and their config says so.
        if instead is None or _equal(value, False if where and name == "explore" else before[name]):
            continue
        raise ValueError(f"{where}{name} is {_shown(value)}, but nothing here uses it; leave it out: {instead}.")
    # What a function will make is known once it has made one, as RLlib does in every process.
    for callback in ray_internals.make_callbacks(config):
        check_hooks(type(callback))


def check_hooks(made: type) -> None:
    """Refuse a callback class with a hook that is never called.

    Raises:
        ValueError: One sentence with the class and the hook.
    """
    for name in hooks():
        if name not in CALLED_HOOKS and getattr(made, name) is not getattr(RLlibCallback, name):
            raise ValueError(f"{made.__name__}.{name} would never be called; leave it out: {_instead_of_hook(name)}.")


def hooks() -> Iterator[str]:
    """Names of all hooks of RLlib's callbacks."""
    return (name for name in vars(RLlibCallback) if name.startswith("on_"))


def _instead_of_hook(name: str) -> str:
    if name.startswith("on_episode_"):
        return "games are played many at a time; on_sample_end is given whole episodes (samples=), with returns and lengths"
    if "offline" in name:
        return _OFFLINE
    return _OLD


def _equal(value: Any, other: Any) -> bool:
    if value is other:
        return True
    try:
        return bool(value == other)
    except Exception:  # arrays and the like, which no default is
        return False


def _shown(value: Any) -> str:
    name = getattr(value, "__name__", None)
    return str(name) if callable(value) and name else repr(value)
