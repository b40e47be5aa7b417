"""What a result depends on: one panel for every setting that a sweep varies, and a map of two of them."""

from __future__ import annotations

import dataclasses
import functools
import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rllib_reborn.evaluation.charts import Chart, ChartPanel, panel_columns
from rllib_reborn.evaluation.groups import RunGroup, experiment_settings
from rllib_reborn.evaluation.intervention_text import listed_interventions, short_value
from rllib_reborn.evaluation.origin import is_searched
from rllib_reborn.evaluation.panels import stem
from rllib_reborn.evaluation.statistics import mean_interval
from rllib_reborn.evaluation.style import PALETTE, REFERENCE_COLOUR, FigureSpec, heading, heat_colours, new_figure
from rllib_reborn.evaluation.text import format_number, percent

#: More lines than these cannot be told apart.
MOST_LINES = 8
_MOST_PANELS = 9
#: More values than these of a setting were drawn, not listed: they lie along an axis of numbers, and make no map.
_MOST_VALUES = 8
#: Which settings lie along the sides of the map, if they vary.
_SIDES = ("alpha", "beta")
Means = Mapping[str, Mapping[int, float]]


@dataclasses.dataclass(frozen=True)
class Swept:
    """The groups that a sweep's points are, and what varies between them.

    Attributes:
        groups: All of one algorithm with one list of interventions and one beginning; no arms.
        settings: Of each varying setting (its dotted name) the value of each group, in the order of ``groups``.
    """

    groups: tuple[RunGroup, ...]
    settings: Mapping[str, tuple[Any, ...]]

    def values(self, name: str) -> list[Any]:
        """The different values of a setting, sorted; numbers before text."""
        found = {repr(value): value for value in self.settings[name]}
        return sorted(found.values(), key=_order)


def find_swept(groups: Sequence[RunGroup]) -> Swept | None:
    """The largest set of groups that differ in settings alone; None: there is none of three or more."""
    points = [group for group in groups if not group.runs[0].place.is_arm]
    kinds = [(g.algorithm, g.beginning, *(one.kind for one in listed_interventions(g.runs[0].config))) for g in points]
    (most, count), *_ = Counter(kinds).most_common(1) or [((), 0)]
    if count < 3:
        return None
    members = tuple(group for group, kind in zip(points, kinds) if kind == most)
    flats = [experiment_settings(group.runs[0]) for group in members]
    names = list(dict.fromkeys(key for flat in flats for key in flat))
    searched = list(dict.fromkeys(key for group in members for key in group.runs[0].place.searched))
    if searched:
        names = [name for key in searched for name in names if is_searched(name, (key,))]
    varying = {name: tuple(flat.get(name) for flat in flats) for name in names}
    varying = {name: values for name, values in varying.items() if len(set(map(repr, values))) > 1}
    return Swept(members, varying) if varying else None


def sensitivity_figures(task: str, groups: Sequence[RunGroup], means: Means, level: float = 0.95) -> list[FigureSpec]:
    """Figures of one task; none where nothing is swept.

    Args:
        task: Its name.
        groups: All groups of the task.
        means: Of each group, by its label, the mean final return by seed.
        level: Level of the intervals.
    """
    swept = find_swept(groups)
    if swept is None:
        return []
    controls = [group for group in groups if group not in swept.groups and group.label in means]
    found = [_by_setting(task, swept, controls, means, level)]
    sides = _sides(swept)
    if sides is not None:
        found.append(_map(task, swept, sides, controls, means))
    # A setting has no panel while no two of its values have a seed in common.
    return [spec for spec in found if spec.chart.panels]


def lines_to_draw(groups: Sequence[RunGroup], means: Means) -> list[RunGroup]:
    """At most :data:`MOST_LINES` groups: controls first, then from the best to the worst in equal steps."""
    if len(groups) <= MOST_LINES:
        return list(groups)
    controls = [group for group in groups if group.is_control][: MOST_LINES // 2]
    rest = [group for group in groups if group not in controls]
    scores = {group.label: _mean(means.get(group.label, {})) for group in rest}
    ranked = sorted(rest, key=lambda group: -scores[group.label])
    places = np.linspace(0, len(ranked) - 1, MOST_LINES - len(controls)).round().astype(int)
    chosen = {ranked[place].label for place in places} | {group.label for group in controls}
    return [group for group in groups if group.label in chosen]


def _by_setting(task: str, swept: Swept, controls: Sequence[RunGroup], means: Means, level: float) -> FigureSpec:
    rows: list[dict[str, Any]] = []
    for name in swept.settings:
        for place, value in enumerate(swept.values(name)):
            own = [g for g, v in zip(swept.groups, swept.settings[name]) if repr(v) == repr(value) and g.label in means]
            by_seed = _over_groups([means[group.label] for group in own])
            rows += _rows(name, short_value(value), _place(swept, name, value, place), by_seed, level, len(own))
    for control in controls:
        rows += _rows("", control.label, 0, dict(means[control.label]), level, 1)
    table = pd.DataFrame(rows)
    note = f"open circles: one seed, averaged over all other settings; mean and {percent(level)} interval over seeds"
    uneven = [name for name in swept.settings if len(_points_by_value(swept, name, means)) > 1]
    if uneven:
        note += f"; values are of different numbers of points: {_listed(uneven)}"
    shown, others = list(swept.settings)[:_MOST_PANELS], list(swept.settings)[_MOST_PANELS:]
    caption = (
        f"Final greedy return on {task} by each setting of the sweep. For each value and seed the mean over all points "
        f"of the sweep with that value (groups: how many); mean and {percent(level)} interval over seeds (Student's t). "
        "Dashed: experiments beside the sweep's points. A mean over other settings hides how they act together: see the "
        f"map, where there is one.{f' In the CSV alone: {chr(44).join(others)}.' if others else ''}"
    )
    listed = frozenset(name for name in shown if not _is_drawn(swept, name))
    chart = Chart(
        "sensitivity",
        "settings",
        (),
        tuple(
            ChartPanel(name, "setting", name, logarithmic=name not in listed and _spans_decades(table, name))
            for name in shown
            if not table.empty and (table["setting"] == name).any()
        ),
        x="place",
        y="return",
        x_title="",
        y_title="final return",
        listed=listed,
    )
    draw = functools.partial(_draw_by_setting, chart=chart)
    return FigureSpec(stem(task, "sensitivity"), f"{task}: sensitivity", note, caption, table, draw, chart)


def _points_by_value(swept: Swept, name: str, means: Means) -> set[int]:
    """Numbers of points that the values of a setting have; several where the sweep is not over, or its values were drawn."""
    values = [repr(value) for group, value in zip(swept.groups, swept.settings[name]) if group.label in means]
    return set(Counter(values).values())


def _is_drawn(swept: Swept, name: str) -> bool:
    """Whether values are too many to be listed, and all numbers."""
    values = swept.values(name)
    return len(values) > _MOST_VALUES and all(_order(value)[0] == 0 for value in values)


def _place(swept: Swept, name: str, value: Any, place: int) -> float:
    """Where a value lies in its panel: the number itself where values were drawn, else its place in their list."""
    return float(value) if _is_drawn(swept, name) else float(place)


def _rows(
    name: str, value: str, place: float, by_seed: Mapping[int, float], level: float, groups: int
) -> list[dict[str, Any]]:
    if not by_seed:
        return []
    common = {"setting": name, "value": value, "place": place, "groups": groups}
    rows: list[dict[str, Any]] = [
        common | {"kind": "seed", "seed": seed, "return": score} for seed, score in by_seed.items()
    ]
    found = mean_interval(list(by_seed.values()), level, method="t")
    rows.append(common | {"kind": "mean", "return": found.estimate, "low": found.low, "high": found.high})
    return rows


def _over_groups(scores: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """The mean over groups, of the seeds that all of them have."""
    if not scores:
        return {}
    common = set.intersection(*(set(one) for one in scores))
    return {seed: float(np.mean([one[seed] for one in scores])) for seed in sorted(common)}


def _sides(swept: Swept) -> tuple[str, str] | None:
    """The two settings of the map: alpha and beta where both vary, else the first two."""
    names = list(swept.settings)
    if len(names) < 2:
        return None
    preferred = sorted(names, key=lambda name: _SIDES.index(_last(name)) if _last(name) in _SIDES else len(_SIDES))
    return preferred[0], preferred[1]


def _map(task: str, swept: Swept, sides: tuple[str, str], controls: Sequence[RunGroup], means: Means) -> FigureSpec:
    others = [name for name in swept.settings if name not in sides]
    own = _panels_by(swept, others)
    averaged = others[len(own) :]
    cells: dict[tuple[str, str, str], list[float]] = {}
    for at, group in enumerate(swept.groups):
        if group.label in means:
            panel = ", ".join(f"{_last(name)}={short_value(swept.settings[name][at])}" for name in own)
            row, column = (short_value(swept.settings[side][at]) for side in sides)
            cells.setdefault((panel, row, column), []).extend(means[group.label].values())
    table = pd.DataFrame(
        [
            {"panel": panel, sides[0]: row, sides[1]: column, "return": float(np.mean(found)), "runs": len(found)}
            for (panel, row, column), found in cells.items()
        ]
    )
    if any(len(swept.values(side)) > _MOST_VALUES for side in sides):
        table = table.iloc[:0]  # drawn values: a cell for each point, and nearly all empty
    row_name, column_name = map(_last, sides)
    over = "".join(f" and {_last(name)}" for name in averaged)
    beside = "".join(f"; {c.label}: {format_number(_mean(means[c.label]))}" for c in controls[: MOST_LINES // 2])
    note = f"mean final greedy return over seeds{over}; rows: {row_name}, columns: {column_name}{beside}"
    caption = (
        f"Mean final greedy return on {task} at each point of the sweep, {row_name} against {column_name}"
        f"{f', a panel for each {_listed(own)}' if own else ''}{f', averaged over {_listed(averaged)}' if averaged else ''}"
        f"{beside}. Means of few seeds: read it with the intervals of the table, not as a landscape."
    )
    panels = [] if table.empty else list(dict.fromkeys(table["panel"]))
    chart = Chart(
        "map",
        "map",
        (),
        tuple(ChartPanel(panel, "panel", panel) for panel in panels),
        x=sides[1],
        y=sides[0],
        x_title=column_name,
        y_title=row_name,
        rows=tuple(short_value(value) for value in swept.values(sides[0])),
        columns=tuple(short_value(value) for value in swept.values(sides[1])),
    )
    draw = functools.partial(_draw_map, chart=chart)
    return FigureSpec(stem(task, "map"), f"{task}: {row_name} and {column_name}", note, caption, table, draw, chart)


def _panels_by(swept: Swept, others: Sequence[str]) -> list[str]:
    """The first of ``others`` that make at most :data:`_MOST_PANELS` panels; the map averages over the rest."""
    chosen: list[str] = []
    panels = 1
    for name in others:
        panels *= len(swept.values(name))
        if panels > _MOST_PANELS:
            break
        chosen.append(name)
    return chosen


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(_last, names))


def _spans_decades(table: pd.DataFrame, name: str) -> bool:
    places = table.loc[table["setting"] == name, "place"]
    return float(places.min()) > 0 and float(places.max()) > 100 * float(places.min())


def _draw_by_setting(spec: FigureSpec, *, chart: Chart) -> Any:
    names, listed = [panel.value for panel in chart.panels], chart.listed
    columns = panel_columns(names)
    rows = math.ceil(len(names) / columns)
    figure, all_axes = new_figure(3.2 * columns, 2.6 * rows + 0.3, rows, columns)
    figure.subplots_adjust(left=0.1, right=0.98, bottom=0.2 / rows, top=1, hspace=0.5, wspace=0.25)
    controls = spec.table[(spec.table["setting"] == "") & (spec.table["kind"] == "mean")].to_dict("records")
    drawn = spec.table[spec.table["setting"].isin(names)][["return", "low", "high"]].to_numpy(dtype=np.float64)
    heights = np.append(drawn.ravel(), [row["return"] for row in controls])
    low, high = float(np.nanmin(heights)), float(np.nanmax(heights))
    margin = 0.06 * (high - low) or 1.0
    for axes, panel in zip(all_axes, chart.panels):
        name = panel.value
        own = spec.table[spec.table["setting"] == name]
        seeds, mean = own[own["kind"] == "seed"], own[own["kind"] == "mean"]
        circles = {"linestyle": "none", "marker": "o", "markerfacecolor": "none", "color": PALETTE[0], "alpha": 0.5}
        axes.plot(seeds["place"], seeds["return"], **circles)
        known = mean[mean["low"].notna()]
        axes.vlines(known["place"], known["low"], known["high"], color=PALETTE[0], linewidth=3, alpha=0.55)
        # Between drawn values there are other settings as well: a line would show their noise as a curve.
        joined = "-" if name in listed else "none"
        axes.plot(mean["place"], mean["return"], marker="o", color=PALETTE[0], linestyle=joined)
        for row in controls:
            axes.axhline(row["return"], color=REFERENCE_COLOUR, linestyle="--", linewidth=1.2)
        if name in listed:
            axes.set_xticks(mean["place"], mean["value"])
            axes.set_xlim(-0.4, float(mean["place"].max()) + 0.4)
        elif panel.logarithmic:
            axes.set_xscale("log")
        axes.set_title(name, loc="left", fontsize=9)
        # One range for all panels, so that a setting that matters little looks so.
        axes.set_ylim(low - margin, high + margin)
    for axes in all_axes[len(names) :]:
        axes.set_visible(False)
    all_axes[0].set_ylabel(chart.y_title)
    last = all_axes[min(columns, len(names)) - 1]
    place = {"xycoords": ("axes fraction", "data"), "xytext": (5, 0), "textcoords": "offset points", "va": "center"}
    for row in controls:
        words = textwrap.fill(row["value"], 30)
        last.annotate(words, (1, row["return"]), **place, fontsize=9, color=REFERENCE_COLOUR, annotation_clip=False)
    heading(all_axes[0], spec.title, spec.note, above=26)
    return figure


def _draw_map(spec: FigureSpec, *, chart: Chart) -> Any:
    rows, columns, panels = chart.rows, chart.columns, [panel.value for panel in chart.panels]
    across = panel_columns(panels)
    down = math.ceil(len(panels) / across)
    figure, all_axes = new_figure(0.9 * len(columns) * across + 1.2, 0.7 * len(rows) * down + 0.8, down, across)
    figure.subplots_adjust(left=0.12, right=0.98, bottom=0.12, top=0.95, hspace=0.5, wspace=0.3)
    low, high = float(spec.table["return"].min()), float(spec.table["return"].max())
    for axes, panel in zip(all_axes, panels):
        own = spec.table[spec.table["panel"] == panel]
        values = np.full((len(rows), len(columns)), np.nan)
        for row in own.to_dict("records"):
            values[rows.index(row[chart.y]), columns.index(row[chart.x])] = row["return"]
        axes.imshow(values, cmap=heat_colours(), vmin=low, vmax=high, aspect="auto")
        for (down_at, across_at), value in np.ndenumerate(values):
            if math.isfinite(value):
                light = high > low and (value - low) / (high - low) < 0.5
                colour = "white" if light else "black"
                axes.text(across_at, down_at, f"{value:.3g}", ha="center", va="center", fontsize=9, color=colour)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.grid(visible=False)
        axes.set_title(panel, loc="left", fontsize=9)
        axes.set_xlabel(chart.x_title)
    for axes in all_axes[::across]:
        axes.set_ylabel(chart.y_title)
    for axes in all_axes[len(panels) :]:
        axes.set_visible(False)
    heading(all_axes[0], spec.title, spec.note, above=26)
    return figure


def _mean(by_seed: Mapping[int, float]) -> float:
    return float(np.mean(list(by_seed.values()))) if by_seed else -math.inf


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _order(value: Any) -> tuple[int, float, str]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 0, float(value), ""
    return 1, 0.0, repr(value)
