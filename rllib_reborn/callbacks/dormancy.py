"""Measures dormancy on the Learner's model at its own interval; changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rllib_reborn.callbacks.learner_callback import LearnerCallback
from rllib_reborn.callbacks.log import logger_for
from rllib_reborn.callbacks.plasticity_runtime import PlasticityRuntime
from rllib_reborn.callbacks.request import PlasticityRequest
from rllib_reborn.callbacks.stock_hint import stock_learner_hint
from rllib_reborn.callbacks.team_view import TeamModel, measure_team, tensors
from rllib_reborn.plasticity.dormancy_check import DormancyCheck, make_dormancy_check


class DormancyCallback(LearnerCallback):
    """The check that ``training(dormancy={...})`` describes; ``config.callbacks(partial(DormancyCallback, every=...))``
    writes that setting. A Learner adds one by itself where it is set.

    Metrics: for each network and each of its layers those of :mod:`rllib_reborn.plasticity.history`
    (``dormancy/<net>[/<layer>]/dormant_fraction`` and the like); for each layer ``stable_rank`` and ``effective_rank`` of
    its activations on the scored batch, and, from the gradient of this very update, ``stagnant_fraction`` (KNIFE's relative
    update activity < 0.25, docs/method.md 9.1) and ``insensitive_fraction`` (GraMa <= 0.01, docs/method.md 9.2); for each
    network ``weight_norm`` and ``gradient_norm`` (after clipping). Earlier checks are kept in checkpoints.
    """

    #: The check of this Learner's model and its history; made when the Learner is built.
    runtime: PlasticityRuntime

    def __init__(self, **settings: Any) -> None:
        """``settings`` are those of ``partial(DormancyCallback, ...)``, which ``config.callbacks`` has put into the
        config's ``dormancy``; here they are only for messages."""
        super().__init__()
        self.settings = settings

    def instead(self, learner_class: type) -> str:
        return stock_learner_hint(learner_class, f'{{"dormancy": {self.settings!r}}}')

    def on_learner_build(self, *, learner: Any, module_id: str, module: Any) -> None:
        data = learner.config.dormancy
        check = DormancyCheck() if data is None else make_dormancy_check(data)
        self.runtime = PlasticityRuntime((), check, TeamModel(module), logger_for(learner.metrics, module_id))

    def leaves_updates_alone(self, base: type | None = None) -> bool:
        return super().leaves_updates_alone(base or DormancyCallback)

    @contextmanager
    def watch_update(self, *, module: Any, request: PlasticityRequest | None) -> Iterator[None]:
        with self.runtime.recording((), check=request is not None and request.dormancy):
            yield

    def on_learner_update(
        self,
        *,
        learner: Any,
        module_id: str,
        module: Any,
        num_updates: int,
        timesteps: dict[str, Any],
        request: PlasticityRequest | None,
        metrics_logger: Any,
    ) -> None:
        if request is None or not request.dormancy:
            return
        check = self.runtime.check
        assert check is not None
        batch = tensors(request.scoring_batch[(check.source, check.episodes)], self.runtime.device)
        self.runtime.measure(request.clock, lambda layers: measure_team(module, layers, batch))

    def on_intervention(
        self, *, learner: Any, module_id: str, module: Any, request: PlasticityRequest, report: Any
    ) -> None:
        self.runtime.note_recycled(request.clock, report)

    def take_events(self) -> list[dict[str, Any]]:
        return self.runtime.take_events()

    def get_learner_state(self) -> dict[str, Any]:
        return self.runtime.get_state()

    def set_learner_state(self, state: dict[str, Any]) -> None:
        self.runtime.set_state(state)
