"""A figure's table as the plain data that ``page.js`` draws: the rows of its CSV, told apart by panel and group."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rllib_reborn.evaluation.charts import Chart, ChartPanel, panel_columns
from rllib_reborn.evaluation.curves import INTERVENTION
from rllib_reborn.evaluation.dormancy_heatmap import cell_edges
from rllib_reborn.evaluation.forks import FORK
from rllib_reborn.evaluation.panels import RANDOM
from rllib_reborn.evaluation.style import FigureSpec
from rllib_reborn.evaluation.task_switches import SWITCH

#: Digits of a number on the page; it shows four of them.
_DIGITS = 6


class Grids:
    """Lists of numbers along an axis, each kept once, since many lines share one."""

    def __init__(self) -> None:
        self.lists: list[list[float | int | None]] = []
        self._places: dict[tuple[Any, ...], int] = {}

    def place_of(self, values: Iterable[float]) -> int:
        """Place of these numbers in :attr:`lists`."""
        numbers = [number(value) for value in values]
        place = self._places.setdefault(tuple(numbers), len(self.lists))
        if place == len(self.lists):
            self.lists.append(numbers)
        return place


def number(value: Any) -> float | int | None:
    """Six significant digits, all of a whole number; ``None`` for what is no finite number."""
    if value is None or isinstance(value, str) or not math.isfinite(value):
        return None
    if float(value).is_integer() and abs(value) < 2**53:
        return int(value)
    return float(f"{float(value):.{_DIGITS}g}")


def figure_data(spec: FigureSpec, grids: Grids) -> dict[str, Any]:
    """One figure: what all kinds share, and what its kind needs."""
    chart = spec.chart
    return {
        "id": spec.stem,
        "name": chart.name,
        "kind": chart.kind,
        "title": spec.title,
        "note": spec.note,
        "caption": spec.caption,
        "labels": list(chart.labels),
        "columns": panel_columns(chart.panels),
        "x_title": chart.x_title,
        "y_title": chart.y_title,
        "percent": chart.percent,
        **_OF_KIND[chart.kind](spec.table, chart, grids),
    }


def _curves(table: pd.DataFrame, chart: Chart, grids: Grids) -> dict[str, Any]:
    found: dict[str, Any] = {
        "steps": chart.steps,
        "beside": chart.beside,
        "panels": [_curves_panel(table, panel, chart, grids) for panel in chart.panels],
    }
    if "series" not in table:
        return found
    levels = table[table["series"] == "random"].drop_duplicates("label")
    switches = table[table["series"] == SWITCH].drop_duplicates("env_steps")
    forks = table[table["series"] == FORK]
    return found | {
        "marks": _marks(table, chart.labels, grids),
        "levels": [{"name": RANDOM, "height": number(value)} for value in levels["value"]],
        "uprights": [
            *({"x": number(x), "name": "fork", "dashes": "dotted"} for x in forks["env_steps"]),
            *(
                {"x": number(x), "name": f"task {task:.0f}", "dashes": "dashed"}
                for x, task in zip(switches["env_steps"], switches["value"])
            ),
        ],
    }


def _curves_panel(table: pd.DataFrame, panel: ChartPanel, chart: Chart, grids: Grids) -> dict[str, Any]:
    own = table[table[panel.column] == panel.value] if panel.column else table
    beside = table[table[panel.column] == panel.beside] if panel.beside else table.iloc[:0]
    return {
        "title": panel.title,
        "limits": list(panel.limits) if panel.limits else None,
        "logarithmic": panel.logarithmic,
        "references": [{"height": number(r.height), "name": r.name, "dashes": r.dashes} for r in panel.references],
        "lines": _lines(own, chart, grids),
        "weaker": _lines(beside, chart, grids),
    }


def _lines(table: pd.DataFrame, chart: Chart, grids: Grids) -> list[dict[str, Any]]:
    lines = []
    for place, label in enumerate(chart.labels):
        own = table[table["label"] == label]
        if own.empty:
            continue
        line: dict[str, Any] = {
            "group": place,
            "x": grids.place_of(own[chart.x]),
            "y": [number(value) for value in own[chart.y]],
            "n": _one_or_all(own["runs"]),
        }
        if np.isfinite(own[["low", "high"]].to_numpy(dtype=np.float64)).any():
            line |= {side: [number(value) for value in own[side]] for side in ("low", "high")}
        if "episodes" in own and own["episodes"].notna().any():
            line["episodes"] = _one_or_all(own["episodes"])
        lines.append(line)
    return lines


def _one_or_all(values: pd.Series[Any]) -> Any:
    """The number where all are equal, else all of them."""
    numbers = [number(value) for value in values]
    return numbers[0] if len(set(numbers)) == 1 else numbers


def _marks(table: pd.DataFrame, labels: Sequence[str], grids: Grids) -> list[dict[str, Any]]:
    marks = table[table["series"] == INTERVENTION]
    return [
        {
            "group": place,
            "x": grids.place_of(own["env_steps"]),
            "number": _one_or_all(own["value"]),
            "n": _one_or_all(own["runs"]),
        }
        for place, label in enumerate(labels)
        if len(own := marks[marks["label"] == label])
    ]


def _final(table: pd.DataFrame, chart: Chart, grids: Grids) -> dict[str, Any]:
    del grids
    places = {label: place for place, label in enumerate(chart.labels)}
    rows = []
    for row in table[table["kind"] != "run"].to_dict("records"):
        runs = table[(table["kind"] == "run") & (table["label"] == row["label"])]
        rows.append(
            {
                "label": row["label"],
                "group": places.get(row["label"]),
                "value": number(row["value"]),
                "low": number(row["low"]),
                "high": number(row["high"]),
                "text": row["text"],
                "runs": [number(value) for value in runs["value"]],
            }
        )
    return {"rows": rows, "panels": [{"title": ""}]}


def _settings(table: pd.DataFrame, chart: Chart, grids: Grids) -> dict[str, Any]:
    del grids
    panels = []
    for panel in chart.panels:
        own = table[table["setting"] == panel.value]
        means = own[own["kind"] == "mean"]
        seeds = own[own["kind"] == "seed"]
        panels.append(
            {
                "title": panel.title,
                "listed": panel.value in chart.listed,
                "logarithmic": panel.logarithmic,
                "means": [
                    {
                        "place": number(row["place"]),
                        "value": row["value"],
                        "y": number(row["return"]),
                        "low": number(row.get("low")),
                        "high": number(row.get("high")),
                        "points": number(row["groups"]),
                    }
                    for row in means.to_dict("records")
                ],
                "seeds": [[number(row["place"]), number(row["return"])] for row in seeds.to_dict("records")],
            }
        )
    controls = table[(table["setting"] == "") & (table["kind"] == "mean")]
    levels = [{"name": row["value"], "height": number(row["return"])} for row in controls.to_dict("records")]
    return {"panels": panels, "levels": levels}


def _map(table: pd.DataFrame, chart: Chart, grids: Grids) -> dict[str, Any]:
    del grids
    panels = []
    for panel in chart.panels:
        own = table[table["panel"] == panel.value].to_dict("records")
        cells = [
            [
                chart.rows.index(row[chart.y]),
                chart.columns.index(row[chart.x]),
                number(row["return"]),
                number(row["runs"]),
            ]
            for row in own
        ]
        panels.append({"title": panel.title, "cells": cells})
    low, high = (number(value) for value in (table["return"].min(), table["return"].max()))
    return {"panels": panels, "row_names": list(chart.rows), "column_names": list(chart.columns), "range": [low, high]}


def _layers(table: pd.DataFrame, chart: Chart, grids: Grids) -> dict[str, Any]:
    panels = []
    for panel in chart.panels:
        own = table[table["label"] == panel.value]
        rows = []
        for place, key in enumerate(chart.columns):
            cells = own[own["series"] == key]
            if len(cells):
                steps = cells["env_steps"].to_numpy(dtype=np.float64)
                rows.append(
                    {
                        "row": place,
                        "x": grids.place_of(steps),
                        "edges": grids.place_of(cell_edges(steps)),
                        "y": [number(value) for value in cells["value"]],
                        "n": _one_or_all(cells["runs"]),
                    }
                )
        group = chart.labels.index(panel.value)
        marks = [mark for mark in _marks(table, chart.labels, grids) if mark["group"] == group]
        panels.append({"title": panel.title, "group": group, "rows": rows, "marks": marks})
    return {"panels": panels, "row_names": list(chart.rows), "range": [0, 1]}


_OF_KIND: dict[str, Callable[[pd.DataFrame, Chart, Grids], dict[str, Any]]] = {
    "curves": _curves,
    "final": _final,
    "settings": _settings,
    "map": _map,
    "layers": _layers,
}
