"""Which runs are ended early, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from rllib_reborn.tuning.sweep import Sweep
from rllib_reborn.tuning.trainable import ARM

_TIME, _OBJECTIVE = "env_steps", "objective"
_DEFAULT_REDUCTION = 4.0


def make_scheduler(sweep: Sweep, over: Mapping[str, Sequence[tuple[int, float]]] | None = None) -> TrialScheduler:
    """The scheduler of a sweep.

    Args:
        sweep: The sweep.
        over: Of searched runs that are over, by name, the objective as it was known after so many env steps: those that go
            on are compared with them too.
    """
    settings = sweep.scheduler
    if settings.kind == "fifo":
        return FIFOScheduler()
    assert sweep.budget is not None
    assert sweep.budget.env_steps is not None
    scheduler = SparingArms(
        time_attr=_TIME,
        metric=_OBJECTIVE,
        mode=sweep.mode,
        max_t=sweep.budget.env_steps,
        grace_period=settings.grace_period,
        reduction_factor=settings.reduction_factor or _DEFAULT_REDUCTION,
        stop_last_trials=False,
    )
    for name, curve in (over or {}).items():
        earlier = SimpleNamespace(trial_id=name, config={})
        scheduler.on_trial_add(None, earlier)
        for env_steps, objective in curve:
            scheduler.on_trial_result(None, earlier, {_TIME: env_steps, _OBJECTIVE: objective})
    return scheduler


class SparingArms(ASHAScheduler):  # type: ignore[misc]
    """ASHA that neither stops arms nor measures others by them: a control that was stopped is none."""

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        if not _is_arm(trial):
            super().on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        if _is_arm(trial):
            return str(TrialScheduler.CONTINUE)
        return str(super().on_trial_result(tune_controller, trial, result))

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        if _is_arm(trial):
            return
        if result.get("failed"):
            super().on_trial_remove(tune_controller, trial)
        else:
            super().on_trial_complete(tune_controller, trial, result)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        if not _is_arm(trial):
            super().on_trial_error(tune_controller, trial)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        if not _is_arm(trial):
            super().on_trial_remove(tune_controller, trial)


def _is_arm(trial: Trial) -> bool:
    return bool(trial.config.get(ARM))
