"""The figures of a report: what each shows, and how it is drawn from its table and from nothing else.

A metric gets a learning curve by one entry in :data:`CURVES`; entries with one ``figure`` name share a
figure.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from rllib_reborn.evaluation.charts import Chart, ChartPanel
from rllib_reborn.evaluation.curves import INTERVENTION, constant_line, metric_curve, win_rate_curve
from rllib_reborn.evaluation.forks import FORK, FORK_NOTE, fork_rows
from rllib_reborn.evaluation.groups import RunGroup
from rllib_reborn.evaluation.panels import (
    MARKS_NOTE,
    RANDOM,
    concat,
    curves_chart,
    draw_marks,
    draw_panels,
    line_with_band,
    marks_text,
    point_markers,
    reading_text,
    seed_count,
    seeds_text,
    series_panel,
    statistic_text,
    stem,
    with_marks,
)
from rllib_reborn.evaluation.plasticity import dormancy_terms
from rllib_reborn.evaluation.statistics import Interval
from rllib_reborn.evaluation.style import (
    REFERENCE_COLOUR,
    FigureSpec,
    direct_labels,
    heading,
    line_style,
    new_figure,
    steps_axis,
    wrapped,
)
from rllib_reborn.evaluation.task_switches import SWITCH_NOTE, draw_switches, switch_rows, switches_text
from rllib_reborn.evaluation.text import percent


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
    MetricCurve("dormancy/mixer/dormant_fraction", "Dormant fraction, mixer", "dormancy", (0.0, 1.0)),
    MetricCurve("dormancy/agent/dormant_fraction", "Dormant fraction, agents", "dormancy", (0.0, 1.0)),
    MetricCurve("dormancy/mixer/overactive_sum", "Over-active sum, mixer", "dormancy", (0.0, 1.0)),
    MetricCurve("dormancy/mixer/overlap", "Overlap with the check before, mixer", "dormancy", (0.0, 1.0)),
)
_FIGURE_TITLES = {"learning": "learning diagnostics", "dormancy": "dormant neurons"}
# What a figure's caption has to define, and figures that show when interventions were applied.
_FIGURE_TERMS: dict[str, Callable[[Sequence[RunGroup]], str]] = {
    "dormancy": lambda groups: (
        f" {dormancy_terms(groups)[:-1]}; the over-active sum is the share of all scores that over-active neurons hold, "
        "and the overlap of the dormant neurons A of a check and B of the one before is |A and B| / min(|A|, |B|)."
    )
}
# Rows of the figure of final returns, above which they stand closer.
_SPACED_ROWS = 12
# Letters of a line of their names, so that long ones leave the drawing its width.
_NAME_LETTERS = 34
_MARKED_FIGURES = frozenset({"dormancy"})


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


def final_figure(
    task: str, rows: pd.DataFrame, level: float, source: str, labels: Sequence[str] | None = None
) -> FigureSpec:
    """Final greedy return of every group beside the random policy's.

    Args:
        task: Name of the task.
        rows: Columns ``label``, ``kind`` (``policy``, ``random`` or ``run``), ``value``, ``low``, ``high``.
        level: Level of the intervals, for the text.
        source: Which evaluation the returns come from, for the text.
        labels: The groups that the other figures draw, in their order, which decides their colours; others are grey.
    """
    order = list(dict.fromkeys(rows["label"])) if labels is None else labels
    note = f"mean and {percent(level)} interval; open circles: one trained policy each"
    if set(rows["label"]) - {*order, RANDOM}:
        note += "; in colour: the groups that the other figures draw"
    caption = (
        f"Return of the greedy policy on {task} ({source}): mean and {percent(level)} interval "
        "(Student's t over seeds; over episodes where there is one seed, which says nothing about others). "
        "The random policy's interval is over its episodes."
    )
    labels = tuple(label for label in order if label != RANDOM)
    draw = functools.partial(_draw_final, labels=labels)
    chart = Chart("final", "final", labels, (ChartPanel(),), x="value", x_title="episode return")
    return FigureSpec(stem(task, "final"), f"{task}: final return", note, caption, rows, draw, chart)


def _returns(groups: Sequence[RunGroup], random: Interval | None, options: dict[str, Any]) -> FigureSpec:
    tables = []
    for group in groups:
        tables.append(metric_curve(group, "train/return_mean", "training", **options))
        tables.append(metric_curve(group, "eval/return_mean", "evaluation", **options))
    table = concat(tables)
    if random is not None and not table.empty:
        ends = table["env_steps"]
        line = constant_line(RANDOM, "random", float(ends.min()), float(ends.max()), random.estimate)
        table = concat([table, line])
    table = with_marks(table, groups)
    if not table.empty:
        columns = list(table.columns)
        table = concat([table, fork_rows(groups, columns), switch_rows(groups, columns)])
    forks = sorted(round(steps) for steps in table.loc[table["series"] == FORK, "env_steps"])
    marks = marks_text(groups, table)
    if forks:
        at = ", ".join(f"{steps:,}" for steps in forks)
        marks += f" Dotted upright line: where forks leave the run that they go on from ({at})."
    marks += switches_text(table)
    if random is not None and switches_text(table):
        marks += " The random policy's line is of the task that was trained last."
    task, seeds = groups[0].task, seeds_text(groups)
    statistic = statistic_text(groups, options["level"])
    caption = (
        f"Return on {task} over environment steps; {seeds}. Strong lines: greedy evaluation, {statistic}"
        f"{_episodes_text(table)}. Faint lines: return while training (with exploration), by the same "
        f"statistic.{marks} {reading_text(table)}"
    )
    note = f"greedy evaluation: {statistic}; faint: return while training; not smoothed"
    note += f"; {MARKS_NOTE}" if (table["series"] == INTERVENTION).any() else ""
    note += f"; {FORK_NOTE}" if forks else ""
    note += f"; {SWITCH_NOTE}" if switches_text(table) else ""
    panel = ChartPanel(column="series", value="evaluation", beside="training")
    chart = Chart("return", "curves", _labels(groups), (panel,), y_title="episode return")
    draw = functools.partial(_draw_lines, chart=chart)
    return FigureSpec(stem(task, "return"), f"{task}: return", note, caption, table, draw, chart)


def _win_rates(groups: Sequence[RunGroup], level: float) -> FigureSpec:
    table = concat([win_rate_curve(group, level=level) for group in groups])
    task = groups[0].task
    episodes = _episodes_text(table)
    caption = (
        f"Share of greedy evaluation episodes won on {task}; {seeds_text(groups)}; seeds of a group together"
        f"{episodes}. Band: {percent(level)} Wilson interval, the number of episodes being reduced where "
        f"seeds differ by more than chance. {reading_text(table)}"
    )
    note = f"greedy evaluation, {percent(level)} Wilson interval{episodes}; not smoothed"
    panel = ChartPanel(column="series", value="evaluation", limits=(0.0, 1.0))
    chart = Chart("win_rate", "curves", _labels(groups), (panel,), y_title="win rate")
    draw = functools.partial(_draw_lines, chart=chart)
    return FigureSpec(stem(task, "win_rate"), f"{task}: win rate", note, caption, table, draw, chart)


def _panels(
    groups: Sequence[RunGroup], name: str, curves: Sequence[MetricCurve], options: dict[str, Any]
) -> FigureSpec:
    tables = []
    for curve in curves:
        for group in groups:
            rows = metric_curve(group, curve.metric, curve.metric, **options).drop(columns="episodes")
            tables.append(rows)
    table = concat(tables)
    if name in _MARKED_FIGURES:
        table = with_marks(table, groups)
    if not table.empty:
        table = concat([table, switch_rows(groups, list(table.columns))])
    marks, switches, terms = (
        marks_text(groups, table),
        switches_text(table),
        _FIGURE_TERMS[name](groups) if name in _FIGURE_TERMS else "",
    )
    task = groups[0].task
    statistic = statistic_text(groups, options["level"])
    shown = [curve for curve in curves if (table["series"] == curve.metric).any()] if not table.empty else []
    caption = (
        f"{', '.join(f'{c.title} ({c.metric})' for c in shown)} on {task} over environment steps; "
        f"{seeds_text(groups)}; {statistic}.{terms}{marks}{switches} {reading_text(table)}"
    )
    title = f"{task}: {_FIGURE_TITLES.get(name, name.replace('_', ' '))}"
    note = f"{statistic}; not smoothed{f'; {MARKS_NOTE}' if marks else ''}{f'; {SWITCH_NOTE}' if switches else ''}"
    panels = [series_panel(curve.metric, curve.title, curve.limits) for curve in shown]
    chart = curves_chart(name, _labels(groups), panels, table)
    draw = functools.partial(draw_panels, chart=chart)
    return FigureSpec(stem(task, name), title, note, caption, table, draw, chart)


def _draw_lines(spec: FigureSpec, *, chart: Chart) -> Any:
    labels, limits = chart.labels, chart.panels[0].limits
    figure, (axes,) = new_figure(7.2, 4.2)
    figure.subplots_adjust(left=0.1, right=0.98, bottom=0.13, top=0.98)
    ends = []
    for position, label in enumerate(labels):
        style = line_style(position)
        own = spec.table[spec.table["label"] == label]
        if own.empty:
            continue
        training, evaluation = own[own["series"] == "training"], own[own["series"] == "evaluation"]
        if len(training):
            axes.plot(training["env_steps"], training["value"], **style | {"alpha": 0.3, "linewidth": 1.0})
        line_with_band(axes, evaluation, style, point_markers(position, len(evaluation)))
        last = evaluation if len(evaluation) else training
        ends.append((f"{label}, {seed_count(last)}", float(last["value"].iloc[-1]), style["color"]))
    for _, row in spec.table[spec.table["series"] == "random"].groupby("label"):
        axes.plot(row["env_steps"], row["value"], color=REFERENCE_COLOUR, linestyle="--", linewidth=1.3)
        ends.append((RANDOM, float(row["value"].iloc[-1]), REFERENCE_COLOUR))
    steps_axis(axes, float(spec.table["env_steps"].max()))
    axes.set_ylabel(chart.y_title)
    if limits:
        margin = 0.03 * (limits[1] - limits[0])
        axes.set_ylim(limits[0] - margin, limits[1] + margin)
    draw_switches(axes, spec.table)
    draw_marks(axes, spec.table, labels)
    _draw_forks(axes, spec.table)
    direct_labels(axes, ends)
    heading(axes, spec.title, spec.note)
    return figure


def _draw_forks(axes: Any, table: pd.DataFrame) -> None:
    for steps in table.loc[table["series"] == FORK, "env_steps"]:
        axes.axvline(steps, color=REFERENCE_COLOUR, linestyle=":", linewidth=1.0, zorder=1.5)
        where = {"xycoords": ("data", "axes fraction"), "xytext": (3, -2), "textcoords": "offset points", "va": "top"}
        axes.annotate("fork", (steps, 1), fontsize=8.5, color=REFERENCE_COLOUR, **where)


def _draw_final(spec: FigureSpec, *, labels: Sequence[str]) -> Any:
    rows = spec.table
    shown = list(dict.fromkeys(rows["label"]))
    names = {label: wrapped(label, _NAME_LETTERS) for label in shown}
    row = max(0.5 if len(shown) <= _SPACED_ROWS else 0.28, 0.19 * max(map(len, names.values())))
    figure, (axes,) = new_figure(7.2, 0.8 + row * len(shown))
    figure.subplots_adjust(left=0.28, right=0.98, bottom=0.5 / figure.get_figheight(), top=0.98)
    for height, label in enumerate(reversed(shown)):
        own = rows[rows["label"] == label]
        colour = line_style(labels.index(label))["color"] if label in labels else REFERENCE_COLOUR
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
    axes.set_yticks(range(len(shown)), ["\n".join(names[label]) for label in reversed(shown)])
    axes.tick_params(axis="y", length=0, labelsize=10)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlabel("episode return")
    heading(axes, spec.title, spec.note)
    return figure


def _labels(groups: Sequence[RunGroup]) -> tuple[str, ...]:
    """A group keeps its colour in all figures, also in those that have nothing to show of others."""
    return tuple(group.label for group in groups)


def _episodes_text(table: pd.DataFrame) -> str:
    rows = table[table["series"] == "evaluation"] if not table.empty else table
    episodes = rows["episodes"].dropna() if "episodes" in rows else pd.Series(dtype=float)
    if episodes.empty:
        return ""
    low, high = int(episodes.min()), int(episodes.max())
    return f", {low if low == high else f'{low} to {high}'} episodes per point"
