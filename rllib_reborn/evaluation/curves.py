"""From the runs of a group to the rows that a figure draws and its CSV holds. Nothing here is smoothed.

Seeds are evaluated at slightly different env steps, because episodes differ in length. They are read on one
grid, the steps of the run that got furthest (of those about as far, the one with most points), by linear
interpolation between a run's own neighbouring points. A run counts where it has data: past its ends its value
is held for at most one usual distance between points, and beyond that the run is absent, so ``runs`` can fall
along a curve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from rllib_reborn.evaluation.groups import RunGroup
from rllib_reborn.evaluation.runs import RunRecord
from rllib_reborn.evaluation.statistics import iqm, proportion_interval, stratified_bootstrap_band

Array: TypeAlias = npt.NDArray[np.float64]

CURVE_COLUMNS = ("label", "series", "env_steps", "value", "low", "high", "runs", "episodes")
MAX_POINTS = 400
# Series of the marks that show when interventions were applied, and how many a group gets at most.
INTERVENTION = "intervention"
MAX_MARKS = 30


def align(series: Sequence[tuple[Array, Array]], max_points: int = MAX_POINTS) -> tuple[Array, Array]:
    """Runs on one grid, as the module's docstring defines it.

    Args:
        series: ``(steps, values)`` per run, steps rising. Runs without a point are absent everywhere.
        max_points: Above this, evenly chosen points of the grid are kept, first and last included.

    Returns:
        ``steps [T]`` and ``values [runs, T]``, ``nan`` where a run is absent. ``T`` is 0 where no run has a
        point.
    """
    present = [steps for steps, _ in series if steps.size]
    if not present:
        return np.empty(0), np.empty((len(series), 0))
    distances = np.concatenate([np.diff(steps) for steps in present])
    furthest = max(float(steps[-1]) for steps in present)
    # One point per run and nothing else: there is no usual distance, and all are shown at the furthest one.
    reach = float(np.median(distances)) if distances.size else furthest
    near_end = (steps for steps in present if steps[-1] >= furthest - reach)
    grid = max(near_end, key=lambda steps: (steps.size, steps[-1]))
    if grid.size > max_points:
        grid = grid[np.linspace(0, grid.size - 1, max_points).round().astype(int)]
    values = np.full((len(series), grid.size), math.nan)
    for row, (steps, known) in zip(values, series):
        if steps.size:
            here = (grid >= steps[0] - reach) & (grid <= steps[-1] + reach)
            row[here] = np.interp(grid[here], steps, known)
    return grid, values


def metric_curve(group: RunGroup, metric: str, series: str, *, level: float, reps: int, rng: int = 0) -> pd.DataFrame:
    """IQM of a metric over seeds with its pointwise bootstrap band, whose bounds are ``nan`` at one run."""
    table = series_curve(
        group.label, series, [run.series(metric) for run in group.runs], level=level, reps=reps, rng=rng
    )
    if metric.startswith("eval/") and not table.empty:
        steps, values = align([run.series(metric) for run in group.runs])
        table["episodes"] = _episodes(group.runs, steps, values)
    return table


def series_curve(
    label: str, series: str, of_runs: Sequence[tuple[Array, Array]], *, level: float, reps: int, rng: int = 0
) -> pd.DataFrame:
    """The same of ``(steps, values)`` of each run; ``episodes`` is ``nan``."""
    steps, values = align(of_runs)
    value, low, high = seeds_band(values, level=level, reps=reps, rng=rng)
    unknown = np.full(steps.size, math.nan)
    return _table(label, series, steps, value, low, high, np.isfinite(values).sum(axis=0), unknown)


def seeds_band(values: Array, *, level: float, reps: int, rng: int = 0) -> tuple[Array, Array, Array]:
    """IQM over runs and its pointwise bootstrap band at every point.

    Args:
        values: ``[runs, T]``, ``nan`` where a run is absent.

    Returns:
        ``value, low, high``, each ``[T]``; ``nan`` without a run, and for the bounds with one.
    """
    value, low, high = (np.full(values.shape[1], math.nan) for _ in range(3))
    # Points with the same runs present share one bootstrap, which keeps the band's edges from jittering.
    patterns = np.isfinite(values).T
    for pattern in np.unique(patterns, axis=0):
        if not pattern.any():
            continue
        at = (patterns == pattern).all(axis=1)
        band = stratified_bootstrap_band([values[pattern][:, at]], lambda x: iqm(x, axis=0), reps, level, rng)
        value[at], low[at], high[at] = band.estimate, band.low, band.high
    return value, low, high


def win_rate_curve(group: RunGroup, *, level: float) -> pd.DataFrame:
    """Share of evaluation episodes won, all seeds together, with the Wilson interval of those episodes.

    With several seeds the number of episodes is the effective one (see ``proportion_interval``). Runs whose
    number of episodes is not recorded are not counted.
    """
    steps, rates = align([run.series("eval/win_rate") for run in group.runs])
    tried = _episodes_by_run(group.runs, steps, rates)
    rates = np.clip(np.where(tried > 0, rates, math.nan), 0, 1)
    value, low, high = (np.full(steps.size, math.nan) for _ in range(3))
    for i in range(steps.size):
        here = np.isfinite(rates[:, i])
        if here.any():
            n = tried[here, i]
            interval = proportion_interval(rates[here, i] * n, n, level)
            value[i], low[i], high[i] = interval.estimate, interval.low, interval.high
    known = np.isfinite(value)
    table = _table(
        group.label,
        "evaluation",
        steps,
        value,
        low,
        high,
        np.isfinite(rates).sum(axis=0),
        np.nansum(np.where(np.isfinite(rates), tried, math.nan), axis=0),
    )
    return table[known].reset_index(drop=True)


def constant_line(label: str, series: str, first: float, last: float, value: float) -> pd.DataFrame:
    """Two rows for a reference line, so that the CSV holds it too."""
    unknown = np.full(2, math.nan)
    return _table(label, series, np.array([first, last]), np.full(2, value), unknown, unknown, [0, 0], unknown)


def intervention_marks(group: RunGroup) -> pd.DataFrame:
    """When interventions were applied, as rows of the series :data:`INTERVENTION`.

    ``value`` is the number k of the application and ``env_steps`` the mean over the ``runs`` seeds that reached
    it of the step at which ``intervention/count`` reached k. Of more than :data:`MAX_MARKS` applications only
    every m-th has a row, see :func:`marks_thinned`.
    """
    reached = [_application_steps(run) for run in group.runs]
    numbers = sorted({k for steps in reached for k in steps})
    every = marks_thinned(len(numbers))
    rows = []
    for k in numbers[every - 1 :: every]:
        steps = [of_run[k] for of_run in reached if k in of_run]
        rows.append((float(np.mean(steps)), float(k), len(steps)))
    at, value, runs = (np.array(column) for column in zip(*rows)) if rows else (np.empty(0),) * 3
    unknown = np.full(len(rows), math.nan)
    return _table(group.label, INTERVENTION, at, value, unknown, unknown, runs, unknown)


def marks_thinned(applications: int) -> int:
    """m, where only every m-th of so many applications gets a mark."""
    return max(1, math.ceil(applications / MAX_MARKS))


def _application_steps(run: RunRecord) -> dict[int, float]:
    """Number of each application, counted from 1, and the env steps at which the count reached it."""
    steps, counts = run.series("intervention/count")
    if not counts.size:
        return {}
    first = run.metrics["iteration"].iloc[0] if "iteration" in run.metrics else 1
    # A run restored without the rows before it: when those applications were is not known.
    before = int(counts[0]) if first > 1 else 0
    numbers = np.arange(before + 1, int(counts.max()) + 1)
    at = steps[np.searchsorted(np.maximum.accumulate(counts), numbers)]
    return dict(zip(numbers.tolist(), at.tolist()))


def _episodes(runs: Sequence[RunRecord], steps: Array, values: Array) -> Array:
    """Evaluation episodes behind each point, all runs together; ``nan`` where none is recorded."""
    by_run = np.where(np.isfinite(values), _episodes_by_run(runs, steps, values), 0)
    total = np.nansum(by_run, axis=0)
    return np.where(total > 0, total, math.nan)


def _episodes_by_run(runs: Sequence[RunRecord], steps: Array, values: Array) -> Array:
    """Episodes of each run's evaluation nearest to each step, ``[runs, T]``; ``nan`` where not recorded."""
    result = np.full(values.shape, math.nan)
    for row, run in zip(result, runs):
        own, episodes = run.series("eval/episodes")
        if own.size:
            row[:] = episodes[np.abs(own[None, :] - steps[:, None]).argmin(axis=1)]
    return result


def _table(
    label: str,
    series: str,
    steps: Array,
    value: Array,
    low: Array,
    high: Array,
    runs: npt.ArrayLike,
    episodes: Array,
) -> pd.DataFrame:
    columns = (label, series, steps, value, low, high, np.asarray(runs, dtype=np.int64), episodes)
    table = pd.DataFrame(dict(zip(CURVE_COLUMNS, columns)))
    return table.astype({"label": str, "series": str})
