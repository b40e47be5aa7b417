"""Measures dormancy on the Learner's model at its own interval; changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from ray.rllib.callbacks.callbacks import RLlibCallback
from torch import Tensor

from rllib_reborn.callbacks.learner_callback import LearnerCallback
from rllib_reborn.callbacks.probe import Probe
from rllib_reborn.callbacks.team_subject import mean_on_all_ranks, measure_team
from rllib_reborn.plasticity import masks
from rllib_reborn.plasticity.dormancy_check import DormancyCheck, make_dormancy_check
from rllib_reborn.plasticity.history import DormancyHistory, check_event, redormant_name
from rllib_reborn.plasticity.history import metric_names as history_metric_names
from rllib_reborn.plasticity.scores import (
    feature_ranks,
    gradient_norm,
    grama,
    layer_dormancy,
    relative_update_activity,
    update_activity,
    weight_norm,
)
from rllib_reborn.plasticity.statistics import GradientStatistics, LayerStatistics, recording_gradients
from rllib_reborn.plasticity.units import UnitLayer, nets_of


class DormancyCallback(RLlibCallback, LearnerCallback):
    """The check that ``training(dormancy={...})`` describes; ``config.callbacks(partial(DormancyCallback, every=...))``
    writes that setting. A Learner adds one by itself where it is set.

    Metrics: for each network and each of its layers those of :mod:`rllib_reborn.plasticity.history`
    (``dormancy/<net>[/<layer>]/dormant_fraction`` and the like); for each layer ``stable_rank`` and ``effective_rank`` of
    its activations on the scored batch, and, from the gradient of this very update, ``stagnant_fraction`` (KNIFE's relative
    update activity < 0.25, method reference 10.1) and ``insensitive_fraction`` (GraMa <= 0.01, method reference 10.3); for
    each network ``weight_norm`` and ``gradient_norm`` (after clipping). Earlier checks are kept in checkpoints.
    """

    def __init__(self, **settings: Any) -> None:
        """``settings`` are those of ``partial(DormancyCallback, ...)``, which ``config.callbacks`` has put into the
        config's ``dormancy``; they are not read here."""
        super().__init__()
        self.check = DormancyCheck()
        self.history = DormancyHistory()
        self._events: list[dict[str, Any]] = []
        self._gradients: Callable[[], dict[str, GradientStatistics]] | None = None

    @contextmanager
    def watch_update(self, *, module: Any, probe: Probe | None) -> Iterator[None]:
        if probe is None or not probe.dormancy:
            yield
            return
        with recording_gradients(module.unit_layers(self.check.layers)) as self._gradients:
            yield
        self._gradients = None

    def on_learner_build(self, *, learner: Any, module_id: str, module: Any) -> None:
        if learner.config.dormancy is not None:
            self.check = make_dormancy_check(learner.config.dormancy)

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
        if probe is None or not probe.dormancy:
            return
        device = next(module.parameters()).device
        arrays = probe.scoring[(self.check.source, self.check.episodes)]
        batch = {name: torch.as_tensor(array, device=device) for name, array in arrays.items()}
        layers = module.unit_layers(self.check.layers)
        statistics = measure_team(module, layers, batch)
        found = {
            key: layer_dormancy(key, of_layer, alpha=self.check.alpha, beta=self.check.beta)
            for key, of_layer in statistics.items()
        }
        metrics = self.history.record(probe.clock, found)
        for net in nets_of(layers):
            again = self.history.redormant(probe.clock, self.check.redormant_within, net=net)
            metrics[redormant_name(net)] = again
        metrics |= self._of_layers(layers, statistics) | self._of_nets(module, layers)
        for name, value in metrics.items():
            if value is not None:
                metrics_logger.log_value((module_id, *name.split("/")), value, reduce="max", window=1)
        self._events.append(check_event(probe.clock, found, metrics))

    def _of_layers(
        self, layers: Sequence[UnitLayer], statistics: Mapping[str, LayerStatistics]
    ) -> dict[str, float | None]:
        assert self._gradients is not None
        gradients = {key: mean_on_all_ranks(of_layer.mean_abs) for key, of_layer in self._gradients().items()}
        metrics: dict[str, float | None] = {}
        for layer in layers:
            features, live = statistics[layer.key].features, statistics[layer.key].live
            ranks = feature_ranks(features) if features is not None else {}
            stagnant = None
            if layer.input_weight is not None and layer.input_weight.grad is not None:
                activity = update_activity(layer.input_weight.detach(), layer.input_weight.grad)
                if bool(activity.isfinite().all()):  # else the step was skipped, and says nothing of single units
                    stagnant = _share(masks.stagnant(relative_update_activity(activity, live)), live)
            insensitive = None
            if bool(gradients[layer.key].isfinite().all()):
                insensitive = _share(masks.insensitive(grama(gradients[layer.key], live)), live)
            values = {
                "stable_rank": ranks.get("stable_rank"),
                "effective_rank": ranks.get("effective_rank"),
                "stagnant_fraction": stagnant,
                "insensitive_fraction": insensitive,
            }
            metrics |= {f"dormancy/{layer.key}/{name}": values[name] for name in _OF_LAYER}
        return metrics

    @staticmethod
    def _of_nets(module: Any, layers: Sequence[UnitLayer]) -> dict[str, float | None]:
        nets = {"agent": module.agents, "mixer": module.mixer}
        metrics: dict[str, float | None] = {}
        for net in nets_of(layers):
            norm = gradient_norm(nets[net])
            values = {
                "weight_norm": weight_norm(nets[net]),
                "gradient_norm": norm if norm is not None and math.isfinite(norm) else None,
            }
            metrics |= {f"dormancy/{net}/{name}": values[name] for name in _OF_NET}
        return metrics

    def on_intervention(self, *, learner: Any, module_id: str, module: Any, probe: Probe, report: Any) -> None:
        if not report.dry_run:  # so that later checks can say which of the treated units are dormant again
            for change in report.changes:
                # Donors were never dormant; counting them would thin the share out.
                self.history.note_recycled(probe.clock, change.layer, sorted({*change.units} - {*change.donors}))

    def take_events(self) -> list[dict[str, Any]]:
        events, self._events = self._events, []
        return events

    def get_learner_state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.history.get_state()
        return state

    def set_learner_state(self, state: dict[str, Any]) -> None:
        self.history.set_state(state)


_OF_LAYER = ("stable_rank", "effective_rank", "stagnant_fraction", "insensitive_fraction")
_OF_NET = ("weight_norm", "gradient_norm")


def metric_names(layers: Sequence[UnitLayer]) -> list[str]:
    """Every name that a check of ``layers`` gives, sorted."""
    of_layers = [f"dormancy/{layer.key}/{name}" for layer in layers for name in _OF_LAYER]
    of_nets = [f"dormancy/{net}/{name}" for net in nets_of(layers) for name in _OF_NET]
    return sorted([*history_metric_names(layers), *of_layers, *of_nets])


def _share(chosen: Tensor, live: Tensor) -> float:
    """Share of the live units that are chosen."""
    return float((chosen & live).sum() / live.sum().clamp(min=1))
