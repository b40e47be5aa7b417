"""Performs the config's interventions on the Learner's model, on its device, when the algorithm says that they are due."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from rllib_reborn.callbacks.copies import copied_to
from rllib_reborn.callbacks.drift import DriftWatch
from rllib_reborn.callbacks.firing import FiringCounter
from rllib_reborn.callbacks.learner_callback import LearnerCallback
from rllib_reborn.callbacks.log import logger_for
from rllib_reborn.callbacks.plasticity_runtime import PlasticityRuntime
from rllib_reborn.callbacks.request import PlasticityRequest
from rllib_reborn.callbacks.stock_hint import stock_learner_hint
from rllib_reborn.callbacks.team_view import TeamModel, team_view
from rllib_reborn.plasticity.interventions import make_intervention

#: Key of an application whose drift is followed, in the state of the callback; only while there is one.
_DRIFT = "drift"


class InterventionCallback(LearnerCallback):
    """All of ``training(interventions=[...])``, in their order. A Learner adds one by itself where that list is not empty,
    so giving it to ``config.callbacks(...)`` is only needed to subclass it.

    Identical on all ranks: what is due, the batches and the seed come with the update; scores are rank 0's.
    """

    #: Kind of the intervention that ``config.callbacks`` adds to ``interventions``; None: it adds none.
    kind: str | None = None
    #: Interventions of this Learner's model; made when the Learner is built.
    runtime: PlasticityRuntime

    def __init__(self, **settings: Any) -> None:
        """``settings`` are those of ``partial(ReBornCallback, ...)``, which ``config.callbacks`` has put into the config's
        ``interventions``; here they are only for messages."""
        super().__init__()
        self.settings = settings

    def instead(self, learner_class: type) -> str:
        entry = {"kind": self.kind or "reborn", **self.settings}
        return stock_learner_hint(learner_class, f'{{"interventions": [{entry!r}]}}')

    def on_learner_build(self, *, learner: Any, module_id: str, module: Any) -> None:
        interventions = [make_intervention(data) for data in learner.config.interventions]
        log = logger_for(learner.metrics, module_id)
        self.runtime = PlasticityRuntime(interventions, None, TeamModel(module), log)
        self._firing = FiringCounter(self.runtime)
        self._drift = DriftWatch(learner.make_shadow, log, self.runtime.events.append, self.runtime.device)

    def leaves_updates_alone(self, base: type | None = None) -> bool:
        """Unless an intervention adds to the loss or counts which neurons fire at every update."""
        alone = super().leaves_updates_alone(base or InterventionCallback)
        return alone and self.runtime.leaves_updates_alone()

    def on_learner_loss(self, *, learner: Any, module_id: str, module: Any) -> Tensor | None:
        self._firing.note(lambda: module.row_masks({name: column[0] for name, column in learner.last_batch.items()}))
        return self.runtime.loss()

    @contextmanager
    def watch_update(self, *, module: Any, request: PlasticityRequest | None) -> Iterator[None]:
        """Gradients at the layers, for due interventions that choose neurons by them, and which neurons fire, for those that
        count it: those of this very update."""
        if request is not None:
            self._drift.begin_update(request)
        due = request.interventions if request is not None else ()
        with self.runtime.recording(due, check=False), self._firing.watching():
            yield

    def after_gradient_step(self, *, module: Any) -> None:
        self.runtime.after_gradient_step()

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
        if request is None:
            return
        for position in request.interventions:
            intervention = self.runtime.interventions[position]
            batch = request.scoring_batch.get((intervention.scoring_source, intervention.scoring_episodes))
            optimizer = learner.get_optimizer(module_id)
            view = team_view(module, intervention.layers, batch, request.holdout_batch, optimizer)
            self._drift.before_application(intervention, position, module, num_updates, request)
            report = self.runtime.apply(position, view, clock=request.clock, seed=request.seed)
            for callback in learner.learner_callbacks:
                callback.on_intervention(
                    learner=learner, module_id=module_id, module=module, request=request, report=report
                )

    def after_update(self, *, learner: Any, module_id: str, batch: dict[str, Any]) -> None:
        """The update of the shadow that is followed, if there is one."""
        self._drift.after_update(learner.module[module_id].unwrapped(), module_id, learner.num_updates, batch)

    def in_shadow(self) -> LearnerCallback:
        return _HeldInShadow(self.runtime)

    def take_events(self) -> list[dict[str, Any]]:
        return self.runtime.take_events()

    def get_learner_state(self) -> dict[str, Any]:
        followed = self._drift.get_state()
        return self.runtime.get_state() | ({} if followed is None else {_DRIFT: followed})

    def set_learner_state(self, state: dict[str, Any]) -> None:
        self.runtime.set_state(state)
        self._drift.set_state(state.get(_DRIFT))


class _HeldInShadow(LearnerCallback):
    """A shadow's loss terms, and what it holds as interventions remember it from before it was made."""

    def __init__(self, runtime: PlasticityRuntime) -> None:
        super().__init__()
        self._runtime = runtime
        self._memories = copy.deepcopy(runtime.memories)

    def on_learner_loss(self, *, learner: Any, module_id: str, module: Any) -> Tensor | None:
        return self._runtime.loss()

    def after_gradient_step(self, *, module: Any) -> None:
        self._runtime.hold(self._memories)

    def get_learner_state(self) -> dict[str, Any]:
        return {"memories": self._memories}

    def set_learner_state(self, state: dict[str, Any]) -> None:
        self._memories = copied_to("cpu", state["memories"])
