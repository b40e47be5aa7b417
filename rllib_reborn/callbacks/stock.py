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

The settings are those of ``training(interventions=..., dormancy=...)`` of our own algorithms, with what a stock algorithm
cannot give refused. What differs:

- **Networks.** The module of a stock algorithm is one network called ``module`` here, its target networks left out; its
  layers of units are found by :func:`~rllib_reborn.plasticity.discovery.discover_units` and are called after their path.
  ``scope`` is ``all`` (the default here), there is no mixer.
- **Layers.** ``layers="released"`` (the default) and ``"operable"`` are the layers whose units can be edited; ``"full"`` are
  all that were found. Only ReBorn splits units, which is exact for ReLU and its like: with ``"released"`` it leaves other
  layers alone where there is an exact one (the output of SAC's Q-encoder is always tanh), and where there is none, or with
  ``"operable"``, it asks for ``allow_inexact``. RLlib's default activation is tanh: choose ``fcnet_activation="relu"``. The
  last layer of a dueling DQN's encoder has two readers and is only scored: ``dueling=False``, or hidden layers in the heads,
  give layers to treat.
- **Batch.** Scores, and drift, are measured on the batch of the last gradient step: a replay sample in DQN and SAC, the
  newest samples in PPO. There is no held batch. With several learners every rank has another one, so statistics (and
  drifts) are averaged over ranks, weighted by rows, and then equal on all of them.
- **Clock.** ``unit`` is ``updates`` (gradient steps) or ``env_steps``. It is looked at once after each ``Learner.update``,
  which in PPO is many gradient steps.

Everything is called through RLlib's public extension points, and state is in the Learner's checkpoints.
"""

from __future__ import annotations

import collections
import contextlib
import copy
import dataclasses
import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import torch
import torch.distributed as dist
from ray.rllib.algorithms.dqn.default_dqn_rl_module import QF_PREDS
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.apis import QNetAPI, TargetNetworkAPI, ValueFunctionAPI
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor, nn

from rllib_reborn.callbacks.copies import copied_to
from rllib_reborn.callbacks.interventions import COUNT, DRIFT, GREEDY, UNITS, seeded_generator
from rllib_reborn.callbacks.team_subject import on_all_ranks
from rllib_reborn.plasticity.discovery import discover_units
from rllib_reborn.plasticity.dormancy_check import DormancyCheck, make_dormancy_check
from rllib_reborn.plasticity.history import DormancyHistory, check_event, redormant_name
from rllib_reborn.plasticity.interventions import MARR, SR, Intervention, ReBorn, make_intervention
from rllib_reborn.plasticity.interventions.perform import InterventionReport, Outcome, Subject, perform
from rllib_reborn.plasticity.scores import layer_dormancy
from rllib_reborn.plasticity.statistics import LayerStatistics, measure
from rllib_reborn.plasticity.units import LayerChoice, Surgery, UnitLayer, by_key, operable

#: Keys of ``learner_config_dict``.
INTERVENTIONS = "interventions"
DORMANCY = "dormancy"

#: What a stock module is called as a network.
NET = "module"

#: Key of what is kept in the Learner's state.
STATE = "plasticity"

#: Events kept until :meth:`PlasticityLearnerMixin.take_events` is called; nobody has to.
_MOST_EVENTS = 1000

_CLOCKS = ("updates", "env_steps")


class PlasticityLearnerMixin(TorchLearner):
    """Dormancy checks and interventions in a stock Learner, see the module's docstring. Put it before the Learner class.

    Metrics are those of our own algorithms, under the module's id: ``dormancy/module[/<layer>]/dormant_fraction`` and the
    like, ``intervention/count``, ``/units``, ``/function_drift``, ``/greedy_actions_changed``.
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
        self._plasticity_interventions = [stock_intervention(data) for data in settings.get(INTERVENTIONS) or []]
        dormancy = settings.get(DORMANCY)
        self._plasticity_check = None if dormancy is None else stock_dormancy_check(dormancy)
        self._plasticity_updates = 0
        self._plasticity_asked_at = dict.fromkeys(_CLOCKS, 0)
        self._plasticity_batch: Mapping[str, Any] = {}
        self._plasticity_events: collections.deque[dict[str, Any]] = collections.deque(maxlen=_MOST_EVENTS)
        self._plasticity_watched: dict[str, _Watched] = {}
        super().build()
        self._watch_modules()

    # ------------------------------------------------------------------ hooks of the update

    @override(Learner)
    def compute_losses(self, *, fwd_out: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
        self._plasticity_batch = batch
        losses: dict[str, Any] = super().compute_losses(fwd_out=fwd_out, batch=batch)
        return losses

    @override(TorchLearner)
    def compute_gradients(self, loss_per_module: dict[str, Any], **kwargs: Any) -> dict[Any, Any]:
        """Loss terms of interventions come in as gradients: Learners with several optimizers (SAC) do not differentiate
        the one loss that they report, and the terms do not depend on the batch, so DDP has nothing to average."""
        gradients: dict[Any, Any] = super().compute_gradients(loss_per_module, **kwargs)
        for watched in self._watched_modules():
            nets = {NET: watched.online}
            terms = [i.loss(nets, watched.initial) for i in self._plasticity_interventions]
            given = [term for term in terms if term is not None]
            if not given:
                continue
            parameters = [p for p in watched.online.parameters() if p.requires_grad]
            extra = torch.autograd.grad(torch.stack(given).sum(), parameters, allow_unused=True)
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
        for watched in self._watched_modules():
            for intervention, memory in zip(self._plasticity_interventions, watched.memories, strict=True):
                if intervention.acts_after_updates and memory:
                    layers = self._treated_layers(watched, intervention)
                    intervention.after_update(by_key(layers), {NET: watched.online}, memory)

    @override(Learner)
    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        super().after_gradient_based_update(timesteps=timesteps)
        clock = {"updates": self._plasticity_updates, "env_steps": self._env_steps(timesteps)}
        previous, self._plasticity_asked_at = self._plasticity_asked_at, clock
        check = self._plasticity_check
        checks = check is not None and check.schedule.due(previous, clock)
        due = [
            n
            for n, intervention in enumerate(self._plasticity_interventions)
            if intervention.is_scheduled and intervention.schedule.due(previous, clock)
        ]
        if checks or due:
            for watched in self._watched_modules():
                if check is not None and checks:
                    self._check(watched, check, clock)
                for position in due:
                    self._intervene(watched, position, clock)
        self._plasticity_batch = {}  # it can be large

    def take_events(self) -> list[dict[str, Any]]:
        """What happened since this was last asked (the newest 1000), as plain JSON data; equal on all ranks::

        algo.learner_group.foreach_learner(lambda learner: learner.take_events())
        """
        events = list(self._plasticity_events)
        self._plasticity_events.clear()
        return events

    # ------------------------------------------------------------------ the work

    def _check(self, watched: _Watched, check: DormancyCheck, clock: dict[str, int]) -> None:
        layers = self._layers_of(watched, check.layers)
        found = {
            key: layer_dormancy(key, of_layer, alpha=check.alpha, beta=check.beta)
            for key, of_layer in self._measure(watched, layers).items()
        }
        metrics = watched.history.record(clock, found)
        metrics[redormant_name(NET)] = watched.history.redormant(clock, check.redormant_within, NET)
        self._log(watched, metrics)
        self._plasticity_events.append({"module_id": watched.module_id, **check_event(clock, found, metrics)})

    def _intervene(self, watched: _Watched, position: int, clock: dict[str, int]) -> None:
        intervention = self._plasticity_interventions[position]
        layers = self._treated_layers(watched, intervention)
        batch = self._batch_of(watched)
        targets, target_layers = watched.target_view(layers) if intervention.targets != "none" else ({}, [])
        optimizers = [optimizer for _, optimizer in self.get_optimizers_for_module(watched.module_id)]
        which = sorted(self._plasticity_watched).index(watched.module_id)
        report = perform(
            intervention,
            Subject(
                nets={NET: watched.online},
                layers=layers,
                measure=functools.partial(self._measure, watched),
                evaluate=_Evaluation(watched.module, batch),
                target_nets=targets,
                target_layers=target_layers,
                optimizer=_together(optimizers),
            ),
            generator=seeded_generator(
                self.config.seed or 0,
                position + len(self._plasticity_interventions) * which,
                watched.counts[position],
            ),
            state=watched.memories[position],
            clock=clock,
            initial=watched.initial,
        )
        watched.counts[position] += 1
        report = _of_all_ranks(report, watched.device)
        if not report.dry_run:
            for change in report.changes:
                # Donors were never dormant; counting them would thin the share of re-dormant units out.
                watched.history.note_recycled(clock, change.layer, sorted({*change.units} - {*change.donors}))
        self._plasticity_events.append({"event": "intervention", "module_id": watched.module_id, **report.to_dict()})
        self._log(
            watched,
            {
                COUNT: sum(watched.counts),
                UNITS: report.units,
                DRIFT: report.function_drift,
                GREEDY: report.greedy_actions_changed,
            },
        )

    def _measure(self, watched: _Watched, layers: Sequence[UnitLayer]) -> dict[str, LayerStatistics]:
        batch = self._batch_of(watched)
        with _looking(watched.module):
            return average_over_ranks(measure(layers, lambda: run_module(watched.module, batch)))

    def _layers_of(self, watched: _Watched, choice: LayerChoice) -> list[UnitLayer]:
        """The layers that ``choice`` means here; they are found on the first batch that is at hand. Whether units may be
        split is left to the kinds: most of them split nothing, and ReBorn refuses by itself."""
        if watched.layers is None:
            batch = self._batch_of(watched)
            with _looking(watched.module):
                watched.layers = discover_units(watched.online, lambda: run_module(watched.module, batch), name=NET)
        chosen = watched.layers if choice == "full" else operable(watched.layers)
        if not chosen:
            told = "; ".join(f"{layer.key}: {layer.reason}" for layer in watched.layers)
            raise ValueError(
                f"module {watched.module_id!r} has no layer whose units can be operated on ({told}). Give its networks "
                "hidden layers with one reader (DQN: dueling=False or head_fcnet_hiddens), or set layers='full' to score "
                "them all."
            )
        return chosen

    def _treated_layers(self, watched: _Watched, intervention: Intervention) -> list[UnitLayer]:
        if not intervention.treats_layers and watched.layers is not None and not operable(watched.layers):
            return []  # it treats whole parameters, which need no layer of units
        layers = self._layers_of(watched, intervention.layers)
        if not isinstance(intervention, ReBorn) or intervention.allow_inexact or intervention.layers != "released":
            return layers
        exact = [layer for layer in layers if layer.surgery is Surgery.EXACT]
        return exact or layers  # where no layer is exact, ReBorn's own refusal says so

    def _batch_of(self, watched: _Watched) -> Mapping[str, Any]:
        if watched.module_id not in self._plasticity_batch:
            raise ValueError(
                f"module {watched.module_id!r} was not trained in this update, so there is no batch to score it on; train "
                "it in every update."
            )
        batch: Mapping[str, Any] = self._plasticity_batch[watched.module_id]
        return batch

    def _log(self, watched: _Watched, values: Mapping[str, float | None]) -> None:
        for name, value in values.items():
            if value is not None:
                # Equal on all ranks; a sum over learners would count them twice.
                self.metrics.log_value((watched.module_id, *name.split("/")), value, reduce="max", window=1)

    def _env_steps(self, timesteps: Mapping[str, Any]) -> int:
        if NUM_ENV_STEPS_SAMPLED_LIFETIME in timesteps:
            return int(timesteps[NUM_ENV_STEPS_SAMPLED_LIFETIME])
        units = {i.unit for i in self._plasticity_interventions if i.is_scheduled}
        if self._plasticity_check is not None:
            units.add(self._plasticity_check.unit)
        if "env_steps" in units:
            raise ValueError(
                f"this update came without {NUM_ENV_STEPS_SAMPLED_LIFETIME!r} in its timesteps; count in updates instead "
                "(unit='updates')."
            )
        return self._plasticity_asked_at["env_steps"]

    # ------------------------------------------------------------------ which modules

    def _watch_modules(self) -> None:
        for module_id in list(self.module.keys()):
            module = self.module[module_id].unwrapped()
            if not isinstance(module, nn.Module) or not self.get_optimizers_for_module(module_id):
                continue
            watched = self._plasticity_watched.get(module_id)
            if watched is None or watched.module is not module:
                self._plasticity_watched[module_id] = _Watched(module_id, module, self._plasticity_interventions)

    def _watched_modules(self) -> list[_Watched]:
        """In the order of their ids, which is that of all ranks. Modules may be added and removed while training."""
        self._watch_modules()
        ids = set(self.module.keys())
        return [
            self._plasticity_watched[module_id] for module_id in sorted(self._plasticity_watched) if module_id in ids
        ]

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
            state[STATE] = copied_to(
                "cpu",  # it travels to processes, and is read on machines, without this device
                {
                    "kinds": [intervention.kind for intervention in self._plasticity_interventions],
                    "updates": self._plasticity_updates,
                    "asked_at": self._plasticity_asked_at,
                    "modules": {watched.module_id: watched.get_state() for watched in self._watched_modules()},
                },
            )
        return state

    @override(Learner)
    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        ours = state.get(STATE)
        if ours is None:
            return
        kinds = [intervention.kind for intervention in self._plasticity_interventions]
        if ours["kinds"] != kinds:
            raise ValueError(
                f"the checkpoint was written with interventions {ours['kinds']}, this config has {kinds}; restore with the "
                "same list, or start anew."
            )
        self._plasticity_updates = ours["updates"]
        self._plasticity_asked_at = dict(ours["asked_at"])
        for watched in self._watched_modules():
            if watched.module_id in ours["modules"]:
                watched.set_state(ours["modules"][watched.module_id])


@functools.cache
def with_plasticity(learner_class: type[TorchLearner]) -> type[TorchLearner]:
    """``learner_class`` with :class:`PlasticityLearnerMixin`: the one line, for those who need no class of their own.

    Raises:
        TypeError: It is no torch Learner class.
    """
    if not (isinstance(learner_class, type) and issubclass(learner_class, TorchLearner)):
        raise TypeError(f"with_plasticity got {learner_class!r}; expected a Learner class such as DQNTorchLearner.")
    return type(f"Plasticity{learner_class.__name__}", (PlasticityLearnerMixin, learner_class), {})


# ---------------------------------------------------------------------------------------------------------------- settings


def stock_intervention(data: Mapping[str, Any]) -> Intervention:
    """The intervention that ``data`` describes, ``scope`` being ``all`` unless it is given.

    Raises:
        ValueError: A setting is wrong, or asks for what a stock algorithm cannot give.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"an intervention is {data!r}; expected a dict with 'kind' and settings.")
    made = make_intervention({"scope": "all", **data})
    if made.scope != "all":
        raise ValueError(
            f"{made.kind}: scope is {made.scope!r}; a stock module has no mixer and no agents, leave scope out or say 'all'."
        )
    if isinstance(made, SR | MARR):
        raise ValueError(
            f"{made.kind}: its replay ratio belongs to the algorithm, which is not ours here; use reset or shrink_perturb, "
            "and training(training_intensity=...)."
        )
    if made.needs_gradient_activity or (made.needs_update_activity and not made.adds_parameters):
        raise ValueError(
            f"{made.kind}: gradients of a stock algorithm are not watched here; choose units by activation, score='nas'."
        )
    if made.adds_parameters:
        raise ValueError(
            f"{made.kind}: it builds parameters of its own into the networks, before optimizers and targets exist; a stock "
            "module cannot be changed so. Use another kind, or one of our algorithms."
        )
    _refuse_clock(made.kind, made.unit)
    _refuse_batch(made, made.kind, ("scoring_source", "scoring_episodes"))
    return made


def stock_dormancy_check(data: Mapping[str, Any]) -> DormancyCheck:
    """The check that ``data`` describes.

    Raises:
        ValueError: As :func:`stock_intervention`.
    """
    made = make_dormancy_check(data)
    _refuse_clock(DORMANCY, made.unit)
    _refuse_batch(made, DORMANCY, ("source", "episodes"))
    return made


def _refuse_clock(name: str, unit: str) -> None:
    if unit not in _CLOCKS:
        raise ValueError(
            f"{name}: unit is {unit!r}, which a stock Learner does not know; expected updates or env_steps."
        )


def _refuse_batch(settings: Any, name: str, fields: tuple[str, ...]) -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    for field in fields:
        if getattr(settings, field) != defaults[field]:
            raise ValueError(
                f"{name}: {field} is {getattr(settings, field)!r}; a stock Learner scores on its last training batch, "
                "leave it out."
            )


# ----------------------------------------------------------------------------------------------------------- one module


class _Watched:
    """A module of the Learner, and what is remembered of it."""

    def __init__(self, module_id: str, module: Any, interventions: Sequence[Intervention]) -> None:
        if module.is_stateful():
            raise ValueError(
                f"module {module_id!r} is recurrent: its batches are padded, and padding would be scored. Use a module "
                "without state, or one of our algorithms."
            )
        self.module_id = module_id
        self.module = module
        self.pairs = list(module.get_target_network_pairs()) if isinstance(module, TargetNetworkAPI) else []
        self.online = online_view(module, [target for _, target in self.pairs])
        self.layers: list[UnitLayer] | None = None
        self.memories: list[dict[str, Any]] = [{} for _ in interventions]
        self.counts = [0 for _ in interventions]
        self.history = DormancyHistory()
        self.initial: dict[str, dict[str, Tensor]] = {}
        if any(intervention.needs_initial for intervention in interventions):
            self.initial = {NET: {name: p.detach().clone() for name, p in self.online.named_parameters()}}

    @property
    def device(self) -> torch.device:
        return next(self.online.parameters()).device

    def target_view(self, layers: Sequence[UnitLayer]) -> tuple[dict[str, nn.Module], list[UnitLayer]]:
        """The target networks as a network of the online one's shape, and ``layers`` in it. Parts that have no target
        (SAC's policy) are copies that nobody reads, so that the same edits fit."""
        if not self.pairs:
            return {}, []
        view = copy.deepcopy(self.online)
        paths = {module: path for path, module in self.online.named_modules()}
        for main, target in self.pairs:
            view.set_submodule(paths[main], target)
        names = {parameter: name for name, parameter in self.online.named_parameters()}
        there: dict[str, nn.Parameter] = dict(view.named_parameters())

        def twin(parameter: nn.Parameter | None) -> nn.Parameter | None:
            return None if parameter is None else there[names[parameter]]

        return {NET: view}, [
            dataclasses.replace(
                layer,
                input_weight=twin(layer.input_weight),
                input_bias=twin(layer.input_bias),
                output_weight=twin(layer.output_weight),
                output_bias=twin(layer.output_bias),
            )
            for layer in layers
        ]

    def get_state(self) -> dict[str, Any]:
        return {
            "memories": self.memories,
            "counts": self.counts,
            "history": self.history.get_state(),
            "initial": self.initial,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        # Plans are made on the CPU, and so are the memories between them.
        self.memories = copied_to("cpu", state["memories"])
        self.counts = list(state["counts"])
        self.history.set_state(state["history"])
        self.initial = copied_to(self.device, state["initial"])


def online_view(module: nn.Module, targets: Sequence[nn.Module]) -> nn.Module:
    """What of ``module`` is trained, as a module that holds the same children and parameters under the same names.

    Args:
        module: Any.
        targets: Its target networks; children that consist of their parameters alone are left out.

    Raises:
        ValueError: A target network lies inside of a child with other parameters.
    """
    followers = {parameter for target in targets for parameter in target.parameters()}
    view = nn.Module()
    for name, parameter in module.named_parameters(recurse=False):
        view.register_parameter(name, parameter)
    for name, child in module.named_children():
        parameters = set(child.parameters())
        if not parameters or not parameters <= followers:
            view.add_module(name, child)
    if any(parameter in followers for parameter in view.parameters()):
        raise ValueError(
            f"{type(module).__name__} keeps target networks inside of other modules, so they cannot be told from what is "
            "trained; make them attributes of the module itself."
        )
    return view


def run_module(module: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Run all that is trained, as the loss does: ``forward_train``, and the value function where it is a call of its own.

    Returns:
        What the module gives, but not the embeddings: only the value function reads these, and it was run.
    """
    out = dict(module.forward_train(batch))
    embeddings = out.pop(Columns.EMBEDDINGS, None)
    if isinstance(module, ValueFunctionAPI):
        out["values"] = module.compute_values(batch, embeddings=embeddings)
    return out


@contextlib.contextmanager
def _looking(module: nn.Module) -> Iterator[None]:
    """Without gradients, in evaluation mode, and with torch's random state put back (SAC draws actions): looking at a
    module changes nothing."""
    flags = {part: part.training for part in module.modules()}
    devices = {p.device for p in module.parameters() if p.device.type == "cuda"}
    module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[device.index or 0 for device in devices]):
            yield
    finally:
        for part, training in flags.items():
            part.training = training


class _Evaluation:
    """What a module says on a batch: its policy's inputs, Q-values and state values, each in units of its mean size when
    first asked, so that the largest does not hide the others."""

    def __init__(self, module: Any, batch: Mapping[str, Any]) -> None:
        self._module = module
        self._batch = batch
        self._sizes: list[Tensor] = []

    def __call__(self) -> Outcome:
        module, batch = self._module, self._batch
        with _looking(module):
            out = module.forward_inference(batch)
            said: list[Tensor] = []
            actions = out.get(Columns.ACTIONS)
            if Columns.ACTION_DIST_INPUTS in out:
                said.append(out[Columns.ACTION_DIST_INPUTS])
                actions = module.get_inference_action_dist_cls().from_logits(said[0]).to_deterministic().sample()
            if isinstance(module, QNetAPI):
                q = module.compute_q_values(batch)
                said.append(q[QF_PREDS] if isinstance(q, Mapping) else q)
            if isinstance(module, ValueFunctionAPI):
                said.append(module.compute_values(batch))
        if not self._sizes:
            self._sizes = [values.abs().mean().clamp(min=1e-12) for values in said]
        values = torch.cat([(v / size).flatten() for v, size in zip(said, self._sizes, strict=True)])
        # Continuous actions all change a little; the share of those that did says nothing.
        greedy = actions if isinstance(module.action_space, gym.spaces.Discrete) else None
        return Outcome(values=values, actions=greedy)


def _together(optimizers: Sequence[torch.optim.Optimizer]) -> Any:
    """What several optimizers (SAC has one for each network) remember, by parameter."""
    return SimpleNamespace(state={p: slots for optimizer in optimizers for p, slots in optimizer.state.items()})


# ------------------------------------------------------------------------------------------------------------------ ranks


def average_over_ranks(statistics: dict[str, LayerStatistics]) -> dict[str, LayerStatistics]:
    """Statistics of the batches of all ranks together, equal on all of them; features stay this rank's."""
    if not _several_ranks():
        return statistics
    averaged = {}
    for key, found in statistics.items():
        means = torch.stack([found.mean_abs, found.mean, found.nonzero]).double()  # [3, H]
        sums = torch.cat([means.flatten() * found.rows, means.new_tensor([found.rows])])
        dist.all_reduce(sums)
        mean_abs, mean, nonzero = (sums[:-1] / sums[-1]).reshape(means.shape).to(found.mean_abs.dtype).unbind()
        averaged[key] = dataclasses.replace(
            found,
            mean_abs=mean_abs.contiguous(),
            mean=mean.contiguous(),
            nonzero=nonzero.contiguous(),
            rows=int(sums[-1]),
        )
    return on_all_ranks(averaged)


def _of_all_ranks(report: InterventionReport, device: torch.device) -> InterventionReport:
    """Drifts are measured on each rank's own batch: their means."""
    if not _several_ranks() or report.function_drift is None:
        return report
    changed = report.greedy_actions_changed
    means = torch.tensor([report.function_drift, changed or 0.0], dtype=torch.float64, device=device)
    dist.all_reduce(means)
    drift, greedy = (means / dist.get_world_size()).tolist()
    return dataclasses.replace(report, function_drift=drift, greedy_actions_changed=None if changed is None else greedy)


def _several_ranks() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _names(components: str | Collection[str] | None) -> Collection[str]:
    if components is None:
        return ()
    return (components,) if isinstance(components, str) else components
