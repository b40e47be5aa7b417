"""Value factorization on RLlib's new API stack: the config, and the one training loop that all algorithms share."""

from __future__ import annotations

import inspect
import itertools
import math
import sys
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    EVALUATION_RESULTS,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    REPLAY_BUFFER_SAMPLE_TIMER,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

from rllib_reborn.algorithms.value_factorization import checkpoint_parts, ray_internals, runners
from rllib_reborn.algorithms.value_factorization.env_creator import env_name, register_team_env
from rllib_reborn.algorithms.value_factorization.metrics_row import TEAM_METRICS, Progress, metrics_row
from rllib_reborn.algorithms.value_factorization.probing import (
    PLASTICITY_EVENTS,
    Prober,
    amplitudes,
    dormancy_metric_names,
)
from rllib_reborn.algorithms.value_factorization.rehearsal import rehearse
from rllib_reborn.algorithms.value_factorization.settings import (
    AgentSettings,
    EpsilonSettings,
    NoSettings,
    OptimizerSettings,
    RewardSettings,
    Settings,
    TargetUpdateSettings,
    parse,
)
from rllib_reborn.algorithms.value_factorization.team_env_runner import (
    Collected,
    TeamEnvRunner,
)
from rllib_reborn.algorithms.value_factorization.team_rl_module import AMPLITUDE, TeamRLModule
from rllib_reborn.algorithms.value_factorization.updates import Update, run_updates
from rllib_reborn.algorithms.value_factorization.value_factorization_learner import (
    ENV_STEPS,
    EPISODES,
    STEPS_OF_ALL_LEARNERS,
    ValueFactorizationLearner,
)
from rllib_reborn.callbacks import DormancyCallback, ReBornCallback
from rllib_reborn.envs.registry import starts_programs, team_spec
from rllib_reborn.envs.team_env import TeamSpec
from rllib_reborn.plasticity.dormancy_check import DormancyCheck, make_dormancy_check
from rllib_reborn.plasticity.interventions import MARR, SR, Intervention, make_intervention, to_dict
from rllib_reborn.replay import EpisodeReplay, ReplayMemoryError, ReplaySample, format_bytes
from rllib_reborn.replay.episode_block import field_layout
from rllib_reborn.replay.memory import largest_size
from rllib_reborn.replay.reward_scaling import RewardScaler
from rllib_reborn.suggestions import did_you_mean

#: RLlib creates evaluation runners only for an interval in iterations; ours counts env steps, so RLlib's never comes.
_NEVER = 10**12
#: RLlib's settings of batches, which are whole episodes of the replay here: what they are when nobody sets them, and what to
#: set in their place.
_UNUSED: Mapping[str, tuple[Any, str]] = MappingProxyType(
    {
        "num_epochs": (1, "set updates_per_episode"),
        "minibatch_size": (None, "set batch_episodes"),
        "train_batch_size": (32, "set batch_episodes"),
        "train_batch_size_per_learner": (None, "set batch_episodes, which all learners share"),
    }
)


class ValueFactorizationConfig(AlgorithmConfig):
    """Settings shared by all value factorization algorithms; VDN, QMIX, ... subclass it.

    Example:
        >>> from rllib_reborn import QMIXConfig
        >>> config = (
        ...     QMIXConfig()
        ...     .environment("predator_prey/small")
        ...     .env_runners(num_env_runners=0, num_envs_per_env_runner=16)
        ...     .training(batch_episodes=32, target_update={"every": 200, "unit": "episodes"})
        ... )
        >>> algo = config.build_algo()  # doctest: +SKIP
    """

    #: Where an algorithm's defaults differ from those of :class:`EpsilonSettings` and :class:`OptimizerSettings`. What is
    #: given to ``training`` is laid over them, so that a part of it does not bring back another algorithm's rest.
    default_epsilon: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    default_optimizer: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or ValueFactorization)
        # RLlib settings that this training loop needs to be so.
        self.env_runner_cls = TeamEnvRunner
        self.batch_mode = "complete_episodes"
        self.evaluation_interval: int | None = None
        self.evaluation_duration = 32
        self.evaluation_config = {"explore": False}
        self.merge_env_runner_states = False
        self.broadcast_env_runner_states = False
        self.restart_failed_sub_environments = True
        self.delay_between_env_runner_restarts_s = 5.0
        # RLlib's 60 and 120 s are short for slow games, and what comes later is dropped.
        self.sample_timeout_s = 600.0
        self.evaluation_sample_timeout_s = 600.0
        self.num_envs_per_env_runner = 8
        self.min_sample_timesteps_per_iteration = 1_000
        # RLlib's names, PyMARL's values (method reference 7.1).
        self.lr = 5e-4
        self.gamma = 0.99
        self.grad_clip = 10.0
        self.grad_clip_by = "global_norm"
        # Ours.
        self.batch_episodes = 32
        self.buffer_episodes = 5_000
        self.learning_starts_episodes = 32
        self.updates_per_episode = 1.0
        self.target_update: dict[str, Any] = {}
        self.epsilon: dict[str, Any] = dict(self.default_epsilon)
        self.double_q = True
        self.n_step = 1
        self.td_lambda: float | None = None
        self.team_optimizer: dict[str, Any] = dict(self.default_optimizer)
        self.team_model: dict[str, Any] = {}
        self.mixer: dict[str, Any] = {}
        self.method: dict[str, Any] = {}
        self.reward: dict[str, Any] = {}
        self.sampling = "sync"
        self.episodes_per_sample: int | None = None
        self.nonfinite_patience = 10
        self.interventions: list[dict[str, Any]] = []
        self.dormancy: dict[str, Any] | None = None
        #: How many entries, the last ones of ``interventions``, ``callbacks(...)`` wrote. A number and not the entries: Tune
        #: would search in a second copy of them too.
        self.num_interventions_of_callbacks = 0
        self._callbacks_become_data = True
        self.env_steps_per_evaluation: int | None = None
        self.replay_in_checkpoints = "full"

    # ------------------------------------------------------------------ fluent settings

    @override(AlgorithmConfig)
    def environment(self, env: Any = NotProvided, **kwargs: Any) -> Self:
        """Sets the environment.

        Args:
            env: A name (``predator_prey/small``, ``matrix/two_step``, ...; ``rllib-reborn envs`` lists them), or
                ``package.module:callable``, or that callable itself: it is called with ``num_envs=`` and the entries of
                ``env_config`` and returns a :class:`~rllib_reborn.envs.VectorTeamEnv`.
            **kwargs: RLlib's, ``env_config`` first of all: keyword arguments of the environment.

        Raises:
            ValueError: The name is unknown, or an argument of ``env_config`` is.
        """
        if env is not NotProvided and env is not None:
            kwargs["env"] = env_name(env)
        super().environment(**kwargs)
        if self.env is not None:
            register_team_env(self.env)
        return self

    @override(AlgorithmConfig)
    def training(
        self,
        *,
        batch_episodes: int = NotProvided,
        buffer_episodes: int = NotProvided,
        learning_starts_episodes: int = NotProvided,
        updates_per_episode: float = NotProvided,
        target_update: dict[str, Any] = NotProvided,
        epsilon: dict[str, Any] = NotProvided,
        double_q: bool = NotProvided,
        n_step: int = NotProvided,
        td_lambda: float | None = NotProvided,
        optimizer: dict[str, Any] = NotProvided,
        model: dict[str, Any] = NotProvided,
        mixer: dict[str, Any] = NotProvided,
        method: dict[str, Any] = NotProvided,
        reward: dict[str, Any] = NotProvided,
        sampling: str = NotProvided,
        episodes_per_sample: int | None = NotProvided,
        nonfinite_patience: int = NotProvided,
        interventions: list[dict[str, Any]] = NotProvided,
        dormancy: dict[str, Any] | None = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets what is trained and how. Defaults without another source are PyMARL's (method reference 7.1).

        Args:
            batch_episodes: Whole episodes per update, 1..``buffer_episodes`` and a multiple of ``num_learners``.
                Default 32.
            buffer_episodes: Episodes the replay keeps, >= 1. Default 5,000; its size is printed (to stderr,
                unless ``debugging(log_level="ERROR")``) and checked before it is allocated.
            learning_starts_episodes: Episodes collected before the first update, 1..``buffer_episodes``. Default 32.
            updates_per_episode: Updates for each collected episode after that, > 0. Default 1.
            target_update: ``{"every": 200, "unit": "episodes" | "updates"}`` for hard copies (default), or
                ``{"tau": 0.005}`` for a soft step after each update (:class:`TargetUpdateSettings`).
            epsilon: ``{"start": 1.0, "end": 0.05, "anneal_env_steps": 50_000}`` (:class:`EpsilonSettings`).
            double_q: Choose the target's actions with the online network (van Hasselt et al. 2016). Default True.
            n_step: Rewards summed before bootstrapping, >= 1. Default 1.
            td_lambda: TD(lambda) targets in place of n-step ones, 0..1 (PyMARL2: 0.6). Default None: not used.
            optimizer: ``{"kind": "rmsprop" | "adam", "alpha": 0.99, "eps": 1e-5, "weight_decay": 0.0}``
                (:class:`OptimizerSettings`).
            model: The agents' network (:class:`AgentSettings`): ``hidden_dim`` 64, ``fc_layers`` 1, ``recurrent`` True,
                ``agent_id`` True, ``last_action`` True, ``parameter_sharing`` "all" | "group" | "none".
            mixer: Settings of the algorithm's mixer (QMIX: :class:`MixerSettings`; VDN: none); each Config says which.
            method: What is the algorithm's own beside its mixer (quantiles, risk, weighting, ...); each Config says which.
            reward: ``{"scale": 1.0, "standardise": False}`` (:class:`RewardSettings`).
            sampling: "sync" (exact seeds; default) or "async" (runners sample while the learner learns; needs
                ``num_env_runners >= 1``).
            episodes_per_sample: Episodes to finish, over all runners, before learning goes on. Default None: one per game.
            nonfinite_patience: Updates in a row with a gradient that is not finite before training stops with the batch
                written to disk, >= 1; such updates are skipped and counted. Default 10.
            interventions: What is done against plasticity loss, in this order: ``[{"kind": "reborn", "every": 200_000,
                "alpha": 0.1, ...}, ...]``. Kinds and settings: :data:`rllib_reborn.plasticity.interventions.KINDS`. Data, so
                that Tune can search inside it. Default []: nothing.
            dormancy: When and how dormancy is measured (:class:`~rllib_reborn.plasticity.dormancy_check.DormancyCheck`);
                ``{}`` for every 10,000 env steps. Measuring changes nothing else. Default None: not measured.
            **kwargs: RLlib's: ``lr`` (default 5e-4, a number or a schedule), ``gamma`` (0.99), ``grad_clip`` (10.0, by
                global norm; None switches it off), ...

        Raises:
            TypeError: An argument is unknown.
        """
        known = _training_arguments(type(self))
        for name in kwargs:
            if name not in known:
                raise TypeError(f"training() has no argument {name!r}.{did_you_mean(name, known)}")
        super().training(**kwargs)
        if interventions is not NotProvided and isinstance(interventions, list | tuple):
            # What callbacks have added stays: a list takes the place of an earlier list alone.
            added = self.interventions[len(self.interventions) - self.num_interventions_of_callbacks :]
            interventions = [*interventions, *added]
        if isinstance(epsilon, dict):
            epsilon = {**self.default_epsilon, **epsilon}
        # The constants of one kind of optimizer are not those of another.
        if isinstance(optimizer, dict) and optimizer.get("kind") in (None, self.default_optimizer.get("kind")):
            optimizer = {**self.default_optimizer, **optimizer}
        given = {
            "batch_episodes": batch_episodes,
            "buffer_episodes": buffer_episodes,
            "learning_starts_episodes": learning_starts_episodes,
            "updates_per_episode": updates_per_episode,
            "target_update": target_update,
            "epsilon": epsilon,
            "double_q": double_q,
            "n_step": n_step,
            "td_lambda": td_lambda,
            # RLlib has attributes ``optimizer`` and ``model`` of its old stack and checks that they are untouched.
            "team_optimizer": optimizer,
            "team_model": model,
            "mixer": mixer,
            "method": method,
            "reward": reward,
            "sampling": sampling,
            "episodes_per_sample": episodes_per_sample,
            "nonfinite_patience": nonfinite_patience,
            "interventions": interventions,
            "dormancy": dormancy,
        }
        for name, value in given.items():
            if value is not NotProvided:
                setattr(self, name, value)
        return self

    @override(AlgorithmConfig)
    def callbacks(self, callbacks_class: Any = NotProvided, **kwargs: Any) -> Self:
        """As RLlib's, and: settings of ``partial(ReBornCallback, ...)`` and ``partial(DormancyCallback, ...)`` become data.

        Args:
            callbacks_class: Callback classes. A :class:`~rllib_reborn.callbacks.ReBornCallback` adds an entry to
                ``interventions``, a :class:`~rllib_reborn.callbacks.DormancyCallback` sets ``dormancy``, with the keyword
                arguments of the ``partial`` around it, if any.
            **kwargs: RLlib's.
        """
        super().callbacks(callbacks_class, **kwargs)
        if callbacks_class is NotProvided or not self._callbacks_become_data:
            return self
        given = callbacks_class if isinstance(callbacks_class, list | tuple) else [callbacks_class]
        found: list[dict[str, Any]] = []
        for one in given:
            made, settings = (one.func, one.keywords) if isinstance(one, partial) else (one, {})
            if isinstance(made, type) and issubclass(made, ReBornCallback):
                found.append({"kind": made.kind, **settings})
            elif isinstance(made, type) and issubclass(made, DormancyCallback) and (settings or self.dormancy is None):
                self.dormancy = dict(settings)
        # As RLlib's: what is given replaces what an earlier call gave.
        own = self.interventions[: len(self.interventions) - self.num_interventions_of_callbacks]
        self.interventions = [*own, *found]
        self.num_interventions_of_callbacks = len(found)
        return self

    @override(AlgorithmConfig)
    def evaluation(self, *, interval_env_steps: int | None = NotProvided, **kwargs: Any) -> Self:
        """Sets the evaluation: greedy episodes on runners and seeds of their own.

        Args:
            interval_env_steps: Evaluate after every so many env steps of training (first at the first iteration that
                reaches one interval); None: only when :meth:`Algorithm.evaluate` is called. Default None.
            **kwargs: RLlib's: ``evaluation_duration`` (episodes, default 32), ``evaluation_num_env_runners`` (0: in the
                algorithm's process), ``evaluation_parallel_to_training``, ... ``evaluation_interval`` counts iterations.
        """
        super().evaluation(**kwargs)
        if interval_env_steps is not NotProvided:
            self.env_steps_per_evaluation = interval_env_steps
            if self.evaluation_interval is None or self.evaluation_interval == _NEVER:
                self.evaluation_interval = None if interval_env_steps is None else _NEVER
        return self

    @override(AlgorithmConfig)
    def checkpointing(self, *, replay: str = NotProvided, **kwargs: Any) -> Self:
        """Sets what checkpoints hold.

        Args:
            replay: "full" (default; a resumed run continues exactly) or "none" (small; a resumed run first collects
                ``learning_starts_episodes`` episodes anew).
            **kwargs: RLlib's.
        """
        super().checkpointing(**kwargs)
        if replay is not NotProvided:
            self.replay_in_checkpoints = replay
        return self

    @override(AlgorithmConfig)
    def update_from_dict(self, config_dict: dict[str, Any]) -> Self:
        if "team_model" in config_dict:
            # A full config (``to_dict()``): its ``model`` and ``optimizer`` are RLlib's unused old-stack entries.
            config_dict = {k: v for k, v in config_dict.items() if k not in ("model", "optimizer")}
        # A full config brings the data that its callbacks once became, perhaps with values that Tune chose since.
        self._callbacks_become_data = "interventions" not in config_dict
        config_dict = {k: v for k, v in config_dict.items() if k != "_callbacks_become_data"}
        super().update_from_dict(config_dict)
        self._callbacks_become_data = True
        if self.env is not None:
            register_team_env(self.env)
        return self

    # ------------------------------------------------------------------ derived

    @property
    def team_spec(self) -> TeamSpec:
        """The team of ``environment(...)``; starts no game."""
        if self.env is None:
            raise ValueError("no environment is set; call config.environment(name), for instance with matrix/two_step.")
        return team_spec(self.env, **self.env_config)

    @property
    @override(AlgorithmConfig)
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return super()._model_config_auto_includes | {
            "team_spec": self.team_spec.to_dict(),
            "agent": parse(AgentSettings, self.team_model, "model").model_dump(),
            "mixer": self.parse_mixer().model_dump(),
            "method": self.parse_method().model_dump(),
            "double_q": self.double_q,
            # Methods that add parameters allocate them when the networks are built.
            "interventions": [to_dict(one) for one in self.parse_interventions() if one.adds_parameters],
            # A checkpoint of the module alone knows the env it was trained on.
            "env": self.env,
            "env_config": dict(self.env_config),
        }

    def mixer_settings(self) -> type[Settings]:
        """The settings model of this algorithm's mixer."""
        raise TypeError(f"{type(self).__name__} is not an algorithm by itself; use QMIXConfig or another one.")

    def method_settings(self) -> type[Settings]:
        """The settings model of what is the algorithm's own beside its mixer."""
        return NoSettings

    def module_class(self) -> type[TeamRLModule]:
        """The module of this algorithm."""
        raise TypeError(f"{type(self).__name__} is not an algorithm by itself; use QMIXConfig or another one.")

    #: Whether the mixer reads the global state.
    mixer_needs_state = False

    def parse_mixer(self) -> Settings:
        """The mixer's settings, validated."""
        return parse(self.mixer_settings(), self.mixer, "mixer")

    def parse_method(self) -> Settings:
        """The algorithm's own settings, validated."""
        return parse(self.method_settings(), self.method, "method")

    def parse_interventions(self) -> list[Intervention]:
        """The interventions, validated.

        Raises:
            ValueError: ``interventions[i]``, its setting, the value and what was expected.
        """
        if not isinstance(self.interventions, list | tuple):
            raise ValueError(f"interventions is {self.interventions!r}; expected a list of dicts with a kind each.")
        made = []
        for position, data in enumerate(self.interventions):
            try:
                made.append(make_intervention(data))
            except ValueError as error:
                raise ValueError(f"interventions[{position}]: {error}") from None
        return made

    def parse_dormancy(self) -> DormancyCheck | None:
        """The dormancy check, validated; None: dormancy is not measured."""
        return None if self.dormancy is None else make_dormancy_check(self.dormancy)

    def updates_per_collected_episode(self) -> float:
        """``updates_per_episode``, or the replay ratio that an intervention (SR, MARR) brings with it."""
        ratios = [one.updates_per_episode for one in self.parse_interventions() if isinstance(one, SR | MARR)]
        return float(ratios[0] if ratios else self.updates_per_episode)

    @override(AlgorithmConfig)
    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=self.module_class())

    @override(AlgorithmConfig)
    def get_default_learner_class(self) -> type[ValueFactorizationLearner]:
        return ValueFactorizationLearner

    @override(AlgorithmConfig)
    def get_evaluation_config_object(self) -> AlgorithmConfig | None:
        config = super().get_evaluation_config_object()
        if config is not None:
            config.sampling = "sync"  # evaluation runners have no learner to overlap with
        if config is not None and "num_envs_per_env_runner" not in (self.evaluation_config or {}):
            # As many games as episodes, up to a limit: none is played that is not counted.
            per_runner = -(-self.evaluation_duration // max(1, self.evaluation_num_env_runners))
            programs = self.env is not None and starts_programs(self.env)
            config.num_envs_per_env_runner = min(per_runner, self.num_envs_per_env_runner if programs else 32)
        return config

    # ------------------------------------------------------------------ validation

    @override(AlgorithmConfig)
    def validate(self) -> None:
        """Check everything before anything is built.

        Raises:
            ValueError: One sentence with the setting, its value, what was expected and the remedy.
        """
        # Before RLlib's own checks, which compare what is no number.
        self._validate_types()
        self._validate_unused()
        super().validate()
        if self.is_multi_agent:
            raise ValueError("multi_agent() is set, but the team is ONE RLlib agent here; remove that call.")
        spec = self.team_spec
        if self.mixer_needs_state and spec.state_dim == 0:
            raise ValueError(
                f"{self.algo_class.__name__}'s mixer needs a global state, but {self.env!r} has none (state_dim 0); use VDN."
            )
        for model, value, name in (
            (TargetUpdateSettings, self.target_update, "target_update"),
            (EpsilonSettings, self.epsilon, "epsilon"),
            (OptimizerSettings, self.team_optimizer, "optimizer"),
            (AgentSettings, self.team_model, "model"),
            (RewardSettings, self.reward, "reward"),
        ):
            parse(model, value, name)
        self.parse_mixer()
        self.parse_method()
        self._validate_numbers()
        self._validate_plasticity()
        self._validate_evaluation()
        if self.sampling not in ("sync", "async"):
            raise ValueError(f"sampling is {self.sampling!r}; expected 'sync' or 'async'.")
        if self.sampling == "async" and self.num_env_runners < 1:
            raise ValueError(
                "sampling is 'async' with num_env_runners 0; set num_env_runners to at least 1, or 'sync'."
            )
        if self.replay_in_checkpoints not in ("full", "none"):
            raise ValueError(f"checkpointing(replay=...) is {self.replay_in_checkpoints!r}; expected 'full' or 'none'.")
        if self.framework_str != "torch":
            raise ValueError(f"framework is {self.framework_str!r}; only 'torch' is supported.")

    def _validate_types(self) -> None:
        for name in ("num_env_runners", "num_learners", "evaluation_num_env_runners"):
            _check_whole(name, getattr(self, name), 0)
        if not isinstance(self.double_q, bool):
            raise ValueError(f"double_q is {self.double_q!r}; expected True or False.")
        if isinstance(self.lr, list | tuple):
            _check_schedule("lr", self.lr)
        else:
            _check_number("lr", self.lr, above=0, alternative="a schedule such as [[0, 1e-3], [1_000_000, 1e-4]]")
        if self.env_steps_per_evaluation is not None:
            _check_whole("evaluation interval_env_steps", self.env_steps_per_evaluation, 1, alternative="None")

    def _validate_unused(self) -> None:
        """Refuse settings of RLlib that would change nothing here."""
        for name, (unset, instead) in _UNUSED.items():
            value = getattr(self, f"_{name}" if name == "train_batch_size_per_learner" else name)
            if value != unset:
                raise ValueError(f"{name} is {value!r}, but nothing here uses it; leave it out and {instead}.")
        if self.batch_mode != "complete_episodes":
            raise ValueError(f"batch_mode is {self.batch_mode!r}; only 'complete_episodes' is supported. Leave it out.")
        if isinstance(self.evaluation_config, Mapping) and self.evaluation_config.get("explore"):
            raise ValueError(
                f"evaluation_config has explore {self.evaluation_config['explore']!r}, but evaluation is always greedy; "
                "leave it out, or set it to False."
            )

    def _validate_numbers(self) -> None:
        whole = ("batch_episodes", "buffer_episodes", "learning_starts_episodes", "n_step", "nonfinite_patience")
        for name in whole:
            _check_whole(name, getattr(self, name), 1)
        for name in ("batch_episodes", "learning_starts_episodes"):
            if getattr(self, name) > self.buffer_episodes:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, more than buffer_episodes ({self.buffer_episodes}); lower it or "
                    "enlarge the buffer."
                )
        learners = max(1, self.num_learners)
        if self.batch_episodes % learners:
            raise ValueError(
                f"batch_episodes is {self.batch_episodes}, which {learners} learners cannot share equally; use a multiple."
            )
        _check_number("updates_per_episode", self.updates_per_episode, above=0)
        if self.td_lambda is not None:
            _check_number("td_lambda", self.td_lambda, low=0, high=1, alternative="None")
            if self.n_step != 1:
                raise ValueError(f"n_step is {self.n_step} and td_lambda {self.td_lambda}; use one of them.")
        _check_number("gamma", self.gamma, low=0, high=1)
        if self.grad_clip is not None:
            _check_number("grad_clip", self.grad_clip, above=0, alternative="None")
        if self.grad_clip_by != "global_norm":
            raise ValueError(f"grad_clip_by is {self.grad_clip_by!r}; only 'global_norm' is supported.")
        _check_whole("num_envs_per_env_runner", self.num_envs_per_env_runner, 1)
        if self.episodes_per_sample is not None:
            _check_whole("episodes_per_sample", self.episodes_per_sample, 1, alternative="None")
        if self.seed is not None:
            _check_whole("seed", self.seed, 0, alternative="None")

    def _validate_plasticity(self) -> None:
        self.parse_dormancy()
        interventions = self.parse_interventions()
        with_ratio = [one.kind for one in interventions if isinstance(one, SR | MARR)]
        if len(with_ratio) > 1:
            raise ValueError(f"interventions {' and '.join(with_ratio)} each bring a replay ratio; use one of them.")
        decay = parse(OptimizerSettings, self.team_optimizer, "optimizer").weight_decay
        for one in interventions:
            if one.adds_parameters and decay > 0:
                raise ValueError(
                    f"optimizer.weight_decay is {decay} with intervention {one.kind!r}, which freezes weights that the "
                    "decay would go on moving; set it to 0."
                )
        if interventions:
            rehearse(self)

    def _validate_evaluation(self) -> None:
        if self.evaluation_duration_unit != "episodes" or not isinstance(self.evaluation_duration, int):
            raise ValueError(
                f"evaluation_duration is {self.evaluation_duration!r} {self.evaluation_duration_unit}; expected a whole "
                "number of episodes."
            )
        if self.evaluation_duration < 1:
            raise ValueError(f"evaluation_duration is {self.evaluation_duration}; expected at least 1 episode.")


class ValueFactorization(Algorithm):
    """Collect whole episodes, replay them, update, send weights: the loop of every algorithm here."""

    config: ValueFactorizationConfig

    def __init__(self, config: Any = None, *args: Any, **kwargs: Any) -> None:
        # In a fresh process (a Tune trial, a restored checkpoint) nobody has registered the env name yet.
        name = config.env if isinstance(config, AlgorithmConfig) else (config or {}).get("env")
        if name is not None:
            register_team_env(name)
        self.replay: EpisodeReplay | None = None
        super().__init__(config, *args, **kwargs)

    @override(Algorithm)
    def setup(self, config: Any) -> None:
        self.progress = Progress()
        self._evaluation_runner: TeamEnvRunner | None = None
        super().setup(config)
        self._interventions = self.config.parse_interventions()
        seed = self.config.seed if self.config.seed is not None else int(np.random.SeedSequence().generate_state(1)[0])
        self.prober = Prober(self._interventions, self.config.parse_dormancy(), seed)
        self._updates_per_episode = self.config.updates_per_collected_episode()
        self._plasticity_events: list[dict[str, Any]] = []
        self.dormancy_metric_names = dormancy_metric_names(self)
        spec = self.config.team_spec
        layout = field_layout(
            spec.n_agents, spec.n_actions, spec.obs_dim, spec.state_dim, spec.obs_dtype, spec.state_dtype
        )
        if self.config.log_level != "ERROR":
            # Not logged: RLlib shows warnings and worse only, and this is none.
            episodes, limit = self.config.buffer_episodes, spec.episode_limit
            size = format_bytes(largest_size(layout, episodes, limit))
            print(f"Replay: {episodes:,} episodes of up to {limit} steps, at most {size}.", file=sys.stderr, flush=True)
        try:
            self.replay = EpisodeReplay(self.config.buffer_episodes, layout, spec.episode_limit, seed=self.config.seed)
        except ReplayMemoryError:
            self.stop()
            raise
        settings = parse(RewardSettings, self.config.reward, "reward")
        self.reward_scaler = RewardScaler(scale=settings.scale, standardise=settings.standardise)
        self._replay_component = checkpoint_parts.ReplayComponent(self.replay)
        self._games_component = checkpoint_parts.RemoteGamesComponent(self)
        # RLlib sends initial weights only together with connector states, which this loop has none of.
        self.push_weights()

    # ------------------------------------------------------------------ training

    @override(Algorithm)
    def training_step(self) -> None:
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            self._receive(runners.collect(self))
        updates = self.progress.updates_due(self._updates_per_episode, self.config.learning_starts_episodes)
        first = self.progress.updates
        for updated in run_updates(self.learner_group, (self._make_update(first + k) for k in range(updates))):
            self.metrics.log_value((TIMERS, LEARNER_UPDATE_TIMER), updated.seconds, reduce="ema")
            self.metrics.aggregate(updated.results, key=LEARNER_RESULTS)
            self._plasticity_events += updated.events
            self.progress.updates += 1
            self.progress.env_steps_trained += updated.update.env_steps
        if updates:
            with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
                self.send_weights()

    def _receive(self, collected: list[Collected]) -> None:
        """Take in what runners have collected: replay, counters, metrics."""
        assert self.replay is not None
        for answer in collected:
            runners.raise_error(answer)
        if collected:
            self.metrics.aggregate([answer.metrics for answer in collected], key=ENV_RUNNER_RESULTS)
        for answer in collected:
            for block in answer.blocks:
                self.reward_scaler.observe(block.fields["reward"])
                self.replay.add(block)
            self.progress.add(answer)

    def _make_update(self, updates_before: int) -> Update:
        """Sample a batch and look at what is due. Earlier updates may still be under way: ``updates_before`` counts them."""
        assert self.replay is not None
        with self.metrics.log_time((TIMERS, REPLAY_BUFFER_SAMPLE_TIMER)):
            sample = self.replay.sample(self.config.batch_episodes, shards=max(1, self.config.num_learners))
        clock = self.progress.clock(updates_before)
        probe = self.prober.probe(clock, self.replay)
        amplitude = amplitudes(self._interventions, self.config.batch_episodes, self.prober.seed, clock)
        return Update(
            learner_batch(sample, self.reward_scaler, amplitude),
            {ENV_STEPS: self.progress.env_steps, EPISODES: self.progress.episodes},
            sample.env_steps,
            probe,
        )

    def send_weights(self) -> None:
        """Agent weights to the sampling runners; with overlapped sampling without waiting for them."""
        runners.send_weights(self)

    @override(Algorithm)
    def restore_env_runners(self, env_runner_group: Any) -> list[int]:
        """As RLlib's; runners that were started again also get the present weights, not those of the run's start."""
        restored: list[int] = super().restore_env_runners(env_runner_group)
        if restored:
            runners.push_weights_to(self, env_runner_group, restored)
        return restored

    def push_weights(self) -> None:
        """The same to all runners, evaluation included, whatever weights they have; waits until all have them."""
        runners.push_weights(self)

    @override(Algorithm)
    def step(self) -> dict[str, Any]:
        """One ``train()``: training steps, an evaluation when one is due, and the metrics row under ``"team"``."""
        evaluation: dict[str, Any] | None = None
        if self.config.evaluation_parallel_to_training:
            # What has become due is evaluated beside the next iteration, with the weights from before it.
            due, weights = self._take_due_evaluation(), runners.learner_weights(self)
            with ThreadPoolExecutor(max_workers=1) as executor:
                future = executor.submit(self._evaluate_with, weights) if due else None
                results = super().step()
                evaluation = future.result() if future is not None else None
        else:
            results = super().step()
            if self._take_due_evaluation():
                evaluation = self.evaluate()
        if evaluation is not None:
            results[EVALUATION_RESULTS] = evaluation
        results[NUM_ENV_STEPS_SAMPLED_LIFETIME] = self.progress.env_steps
        self.progress.iterations += 1
        results[PLASTICITY_EVENTS], self._plasticity_events = self._plasticity_events, []
        results[TEAM_METRICS] = metrics_row(self, results)
        return results

    def _take_due_evaluation(self) -> bool:
        """Has the env-step clock passed a multiple of the interval since this last said so?"""
        interval, progress = self.config.env_steps_per_evaluation, self.progress
        if interval is None or progress.env_steps // interval <= progress.last_evaluation_env_steps // interval:
            return False
        progress.last_evaluation_env_steps = progress.env_steps
        return True

    # ------------------------------------------------------------------ evaluation

    @override(Algorithm)
    def evaluate(self, parallel_train_future: Any = None) -> dict[str, Any]:
        """Play ``evaluation_duration`` greedy episodes with the current weights, always from the same seeds.

        Returns:
            ``{"env_runners": {"episode_return_mean": ..., "episode_return_std": ..., "episode_returns": [...],
            "episode_len_mean": ..., "num_episodes": ..., "win_rate": ... or None}}``.
        """
        return self._evaluate_with(runners.learner_weights(self))

    def local_evaluation_runner(self) -> TeamEnvRunner:
        """The evaluation runner in this process; made when first needed, since training games must not be disturbed."""
        if self.eval_env_runner_group is not None and self.eval_env_runner is not None:
            return self.eval_env_runner
        if self._evaluation_runner is None:
            self._evaluation_runner = TeamEnvRunner(
                config=self.evaluation_config, env_creator=self.env_creator, worker_index=0, num_workers=0
            )
        return self._evaluation_runner

    def _evaluate_with(self, weights: runners.Weights) -> dict[str, Any]:
        ray_internals.run_callbacks(
            "on_evaluate_start",
            self.callbacks,
            self.config.callbacks_on_evaluate_start,
            algorithm=self,
            metrics_logger=self.metrics,
        )
        results = {ENV_RUNNER_RESULTS: runners.summary(runners.play_greedy(self, weights))}
        ray_internals.run_callbacks(
            "on_evaluate_end",
            self.callbacks,
            self.config.callbacks_on_evaluate_end,
            algorithm=self,
            metrics_logger=self.metrics,
            evaluation_metrics=results,
        )
        return results

    def stop_env_runners(self) -> None:
        """End all sampling and evaluating processes for good: their games end, and what they booked is free again."""
        for group in (self.env_runner_group, self.eval_env_runner_group):
            if group is not None:
                group.stop()

    @override(Algorithm)
    def cleanup(self) -> None:
        if self._evaluation_runner is not None:
            self._evaluation_runner.stop()
        super().cleanup()

    # ------------------------------------------------------------------ checkpoints

    @override(Algorithm)
    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        # Overlapped requests that are under way belong to this state: the runners' games are already past them.
        self._receive(runners.drain(self))
        state: dict[str, Any] = super().get_state(components, not_components=not_components, **kwargs)
        state["value_factorization"] = {
            "replay_saved": self.config.replay_in_checkpoints == "full",
            "progress": self.progress.get_state(),
            "reward_scaler": self.reward_scaler.get_state(),
            "prober": self.prober.get_state(),
        }
        for name, component in self._own_components():
            if ray_internals.wants_component(self, name, components, not_components):
                state[name] = component.get_state()
        return state

    @override(Algorithm)
    def set_state(self, state: dict[str, Any]) -> None:
        runners.drain(self)  # what is under way belongs to the time line that is left
        super().set_state(state)
        ours = state.get("value_factorization")
        if ours is not None:
            self.progress.set_state(ours["progress"])
            self.reward_scaler.set_state(ours["reward_scaler"])
            self.prober.set_state(ours["prober"])
            if not ours["replay_saved"] or self.config.replay_in_checkpoints == "none":
                self._replay().clear()
                self.progress.replay_lost()
        for name, component in self._own_components():
            if name in state:
                component.set_state(state[name])
        # Counted here, since the saved counters come after the components when a checkpoint is restored from files.
        self.progress.episodes_dropped += self._games_component.take_lost_episodes()
        # RLlib's own weight message after a restore is not waited for and may be dropped (reference, section 4.3).
        self.push_weights()

    @classmethod
    @override(Algorithm)
    def from_checkpoint(cls, path: str | Path, *args: Any, **kwargs: Any) -> Any:
        return super().from_checkpoint(_absolute(path), *args, **kwargs)

    @override(Algorithm)
    def save_to_path(self, path: str | Path | None = None, **kwargs: Any) -> str:
        """As RLlib's, but a relative path is one (RLlib takes it for a URI without a scheme and fails)."""
        saved: str = super().save_to_path(None if path is None else _absolute(path), **kwargs)
        return saved

    @override(Algorithm)
    def restore_from_path(self, path: str | Path, *args: Any, **kwargs: Any) -> None:
        super().restore_from_path(_absolute(path), *args, **kwargs)
        self.push_weights()

    @override(Algorithm)
    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        components: list[tuple[str, Any]] = super().get_checkpointable_components()
        return components + self._own_components()

    def _own_components(self) -> list[tuple[str, Any]]:
        if self.replay is None:
            return []
        components: list[tuple[str, Any]] = [(checkpoint_parts.REMOTE_GAMES, self._games_component)]
        if self.config.replay_in_checkpoints == "full":
            components.append((checkpoint_parts.REPLAY, self._replay_component))
        return components

    def _replay(self) -> EpisodeReplay:
        assert self.replay is not None
        return self.replay


def _check_whole(name: str, value: Any, low: int, *, alternative: str = "") -> None:
    """Raise ValueError unless ``value`` is a whole number of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        other = f", or {alternative}" if alternative else ""
        raise ValueError(f"{name} is {value!r}; expected a whole number >= {low}{other}.")


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
    good = isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not (low <= value <= high and value > above):
        wanted = f"> {above:g}" if low == -math.inf else f">= {low:g}" if high == math.inf else f"in {low:g}..{high:g}"
        other = f", or {alternative}" if alternative else ""
        raise ValueError(f"{name} is {value!r}; expected a number {wanted}{other}.")


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


def _training_arguments(config_class: type[AlgorithmConfig]) -> tuple[str, ...]:
    """Arguments of ``training`` of a config class and of RLlib's."""
    methods = (config_class.training, AlgorithmConfig.training)
    names = (name for method in methods for name in inspect.signature(method).parameters)
    return tuple(name for name in names if name not in ("self", "kwargs"))


def _absolute(path: str | Path) -> str:
    """A local path made absolute; a URI (``s3://...``) as it is."""
    return str(path) if "://" in str(path) else str(Path(path).absolute())


def learner_batch(
    sample: ReplaySample, scaler: RewardScaler | None = None, amplitude: npt.NDArray[np.float32] | None = None
) -> MultiAgentBatch:
    """A replay sample as RLlib's learners take it: dense, episode-major, under the default module id.

    Args:
        sample: From the replay.
        scaler: Applied to the rewards.
        amplitude: [E] factors of the episodes' observations and states, see :data:`AMPLITUDE`.
    """
    batch = dict(sample.batch)
    batch[STEPS_OF_ALL_LEARNERS] = np.full(len(batch["lengths"]), sample.env_steps, np.float32)
    if scaler is not None:
        batch["reward"] = scaler(batch["reward"])
    if amplitude is not None:
        batch[AMPLITUDE] = amplitude
    return MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(batch)}, env_steps=sample.env_steps)
