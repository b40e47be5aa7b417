"""The ReBorn paper's figures about dormant neurons, from ``dormancy/events.jsonl`` of one or more runs.

``group_runs(load_runs(paths)[0])[0]`` gives the groups; ``save_figure`` of
:mod:`rllib_reborn.evaluation.style` writes what the functions here return. References are to figures of the
paper (docs/method.md 8.1).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from rllib_reborn.evaluation.charts import Chart, ChartPanel, Reference
from rllib_reborn.evaluation.curves import seeds_band, series_curve
from rllib_reborn.evaluation.dormancy_events import Check, LayerCheck, RunEvents
from rllib_reborn.evaluation.groups import RunGroup
from rllib_reborn.evaluation.panels import (
    MARKS_NOTE,
    concat,
    curves_chart,
    draw_panels,
    finish_panels,
    marks_text,
    panel_grid,
    reading_text,
    seed_count,
    seeds_text,
    series_panel,
    statistic_text,
    stem,
    with_marks,
)
from rllib_reborn.evaluation.plasticity import dormancy_setting, dormancy_terms
from rllib_reborn.evaluation.style import REFERENCE_COLOUR, FigureSpec, line_style, marker_style

Array: TypeAlias = npt.NDArray[np.float64]

#: Neurons that a NAS ranking shows, as the paper's Fig. 2c.
TOP = 25
#: Panels that one figure has at most.
MAX_PANELS = 6
#: Applications that re-dormancy looks ahead; the paper's 0.2M and 0.6M env steps are 1 and 3 of its intervals.
INTERVALS = (1, 3)
# Kinds that give dormant neurons new weights; of others one cannot say "dormant again".
_RECYCLING = frozenset({"reborn", "redo"})
_UNIT = (0.0, 1.0)
_SETS: dict[str, Callable[[LayerCheck], frozenset[int]]] = {
    "dormant": lambda layer: layer.dormant,
    "overactive": lambda layer: layer.overactive,
}


def event_figures(groups: Sequence[RunGroup], *, level: float = 0.95, reps: int = 2000) -> list[FigureSpec]:
    """All figures of this module that the events of the groups have data for."""
    figures = (nas_ranking, overlap, redormancy, dormancy_by_layer)
    specs = [figure(groups, level=level, reps=reps) for figure in figures]
    return [spec for spec in specs if not spec.table.empty]


def nas_ranking(
    groups: Sequence[RunGroup],
    *,
    layers: Sequence[str] | None = None,
    top: int = TOP,
    level: float = 0.95,
    reps: int = 2000,
) -> FigureSpec:
    """Share of each neuron in the scores of its layer, ranked, at the last check (Fig. 2c).

    Args:
        groups: Groups of one task.
        layers: Layer keys, e.g. ``["mixer/hyper_w_final"]``; ``None``: those of the mixer (where it has none, all).
        top: Ranks shown, ``>= 1``.
        level, reps: Of the bands.

    Returns:
        Table with ``label``, ``layer``, ``rank`` (from 1), ``share`` of ``sum_k s_k`` in 0..1 with ``low`` and
        ``high``, ``width`` of the layer and ``runs``; empty where there are no events.
    """
    chosen = _chosen_layers(groups, layers)
    rows = []
    for key in chosen:
        for group in groups:
            ranked = [_ranked(check.layers[key], top) for check in _last_checks(group) if key in check.layers]
            if not ranked:
                continue
            width = max(check.layers[key].width for check in _last_checks(group) if key in check.layers)
            shares = np.full((len(ranked), max(len(own) for own in ranked)), np.nan)
            for row, own in zip(shares, ranked):
                row[: own.size] = own
            value, low, high = seeds_band(shares, level=level, reps=reps)
            for rank in range(value.size):
                numbers = (value[rank], low[rank], high[rank])
                rows.append((group.label, key, rank + 1, *numbers, width, len(ranked)))
    columns = ["label", "layer", "rank", "share", "low", "high", "width", "runs"]
    table = pd.DataFrame(rows, columns=columns)
    task, statistic = groups[0].task, statistic_text(groups, level)
    beta = _beta(groups)
    over = f"; dotted: over-active, {beta:g} / H" if beta is not None else ""
    caption = (
        f"Share of each neuron in the normalised activation scores of its layer, s_i / sum_k s_k, at the last check of "
        f"a run on {task}: the {top} largest, ranked within each run. {seeds_text(groups)}; {statistic}. Dashed: the "
        f"share 1 / H that each of a layer's H neurons would have if all did the same{over}. {dormancy_terms(groups)}"
    )
    note = f"last check; {statistic}; dashed: equal shares, 1 / H of the layer's H neurons{over}"
    widths = table.groupby("layer")["width"].max()
    chart = Chart(
        "nas_ranking",
        "curves",
        tuple(group.label for group in groups),
        tuple(_ranking_panel(key, int(widths[key]), beta) for key in chosen if key in widths),
        x="rank",
        y="share",
        x_title="rank of the neuron",
        y_title="share of the layer's score",
        percent=True,
    )
    draw = functools.partial(_draw_ranking, chart=chart)
    title = f"{task}: activation shares, ranked"
    return FigureSpec(stem(task, "nas_ranking"), title, note, caption, table, draw, chart)


def overlap(groups: Sequence[RunGroup], *, level: float = 0.95, reps: int = 2000) -> FigureSpec:
    """Do the same neurons stay dormant and over-active? Overlap of the last check's with those of each earlier check
    (Fig. 3b), beside the overlap that sets of these sizes would have by chance."""
    tables = []
    where = _net(groups)
    for name, of in _SETS.items():
        for group in groups:
            pairs = [_overlap_series(run.events, where, of) for run in group.runs]
            own = series_curve(group.label, name, [(steps, found) for steps, found, _ in pairs], level=level, reps=reps)
            chance = [(steps, by_chance) for steps, _, by_chance in pairs]
            rival = series_curve(group.label, f"{name}, by chance", chance, level=level, reps=reps)
            tables += [own, rival.assign(low=np.nan, high=np.nan)]
    table = concat(tables).drop(columns="episodes")
    task, statistic = groups[0].task, statistic_text(groups, level)
    titles = {"dormant": "Dormant neurons", "overactive": "Over-active neurons"}
    panels = [
        series_panel(name, f"{titles[name]}, {where}", _UNIT, beside=f"{name}, by chance")
        for name in _SETS
        if (table["series"] == name).any()
    ]
    caption = (
        f"Overlap |A and B| / min(|A|, |B|) of the dormant (over-active) neurons A of an earlier check and B of the last "
        f"check of the run, pooled over the layers of the {where}, on {task}, against the env steps of the earlier "
        f"check. {seeds_text(groups)}; {statistic}. Dotted: expected if the neurons of a set were drawn by chance, which "
        "is large where most neurons are in it. Checks at which a set is empty have no point. "
        f"{dormancy_terms(groups)} {reading_text(table)}"
    )
    note = f"{statistic}; dotted: expected by chance; not smoothed"
    chart = curves_chart("overlap", [group.label for group in groups], panels, table)
    draw = functools.partial(draw_panels, chart=chart)
    title = f"{task}: overlap with the last check"
    return FigureSpec(stem(task, "overlap"), title, note, caption, table, draw, chart)


def redormancy(groups: Sequence[RunGroup], *, level: float = 0.95, reps: int = 2000) -> FigureSpec:
    """Share of the neurons recycled by ReBorn or ReDo that a check finds dormant again before the next application of it,
    and before the third next (Fig. 3c). Donors do not count; applications whose window is not over are left out."""
    tables = []
    for ahead in INTERVALS:
        for group in groups:
            of_runs = [_redormant_series(run.events, _net(groups), ahead) for run in group.runs]
            tables.append(series_curve(group.label, _window(ahead), of_runs, level=level, reps=reps))
    table = concat(tables).drop(columns="episodes")
    task, statistic = groups[0].task, statistic_text(groups, level)
    panels = [
        series_panel(_window(ahead), f"Dormant again {_window(ahead)}", _UNIT)
        for ahead in INTERVALS
        if (table["series"] == _window(ahead)).any()
    ]
    caption = (
        f"Share of the neurons of the {_net(groups)} recycled at an application of ReBorn or ReDo (donors aside) that at "
        f"least one check found dormant {' or '.join(_window(ahead) for ahead in INTERVALS)}, on {task}, against the env "
        f"steps of the application; applications whose window is not over are left out. {seeds_text(groups)}; "
        f"{statistic}. {dormancy_terms(groups)} {reading_text(table)}"
    )
    chart = curves_chart("redormancy", [group.label for group in groups], panels, table)
    draw = functools.partial(draw_panels, chart=chart)
    title = f"{task}: recycled neurons that are dormant again"
    return FigureSpec(stem(task, "redormancy"), title, f"{statistic}; not smoothed", caption, table, draw, chart)


def dormancy_by_layer(
    groups: Sequence[RunGroup], *, layers: Sequence[str] | None = None, level: float = 0.95, reps: int = 2000
) -> FigureSpec:
    """Dormant fraction of each layer over env steps (Fig. 1 by layer).

    Args:
        groups: Groups of one task.
        layers: Layer keys; ``None``: all, at most :data:`MAX_PANELS`.
        level, reps: Of the bands.
    """
    chosen = list(layers) if layers is not None else layer_keys(groups)[:MAX_PANELS]
    tables = []
    for key in chosen:
        for group in groups:
            of_runs = [layer_series(run.events, key) for run in group.runs]
            tables.append(series_curve(group.label, key, of_runs, level=level, reps=reps))
    table = concat(tables or [series_curve(groups[0].label, "", [], level=level, reps=reps)]).drop(columns="episodes")
    table = with_marks(table, groups)
    marks = marks_text(groups, table)
    task, statistic = groups[0].task, statistic_text(groups, level)
    panels = [series_panel(key, f"{key}, {layer_width(groups, key)} neurons", _UNIT) for key in chosen]
    panels = [panel for panel in panels if (table["series"] == panel.value).any()]
    caption = (
        f"Dormant fraction by layer on {task} over environment steps; {seeds_text(groups)}; {statistic}. "
        f"{dormancy_terms(groups)}{marks} {reading_text(table)}"
    )
    note = f"{statistic}; not smoothed{f'; {MARKS_NOTE}' if marks else ''}"
    chart = curves_chart("dormancy_layers", [group.label for group in groups], panels, table)
    draw = functools.partial(draw_panels, chart=chart)
    title = f"{task}: dormant fraction by layer"
    return FigureSpec(stem(task, "dormancy_layers"), title, note, caption, table, draw, chart)


def _ranking_panel(key: str, width: int, beta: float | None) -> ChartPanel:
    references = [Reference(1 / width, "equal shares, 1 / H")]
    references += [Reference(beta / width, f"over-active, {beta:g} / H", "dotted")] if beta is not None else []
    return ChartPanel(f"{key}, {width} neurons", "layer", key, references=tuple(references))


def _draw_ranking(spec: FigureSpec, *, chart: Chart) -> Any:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure, all_axes, columns = panel_grid(len(chart.panels), 2.6)
    names: dict[str, Any] = {}
    for axes, panel in zip(all_axes, chart.panels):
        shown = spec.table[spec.table["layer"] == panel.value]
        last = int(shown["rank"].max())
        for position, label in enumerate(chart.labels):
            own = shown[shown["label"] == label]
            if own.empty:
                continue
            style = line_style(position) | {"linewidth": 1.3}
            (line,) = axes.plot(own["rank"], own["share"], **style, **marker_style(position))
            if np.isfinite(own["low"]).any():
                area = {"color": style["color"], "alpha": 0.17, "linewidth": 0}
                axes.fill_between(own["rank"], own["low"], own["high"], **area)
            names.setdefault(f"{label}, {seed_count(own)}", line)
        axes.set_title(panel.title, loc="left")
        axes.set_xlim(0.3, last + 0.7)
        axes.set_ylim(0, 1.06 * float(np.nanmax(shown[["share", "high"]].to_numpy())))
        for line in panel.references:
            axes.axhline(line.height, color=REFERENCE_COLOUR, linestyle=line.dashes, linewidth=1.1, zorder=1.5)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        axes.set_xlabel(chart.x_title)
    finish_panels(spec, figure, all_axes, len(chart.panels), columns, names)
    return figure


# ------------------------------------------------------------------ numbers of one run


def _last_checks(group: RunGroup) -> list[Check]:
    return [run.events.checks[-1] for run in group.runs if run.events.checks]


def _ranked(layer: LayerCheck, top: int) -> Array:
    """The largest shares of a layer's score, falling; all 0 where no neuron did anything."""
    total = float(layer.scores.sum())
    shares = np.sort(layer.scores)[::-1][:top]
    return shares / total if total > 0 else np.zeros_like(shares)


def _overlap_series(
    events: RunEvents, net: str, of: Callable[[LayerCheck], frozenset[int]]
) -> tuple[Array, Array, Array]:
    """Env steps of the earlier checks, overlap with the last one, and the overlap expected by chance."""
    rows = []
    for check in events.checks[:-1]:
        pairs = [
            (of(check.layers[key]), of(now), now.width)
            for key, now in events.checks[-1].layers.items()
            if key in check.layers and net_of(key) == net
        ]
        smaller = sum(min(len(a), len(b)) for a, b, _ in pairs)
        if smaller:
            common = sum(len(a & b) for a, b, _ in pairs)
            # Of |A| neurons, |A| |B| / H lie in a set of |B| that was drawn by chance.
            expected = sum(len(a) * len(b) / width for a, b, width in pairs)
            rows.append((check.env_steps, common / smaller, expected / smaller))
    return _columns(rows, 3)


def _redormant_series(events: RunEvents, net: str, ahead: int) -> tuple[Array, Array]:
    """Env steps of each application, and the share of its recycled neurons that a check in its window found dormant."""
    rows = []
    for kind in sorted(_RECYCLING):
        applied = [one for one in events.applications if one.kind == kind and not one.dry_run]
        for now, end in zip(applied, applied[ahead:]):
            checks = [check for check in events.checks if now.position < check.position < end.position]
            neurons = {key: found for key, found in now.recycled.items() if net_of(key) == net}
            treated = sum(len(found) for found in neurons.values())
            if checks and treated:
                again = sum(len(found & _ever_dormant(checks, key)) for key, found in neurons.items())
                rows.append((now.env_steps, again / treated))
    return _columns(sorted(rows), 2)


def _ever_dormant(checks: Iterable[Check], key: str) -> frozenset[int]:
    return frozenset().union(*(check.layers[key].dormant for check in checks if key in check.layers))


def layer_series(events: RunEvents, key: str) -> tuple[Array, Array]:
    """Env steps of the checks, and the dormant fraction of a layer."""
    checks = [(check.env_steps, check.layers[key]) for check in events.checks if key in check.layers]
    return _columns([(steps, len(layer.dormant) / layer.width) for steps, layer in checks], 2)


# ------------------------------------------------------------------ what there is


def layer_keys(groups: Sequence[RunGroup]) -> list[str]:
    """Layers of the last checks in their order, the mixer's first."""
    keys = dict.fromkeys(key for group in groups for check in _last_checks(group) for key in check.layers)
    return sorted(keys, key=lambda key: net_of(key) != "mixer")


def _chosen_layers(groups: Sequence[RunGroup], layers: Sequence[str] | None) -> list[str]:
    if layers is not None:
        return list(layers)
    keys = layer_keys(groups)
    return ([key for key in keys if net_of(key) == "mixer"] or keys)[:MAX_PANELS]


def _net(groups: Sequence[RunGroup]) -> str:
    """The mixer, where the phenomenon is; the first network of teams whose mixer has no neurons."""
    nets = [net_of(key) for key in layer_keys(groups)]
    return "mixer" if "mixer" in nets or not nets else nets[0]


def net_of(key: str) -> str:
    """``mixer`` of ``mixer/V``."""
    return key.partition("/")[0]


def layer_width(groups: Sequence[RunGroup], key: str) -> int:
    """Neurons of a layer."""
    return max(check.layers[key].width for group in groups for check in _last_checks(group) if key in check.layers)


def _beta(groups: Sequence[RunGroup]) -> float | None:
    """The over-active threshold, where all runs that record it agree."""
    given = (dormancy_setting(run, "beta") for group in groups for run in group.runs)
    found = {float(beta) for beta in given if isinstance(beta, int | float)}
    return found.pop() if len(found) == 1 else None


def _window(ahead: int) -> str:
    return "before the next application" if ahead == 1 else f"before the {_ORDINALS[ahead]} next application"


_ORDINALS = {2: "second", 3: "third"}


def _columns(rows: Sequence[Sequence[float]], count: int) -> Any:
    """Rows as ``count`` arrays."""
    table = np.array(rows, dtype=np.float64).reshape(-1, count)
    return tuple(table.T)
