"""One model's plasticity in a Learner: what its interventions and its dormancy check remember, and how both are carried out.

Our callbacks and the mixin for stock algorithms are thin wiring around it: they say when, on which model and batches.
"""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rllib_reborn.callbacks.copies import copied_to
from rllib_reborn.callbacks.dormancy_metrics import layer_metrics, network_metrics
from rllib_reborn.callbacks.ranks import mean_on_all_ranks
from rllib_reborn.plasticity.dormancy_check import DormancyCheck
from rllib_reborn.plasticity.history import DormancyHistory, check_event, redormant_name
from rllib_reborn.plasticity.interventions import Intervention, to_dict
from rllib_reborn.plasticity.interventions.apply import InterventionReport, ModelView, apply_intervention
from rllib_reborn.plasticity.neuron_layers import LayerChoice, NeuronLayer, by_key, nets_of
from rllib_reborn.plasticity.scope import ALL, networks_in_scope
from rllib_reborn.plasticity.scores import layer_dormancy, update_activity
from rllib_reborn.plasticity.statistics import GradientStatistics, LayerStatistics, recording_gradients

#: Metrics of applications, also the names of the row.
COUNT = "intervention/count"
NEURONS = "intervention/neurons"
DRIFT = "intervention/function_drift"
Q_DRIFT = "intervention/q_drift/0"
GREEDY = "intervention/greedy_actions_changed"

#: Writes metrics by their names; None: a value that is not known this time.
Log = Callable[[Mapping[str, float | None]], None]


class PlasticityModel(Protocol):
    """What the runtime asks of a model."""

    def networks(self) -> Mapping[str, nn.Module]:
        """The trained networks by the names that ``scope`` takes."""

    def neuron_layers(self, choice: LayerChoice) -> list[NeuronLayer]:
        """The layers of neurons that ``choice`` means."""

    def treated_layers(self, intervention: Intervention) -> list[NeuronLayer]:
        """The layers that ``intervention`` chooses from, before its scope is looked at."""


class PlasticityRuntime:
    """Identical on all ranks: what is due, the batches and the seed come with the update.

    Args:
        interventions: In the order of the config.
        check: The dormancy check, or None.
        model: What is measured and treated.
        log: Where metrics go.
        event_fields: Put in front of every event.
        most_events: Events that are kept until they are taken; None: all.
    """

    def __init__(
        self,
        interventions: Sequence[Intervention],
        check: DormancyCheck | None,
        model: PlasticityModel,
        log: Log,
        event_fields: Mapping[str, Any] | None = None,
        *,
        most_events: int | None = None,
    ) -> None:
        self.interventions = tuple(interventions)
        self.check = check
        self.model = model
        self.history = DormancyHistory()
        self.memories: list[dict[str, Any]] = [{} for _ in interventions]
        self.counts = [0 for _ in interventions]
        #: Network -> parameter name -> its value when the run began; empty unless an intervention needs it.
        self.initial: dict[str, dict[str, Tensor]] = {}
        self._take_initial()
        #: For each intervention: sums of update activity by layer, and over how many updates.
        self.activity: list[dict[str, Tensor]] = [{} for _ in interventions]
        self.activity_updates = [0 for _ in interventions]
        self.events: collections.deque[dict[str, Any]] = collections.deque(maxlen=most_events)
        self._log = log
        self._event_fields = dict(event_fields or {})
        self._gradients: Callable[[], dict[str, GradientStatistics]] | None = None

    # ------------------------------------------------------------------ during an update

    @contextmanager
    def recording(self, due: Sequence[int], *, check: bool) -> Iterator[None]:
        """Around an update: gradients at the layers, for what is due and looks at them.

        Args:
            due: Positions of the interventions that are due at this update.
            check: Whether the dormancy check is.
        """
        layers = by_key(self.model.neuron_layers(self.check.layers)) if check and self.check is not None else {}
        for position in due:
            if self.interventions[position].needs_gradient_activity:
                layers |= by_key(self.layers_in_scope(self.interventions[position]))
        if not layers:
            yield
            return
        with recording_gradients(list(layers.values())) as self._gradients:
            yield
        self._gradients = None

    def leaves_updates_alone(self) -> bool:
        """Whether no intervention counts firing at an update, adds to its loss, or still lacks the initial weights."""
        return not any(
            one.counts_firing or type(one).loss is not Intervention.loss or (one.needs_initial and not self.initial)
            for one in self.interventions
        )

    def loss(self) -> Tensor | None:
        """What interventions add to the loss, a scalar, or None."""
        if not self.interventions:
            return None
        self._take_initial()
        networks = self.model.networks()
        terms = [term for one in self.interventions if (term := one.loss(networks, self.initial)) is not None]
        return torch.stack(terms).sum() if terms else None

    def after_gradient_step(self) -> None:
        """Before targets follow: update activity is summed up, and what must stay as it was put is put back."""
        self._sum_activity()
        self.hold(self.memories)

    def hold(self, memories: Sequence[dict[str, Any]]) -> None:
        """What must stay as it was put, by what interventions remember, is put back."""
        for intervention, memory in zip(self.interventions, memories, strict=True):
            if intervention.acts_after_updates and memory:
                nets = intervention.networks_in_scope(self.model.networks())
                intervention.after_update(by_key(self.layers_in_scope(intervention)), nets, memory)

    # ------------------------------------------------------------------ what is due

    def measure(
        self,
        clock: Mapping[str, int],
        statistics: Callable[[Sequence[NeuronLayer]], dict[str, LayerStatistics]],
    ) -> None:
        """The dormancy check: metrics, an event, a row of the history.

        Args:
            clock: Clocks of the run.
            statistics: Gives the statistics of layers, by key. Metrics of gradients, ranks and whole networks are added
                where :meth:`recording` was around the update.
        """
        assert self.check is not None
        layers = self.model.neuron_layers(self.check.layers)
        measured = statistics(layers)
        found = {
            key: layer_dormancy(key, of_layer, alpha=self.check.alpha, beta=self.check.beta)
            for key, of_layer in measured.items()
        }
        metrics = self.history.record(clock, found)
        for net in nets_of(layers):
            metrics[redormant_name(net)] = self.history.redormant(clock, self.check.redormant_within, net=net)
        if self._gradients is not None:
            metrics |= layer_metrics(layers, measured, self._gradients())
            metrics |= network_metrics(self.model.networks(), nets_of(layers))
        self._log(metrics)
        self.events.append({**self._event_fields, **check_event(clock, found, metrics)})

    def apply(
        self,
        position: int,
        view: ModelView,
        *,
        clock: Mapping[str, int],
        seed: int,
        stream: int | None = None,
        combine: Callable[[InterventionReport], InterventionReport] = lambda report: report,
    ) -> InterventionReport:
        """Carry out one intervention: metrics, an event.

        Args:
            position: Of the intervention.
            view: The model as it looks to it.
            clock: Clocks of the run.
            seed: Seed of the run.
            stream: Number of the random stream; None: the position.
            combine: Makes the report of all ranks from this rank's.
        """
        intervention = self.interventions[position]
        report = apply_intervention(
            intervention,
            view,
            generator=seeded_generator(seed, position if stream is None else stream, self.counts[position]),
            state=self.memories[position],
            clock=clock,
            initial=self.initial,
            update_activity=self._take_activity(position),
            gradient_activity=self._gradient_activity() if intervention.needs_gradient_activity else {},
        )
        self.counts[position] += 1
        report = combine(report)
        if self.check is not None:
            self.note_recycled(clock, report)
        self.events.append(
            {
                **self._event_fields,
                "event": "intervention",
                "position": position,
                "settings": to_dict(intervention),
                **report.to_dict(),
            }
        )
        self._log(
            {
                COUNT: sum(self.counts),
                NEURONS: report.neurons,
                DRIFT: report.function_drift,
                Q_DRIFT: report.q_drift,
                GREEDY: report.greedy_actions_changed,
            }
        )
        return report

    def note_recycled(self, clock: Mapping[str, int], report: InterventionReport) -> None:
        """So that later checks can say which of the treated neurons are dormant again."""
        if report.dry_run:
            return
        for change in report.changes:
            # Donors were never dormant; counting them would thin the share of re-dormant neurons out.
            self.history.note_recycled(clock, change.layer, sorted({*change.neurons} - {*change.donors}))

    def _take_initial(self) -> None:
        """The present weights are the initial ones where some are needed and there are none: at the beginning, and where a
        fork brings an intervention that its source had not."""
        if not self.initial and any(intervention.needs_initial for intervention in self.interventions):
            self.initial = {name: _copies(net) for name, net in networks_in_scope(ALL, self.model.networks()).items()}

    def take_events(self) -> list[dict[str, Any]]:
        """What happened since this was last asked, as plain JSON data."""
        events = list(self.events)
        self.events.clear()
        return events

    # ------------------------------------------------------------------ state

    def get_state(self) -> dict[str, Any]:
        """What a checkpoint must keep: copies, tensors on the CPU."""
        state: dict[str, Any] = {
            "kinds": [intervention.kind for intervention in self.interventions],
            "memories": self.memories,
            "counts": self.counts,
            "initial": self.initial,
            "activity": self.activity,
            "activity_updates": self.activity_updates,
            "history": self.history.get_state(),
        }
        copied: dict[str, Any] = copied_to("cpu", state)
        return copied

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`get_state` gave.

        Raises:
            ValueError: It is of another list of interventions.
        """
        check_kinds(state["kinds"], self.interventions)
        device = self.device
        self.memories = copied_to("cpu", state["memories"])  # plans are made there
        self.counts = list(state["counts"])
        self.initial = copied_to(device, state["initial"])
        self.activity = copied_to(device, state["activity"])
        self.activity_updates = list(state["activity_updates"])
        self.history.set_state(state["history"])

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(parameter.device for net in self.model.networks().values() for parameter in net.parameters())

    # ------------------------------------------------------------------ activity

    def layers_in_scope(self, intervention: Intervention) -> list[NeuronLayer]:
        """Those that ``intervention`` treats."""
        return intervention.layers_in_scope(self.model.treated_layers(intervention), self.model.networks())

    def _sum_activity(self) -> None:
        """Sums of the neurons' update activity over updates, for interventions that look at it. DDP's gradients are equal on
        all ranks, so these sums are. A gradient that is not finite, whose step was skipped, counts as none."""
        for position, intervention in enumerate(self.interventions):
            if not intervention.needs_update_activity:
                continue
            sums = self.activity[position]
            for layer in self.layers_in_scope(intervention):
                weight = layer.input_weight
                if weight is not None and weight.grad is not None:
                    activity = update_activity(weight.detach(), weight.grad)
                    activity = torch.where(activity.isfinite().all(), activity, torch.zeros_like(activity))
                    sums[layer.key] = sums[layer.key] + activity if layer.key in sums else activity
            self.activity_updates[position] += 1

    def _take_activity(self, position: int) -> dict[str, Tensor]:
        """Mean update activity since this intervention was last due."""
        updates = max(1, self.activity_updates[position])
        mean = {key: total / updates for key, total in self.activity[position].items()}
        self.activity[position], self.activity_updates[position] = {}, 0
        return mean

    def _gradient_activity(self) -> dict[str, Tensor]:
        if self._gradients is None:
            return {}
        return {key: mean_on_all_ranks(of_layer.mean_abs) for key, of_layer in self._gradients().items()}


def check_kinds(kinds: Sequence[str], interventions: Sequence[Intervention]) -> None:
    """Raise ValueError unless ``kinds``, those of a checkpoint, are the kinds of ``interventions``."""
    here = [intervention.kind for intervention in interventions]
    if list(kinds) != here:
        raise ValueError(
            f"the checkpoint was written with interventions {list(kinds)}, this config has {here}; restore with the same "
            "list, or start a new run."
        )


def seeded_generator(seed: int, stream: int, count: int) -> torch.Generator:
    """CPU generator for application ``count`` of random stream ``stream``: equal on all ranks and after a resume."""
    digest = hashlib.blake2b(f"{seed}/{stream}/{count}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest) >> 1)


def _copies(net: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in net.named_parameters()}
