"""Which runs are ended early, which go on from others, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, PopulationBasedTraining, TrialScheduler

from rllib_reborn.tuning.search import domain
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
    if settings.kind == "pbt":
        return _population(sweep)
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


def _population(sweep: Sweep) -> TrialScheduler:
    settings = sweep.scheduler
    given = {"quantile_fraction": settings.quantile, "resample_probability": settings.resample}

    def within_ranges(config: dict[str, Any]) -> dict[str, Any]:
        # Ray multiplies by 0.8 or 1.2 and looks at no range.
        return config | {key: dimension.clip(config[key]) for key, dimension in sweep.space.items()}

    return PopulationBasedTraining(
        time_attr=_TIME,
        metric=_OBJECTIVE,
        mode=sweep.mode,
        perturbation_interval=settings.interval,
        hyperparam_mutations={
            key: dimension.choice if dimension.choice is not None else domain(dimension)
            for key, dimension in sweep.space.items()
        },
        custom_explore_fn=within_ranges,
        # All wait for the last one, so that who is compared with whom does not depend on who was quicker.
        synch=True,
        log_config=False,
        **{name: value for name, value in given.items() if value is not None},
    )


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
