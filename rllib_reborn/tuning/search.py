"""Which run comes next: those that are known, and then what Optuna suggests, each suggestion with every seed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.sample import Domain

from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.tuning.points import Point, SweepRun
from rllib_reborn.tuning.sweep import Dimension, Sweep

Config = dict[str, Any]
#: What Optuna is told of a point: the mean over its seeds.
_OBJECTIVE = "objective"


class KnownRuns(Searcher):  # type: ignore[misc]
    """Gives the configs of a list, in order; searches nothing.

    Args:
        configs: The list.
        can_begin: Whether a run may begin now; one that may not is passed over until it may.
    """

    def __init__(self, configs: Sequence[Config], can_begin: Callable[[Config], bool] = lambda config: True) -> None:
        super().__init__()
        self._left = list(reversed(configs))
        self._can_begin = can_begin

    def set_search_properties(self, metric: str | None, mode: str | None, config: Config, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Config | str | None:
        if not self._left:
            return Searcher.FINISHED
        ready = next((place for place in reversed(range(len(self._left))) if self._can_begin(self._left[place])), None)
        return None if ready is None else self._left.pop(ready)

    def on_trial_complete(self, trial_id: str, result: Config | None = None, error: bool = False) -> None:
        """Nothing is learnt from it."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a sweep that goes on reads its folder."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise."""


class SuggestedRuns(KnownRuns):
    """Runs of a list first; then points of Optuna's, each with every seed. Optuna is told a point's mean over its seeds
    once all have ended; so seeds are never averaged but for it.

    Args:
        sweep: Says the space, how many points, and the seeds.
        known: Configs of the list.
        evaluated: Values and mean objective of points that are over: Optuna starts from them.
        started: How many points have been chosen already.
        make_point: Makes a point of suggested values, and remembers it.
        config_of: The config of a run.
        can_begin: As of :class:`KnownRuns`.
    """

    def __init__(
        self,
        sweep: Sweep,
        known: Sequence[Config],
        *,
        evaluated: Sequence[tuple[Config, float]],
        started: int,
        make_point: Callable[[Config], Point],
        config_of: Callable[[SweepRun], Config],
        can_begin: Callable[[Config], bool] = lambda config: True,
    ) -> None:
        super().__init__(known, can_begin)
        self._seeds = sweep.seeds
        self._points_left = (sweep.samples or 0) - started
        self._make_point = make_point
        self._config_of = config_of
        self._optuna = _optuna_search()(
            {key: domain(dimension) for key, dimension in sweep.space.items()},
            metric=_OBJECTIVE,
            mode=sweep.mode,
            seed=sweep.searcher.seed,
            points_to_evaluate=[values for values, _ in evaluated] or None,
            evaluated_rewards=[reward for _, reward in evaluated] or None,
        )
        #: Of each trial, its point; of each point, what its seeds came to and how many are still to come.
        self._point_of: dict[str, str] = {}
        self._results: dict[str, list[float]] = {}
        self._missing: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Config | str | None:
        if not self._left and self._points_left > 0:
            values = self._optuna.suggest(trial_id)
            if not isinstance(values, dict):
                return Searcher.FINISHED if values is not None else None
            self._points_left -= 1
            point = self._make_point(values)
            self._left = [self._config_of(SweepRun(point, seed)) for seed in reversed(self._seeds)]
            self._results[trial_id], self._missing[trial_id] = [], len(self._seeds)
            self._present = trial_id
        config = super().suggest(trial_id)
        if isinstance(config, dict) and self._missing:
            self._point_of[trial_id] = self._present
        return config

    def on_trial_complete(self, trial_id: str, result: Config | None = None, error: bool = False) -> None:
        point = self._point_of.get(trial_id)
        if point is None:
            return
        self._missing[point] -= 1
        if result is not None and _OBJECTIVE in result and not result.get("failed"):
            self._results[point].append(float(result[_OBJECTIVE]))
        if self._missing[point] == 0:
            found = self._results[point]
            mean = {_OBJECTIVE: sum(found) / len(found)} if found else None
            self._optuna.on_trial_complete(point, mean, error=not found)


def _optuna_search() -> type[Searcher]:
    """Raises:
    ExperimentError: Optuna is not installed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise ExperimentError("searcher optuna is not installed; pip install 'rllib-reborn[optuna]'.")
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # or a line for each study, between ours
    found: type[Searcher] = OptunaSearch
    return found


def domain(dimension: Dimension) -> Domain:
    """What Tune calls it."""
    if dimension.uniform is not None:
        return tune.uniform(*dimension.uniform)
    if dimension.loguniform is not None:
        return tune.loguniform(*dimension.loguniform)
    if dimension.integers is not None:
        return tune.randint(dimension.integers[0], dimension.integers[1] + 1)
    return tune.choice(dimension.choice or [])
