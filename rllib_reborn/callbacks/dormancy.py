"""Measures dormancy on the Learner's model at its own interval; changes nothing."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.callbacks.callbacks import RLlibCallback

from rllib_reborn.callbacks.learner_callback import LearnerCallback
from rllib_reborn.callbacks.probe import Probe
from rllib_reborn.callbacks.team_subject import measure_team
from rllib_reborn.plasticity.dormancy_check import DormancyCheck, make_dormancy_check
from rllib_reborn.plasticity.history import DormancyHistory
from rllib_reborn.plasticity.scores import layer_dormancy


class DormancyCallback(RLlibCallback, LearnerCallback):
    """The check that ``training(dormancy={...})`` describes; ``config.callbacks(partial(DormancyCallback, every=...))``
    writes that setting. A Learner adds one by itself where it is set.

    Metrics, for each network and each of its layers: ``dormancy/<net>[/<layer>]/dormant_fraction`` and the like
    (:mod:`rllib_reborn.plasticity.history`). Earlier checks are kept in checkpoints.
    """

    def __init__(self, **settings: Any) -> None:
        """``settings`` are those of ``partial(DormancyCallback, ...)``, which ``config.callbacks`` has put into the
        config's ``dormancy``; they are not read here."""
        super().__init__()
        self.check = DormancyCheck()
        self.history = DormancyHistory()
        self._events: list[dict[str, Any]] = []

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
        statistics = measure_team(module, module.unit_layers(self.check.layers), batch)
        found = {
            key: layer_dormancy(key, of_layer, alpha=self.check.alpha, beta=self.check.beta)
            for key, of_layer in statistics.items()
        }
        metrics = self.history.record(probe.clock, found)
        for name, value in metrics.items():
            if value is not None:
                metrics_logger.log_value((module_id, *name.split("/")), value, reduce="max", window=1)
        self._events.append(
            {
                "event": "dormancy",
                "clock": dict(probe.clock),
                "metrics": metrics,
                "layers": {
                    key: {
                        "scores": [round(float(score), 4) for score in layer.scores],
                        "dormant": layer.dormant.nonzero().flatten().tolist(),
                        "overactive": layer.overactive.nonzero().flatten().tolist(),
                    }
                    for key, layer in found.items()
                },
            }
        )

    def on_intervention(self, *, learner: Any, module_id: str, module: Any, probe: Probe, report: Any) -> None:
        if not report.dry_run:  # so that later checks can say which of the treated units are dormant again
            for change in report.changes:
                self.history.note_recycled(probe.clock, change.layer, change.units)

    def take_events(self) -> list[dict[str, Any]]:
        events, self._events = self._events, []
        return events

    def get_learner_state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.history.get_state()
        return state

    def set_learner_state(self, state: dict[str, Any]) -> None:
        self.history.set_state(state)
