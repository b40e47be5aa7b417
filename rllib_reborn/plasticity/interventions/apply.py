"""Applies an intervention to a network and reports what it did: plan, write, optimizer, targets, drift."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rllib_reborn.plasticity.interventions.base import Context, Intervention, LayerChange
from rllib_reborn.plasticity.interventions.edits import Edit, SurgeryRefused, check_edits, write_edits
from rllib_reborn.plasticity.invariance import function_drift, q_drift
from rllib_reborn.plasticity.neuron_layers import NeuronLayer, by_key
from rllib_reborn.plasticity.optimizer_state import apply_policy, check_policy
from rllib_reborn.plasticity.scores import LayerDormancy, NetDormancy, layer_dormancy, pool
from rllib_reborn.plasticity.statistics import LayerStatistics


@dataclasses.dataclass(frozen=True)
class ModelOutputs:
    """Outputs of the networks on the holdout batch: ``values`` (any shape) and greedy ``actions`` (any shape, or None)."""

    values: Tensor
    actions: Tensor | None = None


@dataclasses.dataclass(frozen=True)
class ModelView:
    """A network to operate on, and how to look at it.

    Attributes:
        nets: Online networks by name.
        layers: Their layers of neurons, all of them; an intervention takes those in its scope.
        measure: Statistics of given layers on the scoring batch, by key; None: interventions that need them refuse.
        evaluate: Outputs of the networks on a holdout batch, without gradients; None: no drift is reported.
        target_nets, target_layers: The same for the target networks; empty: there are none, and no policy has to follow.
        optimizer: The optimizer of the online networks' parameters; None: there is none.
    """

    nets: Mapping[str, nn.Module]
    layers: Sequence[NeuronLayer]
    measure: Callable[[Sequence[NeuronLayer]], dict[str, LayerStatistics]] | None = None
    evaluate: Callable[[], ModelOutputs] | None = None
    target_nets: Mapping[str, nn.Module] = dataclasses.field(default_factory=dict)
    target_layers: Sequence[NeuronLayer] = ()
    optimizer: torch.optim.Optimizer | None = None


@dataclasses.dataclass(frozen=True)
class InterventionReport:
    """What one application did.

    Attributes:
        kind: The intervention.
        dry_run: True: nothing was written.
        clock: Clocks of the run.
        changes: Layer by layer.
        neurons: Neurons with new weights, over all layers.
        dormant_before, dormant_after: Pooled dormant fraction of each network in scope on the scoring batch (Definition 3,
            at the intervention's ``dormant_at``); empty where no scores were taken.
        overactive_before, overactive_after: The same of over-active neurons (``overactive_at``).
        layers_before, layers_after: By layer key its ``dormant_fraction``, ``overactive_fraction`` and ``overactive_sum``,
            see :class:`~rllib_reborn.plasticity.scores.LayerDormancy`; empty where no scores were taken.
        function_drift: Mean absolute change of the values on the holdout batch over their mean absolute value; None: not
            measured.
        q_drift: The same over the standard deviation of the values before; None: not measured, or they are all equal.
        greedy_actions_changed: Share of greedy actions on the holdout batch that changed; None: not measured.
        seconds: Wall time of planning and writing (and, in a dry run, of remembering), without looking before and after.
    """

    kind: str
    dry_run: bool
    clock: dict[str, int]
    changes: tuple[LayerChange, ...]
    neurons: int
    dormant_before: dict[str, float]
    dormant_after: dict[str, float]
    overactive_before: dict[str, float]
    overactive_after: dict[str, float]
    layers_before: dict[str, dict[str, float]]
    layers_after: dict[str, dict[str, float]]
    function_drift: float | None
    q_drift: float | None
    greedy_actions_changed: float | None
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return dataclasses.asdict(self)


def apply_intervention(
    intervention: Intervention,
    model_view: ModelView,
    *,
    generator: torch.Generator,
    state: dict[str, Any] | None = None,
    clock: Mapping[str, int] | None = None,
    initial: Mapping[str, Mapping[str, Tensor]] | None = None,
    update_activity: Mapping[str, Tensor] | None = None,
    gradient_activity: Mapping[str, Tensor] | None = None,
) -> InterventionReport:
    """Plan, write and report. A dry run writes too, looks, and puts everything back to the bit, the generator included:
    it reports what the next application would do.

    Args:
        intervention: What to do.
        model_view: What to do it to.
        generator: CPU generator; seed it equally on all ranks.
        state: The intervention's memory; changed in place, and only if the application is completed (never in a dry run).
        clock, initial, update_activity, gradient_activity: See :class:`Context`.

    Raises:
        SurgeryRefused: Nothing was written, neither to weights nor to ``state``.
    """
    layers = by_key(intervention.layers_in_scope(model_view.layers, model_view.nets))
    nets = intervention.networks_in_scope(model_view.nets)
    if intervention.needs_statistics and layers and model_view.measure is None:
        raise SurgeryRefused(f"{intervention.kind} chooses neurons by their scores; give ModelView(measure=...).")
    memory = copy.deepcopy(state) if state is not None else {}
    drawn = generator.get_state()
    before = _look(model_view, layers)
    found_before = _found(intervention, before)
    outputs_before = model_view.evaluate() if model_view.evaluate is not None else None
    started = time.perf_counter()
    plan = intervention.plan(
        Context(
            layers=layers,
            statistics=before,
            nets=nets,
            initial=initial or {},
            update_activity=update_activity or {},
            gradient_activity=gradient_activity or {},
            generator=generator,
            state=memory,
            clock=clock or {},
        )
    )
    follow = _following(intervention, plan.edits, model_view, nets)
    if model_view.optimizer is not None:
        check_policy(model_view.optimizer, intervention.optimizer)
    undo = _snapshot(model_view) if intervention.dry_run else None
    try:
        write_edits(plan.edits, layers, nets)
        follow()
        if not intervention.dry_run and model_view.optimizer is not None:
            apply_policy(model_view.optimizer, plan.edits, layers, nets, intervention.optimizer)
        seconds = time.perf_counter() - started
        after = _look(model_view, layers)
        outputs_after = model_view.evaluate() if model_view.evaluate is not None else None
    finally:
        if undo is not None:
            undo()
            generator.set_state(drawn)
    if state is not None and not intervention.dry_run:
        state.clear()
        state.update(memory)
    drift, changed = drift_between(outputs_before, outputs_after)
    q_moved = q_drift(outputs_before.values, outputs_after.values) if outputs_before and outputs_after else None
    found_after = _found(intervention, after)
    nets_before, nets_after = _pooled(found_before, layers), _pooled(found_after, layers)
    return InterventionReport(
        kind=intervention.kind,
        dry_run=intervention.dry_run,
        clock=dict(clock or {}),
        changes=plan.changes,
        neurons=plan.neurons,
        dormant_before={net: found.dormant_fraction for net, found in nets_before.items()},
        dormant_after={net: found.dormant_fraction for net, found in nets_after.items()},
        overactive_before={net: found.overactive_fraction for net, found in nets_before.items()},
        overactive_after={net: found.overactive_fraction for net, found in nets_after.items()},
        layers_before=_layer_shares(found_before),
        layers_after=_layer_shares(found_after),
        function_drift=drift,
        q_drift=q_moved,
        greedy_actions_changed=changed,
        seconds=seconds,
    )


def drift_between(before: ModelOutputs | None, after: ModelOutputs | None) -> tuple[float | None, float | None]:
    """Relative mean |change| of the values, and the share of greedy actions changed; None where not known."""
    if before is None or after is None:
        return None, None
    drift = function_drift(before.values, after.values)
    if before.actions is None or after.actions is None:
        return drift, None
    return drift, float((before.actions != after.actions).float().mean())


def _look(model_view: ModelView, layers: Mapping[str, NeuronLayer]) -> dict[str, LayerStatistics]:
    return model_view.measure(list(layers.values())) if model_view.measure is not None and layers else {}


def _found(intervention: Intervention, statistics: Mapping[str, LayerStatistics]) -> dict[str, LayerDormancy]:
    """Dormant and over-active neurons by layer key, at the intervention's thresholds."""
    alpha, beta = intervention.dormant_at, intervention.overactive_at
    return {key: layer_dormancy(key, of_layer, alpha=alpha, beta=beta) for key, of_layer in statistics.items()}


def _pooled(found: Mapping[str, LayerDormancy], layers: Mapping[str, NeuronLayer]) -> dict[str, NetDormancy]:
    """By network, in order of the first layer."""
    by_net: dict[str, list[LayerDormancy]] = {}
    for key, of_layer in found.items():
        by_net.setdefault(layers[key].net, []).append(of_layer)
    return {net: pool(of_net) for net, of_net in by_net.items()}


def _layer_shares(found: Mapping[str, LayerDormancy]) -> dict[str, dict[str, float]]:
    return {
        key: {
            "dormant_fraction": of_layer.dormant_fraction,
            "overactive_fraction": of_layer.overactive_fraction,
            "overactive_sum": of_layer.overactive_sum,
        }
        for key, of_layer in found.items()
    }


def _following(
    intervention: Intervention, edits: Sequence[Edit], model_view: ModelView, nets: Mapping[str, nn.Module]
) -> Callable[[], None]:
    """What makes the target networks follow, by the declared policy; refuses before anything is written.

    A plan without edits leaves targets alone: ``sync`` copies because of an edit, not instead of the target update.
    """
    targets = intervention.networks_in_scope(model_view.target_nets)
    if intervention.target_networks == "none" or not targets or not edits:
        return lambda: None
    if intervention.target_networks == "mirror":
        layers = by_key(model_view.target_layers)
        check_edits(edits, layers, targets)
        return lambda: write_edits(edits, layers, targets)
    unknown = [name for name in targets if name not in nets]
    if unknown:
        raise SurgeryRefused(f"target networks {unknown} have no online network to copy; found {list(nets)}.")

    def sync() -> None:
        for name, target in targets.items():
            target.load_state_dict(nets[name].state_dict())

    return sync


def _snapshot(model_view: ModelView) -> Callable[[], None]:
    """Remembers every tensor of the networks; calling the result puts them back to the bit."""
    nets = [*model_view.nets.values(), *model_view.target_nets.values()]
    saved = [{name: value.detach().clone() for name, value in net.state_dict().items()} for net in nets]

    def undo() -> None:
        with torch.no_grad():
            for net, values in zip(nets, saved, strict=True):
                for name, value in net.state_dict().items():
                    value.copy_(values[name])

    return undo
