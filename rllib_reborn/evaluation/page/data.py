"""What the page shows, as plain data: the numbers, figures and tables of a report. Nothing here computes a statistic."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rllib_reborn.evaluation.analysis import Analysis, TaskAnalysis
from rllib_reborn.evaluation.page.figure_data import Grids, figure_data, number
from rllib_reborn.evaluation.page.films import Film
from rllib_reborn.evaluation.sensitivity import MOST_LINES
from rllib_reborn.evaluation.sentences import comparisons_in_words, interventions_in_words, method, overview, verdicts
from rllib_reborn.evaluation.style import HEAT_COLOURS, REFERENCE_COLOUR, line_style, marker_style
from rllib_reborn.evaluation.tables import (
    TableData,
    comparison_rows,
    every_run,
    final_returns,
    plasticity_tables,
    setting_differences,
    what_was_run,
)
from rllib_reborn.evaluation.text import count

FORMAT = "rllib_reborn.page/1"
#: Sections, and the names of their figures in reading order; a figure of another name is in the last.
SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Results", ("return", "win_rate", "final", "profile")),
    ("Sensitivity", ("sensitivity", "map")),
    ("Dormant neurons", ("dormancy_heatmap", "dormancy", "dormancy_layers", "nas_ranking", "overlap", "redormancy")),
    ("Learning", ("learning",)),
)
#: Columns that are sorted as text, whatever they hold.
_NAMES = frozenset({"run", "group", "against", "algorithm", "intervention", "setting", "notes"})
_NUMBER = re.compile(r"([+-]?\d[\d,]*(?:\.\d+)?)(?=$|[ %])")
_TIME = re.compile(r"(?:(\d+) h )?(\d+) (s|min)")


def page_data(
    found: Analysis,
    *,
    command: str | None = None,
    left_out: Sequence[tuple[str, str]] = (),
    films: Sequence[Film] = (),
) -> dict[str, Any]:
    """Everything on the page, ready for JSON without nan.

    Args:
        found: The report's computed contents.
        command: What the user typed.
        left_out: Runs that play no part, by name, and why.
        films: Of :func:`~rllib_reborn.evaluation.page.films.find_films`.
    """
    grids = Grids()
    most = max((len(task.groups) for task in found.tasks), default=0)
    summaries = [task.summary for task in found.tasks]
    return {
        "format": FORMAT,
        "title": "Training report",
        "overview": overview(summaries, len(left_out)) if summaries else "No run yet.",
        "command": command or "",
        "versions": ", ".join(f"{name} {version}" for name, version in found.versions.items()),
        "styles": [_style(place) for place in range(most)],
        "reference_colour": REFERENCE_COLOUR,
        "heat_colours": list(HEAT_COLOURS),
        "level": number(found.level),
        "method": method(found.level),
        "tasks": [_task(task, grids) for task in found.tasks],
        "left_out": _table(TableData("Runs left out", ["run", "reason"], list(left_out), code=frozenset({0}))),
        "films": [
            {"run": film.run, "group": film.group, "source": film.source, "left_out": film.left_out} for film in films
        ],
        "grids": grids.lists,
    }


def sort_value(text: str) -> float | None:
    """The number that a cell begins with, a time in seconds: what its column is sorted by; ``None`` where it begins with
    none."""
    time = _TIME.fullmatch(text)
    if time is not None:
        hours, rest, unit = time.groups()
        return float(3600 * int(hours or 0) + int(rest) * (60 if unit == "min" else 1))
    found = _NUMBER.match(text)
    return None if found is None else float(found[1].replace(",", ""))


def _task(task: TaskAnalysis, grids: Grids) -> dict[str, Any]:
    summary = task.summary
    labels = [group.label for group in summary.groups]
    comparisons = [] if len(summary.comparisons) < MOST_LINES else [comparison_rows(summary.comparisons)]
    differing = setting_differences(labels, task.differences, MOST_LINES)
    varying = [
        f"The runs of {group.label} differ among themselves in {', '.join(f'`{name}`' for name in group.varying_settings)}."
        for group in summary.groups
        if group.varying_settings
    ]
    return {
        "task": summary.task,
        "overview": f"{count(len(labels), 'group')}, {count(sum(len(group.runs) for group in summary.groups), 'run')}",
        "verdicts": [list(one) for one in verdicts(summary)],
        "comparisons": comparisons_in_words(summary.comparisons),
        "forks": summary.forks_text,
        "sections": _sections(task, grids),
        "tables": [_table(data) for data in (final_returns(summary), *comparisons, every_run(summary))],
        "more_tables": [
            _table(data)
            for data in (what_was_run(summary), *plasticity_tables(summary), *([differing] if differing.rows else []))
        ],
        "interventions": [list(one) for one in interventions_in_words(summary)],
        "varying": varying,
    }


def _sections(task: TaskAnalysis, grids: Grids) -> list[dict[str, Any]]:
    known = {name: (at, place) for at, (_, names) in enumerate(SECTIONS) for place, name in enumerate(names)}
    last = (len(SECTIONS) - 1, len(SECTIONS[-1][1]))
    ordered = sorted(task.figures, key=lambda spec: known.get(spec.chart.name, last))
    by_section: dict[int, list[dict[str, Any]]] = {}
    for spec in ordered:
        by_section.setdefault(known.get(spec.chart.name, last)[0], []).append(figure_data(spec, grids))
    return [{"title": SECTIONS[at][0], "figures": figures} for at, figures in by_section.items()]


def _table(data: TableData) -> dict[str, Any]:
    """With what each column is sorted by: numbers where all its cells that hold something begin with one."""
    columns: list[list[float | None] | None] = []
    for at, name in enumerate(data.head):
        cells = [row[at] for row in data.rows]
        values = [None if cell == "-" else sort_value(cell) for cell in cells]
        numeric = name not in _NAMES and all(v is not None or c in ("-", "") for v, c in zip(values, cells))
        columns.append(values if numeric else None)
    return {
        "title": data.title,
        "head": list(data.head),
        "rows": [list(row) for row in data.rows],
        "values": columns,
        "note": data.note,
        "code": sorted(data.code),
    }


def _style(place: int) -> Mapping[str, Any]:
    style = line_style(place)
    dashes = style["linestyle"]
    return {
        "colour": style["color"],
        "dashes": [] if dashes == "-" else list(dashes[1]),
        "marker": marker_style(place)["marker"],
    }
