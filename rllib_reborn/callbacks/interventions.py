"""Performs the config's interventions on the Learner's model, on its device, when the algorithm says that they are due."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from ray.rllib.callbacks.callbacks import RLlibCallback
from torch import Tensor

from rllib_reborn.callbacks.copies import copied_to
from rllib_reborn.callbacks.learner_callback import LearnerCallback
from rllib_reborn.callbacks.probe import Probe
from rllib_reborn.callbacks.team_subject import mean_on_all_ranks, team_subject
from rllib_reborn.plasticity.interventions import Intervention, make_intervention, to_dict
from rllib_reborn.plasticity.interventions.perform import InterventionReport, perform
from rllib_reborn.plasticity.scores import update_activity
from rllib_reborn.plasticity.statistics import GradientStatistics, recording_gradients
from rllib_reborn.plasticity.units import by_key

#: Metrics of applications, also the names of the row.
COUNT = "intervention/count"
UNITS = "intervention/units"
DRIFT = "intervention/function_drift"
GREEDY = "intervention/greedy_actions_changed"


class InterventionCallback(RLlibCallback, LearnerCallback):
    """All of ``training(interventions=[...])``, in their order. A Learner adds one by itself where that list is not empty,
    so giving it to ``config.callbacks(...)`` is only needed to subclass it.

    Identical on all ranks: what is due, the batches and the seed come with the update; scores are rank 0's.
    """

    def __init__(self, **settings: Any) -> None:
        """``settings`` are those of ``partial(ReBornCallback, ...)``, which ``config.callbacks`` has put into the config's
        ``interventions``; they are not read here."""
        super().__init__()
        self.interventions: list[Intervention] = []
        self._memories: list[dict[str, Any]] = []
        self._counts: list[int] = []
        self._initial: dict[str, dict[str, Tensor]] = {}
        #: For each intervention: sums of update activity by layer, and over how many updates.
        self._activity: list[dict[str, Tensor]] = []
        self._activity_updates: list[int] = []
        self._gradients: Callable[[], dict[str, GradientStatistics]] | None = None
        self._device = torch.device("cpu")
        self._events: list[dict[str, Any]] = []

    # ------------------------------------------------------------------ hooks of the learner

    def on_learner_build(self, *, learner: Any, module_id: str, module: Any) -> None:
        self.interventions = [make_intervention(data) for data in learner.config.interventions]
        self._device = next(module.parameters()).device
        self._memories = [{} for _ in self.interventions]
        self._counts = [0 for _ in self.interventions]
        self._activity = [{} for _ in self.interventions]
        self._activity_updates = [0 for _ in self.interventions]
        if any(intervention.needs_initial for intervention in self.interventions):
            nets = {"agent": module.agents, "mixer": module.mixer}
            self._initial = {name: _parameters(net) for name, net in nets.items()}

    def on_learner_loss(self, *, learner: Any, module_id: str, module: Any) -> Tensor | None:
        nets = {"agent": module.agents, "mixer": module.mixer}
        terms = [term for i in self.interventions if (term := i.loss(_in_scope(i, nets), self._initial)) is not None]
        return torch.stack(terms).sum() if terms else None

    @contextmanager
    def watch_update(self, *, module: Any, probe: Probe | None) -> Iterator[None]:
        """Gradients at the layers, for due interventions that choose units by them: those of this very update."""
        due = [self.interventions[position] for position in probe.interventions] if probe is not None else []
        layers = {
            layer.key: layer
            for one in due
            if one.needs_gradient_activity
            for layer in module.unit_layers(one.layers)
            if one.in_scope(layer.net)
        }
        if not layers:
            yield
            return
        with recording_gradients(list(layers.values())) as self._gradients:
            yield
        self._gradients = None

    def after_gradient_step(self, *, module: Any) -> None:
        self._watch_gradients(module)
        for intervention, memory in zip(self.interventions, self._memories, strict=True):
            if intervention.acts_after_updates:
                nets = _in_scope(intervention, {"agent": module.agents, "mixer": module.mixer})
                layers = [
                    layer for layer in module.unit_layers(intervention.layers) if intervention.in_scope(layer.net)
                ]
                intervention.after_update(by_key(layers), nets, memory)

    def on_learner_update(
        self,
        *,
        learner: Any,
        module_id: str,
        module: Any,
        num_updates: int,
        timesteps: dict[str, Any],
        probe: Probe | None,
        metrics_logger: Any,
    ) -> None:
        for position in probe.interventions if probe is not None else ():
            assert probe is not None
            report = self._perform(position, probe, module, learner.get_optimizer(module_id))
            self._log(report, self.interventions[position], module_id, metrics_logger)
            for callback in learner.learner_callbacks:
                callback.on_intervention(
                    learner=learner, module_id=module_id, module=module, probe=probe, report=report
                )

    # ------------------------------------------------------------------ the work

    def _perform(
        self, position: int, probe: Probe, module: Any, optimizer: torch.optim.Optimizer | None
    ) -> InterventionReport:
        intervention = self.interventions[position]
        scoring = probe.scoring.get((intervention.scoring_source, intervention.scoring_episodes))
        subject = team_subject(module, intervention.layers, scoring, probe.held, optimizer)
        report = perform(
            intervention,
            subject,
            generator=seeded_generator(probe.seed, position, self._counts[position]),
            state=self._memories[position],
            clock=probe.clock,
            initial=self._initial,
            update_activity=self._take_activity(position),
            gradient_activity=self._gradient_activity(),
        )
        self._counts[position] += 1
        return report

    def _watch_gradients(self, module: Any) -> None:
        """Sums of the units' update activity over updates, for interventions that look at it. DDP's gradients are equal on
        all ranks, so these sums are. A gradient that is not finite, whose step was skipped, counts as none."""
        for position, intervention in enumerate(self.interventions):
            if not intervention.needs_update_activity:
                continue
            sums = self._activity[position]
            for layer in module.unit_layers(intervention.layers):
                weight = layer.input_weight
                if intervention.in_scope(layer.net) and weight is not None and weight.grad is not None:
                    activity = update_activity(weight.detach(), weight.grad)
                    activity = torch.where(activity.isfinite().all(), activity, torch.zeros_like(activity))
                    sums[layer.key] = sums[layer.key] + activity if layer.key in sums else activity
            self._activity_updates[position] += 1

    def _take_activity(self, position: int) -> dict[str, Tensor]:
        """Mean update activity since this intervention was last due."""
        updates = max(1, self._activity_updates[position])
        mean = {key: total / updates for key, total in self._activity[position].items()}
        self._activity[position], self._activity_updates[position] = {}, 0
        return mean

    def _gradient_activity(self) -> dict[str, Tensor]:
        if self._gradients is None:
            return {}
        return {key: mean_on_all_ranks(of_layer.mean_abs) for key, of_layer in self._gradients().items()}

    def _log(self, report: InterventionReport, intervention: Intervention, module_id: str, metrics_logger: Any) -> None:
        self._events.append({"event": "intervention", "settings": to_dict(intervention), **report.to_dict()})
        values: dict[str, float] = {COUNT: sum(self._counts), UNITS: report.units}
        optional = {DRIFT: report.function_drift, GREEDY: report.greedy_actions_changed}
        values |= {name: value for name, value in optional.items() if value is not None}
        for name, value in values.items():
            # Equal on all ranks; a sum over learners would count them twice.
            metrics_logger.log_value((module_id, *name.split("/")), value, reduce="max", window=1)

    # ------------------------------------------------------------------ events and state

    def take_events(self) -> list[dict[str, Any]]:
        events, self._events = self._events, []
        return events

    def get_learner_state(self) -> dict[str, Any]:
        return {
            "kinds": [intervention.kind for intervention in self.interventions],
            "memories": copied_to("cpu", self._memories),
            "counts": list(self._counts),
            "initial": copied_to("cpu", self._initial),
            "activity": copied_to("cpu", self._activity),
            "activity_updates": list(self._activity_updates),
        }

    def set_learner_state(self, state: dict[str, Any]) -> None:
        kinds = [intervention.kind for intervention in self.interventions]
        if state["kinds"] != kinds:
            raise ValueError(
                f"the checkpoint was written with interventions {state['kinds']}, this config has {kinds}; "
                "restore with the same list, or start anew."
            )
        self._memories = copied_to("cpu", state["memories"])  # plans are made there
        self._counts = list(state["counts"])
        self._initial = copied_to(self._device, state["initial"])
        self._activity = copied_to(self._device, state["activity"])
        self._activity_updates = list(state["activity_updates"])


def seeded_generator(seed: int, position: int, count: int) -> torch.Generator:
    """CPU generator for application ``count`` of the intervention at ``position``: equal on all ranks and after a resume."""
    digest = hashlib.blake2b(f"{seed}/{position}/{count}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest) >> 1)


def _in_scope(intervention: Intervention, nets: Mapping[str, Any]) -> dict[str, Any]:
    return {name: net for name, net in nets.items() if intervention.in_scope(name)}


def _parameters(net: torch.nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in net.named_parameters()}


__all__ = ["COUNT", "DRIFT", "GREEDY", "UNITS", "InterventionCallback", "seeded_generator"]
