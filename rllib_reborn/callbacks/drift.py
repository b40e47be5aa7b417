"""How far an application moves Q_tot once the optimizer steps again: against a shadow that was not treated.

Right after an application little has changed; one update later much may have, because new weights take steps of another
length. The shadow is the learner as it was before, and makes the same updates on the same batches: so it shows what is the
intervention's doing, and how far Q_tot moves by itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from rllib_reborn.callbacks.copies import copied_to
from rllib_reborn.callbacks.plasticity_runtime import Log
from rllib_reborn.callbacks.request import PlasticityRequest
from rllib_reborn.callbacks.team_view import tensors
from rllib_reborn.plasticity.interventions import Intervention
from rllib_reborn.plasticity.invariance import q_drift

Batch = dict[str, Tensor]


class LearnerCopy(Protocol):
    """A copy of the learner that can make updates of its own."""

    def update(self, batch: dict[str, Any]) -> None:
        """One gradient step on a learner's batch."""

    def in_place(self) -> contextlib.AbstractContextManager[None]:
        """Inside, the learner's networks are the shadow's."""

    def get_state(self) -> dict[str, Any]:
        """What a checkpoint must keep."""

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`get_state` gave."""


@dataclasses.dataclass
class _Watch:
    """An application whose drift is followed.

    Attributes:
        shadow: What the learner would be without it.
        kind, position: Of the intervention.
        applied_at: Clocks of the run then.
        drift_updates: After how many updates it is measured, ascending.
        holdout: Episodes on which it is measured.
        before: [steps] Q_tot on them before the application.
        update: Number of the learner's update at which it was applied.
        done: Updates made since.
    """

    shadow: LearnerCopy
    kind: str
    position: int
    applied_at: dict[str, int]
    drift_updates: tuple[int, ...]
    holdout: Batch
    before: Tensor
    update: int
    done: int = 0


class DriftWatch:
    """Follows the last application, on all ranks alike: the shadow's gradients are summed over ranks as the learner's are.

    Args:
        make_shadow: Makes a shadow of the learner as it is now.
        log: Where metrics go.
        emit: Where events go.
    """

    def __init__(
        self,
        make_shadow: Callable[[], LearnerCopy],
        log: Log,
        emit: Callable[[dict[str, Any]], None],
        device: torch.device,
    ) -> None:
        self._make_shadow = make_shadow
        self._log = log
        self._emit = emit
        self._device = device
        self._watch: _Watch | None = None
        self._draws: list[Tensor] = []
        self._clock: dict[str, int] = {}

    def begin_update(self, request: PlasticityRequest) -> None:
        """Before an update's forward pass: remember the clocks, and what a network that draws (dropout) will draw, which
        the shadow has to draw too."""
        self._clock = dict(request.clock)
        self._draws = random_streams(self._device) if self._watch is not None else []

    def before_application(
        self, intervention: Intervention, position: int, module: Any, num_updates: int, request: PlasticityRequest
    ) -> None:
        """An application comes next: the one before it is followed no longer, because its shadow goes without this one; a
        shadow is made where this one's drift is asked for. A dry run changes nothing and ends nothing."""
        if intervention.dry_run:
            return
        self.end(f"{intervention.kind} was applied before that")
        if not intervention.drift_updates or request.holdout_batch is None:
            return
        holdout = tensors(request.holdout_batch, self._device)
        self._watch = _Watch(
            shadow=self._make_shadow(),
            kind=intervention.kind,
            position=position,
            applied_at=dict(request.clock),
            drift_updates=intervention.drift_updates,
            holdout=holdout,
            before=module.observe(holdout)["q_tot"],
            update=num_updates,
        )

    def end(self, reason: str) -> None:
        """Nothing more is measured of the application that is followed; an event for each measurement says why."""
        watch, self._watch = self._watch, None
        if watch is not None:
            for updates in watch.drift_updates:
                if updates > watch.done:
                    self._emit(_event(watch, updates, self._clock, None, None, reason))

    def after_update(self, module: Any, module_id: str, num_updates: int, batch: dict[str, Any]) -> None:
        """At the end of an update of the learner: the shadow's, and what is due to be measured."""
        watch = self._watch
        if watch is None or num_updates == watch.update:
            return
        with drawing_from(self._draws, self._device):
            watch.shadow.update({module_id: batch})
        watch.done += 1
        if watch.done in watch.drift_updates:
            treated = module.observe(watch.holdout)["q_tot"]
            with watch.shadow.in_place():
                untreated = module.observe(watch.holdout)["q_tot"]
            drift, own = q_drift(untreated, treated), q_drift(untreated, watch.before)
            reason = None if drift is not None else "Q_tot of the shadow is everywhere the same, or not finite"
            clock = self._clock or {**watch.applied_at, "updates": watch.applied_at["updates"] + watch.done}
            self._emit(_event(watch, watch.done, clock, drift, own, reason))
            self._log(
                {
                    f"intervention/q_drift/{watch.done}": drift,
                    f"intervention/q_drift_untreated/{watch.done}": own,
                }
            )
        if watch.done >= watch.drift_updates[-1]:
            self._watch = None
        self._clock, self._draws = {}, []

    def get_state(self) -> dict[str, Any] | None:
        """Of the application that is followed, copies on the CPU; None: there is none."""
        watch = self._watch
        if watch is None:
            return None
        fields = {field.name: getattr(watch, field.name) for field in dataclasses.fields(watch)}
        state: dict[str, Any] = copied_to("cpu", {**fields, "shadow": watch.shadow.get_state()})
        return state

    def set_state(self, state: Mapping[str, Any] | None) -> None:
        """Put back what :meth:`get_state` gave."""
        self._watch = None
        if state is not None:
            shadow = self._make_shadow()
            shadow.set_state(state["shadow"])
            others = {name: value for name, value in state.items() if name != "shadow"}
            self._watch = _Watch(shadow=shadow, **copied_to(self._device, others))


def drift_names(interventions: Sequence[Intervention]) -> list[str]:
    """Names of the metrics that these can give."""
    found = sorted({updates for one in interventions for updates in one.drift_updates})
    return [f"intervention/{name}/{updates}" for updates in found for name in ("q_drift", "q_drift_untreated")]


def random_streams(device: torch.device) -> list[Tensor]:
    """States of PyTorch's global random streams: the CPU's, and the device's where it is another."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


@contextlib.contextmanager
def drawing_from(states: list[Tensor], device: torch.device) -> Iterator[None]:
    """Inside, PyTorch's global random streams go on from ``states`` ([]: from where they are); afterwards they are as they
    were."""
    before = random_streams(device)
    try:
        if states:
            _set_random_streams(states, device)
        yield
    finally:
        _set_random_streams(before, device)


def _set_random_streams(states: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)


def _event(
    watch: _Watch, updates: int, clock: Mapping[str, int], drift: float | None, own: float | None, reason: str | None
) -> dict[str, Any]:
    return {
        "event": "drift",
        "kind": watch.kind,
        "position": watch.position,
        "clock": dict(clock),
        "applied_at": dict(watch.applied_at),
        "updates": updates,
        "q_drift": drift,
        "q_drift_untreated": own,
        "not_measured": reason,
    }
