"""The config of all value factorization algorithms: RLlib's fluent settings and ours."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, Self

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.annotations import override

from rllib_reborn.algorithms.value_factorization import validation
from rllib_reborn.algorithms.value_factorization.learner import ValueFactorizationLearner
from rllib_reborn.algorithms.value_factorization.rl_module import TeamRLModule
from rllib_reborn.algorithms.value_factorization.settings import AgentSettings
from rllib_reborn.algorithms.value_factorization.time_limits import TimeLimitsConfig
from rllib_reborn.callbacks import DormancyCallback, ReBornCallback
from rllib_reborn.envs.registry import is_stepped_as_arrays
from rllib_reborn.nets.mixers import Mixer
from rllib_reborn.plasticity.dormancy_check import DormancyCheck, make_dormancy_check
from rllib_reborn.plasticity.interventions import Intervention, make_intervention, to_dict
from rllib_reborn.runtime import ray_internals
from rllib_reborn.runtime.env_creator import register_team_env
from rllib_reborn.runtime.env_runner import TeamEnvRunner
from rllib_reborn.settings import NoSettings, Settings, parse
from rllib_reborn.suggestions import did_you_mean

#: RLlib creates evaluation runners only for an interval in iterations; ours counts env steps, so RLlib's never comes.
_NEVER = 10**12
#: Evaluation games side by side in one runner, at most, of environments that step many as arrays.
_MOST_EVALUATION_GAMES = 32


class ValueFactorizationConfig(TimeLimitsConfig):
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

    #: Name of the algorithm, in :data:`ALGORITHMS`, checkpoints and messages.
    algorithm_name: ClassVar[str] = ""
    #: The mixing network, and the settings models of ``training(mixer=...)`` and ``training(algorithm_settings=...)``.
    mixer_class: ClassVar[type[Mixer]]
    mixer_settings_class: ClassVar[type[Settings]] = NoSettings
    algorithm_settings_class: ClassVar[type[Settings]] = NoSettings
    #: Networks and loss, where they differ.
    rl_module_class: ClassVar[type[TeamRLModule]] = TeamRLModule
    default_learner_class: ClassVar[type[ValueFactorizationLearner]] = ValueFactorizationLearner
    bootstrap_at_limit: bool = True  #: for configs that an earlier version has saved
    #: Where an algorithm's defaults differ from those of :class:`EpsilonSettings` and :class:`OptimizerSettings`. What is
    #: given to ``training`` is laid over them, so that a part of it does not bring back another algorithm's rest.
    default_epsilon: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    default_optimizer: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def __init__(self, algo_class: type | None = None) -> None:
        if not self.algorithm_name:
            raise TypeError(f"{type(self).__name__} is not an algorithm by itself; use QMIXConfig or another one.")
        super().__init__(algo_class=algo_class or algorithm_class_of(type(self)))
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
        # Its thread makes every stop() wait for up to 0.7 s, and nothing of ours reads what it collects.
        self.log_sys_usage = False
        self.num_envs_per_env_runner = 8
        self.min_sample_timesteps_per_iteration = 1_000
        # RLlib's names, PyMARL's values (docs/method.md 7.1).
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
        self.bootstrap_at_limit = True
        self.n_step = 1
        self.td_lambda: float | None = None
        self.team_optimizer: dict[str, Any] = dict(self.default_optimizer)
        self.team_model: dict[str, Any] = {}
        self.mixer: dict[str, Any] = {}
        self.algorithm_settings: dict[str, Any] = {}
        self.replay_weighting: dict[str, Any] = {}
        self.reward: dict[str, Any] = {}
        self.sampling = "sync"
        self.episodes_per_sample: int | None = None
        self.nonfinite_patience = 10
        self.cuda_graph = "auto"
        self.replay_device = "auto"
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
        bootstrap_at_limit: bool = NotProvided,
        n_step: int = NotProvided,
        td_lambda: float | None = NotProvided,
        optimizer: dict[str, Any] = NotProvided,
        model: dict[str, Any] = NotProvided,
        mixer: dict[str, Any] = NotProvided,
        algorithm_settings: dict[str, Any] = NotProvided,
        replay_weighting: dict[str, Any] = NotProvided,
        reward: dict[str, Any] = NotProvided,
        sampling: str = NotProvided,
        episodes_per_sample: int | None = NotProvided,
        nonfinite_patience: int = NotProvided,
        cuda_graph: str = NotProvided,
        replay_device: str = NotProvided,
        interventions: list[dict[str, Any]] = NotProvided,
        dormancy: dict[str, Any] | None = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets what is trained and how. Defaults without another source are PyMARL's (docs/method.md 7.1).

        Args:
            batch_episodes: Whole episodes per update, 1..``buffer_episodes``, a multiple of ``num_learners``. Default 32.
            buffer_episodes: Episodes the replay keeps, >= 1. Default 5,000; its size is printed (to stderr,
                unless ``debugging(log_level="ERROR")``) and checked before it is allocated.
            learning_starts_episodes: Episodes collected before the first update, 1..``buffer_episodes``. Default 32.
            updates_per_episode: Updates for each collected episode after that, > 0. Default 1.
            target_update: ``{"every": 200, "unit": "episodes" | "updates"}`` for hard copies (default), or
                ``{"tau": 0.005}`` for a soft step after each update (:class:`TargetUpdateSettings`).
            epsilon: ``{"start": 1.0, "end": 0.05, "anneal_env_steps": 50_000}`` (:class:`EpsilonSettings`).
            double_q: Choose the target's actions with the online network (van Hasselt et al. 2016). Default True.
            bootstrap_at_limit: Bootstrap from the last observation of an episode that a limit has cut (default). False: it
                has ended, as in EPyMARL; for games that only a limit ends, where that last value is never fitted.
            n_step: Rewards summed before bootstrapping, >= 1. Default 1.
            td_lambda: TD(lambda) targets in place of n-step ones, 0..1 (PyMARL2: 0.6). Default None: not used.
            optimizer: ``{"kind": "rmsprop" | "adam", "alpha": 0.99, "eps": None, "weight_decay": 0.0}``; eps None:
                1e-5 for rmsprop, 1e-8 for adam (:class:`OptimizerSettings`).
            model: The agents' network (:class:`AgentSettings`): ``hidden_dim`` 64, ``fc_layers`` 1, ``recurrent`` True,
                ``agent_id`` True, ``last_action`` True, ``parameter_sharing`` "all" | "group" | "none"; its hidden layers:
                ``normalisation`` "none" | "layer", ``activation`` "relu" | "crelu"; what reads observations in front of it:
                ``encoder`` None | "cnn" | "per_field" | "module:Class" and its ``encoder_settings``.
            mixer: Settings of the algorithm's mixer (QMIX: :class:`MixerSettings`; VDN: none); each Config says which. Those
                with a mixing network have ``normalisation`` and ``activation`` too.
            algorithm_settings: What is the algorithm's own beside its mixer (quantiles, risk, weighting, ...); each Config
                says which.
            replay_weighting: Which episodes are drawn: ``{"kind": "uniform"}``, or ``{"kind": "age", "decay_env_steps":
                80_000, "min_weight": 0.1}``: young ones more often (:class:`ReplayWeightingSettings`).
            reward: ``{"scale": 1.0, "standardise": False}`` (:class:`RewardSettings`).
            sampling: "sync" (exact seeds; default) or "async" (runners sample while the learner learns; needs
                ``num_env_runners >= 1``).
            episodes_per_sample: Episodes to finish, over all runners, before learning goes on. Default None: one per game.
            nonfinite_patience: Updates in a row with a gradient that is not finite before training stops with the batch
                written to disk, >= 1; such updates are skipped and counted. Default 10.
            cuda_graph: "auto" (default): one learner on a GPU pads episodes to a few lengths and captures the whole update
                for each as a CUDA graph; on the CPU, and with several learners, nothing is captured. "off": never; for a
                mixer or encoder of one's own that cannot be captured, or to save the GPU memory that each length takes.
            replay_device: Where updates read episodes, with a learner on a GPU in this process (``num_learners=0``). "auto"
                (default): there, if a copy of the whole replay fits into half of the free memory, else as "off"; "cuda":
                there, or an error; "off": in main memory, and each batch is copied.
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
        known = training_arguments(type(self))
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
        given: dict[str, Any] = {
            "batch_episodes": batch_episodes,
            "buffer_episodes": buffer_episodes,
            "learning_starts_episodes": learning_starts_episodes,
            "updates_per_episode": updates_per_episode,
            "target_update": target_update,
            "epsilon": epsilon,
            "double_q": double_q,
            "bootstrap_at_limit": bootstrap_at_limit,
            "n_step": n_step,
            "td_lambda": td_lambda,
            # RLlib has attributes ``optimizer`` and ``model`` of its old stack and checks that they are untouched.
            "team_optimizer": optimizer,
            "team_model": model,
            "mixer": mixer,
            "algorithm_settings": algorithm_settings,
            "replay_weighting": replay_weighting,
            "reward": reward,
            "sampling": sampling,
            "episodes_per_sample": episodes_per_sample,
            "nonfinite_patience": nonfinite_patience,
            "cuda_graph": cuda_graph,
            "replay_device": replay_device,
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
                ``learning_starts_episodes`` episodes again).
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
        if isinstance(self.env, str):
            register_team_env(self.env)
        elif self.env is not None:
            self.environment(self.env)  # a class, under the key "env"
        return self

    # ------------------------------------------------------------------ derived

    @property
    @override(TimeLimitsConfig)
    def reads_obs_parts(self) -> bool:
        return parse(AgentSettings, self.team_model, "model").encoder is not None

    def parse_mixer(self) -> Settings:
        """The mixer's settings, validated."""
        return parse(self.mixer_settings_class, self.mixer, "mixer")

    def parse_algorithm_settings(self) -> Any:
        """The algorithm's own settings, validated."""
        return parse(self.algorithm_settings_class, self.algorithm_settings, "algorithm_settings")

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

    @override(AlgorithmConfig)
    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=self.rl_module_class)

    @property
    @override(AlgorithmConfig)
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return super()._model_config_auto_includes | {
            "algorithm": self.algorithm_name,
            "team_spec": self.team_of_networks.to_dict(),
            "agent": parse(AgentSettings, self.team_model, "model").model_dump(),
            # By which the module finds it again, in a checkpoint too.
            "mixer_class": f"{self.mixer_class.__module__}:{self.mixer_class.__qualname__}",
            "mixer": self.parse_mixer().model_dump(),
            "algorithm_settings": self.parse_algorithm_settings().model_dump(),
            "double_q": self.double_q,
            # Those that add parameters allocate them when the networks are built.
            "interventions": [to_dict(one) for one in self.parse_interventions() if one.adds_parameters],
            # A checkpoint of the module alone knows the env it was trained on.
            "env": self.env,
            "env_config": dict(self.env_config),
            "carried_env": self.carried_env,
        }

    @override(AlgorithmConfig)
    def get_default_learner_class(self) -> type[ValueFactorizationLearner]:
        return self.default_learner_class

    @override(AlgorithmConfig)
    def get_evaluation_config_object(self) -> AlgorithmConfig | None:
        config = super().get_evaluation_config_object()
        if config is not None:
            config.sampling = "sync"  # evaluation runners have no learner to overlap with
            self.expect_same_team(config)
        if config is not None and "num_envs_per_env_runner" not in (self.evaluation_config or {}):
            # As many games as episodes, up to a limit: none is played that is not counted.
            per_runner = -(-self.evaluation_duration // max(1, self.evaluation_num_env_runners))
            as_arrays = self.env is not None and is_stepped_as_arrays(self.env)
            most = _MOST_EVALUATION_GAMES if as_arrays else self.num_envs_per_env_runner
            config.num_envs_per_env_runner = min(per_runner, most)
        return config

    @override(AlgorithmConfig)
    def validate(self) -> None:
        """Check everything before anything is built; no network is. What an intervention cannot do with these networks is
        found when they are built, before training (:func:`~rllib_reborn.plasticity.interventions.preflight.first_refusal`).

        Raises:
            ValueError: One sentence with the setting, its value, what was expected and the remedy.
        """
        # Before RLlib's own checks, which compare what is no number.
        validation.check_types(self)
        validation.check_unused(self)
        validation.check_class("env_runner_cls", self.env_runner_cls, TeamEnvRunner)
        validation.check_class("learner_class", self.learner_class, ValueFactorizationLearner)
        if self.algo_class is not None:
            ray_internals.no_word_on_the_api_stack(self)
        super().validate()
        validation.check(self)


#: By config class the Algorithm that trains it. Kept apart from the classes: each would name the other, and Ray, which
#: looks through a class's attributes, would never come to an end.
_ALGORITHM_CLASSES: dict[type[ValueFactorizationConfig], type] = {}


def set_algorithm_class(config_class: type[ValueFactorizationConfig], algorithm_class: type) -> None:
    """Which Algorithm trains a config; a subclass of :class:`ValueFactorization` says so by its ``config_class``."""
    _ALGORITHM_CLASSES[config_class] = algorithm_class


def algorithm_class_of(config_class: type[ValueFactorizationConfig]) -> type | None:
    """The Algorithm that trains a config or, where it has none of its own, the nearest class that it inherits from."""
    return next((_ALGORITHM_CLASSES[cls] for cls in config_class.__mro__ if cls in _ALGORITHM_CLASSES), None)


def training_arguments(config_class: type[AlgorithmConfig]) -> tuple[str, ...]:
    """Arguments of ``training`` of a config class and of RLlib's."""
    methods = (config_class.training, AlgorithmConfig.training)
    names = (name for method in methods for name in inspect.signature(method).parameters)
    return tuple(name for name in names if name not in ("self", "kwargs"))
