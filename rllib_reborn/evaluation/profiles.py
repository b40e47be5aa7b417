"""Performance profiles (Agarwal et al., NeurIPS 2021): which share of the runs of a group does better than a score."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rllib_reborn.evaluation.charts import Chart, ChartPanel
from rllib_reborn.evaluation.panels import finish_panels, seed_count, stem
from rllib_reborn.evaluation.statistics import performance_profile, stratified_bootstrap_band
from rllib_reborn.evaluation.style import FigureSpec, line_style, new_figure
from rllib_reborn.evaluation.text import format_number, percent

#: Thresholds at which a profile is drawn.
THRESHOLDS = 201


def profile_figure(
    task: str,
    labels: Sequence[str],
    returns: Mapping[str, Sequence[float]],
    random: float | None,
    *,
    level: float = 0.95,
    reps: int = 2000,
) -> FigureSpec:
    """Share of runs with a normalised return above tau, against tau.

    Args:
        task: Its name.
        labels: Groups to draw, in the order that decides their colours.
        returns: Of each group, by its label, the final return of each run; also of groups that are not drawn, since the
            best run of all is the score 1.
        random: Mean return of the random policy, the score 0. Where it is None, or no run does better, the worst run is.
        level: Level of the pointwise bands, in (0, 1).
        reps: Bootstrap replicates of the bands, ``>= 1``.

    Returns:
        Table with ``label``, ``tau``, ``share`` in 0..1 with ``low`` and ``high``, and ``runs``. Groups of one run are left
        out, since the share is then 0 or 1; empty where no group has two, or all returns are equal.
    """
    everything = [value for found in returns.values() for value in found]
    best, worst = max(everything, default=math.nan), min(everything, default=math.nan)
    by_chance = random is not None and best > random
    zero = random if random is not None and by_chance else worst
    scores = {label: (np.asarray(returns.get(label, ())) - zero) / ((best - zero) or math.nan) for label in labels}
    scores = {label: found for label, found in scores.items() if found.size > 1 and np.isfinite(found).all()}
    drawn = np.concatenate(list(scores.values())) if scores else np.empty(0)
    taus = _thresholds(drawn)
    tables = [profile_rows(label, found, taus, level=level, reps=reps) for label, found in scores.items()]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["label", "tau", "share"])
    band = f"band: {percent(level)} stratified bootstrap"
    from_what = "the random policy" if by_chance else "the worst run"
    note = f"share of runs whose normalised final return is above tau; 0: {from_what}, 1: the best run; {band}"
    caption = (
        f"Performance profile on {task}: the share of a group's runs whose final greedy return, normalised so that "
        f"{from_what} has 0 ({format_number(zero)}) and the best run of all groups 1 ({format_number(best)}), is above "
        f"tau. A line that lies above another one everywhere is better at every score. {band.capitalize()} over runs "
        f"within the task, pointwise, too narrow for few seeds; drawn at {THRESHOLDS} thresholds. Groups of one run have "
        "no line."
    )
    chart = Chart(
        "profile",
        "curves",
        tuple(labels),
        (ChartPanel(limits=(0.0, 1.0)),),
        x="tau",
        y="share",
        x_title="tau, normalised return",
        y_title="share of runs above tau",
        steps=True,
    )
    draw = functools.partial(_draw, chart=chart)
    return FigureSpec(stem(task, "profile"), f"{task}: performance profile", note, caption, table, draw, chart)


def profile_rows(
    label: str,
    scores: npt.NDArray[np.float64],
    taus: npt.NDArray[np.float64],
    *,
    level: float = 0.95,
    reps: int = 2000,
) -> pd.DataFrame:
    """Rows of one group: scores ``[runs]``, thresholds ``[T]``."""
    band = stratified_bootstrap_band([scores], lambda x: performance_profile(x, taus), reps, level)
    columns = {"tau": taus, "share": band.estimate, "low": band.low, "high": band.high, "runs": scores.size}
    return pd.DataFrame({"label": label, **columns})


def _thresholds(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``[T]``, from a little below the lowest score to a little above the highest; what lies between is drawn large."""
    if not scores.size:
        return np.empty(0)
    low, high = float(scores.min()), float(scores.max())
    margin = 0.04 * (high - low) or 0.04
    return np.linspace(low - margin, high + margin, THRESHOLDS)


def _draw(spec: FigureSpec, *, chart: Chart) -> Any:
    figure, (axes,) = new_figure(7.2, 3.8)
    figure.subplots_adjust(left=0.1, right=0.98, bottom=0.14, top=1)
    names: dict[str, Any] = {}
    for position, label in enumerate(chart.labels):
        own = spec.table[spec.table["label"] == label]
        if own.empty:
            continue
        style = line_style(position)
        (line,) = axes.plot(own["tau"], own["share"], drawstyle="steps-post", **style)
        area = {"color": style["color"], "alpha": 0.13, "linewidth": 0, "step": "post"}
        axes.fill_between(own["tau"], own["low"], own["high"], **area)
        names[f"{label}, {seed_count(own)}"] = line
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlim(float(spec.table["tau"].min()), float(spec.table["tau"].max()))
    axes.set_xlabel(chart.x_title)
    axes.set_ylabel(chart.y_title)
    finish_panels(spec, figure, [axes], 1, 1, names)
    return figure
