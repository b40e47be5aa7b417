"""Parts that several figures are made of: panels of curves, marks of interventions, and the words about both."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from rllib_reborn.evaluation.charts import Chart, ChartPanel, panel_columns
from rllib_reborn.evaluation.curves import INTERVENTION, MAX_POINTS, intervention_marks, marks_thinned
from rllib_reborn.evaluation.forks import FORK
from rllib_reborn.evaluation.groups import RunGroup
from rllib_reborn.evaluation.style import PALETTE, FigureSpec, heading, line_style, marker_style, new_figure, steps_axis
from rllib_reborn.evaluation.task_switches import SWITCH, draw_switches
from rllib_reborn.evaluation.text import count, percent

RANDOM = "random policy"
MARKS_NOTE = "ticks below: interventions"
_MARKED_POINTS = 30
_MARKERS_PER_LINE = 8
_LANE_POINTS = 7.0
# Inches that a panel of a column has, by itself and beside others.
_SINGLE, _PANEL, _NARROW = 7.2, 4.2, 3.5


def series_panel(series: str, title: str, limits: tuple[float, float] | None = None, *, beside: str = "") -> ChartPanel:
    """The panel of one series of a table; ``beside``: that which is drawn beside it."""
    return ChartPanel(title, "series", series, limits, beside=beside)


def curves_chart(name: str, labels: Sequence[str], panels: Sequence[ChartPanel], table: pd.DataFrame) -> Chart:
    """The declaration of a figure of panels over env steps, on a log scale where that helps."""

    def logarithmic(panel: ChartPanel) -> bool:
        return not panel.limits and _use_log(table.loc[table["series"] == panel.value, "value"])

    shown = [dataclasses.replace(panel, logarithmic=logarithmic(panel)) for panel in panels]
    return Chart(name, "curves", tuple(labels), tuple(shown), beside="dotted")


def panel_grid(count: int, height: float = 2.5) -> tuple[Any, list[Any], int]:
    """A figure of panels of one width, its axes, and how many are side by side; ``height`` in inches, of a row."""
    columns = panel_columns(count, most=2)
    rows = math.ceil(count / columns)
    width = (_SINGLE if columns == 1 else _PANEL if columns == 2 else _NARROW) * columns
    figure, all_axes = new_figure(width, height * rows + 0.3, rows, columns)
    inches = {"hspace": 1.05 / (height - 0.3), "wspace": 0.24 if columns <= 2 else 0.28}
    figure.subplots_adjust(left=0.76 / width, right=0.98, bottom=0.18 / rows, top=1, **inches)
    return figure, all_axes, columns


def draw_panels(spec: FigureSpec, *, chart: Chart) -> Any:
    """Draws a table of curves; a group's place in ``labels`` decides its colour and marker."""
    panels, labels = chart.panels, chart.labels
    marked = spec.table.loc[spec.table["series"] == INTERVENTION, "label"].nunique()
    # Lanes of marks take room of their own, not that of the curves.
    figure, all_axes, columns = panel_grid(len(panels), 2.5 + max(0, marked - 2) * _LANE_POINTS / 72)
    last = float(spec.table["env_steps"].max())
    names: dict[str, Any] = {}
    for axes, panel in zip(all_axes, panels):
        drawn = spec.table[spec.table["series"] == panel.value]
        for position, label in enumerate(labels):
            style = line_style(position)
            own = drawn[drawn["label"] == label]
            if len(own):
                line = line_with_band(axes, own, style | {"linewidth": 1.5}, spread_markers(position, len(own)))
                names.setdefault(f"{label}, {seed_count(own)}", line)
            beside = spec.table[(spec.table["series"] == panel.beside) & (spec.table["label"] == label)]
            if len(beside):
                faint = style | {"linestyle": ":", "linewidth": 1.2, "alpha": 0.75, "fillstyle": "none"}
                axes.plot(beside["env_steps"], beside["value"], **faint, **spread_markers(position, len(beside)))
        if panel.logarithmic:
            axes.set_yscale("log")
        if panel.limits:
            axes.set_yticks(np.linspace(*panel.limits, 5))
            axes.set_ylim(panel.limits[0] - 0.03, panel.limits[1] + 0.03)
        axes.set_title(f"{panel.title}{' (log scale)' if panel.logarithmic else ''}", loc="left")
        steps_axis(axes, last)
        draw_switches(axes, spec.table)
        draw_marks(axes, spec.table, labels)
    finish_panels(spec, figure, all_axes, len(panels), columns, names)
    return figure


def finish_panels(
    spec: FigureSpec, figure: Any, all_axes: Sequence[Any], used: int, columns: int, names: dict[str, Any]
) -> None:
    """Hides unused panels, names the lines once above them all, and writes the heading."""
    for axes in all_axes[used:]:
        axes.set_visible(False)
    for axes in all_axes[: max(0, used - columns)]:
        axes.set_xlabel("")
    # Panels share their groups: naming lines once, in their colours, beats a label at every end.
    height = all_axes[0].get_position().height * figure.get_figheight() * 72
    # About 5.8 points a letter, 60 for the line's sample: a legend wider than the panels would leave them half of the page.
    width = figure.get_figwidth() * 72
    per_line = max(1, min(3 if columns > 1 else 1, int(width / (60 + 5.8 * max(map(len, names), default=1)))))
    all_axes[0].legend(
        list(names.values()),
        list(names),
        loc="lower left",
        bbox_to_anchor=(-0.01, 1 + 24 / height),
        ncols=min(per_line, len(names)),
        frameon=False,
        labelcolor="linecolor",
        handlelength=1.8 if len(names) <= len(PALETTE) else 3.2,  # where colours come again, their dashes must be seen
        borderaxespad=0,
        columnspacing=1.5,
    )
    heading(all_axes[0], spec.title, spec.note, above=32 + 16 * math.ceil(len(names) / per_line))


def line_with_band(axes: Any, rows: pd.DataFrame, style: dict[str, Any], marker: dict[str, Any]) -> Any:
    """The line of a group with its band, if it has one."""
    (line,) = axes.plot(rows["env_steps"], rows["value"], **style, **marker)
    if np.isfinite(rows["low"]).any():
        axes.fill_between(rows["env_steps"], rows["low"], rows["high"], color=style["color"], alpha=0.17, linewidth=0)
    return line


def point_markers(position: int, points: int) -> dict[str, Any]:
    """The group's marker at every point, where there are not too many."""
    return marker_style(position) if points <= _MARKED_POINTS else spread_markers(position, points)


def spread_markers(position: int, points: int) -> dict[str, Any]:
    """The group's marker at some points, so that lines can be told apart without colour; those of several groups
    stand at different ones."""
    every = max(1, points // _MARKERS_PER_LINE)
    return marker_style(position) | {"markevery": (position * every // 3 % every, every)}


def with_marks(table: pd.DataFrame, groups: Sequence[RunGroup]) -> pd.DataFrame:
    """``table`` with the marks of interventions of the groups that it shows."""
    shown = set(table["label"])
    marks = [intervention_marks(group).reindex(columns=table.columns) for group in groups if group.label in shown]
    return concat([table, *marks])


def draw_marks(axes: Any, table: pd.DataFrame, labels: Sequence[str]) -> None:
    """A lane of ticks for each group with interventions, below all data, with the group's marker in front.

    Call it last, and for a linear axis: it makes room at the bottom.
    """
    from matplotlib.transforms import ScaledTranslation

    marks = table[table["series"] == INTERVENTION]
    marked = [label for label in labels if (marks["label"] == label).any()]
    if not marked:
        return
    lane = _LANE_POINTS / (axes.get_position().height * axes.figure.get_figheight() * 72)
    room = lane * (len(marked) + 0.5)
    low, high = axes.get_ylim()
    axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick <= high])
    axes.set_ylim(low - (high - low) * room / (1 - room), high)
    before = axes.get_xaxis_transform() + ScaledTranslation(-4.5 / 72, 0, axes.figure.dpi_scale_trans)
    for i, label in enumerate(marked):
        own = marks[marks["label"] == label]
        position = labels.index(label)
        colour = line_style(position)["color"]
        height = lane * (len(marked) - i - 0.3)
        ticks = {"marker": "|", "markersize": 5.5, "markeredgewidth": 1.1, "linestyle": "none", "color": colour}
        axes.plot(own["env_steps"], [height] * len(own), transform=axes.get_xaxis_transform(), **ticks)
        key = marker_style(position) | {"linestyle": "none", "color": colour, "clip_on": False}
        axes.plot([0], [height], transform=before, **key)


def marks_text(groups: Sequence[RunGroup], table: pd.DataFrame, *, where: str = "at the bottom") -> str:
    """The sentence of a caption about the marks, and where they are; empty where there are none."""
    marks = table[table["series"] == INTERVENTION]
    if marks.empty:
        return ""
    parts = []
    for group in groups:
        own = marks[marks["label"] == group.label]
        if len(own):
            total = max(int(run.series("intervention/count")[1].max(initial=0)) for run in group.runs)
            every = marks_thinned(total)
            shown = f"{total:,}, one in {every} drawn" if every > 1 else f"{total:,}"
            parts.append(f"{group.label}: {shown}")
    several = max(len(group.runs) for group in groups) > 1
    mean = ", each at the mean step of the seeds that reached it" if several else ""
    return f" Ticks {where}: applications of interventions ({'; '.join(parts)}){mean}."


def concat(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All rows; of empty tables only the columns."""
    filled = [table for table in tables if not table.empty]
    return pd.concat(filled, ignore_index=True) if filled else tables[0]


def statistic_text(groups: Sequence[RunGroup], level: float) -> str:
    """What lines and bands are, in words; an IQM of fewer than four seeds is their mean, and is called so."""
    sizes = [len(group.runs) for group in groups]
    if max(sizes) == 1:
        return "one seed, no band"
    name = "IQM" if max(sizes) >= 4 else "mean"
    some = " (mean below 4 seeds)" if name == "IQM" and min(sizes) < 4 else ""
    return f"{name} over seeds{some}, band: {percent(level)} stratified bootstrap"


def seeds_text(groups: Sequence[RunGroup]) -> str:
    """``QMIX: 3 seeds; VDN: 1 seed``."""
    return "; ".join(f"{group.label}: {count(len(group.runs), 'seed')}" for group in groups)


def seed_count(rows: pd.DataFrame) -> str:
    """``3 seeds``, from the rows of a group."""
    return count(int(rows["runs"].max()), "seed")


def reading_text(table: pd.DataFrame) -> str:
    """What was done to the data on the way to the figure, and nothing more."""
    parts = ["Nothing is smoothed."]
    curves = table[~table["series"].isin(["random", INTERVENTION, FORK, SWITCH])]
    if not curves.empty and int(curves["runs"].max()) > 1:
        parts.append("Seeds are read on one grid of steps by linear interpolation between neighbouring points.")
    counts = curves.groupby(["label", "series"])["env_steps"].size() if not curves.empty else pd.Series(dtype=int)
    if len(counts) and int(counts.max()) >= MAX_POINTS:
        parts.append(f"At most {MAX_POINTS} evenly chosen points of a line are drawn.")
    runs = curves.groupby(["label", "series"])["runs"]
    if not curves.empty and bool((runs.min() < runs.max()).any()):
        parts.append("Some seeds end early: the column 'runs' of the CSV counts those behind each point.")
    return " ".join(parts)


#: Characters of a task's name in those of files, which have at most 255.
_MOST_OF_A_STEM = 150


def stem(task: str, figure: str) -> str:
    """File name of a figure without its ending."""
    return f"{re.sub('[^A-Za-z0-9.-]+', '_', task).strip('_.')[:_MOST_OF_A_STEM]}_{figure}"


def _use_log(values: pd.Series[float]) -> bool:
    """A log scale helps where all values are positive and span more than two decades."""
    return bool(len(values)) and float(values.min()) > 0 and float(values.max()) > 100 * float(values.min())
