"""The figures of a report: what each shows, and how it is drawn from its table and from nothing else.

A metric gets a learning curve by one entry in :data:`CURVES`; entries with one ``figure`` name share a
figure.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from rllib_reborn.evaluation.curves import MAX_POINTS, constant_line, metric_curve, win_rate_curve
from rllib_reborn.evaluation.groups import RunGroup
from rllib_reborn.evaluation.statistics import Interval
from rllib_reborn.evaluation.style import (
    REFERENCE_COLOUR,
    FigureSpec,
    direct_labels,
    heading,
    line_style,
    new_figure,
    steps_axis,
)
from rllib_reborn.evaluation.text import count, percent

_MARKED_POINTS = 30
_RANDOM = "random policy"


@dataclasses.dataclass(frozen=True)
class MetricCurve:
    """One panel of learning curves.

    Attributes:
        metric: Column of ``metrics.jsonl``.
        title: What the panel is called.
        figure: Panels with one figure name are drawn together; it is also the stem of the file.
        limits: Fixed range of the y axis for a quantity with a natural one.
    """

    metric: str
    title: str
    figure: str = "learning"
    limits: tuple[float, float] | None = None


CURVES: tuple[MetricCurve, ...] = (
    MetricCurve("train/loss", "Loss"),
    MetricCurve("train/td_error_abs", "TD error, mean absolute"),
    MetricCurve("train/grad_norm", "Gradient norm"),
    MetricCurve("train/epsilon", "Exploration (epsilon)", limits=(0.0, 1.0)),
)
_FIGURE_TITLES = {"learning": "learning diagnostics"}


def task_figures(
    groups: Sequence[RunGroup],
    random: Interval | None,
    *,
    curves: Sequence[MetricCurve] = CURVES,
    level: float = 0.95,
    reps: int = 2000,
) -> list[FigureSpec]:
    """Figures for the groups of one task; those without any data are left out.

    Args:
        groups: Groups of one task.
        random: Mean return of the random policy there, if known.
        curves: Table of further metrics.
        level: Level of the bands.
        reps: Bootstrap replicates of the bands.
    """
    options = {"level": level, "reps": reps}
    figures = [_returns(groups, random, options), _win_rates(groups, level)]
    for name in dict.fromkeys(curve.figure for curve in curves):
        figures.append(_panels(groups, name, [c for c in curves if c.figure == name], options))
    return [figure for figure in figures if not figure.table.empty]


def final_figure(task: str, rows: pd.DataFrame, level: float, source: str) -> FigureSpec:
    """Final greedy return of every group beside the random policy's.

    Args:
        task: Name of the task.
        rows: Columns ``label``, ``kind`` (``policy``, ``random`` or ``run``), ``value``, ``low``, ``high``.
        level: Level of the intervals, for the text.
        source: Which evaluation the returns come from, for the text.
    """
    note = f"mean and {percent(level)} interval; open circles: one trained policy each"
    caption = (
        f"Return of the greedy policy on {task} ({source}): mean and {percent(level)} interval "
        "(Student's t over seeds; over episodes where there is one seed, which says nothing about others). "
        "The random policy's interval is over its episodes."
    )
    return FigureSpec(_stem(task, "final"), f"{task}: final return", note, caption, rows, _draw_final)


def _returns(groups: Sequence[RunGroup], random: Interval | None, options: dict[str, Any]) -> FigureSpec:
    tables = []
    for group in groups:
        tables.append(metric_curve(group, "train/return_mean", "training", **options))
        tables.append(metric_curve(group, "eval/return_mean", "evaluation", **options))
    table = _concat(tables)
    if random is not None and not table.empty:
        ends = table["env_steps"]
        line = constant_line(_RANDOM, "random", float(ends.min()), float(ends.max()), random.estimate)
        table = _concat([table, line])
    task, seeds = groups[0].task, _seeds(groups)
    statistic = _statistic(groups, options["level"])
    caption = (
        f"Return on {task} over environment steps; {seeds}. Strong lines: greedy evaluation, {statistic}"
        f"{_episodes_text(table)}. Faint lines: return while training (with exploration), by the same "
        f"statistic. {_reading(table)}"
    )
    note = f"greedy evaluation: {statistic}; faint: return while training; not smoothed"
    draw = functools.partial(_draw_lines, y_label="episode return", limits=None)
    return FigureSpec(_stem(task, "return"), f"{task}: return", note, caption, table, draw)


def _win_rates(groups: Sequence[RunGroup], level: float) -> FigureSpec:
    table = _concat([win_rate_curve(group, level=level) for group in groups])
    task = groups[0].task
    episodes = _episodes_text(table)
    caption = (
        f"Share of greedy evaluation episodes won on {task}; {_seeds(groups)}; seeds of a group together"
        f"{episodes}. Band: {percent(level)} Wilson interval, the number of episodes being reduced where "
        f"seeds differ by more than chance. {_reading(table)}"
    )
    note = f"greedy evaluation, {percent(level)} Wilson interval{episodes}; not smoothed"
    draw = functools.partial(_draw_lines, y_label="win rate", limits=(0.0, 1.0))
    return FigureSpec(_stem(task, "win_rate"), f"{task}: win rate", note, caption, table, draw)


def _panels(
    groups: Sequence[RunGroup], name: str, curves: Sequence[MetricCurve], options: dict[str, Any]
) -> FigureSpec:
    tables = []
    for curve in curves:
        for group in groups:
            rows = metric_curve(group, curve.metric, curve.metric, **options).drop(columns="episodes")
            tables.append(rows)
    table = _concat(tables)
    task = groups[0].task
    statistic = _statistic(groups, options["level"])
    shown = [curve for curve in curves if (table["series"] == curve.metric).any()] if not table.empty else []
    caption = (
        f"{', '.join(f'{c.title} ({c.metric})' for c in shown)} on {task} over environment steps; "
        f"{_seeds(groups)}; {statistic}. {_reading(table)}"
    )
    title = f"{task}: {_FIGURE_TITLES.get(name, name.replace('_', ' '))}"
    note = f"{statistic}; not smoothed"
    return FigureSpec(_stem(task, name), title, note, caption, table, functools.partial(_draw_panels, curves=shown))


def _draw_lines(spec: FigureSpec, *, y_label: str, limits: tuple[float, float] | None) -> Any:
    figure, (axes,) = new_figure(7.2, 4.2)
    figure.subplots_adjust(left=0.1, right=0.98, bottom=0.13, top=0.98)
    ends = []
    labels = [label for label in dict.fromkeys(spec.table["label"]) if label != _RANDOM]
    for position, label in enumerate(labels):
        style = line_style(position)
        own = spec.table[spec.table["label"] == label]
        training, evaluation = own[own["series"] == "training"], own[own["series"] == "evaluation"]
        if len(training):
            axes.plot(training["env_steps"], training["value"], **style | {"alpha": 0.3, "linewidth": 1.0})
        _line_with_band(axes, evaluation, style)
        last = evaluation if len(evaluation) else training
        ends.append((f"{label}, {_seed_count(last)}", float(last["value"].iloc[-1]), style["color"]))
    for _, row in spec.table[spec.table["series"] == "random"].groupby("label"):
        axes.plot(row["env_steps"], row["value"], color=REFERENCE_COLOUR, linestyle="--", linewidth=1.3)
        ends.append((_RANDOM, float(row["value"].iloc[-1]), REFERENCE_COLOUR))
    steps_axis(axes, float(spec.table["env_steps"].max()))
    axes.set_ylabel(y_label)
    if limits:
        margin = 0.03 * (limits[1] - limits[0])
        axes.set_ylim(limits[0] - margin, limits[1] + margin)
    direct_labels(axes, ends)
    heading(axes, spec.title, spec.note)
    return figure


def _draw_panels(spec: FigureSpec, *, curves: Sequence[MetricCurve]) -> Any:
    columns = min(2, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure, panels = new_figure(4.2 * columns, 2.5 * rows + 0.3, rows, columns)
    figure.subplots_adjust(left=0.09, right=0.98, bottom=0.18 / rows, top=1, hspace=0.42, wspace=0.24)
    labels = list(dict.fromkeys(spec.table["label"]))
    last = float(spec.table["env_steps"].max())
    names: dict[str, Any] = {}
    for axes, curve in zip(panels, curves):
        drawn = spec.table[spec.table["series"] == curve.metric]
        for position, label in enumerate(labels):
            own = drawn[drawn["label"] == label]
            if len(own):
                line = _line_with_band(axes, own, line_style(position) | {"linewidth": 1.5}, marked=False)
                names.setdefault(f"{label}, {_seed_count(own)}", line)
        logarithmic = _use_log(drawn["value"]) and not curve.limits
        if logarithmic:
            axes.set_yscale("log")
        if curve.limits:
            axes.set_ylim(curve.limits[0] - 0.03, curve.limits[1] + 0.03)
        axes.set_title(f"{curve.title}{' (log scale)' if logarithmic else ''}", loc="left")
        steps_axis(axes, last)
    for axes in panels[len(curves) :]:
        axes.set_visible(False)
    for axes in panels[: max(0, len(curves) - columns)]:
        axes.set_xlabel("")
    # Panels share their groups: naming lines once, in their colours, beats a label at every end.
    height = panels[0].get_position().height * figure.get_figheight() * 72
    legend_lines = math.ceil(len(names) / 3)
    panels[0].legend(
        list(names.values()),
        list(names),
        loc="lower left",
        bbox_to_anchor=(-0.01, 1 + 24 / height),
        ncols=min(3, len(names)),
        frameon=False,
        labelcolor="linecolor",
        handlelength=1.2,
        borderaxespad=0,
        columnspacing=1.5,
    )
    heading(panels[0], spec.title, spec.note, above=32 + 16 * legend_lines)
    return figure


def _draw_final(spec: FigureSpec) -> Any:
    rows = spec.table
    labels = list(dict.fromkeys(rows["label"]))
    figure, (axes,) = new_figure(7.2, 0.8 + 0.5 * len(labels))
    figure.subplots_adjust(left=0.28, right=0.98, bottom=0.5 / figure.get_figheight(), top=0.98)
    policies = [label for label in labels if label != _RANDOM]
    for height, label in enumerate(reversed(labels)):
        own = rows[rows["label"] == label]
        colour = REFERENCE_COLOUR if label == _RANDOM else line_style(policies.index(label))["color"]
        runs, summary = own[own["kind"] == "run"], own[own["kind"] != "run"]
        axes.plot(
            runs["value"],
            [height] * len(runs),
            linestyle="none",
            marker="o",
            markersize=7,
            markerfacecolor="none",
            markeredgecolor=colour,
            alpha=0.6,
        )
        for row in summary.itertuples():
            if math.isfinite(row.low):
                axes.plot([row.low, row.high], [height, height], color=colour, linewidth=3, alpha=0.55)
            axes.plot([row.value], [height], marker="o", markersize=6, color=colour, linestyle="none")
            axes.annotate(
                row.text,
                (1.02, height),
                xycoords=("axes fraction", "data"),
                color=colour,
                va="center",
                annotation_clip=False,
            )
    axes.set_yticks(range(len(labels)), list(reversed(labels)))
    axes.tick_params(axis="y", length=0, labelsize=10)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.set_xlabel("episode return")
    heading(axes, spec.title, spec.note)
    return figure


def _line_with_band(axes: Any, rows: pd.DataFrame, style: dict[str, Any], *, marked: bool = True) -> Any:
    marker = {"marker": "o", "markersize": 3.5} if marked and len(rows) <= _MARKED_POINTS else {}
    (line,) = axes.plot(rows["env_steps"], rows["value"], **style, **marker)
    if np.isfinite(rows["low"]).any():
        axes.fill_between(rows["env_steps"], rows["low"], rows["high"], color=style["color"], alpha=0.17, linewidth=0)
    return line


def _use_log(values: pd.Series[float]) -> bool:
    """A log scale helps where all values are positive and span more than two decades."""
    return bool(len(values)) and float(values.min()) > 0 and float(values.max()) > 100 * float(values.min())


def _concat(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [table for table in tables if not table.empty]
    return pd.concat(filled, ignore_index=True) if filled else tables[0]


def _statistic(groups: Sequence[RunGroup], level: float) -> str:
    """What lines and bands are, in words; an IQM of fewer than four seeds is their mean, and is called so."""
    sizes = [len(group.runs) for group in groups]
    if max(sizes) == 1:
        return "one seed, no band"
    name = "IQM" if max(sizes) >= 4 else "mean"
    some = " (mean below 4 seeds)" if name == "IQM" and min(sizes) < 4 else ""
    return f"{name} over seeds{some}, band: {percent(level)} stratified bootstrap"


def _seeds(groups: Sequence[RunGroup]) -> str:
    return "; ".join(f"{group.label}: {count(len(group.runs), 'seed')}" for group in groups)


def _seed_count(rows: pd.DataFrame) -> str:
    return count(int(rows["runs"].max()), "seed")


def _episodes_text(table: pd.DataFrame) -> str:
    rows = table[table["series"] == "evaluation"] if not table.empty else table
    episodes = rows["episodes"].dropna() if "episodes" in rows else pd.Series(dtype=float)
    if episodes.empty:
        return ""
    low, high = int(episodes.min()), int(episodes.max())
    return f", {low if low == high else f'{low} to {high}'} episodes per point"


def _reading(table: pd.DataFrame) -> str:
    """What was done to the data on the way to the figure, and nothing more."""
    parts = ["Nothing is smoothed."]
    if not table.empty and int(table["runs"].max()) > 1:
        parts.append("Seeds are read on one grid of steps by linear interpolation between neighbouring points.")
    counts = table.groupby(["label", "series"])["env_steps"].size() if not table.empty else pd.Series(dtype=int)
    if len(counts) and int(counts.max()) >= MAX_POINTS:
        parts.append(f"At most {MAX_POINTS} evenly chosen points of a line are drawn.")
    if not table.empty and _thins_out(table):
        parts.append("Some seeds end early: the column 'runs' of the CSV counts those behind each point.")
    return " ".join(parts)


def _thins_out(table: pd.DataFrame) -> bool:
    runs = table[table["series"] != "random"].groupby(["label", "series"])["runs"]
    return bool((runs.min() < runs.max()).any())


def _stem(task: str, figure: str) -> str:
    return f"{re.sub('[^A-Za-z0-9.-]+', '_', task).strip('_.')}_{figure}"
