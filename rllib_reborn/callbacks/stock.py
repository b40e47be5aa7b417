"""Plasticity on RLlib's own algorithms (DQN, SAC, PPO, ...), by one line::

    class MyLearner(PlasticityLearnerMixin, DQNTorchLearner):
        pass                                       # or MyLearner = with_plasticity(DQNTorchLearner)

    config.learners(
        learner_class=MyLearner,
        learner_config_dict={
            "interventions": [{"kind": "reborn", "every": 1000, "unit": "updates"}],
            "dormancy": {"every": 500, "unit": "updates"},
        },
    )

The settings are those of ``training(interventions=..., dormancy=...)`` of our own algorithms, with what a stock
algorithm cannot give refused. What differs:

- **Networks.** The module of a stock algorithm is one network called ``module`` here, its target networks left out; its
  layers of neurons are found by :func:`~rllib_reborn.plasticity.discovery.discover_neurons` and are called after their
  path. ``scope`` is ``all`` (the default here), there is no mixer.
- **Layers.** ``layers="official_code"`` (the default) and ``"editable"`` are the layers whose neurons can be edited;
  ``"full"`` are all that were found. Only ReBorn splits neurons, which is exact for ReLU and its like: with
  ``"official_code"`` it leaves other layers alone where there is an exact one (the output of SAC's Q-encoder is always
  tanh), and where there is none, or with ``"editable"``, it asks for ``allow_inexact``. RLlib's default activation is
  tanh: choose ``fcnet_activation="relu"``. The last layer of a dueling DQN's encoder has two readers and is only
  scored: ``dueling=False``, or hidden layers in the heads, give layers to treat.
- **Batch.** Scores, and drift, are measured on the batch of the last gradient step: a replay sample in DQN and SAC, the
  newest samples in PPO. There is no holdout batch. With several learners every rank has another one, so statistics (and
  drifts) are averaged over ranks, weighted by rows, and then equal on all of them.
- **Clock.** ``unit`` is ``updates`` (gradient steps), ``env_steps``, or, with ``config.callbacks(ClockCallback)``, which
  tells the Learners after every ``train()``, ``iterations`` or ``episodes``. The clocks are looked at once after each
  ``Learner.update``, which in PPO is many gradient steps.

Everything is called through RLlib's public extension points, and state is in the Learner's checkpoints.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME, NUM_EPISODES_LIFETIME
from torch import nn

from rllib_reborn.callbacks.log import logger_for
from rllib_reborn.callbacks.plasticity_runtime import PlasticityRuntime, check_kinds
from rllib_reborn.callbacks.ranks import report_of_all_ranks
from rllib_reborn.callbacks.scheduler import DueTimes
from rllib_reborn.callbacks.stock_model import StockModel
from rllib_reborn.callbacks.stock_settings import DORMANCY, INTERVENTIONS, stock_dormancy_check, stock_intervention

#: Key of what is kept in the Learner's state.
STATE = "plasticity"

#: Events kept until :meth:`PlasticityLearnerMixin.take_events` is called, which is optional.
_MOST_EVENTS = 1000


class PlasticityLearnerMixin(TorchLearner):
    """Dormancy checks and interventions in a stock Learner, see the module's docstring. Put it before the Learner
    class.

    Metrics are those of our own algorithms, under the module's id: ``dormancy/module[/<layer>]/dormant_fraction`` and
    the like, ``intervention/count``, ``/neurons``, ``/function_drift``, ``/greedy_actions_changed``.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        before = cls.__mro__[: cls.__mro__.index(PlasticityLearnerMixin)]
        # Learner classes only: Ray puts classes of its own before all when it makes an actor.
        late = [
            base.__name__
            for base in before
            if issubclass(base, Learner) and not issubclass(base, PlasticityLearnerMixin)
        ]
        if late:
            raise TypeError(
                f"{cls.__name__}: PlasticityLearnerMixin comes after {', '.join(late)}, whose methods would hide it; write "
                f"class {cls.__name__}(PlasticityLearnerMixin, {late[0]})."
            )

    #: For the messages of callbacks that this Learner does not call.
    takes_plasticity_settings = True

    @override(Learner)
    def build(self) -> None:
        settings = self.config.learner_config_dict
        if INTERVENTIONS not in settings and DORMANCY not in settings:
            raise ValueError(
                f"learner_config_dict has {', '.join(map(repr, settings)) or 'no keys'}; PlasticityLearnerMixin looks for "
                f"{INTERVENTIONS!r} (a list) and {DORMANCY!r} (a dict)."
            )
        if self.config.torch_compile_learner:
            raise ValueError("torch_compile_learner is set; compiled updates cannot be watched, switch it off.")
        interventions = [stock_intervention(data) for data in settings.get(INTERVENTIONS) or []]
        dormancy = settings.get(DORMANCY)
        self._plasticity_times = DueTimes(interventions, None if dormancy is None else stock_dormancy_check(dormancy))
        self._plasticity_updates = 0
        #: Clocks that :class:`ClockCallback` sends; None: there is none.
        self._plasticity_run_clocks: dict[str, int] | None = None
        self._plasticity_models: dict[str, StockModel] = {}
        self._plasticity_runtimes: dict[str, PlasticityRuntime] = {}
        super().build()
        self._find_modules()

    # ------------------------------------------------------------------ hooks of the update

    @override(Learner)
    def compute_losses(self, *, fwd_out: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
        for module_id in self._present_modules():
            self._plasticity_models[module_id].batch = batch.get(module_id)
        losses: dict[str, Any] = super().compute_losses(fwd_out=fwd_out, batch=batch)
        return losses

    @override(TorchLearner)
    def compute_gradients(self, loss_per_module: dict[str, Any], **kwargs: Any) -> dict[Any, Any]:
        """Loss terms of interventions come in as gradients: Learners with several optimizers (SAC) do not differentiate
        the one loss that they report, and the terms do not depend on the batch, so DDP has nothing to average."""
        gradients: dict[Any, Any] = super().compute_gradients(loss_per_module, **kwargs)
        for module_id in self._present_modules():
            term = self._plasticity_runtimes[module_id].loss()
            if term is None:
                continue
            parameters = [p for p in self._plasticity_models[module_id].online.parameters() if p.requires_grad]
            extra = torch.autograd.grad(term, parameters, allow_unused=True)
            for parameter, gradient in zip(parameters, extra, strict=True):
                ref = self.get_param_ref(parameter)
                if gradient is not None and ref in gradients:
                    own = gradients[ref]
                    gradients[ref] = gradient if own is None else own + gradient
        return gradients

    @override(TorchLearner)
    def apply_gradients(self, gradients_dict: dict[Any, Any]) -> None:
        super().apply_gradients(gradients_dict)
        self._plasticity_updates += 1
        for module_id in self._present_modules():
            self._plasticity_runtimes[module_id].after_gradient_step()

    @override(Learner)
    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        super().after_gradient_based_update(timesteps=timesteps)
        clock = self._clock(timesteps)
        due, check_due = self._plasticity_times.due(clock)
        if due or check_due:
            for module_id in self._present_modules():
                self._act(module_id, due, check_due, clock)
        for model in self._plasticity_models.values():
            model.batch = None  # it can be large

    def _act(self, module_id: str, due: Sequence[int], check_due: bool, clock: dict[str, int]) -> None:
        """What is due, on one module; the check first, so that it shows what an intervention found."""
        runtime, model = self._plasticity_runtimes[module_id], self._plasticity_models[module_id]
        if check_due:
            runtime.measure(clock, model.measure)
        optimizers = [optimizer for _, optimizer in self.get_optimizers_for_module(module_id)]
        which = sorted(self._plasticity_models).index(module_id)
        for position in due:
            runtime.apply(
                position,
                model.view(runtime.interventions[position], optimizers),
                clock=clock,
                seed=self.config.seed or 0,
                stream=position + len(runtime.interventions) * which,
                combine=functools.partial(report_of_all_ranks, device=runtime.device),
            )

    def take_events(self) -> list[dict[str, Any]]:
        """What happened since this was last asked (of each module the newest 1000), as plain JSON data; equal on all
        ranks::

            algo.learner_group.foreach_learner(lambda learner: learner.take_events())
        """
        return [
            event
            for module_id in sorted(self._plasticity_runtimes)
            for event in self._plasticity_runtimes[module_id].take_events()
        ]

    # ------------------------------------------------------------------ clocks

    def start_run_clocks(self) -> None:
        """From now on :class:`ClockCallback` sends what a Learner cannot know: iterations and episodes of the run."""
        self._plasticity_run_clocks = {"iterations": 0, "episodes": 0}

    def tell_iteration(self, episodes: int) -> None:
        """An iteration is complete; ``episodes``: of the whole run. The iterations are counted here, where checkpoints keep
        them: RLlib's own counter starts from 0 again where a new algorithm takes a checkpoint over."""
        counted = self._plasticity_run_clocks or {"iterations": 0, "episodes": 0}
        self._plasticity_run_clocks = {
            "iterations": counted["iterations"] + 1,
            "episodes": max(counted["episodes"], episodes),
        }

    def _clock(self, timesteps: Mapping[str, Any]) -> dict[str, int]:
        """All clocks at this update.

        Raises:
            ValueError: One that a schedule looks at is not known.
        """
        clock_units = self._plasticity_times.clock_units()
        clock = {**self._plasticity_times.asked_at, "updates": self._plasticity_updates}
        if NUM_ENV_STEPS_SAMPLED_LIFETIME in timesteps:
            clock["env_steps"] = int(timesteps[NUM_ENV_STEPS_SAMPLED_LIFETIME])
        elif "env_steps" in clock_units:
            raise ValueError(
                f"this update came without {NUM_ENV_STEPS_SAMPLED_LIFETIME!r} in its timesteps; count in updates instead "
                "(unit='updates')."
            )
        if self._plasticity_run_clocks is not None:
            clock |= self._plasticity_run_clocks
        elif unknown := sorted(clock_units & {"iterations", "episodes"}):
            raise ValueError(
                f"unit is {unknown[0]!r}, which this learner is not given; add ClockCallback of "
                "rllib_reborn.callbacks.stock to config.callbacks(...), or count in updates or env_steps."
            )
        return clock

    # ------------------------------------------------------------------ which modules

    def _find_modules(self) -> None:
        for module_id in list(self.module.keys()):
            module = self.module[module_id].unwrapped()
            if not isinstance(module, nn.Module) or not self.get_optimizers_for_module(module_id):
                continue
            known = self._plasticity_models.get(module_id)
            if known is None or known.module is not module:
                model = self._plasticity_models[module_id] = StockModel(module_id, module)
                self._plasticity_runtimes[module_id] = PlasticityRuntime(
                    self._plasticity_times.interventions,
                    self._plasticity_times.check,
                    model,
                    logger_for(self.metrics, module_id),
                    {"module_id": module_id},
                    most_events=_MOST_EVENTS,
                )

    def _present_modules(self) -> list[str]:
        """Their ids in order, which is that of all ranks. Modules may be added and removed while training."""
        self._find_modules()
        present = set(self.module.keys())
        return [module_id for module_id in sorted(self._plasticity_models) if module_id in present]

    # ------------------------------------------------------------------ state

    @override(Learner)
    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        state: dict[str, Any] = super().get_state(components, not_components=not_components, **kwargs)
        # Weights alone are asked for after every training step; the rest stays here then.
        if (components is None or STATE in _names(components)) and STATE not in _names(not_components):
            state[STATE] = {
                "kinds": [intervention.kind for intervention in self._plasticity_times.interventions],
                "updates": self._plasticity_updates,
                "asked_at": dict(self._plasticity_times.asked_at),
                "run_clocks": self._plasticity_run_clocks,
                "modules": {id_: self._plasticity_runtimes[id_].get_state() for id_ in self._present_modules()},
            }
        return state

    @override(Learner)
    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        ours = state.get(STATE)
        if ours is None:
            return
        check_kinds(ours["kinds"], self._plasticity_times.interventions)
        self._plasticity_updates = ours["updates"]
        self._plasticity_times.asked_at = dict(ours["asked_at"])
        if self._plasticity_run_clocks is not None and ours["run_clocks"] is not None:
            self._plasticity_run_clocks = dict(ours["run_clocks"])
        for module_id in self._present_modules():
            if module_id in ours["modules"]:
                self._plasticity_runtimes[module_id].set_state(ours["modules"][module_id])


class ClockCallback(RLlibCallback):
    """Tells Learners with :class:`PlasticityLearnerMixin` after every ``train()`` how many iterations and episodes the run
    has had, which they cannot know. Needed for ``unit: iterations`` and ``unit: episodes`` only, in
    ``config.callbacks(ClockCallback)``; as with our own algorithms, what is due every k iterations comes at the first update
    after the k-th.
    """

    def on_algorithm_init(self, *, algorithm: Any, **kwargs: Any) -> None:
        learner_class = algorithm.config.learner_class
        if not issubclass(learner_class, PlasticityLearnerMixin):
            raise ValueError(
                f"callbacks has ClockCallback, and {learner_class.__name__} does not listen to it; use "
                f"with_plasticity({learner_class.__name__}), or leave the callback out."
            )
        algorithm.learner_group.foreach_learner(lambda learner: learner.start_run_clocks())

    def on_train_result(self, *, algorithm: Any, **kwargs: Any) -> None:
        episodes = int(algorithm.metrics.peek((ENV_RUNNER_RESULTS, NUM_EPISODES_LIFETIME), default=0))
        algorithm.learner_group.foreach_learner(lambda learner: learner.tell_iteration(episodes))


@functools.cache
def with_plasticity(learner_class: type[TorchLearner]) -> type[TorchLearner]:
    """``learner_class`` with :class:`PlasticityLearnerMixin`: the one line, for those who need no class of their own.

    Raises:
        TypeError: It is no torch Learner class.
    """
    if not (isinstance(learner_class, type) and issubclass(learner_class, TorchLearner)):
        raise TypeError(f"with_plasticity got {learner_class!r}; expected a Learner class such as DQNTorchLearner.")
    return type(f"Plasticity{learner_class.__name__}", (PlasticityLearnerMixin, learner_class), {})


def _names(components: str | Collection[str] | None) -> Collection[str]:
    if components is None:
        return ()
    return (components,) if isinstance(components, str) else components
