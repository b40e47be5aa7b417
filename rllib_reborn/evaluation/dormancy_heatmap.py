"""Dormancy of every layer over time as a map of colours, a panel a group."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rllib_reborn.evaluation.charts import Chart, ChartPanel, panel_columns
from rllib_reborn.evaluation.curves import INTERVENTION, series_curve
from rllib_reborn.evaluation.dormancy_figures import layer_keys, layer_series, layer_width
from rllib_reborn.evaluation.groups import RunGroup
from rllib_reborn.evaluation.panels import (
    concat,
    marks_text,
    reading_text,
    seeds_text,
    statistic_text,
    stem,
    with_marks,
)
from rllib_reborn.evaluation.plasticity import dormancy_terms
from rllib_reborn.evaluation.style import FigureSpec, heading, heat_colours, new_figure, steps_axis, wrapped

#: Layers of the map at most; of deeper networks the first.
MOST_LAYERS = 24


def dormancy_heatmap(groups: Sequence[RunGroup], *, level: float = 0.95, reps: int = 2000) -> FigureSpec:
    """Dormant fraction of each layer (rows) over env steps (columns), a panel for each group with checks.

    Returns:
        Table with ``label``, ``series`` (``mixer/V``, or the marks of interventions), ``env_steps``, ``value`` in 0..1 and
        ``runs``, as :func:`~rllib_reborn.evaluation.dormancy_figures.dormancy_by_layer` computes them; empty where no run
        has checks.
    """
    keys = layer_keys(groups)[:MOST_LAYERS]
    found = [
        series_curve(group.label, key, [layer_series(run.events, key) for run in group.runs], level=level, reps=reps)
        for key in keys
        for group in groups
    ]
    table = concat(found or [series_curve(groups[0].label, "", [], level=level, reps=reps)]).drop(columns="episodes")
    shown = [group for group in groups if not table.empty and (table["label"] == group.label).any()]
    table = with_marks(table, shown)
    marks = marks_text(shown, table, where="above")
    task = groups[0].task
    more = f" The first {MOST_LAYERS} layers." if len(layer_keys(groups)) > MOST_LAYERS else ""
    caption = (
        f"Dormant fraction of each layer (its neurons in brackets) on {task} over environment steps; {seeds_text(groups)}; "
        f"{statistic_text(groups, level).partition(', band')[0]}.{more} {dormancy_terms(groups)}{marks} "
        f"{reading_text(table)}"
    )
    note = f"colour: share of a layer's neurons that are dormant{'; ticks: interventions' if marks else ''}"
    chart = Chart(
        "dormancy_heatmap",
        "layers",
        tuple(group.label for group in groups),
        tuple(ChartPanel(group.label, "label", group.label) for group in shown),
        rows=tuple(f"{key} ({layer_width(groups, key)})" for key in keys),
        columns=tuple(keys),
    )
    draw = functools.partial(_draw, chart=chart)
    title = f"{task}: dormancy over time"
    return FigureSpec(stem(task, "dormancy_heatmap"), title, note, caption, table, draw, chart)


def cell_edges(steps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Env steps between which a check is drawn: ``[T + 1]`` of ``[T]``, halfway to its neighbours."""
    if steps.size == 1:
        return np.array([0.0, max(1.0, float(steps[0]))])
    middle = (steps[1:] + steps[:-1]) / 2
    return np.concatenate([[max(0.0, 2 * steps[0] - middle[0])], middle, [2 * steps[-1] - middle[-1]]])


def _draw(spec: FigureSpec, *, chart: Chart) -> Any:
    panels = chart.panels
    columns = panel_columns(panels, most=2)
    rows = math.ceil(len(panels) / columns)
    height = 0.9 + 0.2 * len(chart.rows)
    width = 3.5 * columns + 1.4 if columns > 1 else 7.2
    figure, all_axes = new_figure(width, height * rows + 0.3, rows, columns)
    figure.subplots_adjust(
        left=1.5 / width, right=0.98, bottom=0.18 / rows, top=1, hspace=1.1 / (height - 0.5), wspace=0.12
    )
    colours = heat_colours()
    last = float(spec.table["env_steps"].max())
    marked = bool((spec.table["series"] == INTERVENTION).any())
    for place, (axes, panel) in enumerate(zip(all_axes, panels)):
        own = spec.table[spec.table["label"] == panel.value]
        for row, key in enumerate(chart.columns):
            cells = own[own["series"] == key]
            if len(cells):
                edges = cell_edges(cells["env_steps"].to_numpy(dtype=np.float64))
                values = cells["value"].to_numpy(dtype=np.float64)[None, :]
                drawn = axes.pcolormesh(edges, [row - 0.5, row + 0.5], values, cmap=colours, vmin=0, vmax=1)
        _marks(axes, own, len(chart.rows))
        steps_axis(axes, last)
        # All panels have the lane of the marks where one has, so that layers of one row of panels are level.
        axes.set_ylim(len(chart.rows) - 0.5, -1.2 if marked else -0.5)
        axes.set_yticks(
            range(len(chart.rows)), chart.rows if place % columns == 0 else [""] * len(chart.rows), fontsize=8
        )
        axes.grid(visible=False)
        axes.set_title("\n".join(wrapped(panel.title, 44 if columns > 1 else 90)), loc="left", fontsize=9)
        if place < len(panels) - columns:
            axes.set_xlabel("")
    for axes in all_axes[len(panels) :]:
        axes.set_visible(False)
    used = all_axes[: len(panels)]
    figure.colorbar(drawn, ax=used, fraction=0.3 / width, pad=0.15 / width, aspect=14, label="dormant share")
    heading(all_axes[0], spec.title, spec.note, above=30 + 11 * (len(wrapped(panels[0].title, 44)) - 1))
    return figure


def _marks(axes: Any, own: pd.DataFrame, rows: int) -> None:
    at = own.loc[own["series"] == INTERVENTION, "env_steps"]
    axes.plot(at, [-0.85] * len(at), linestyle="none", marker="|", markersize=5.5, color="#222222")
