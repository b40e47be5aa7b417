"""The text of a report as plain Markdown."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from rllib_reborn.evaluation.sensitivity import MOST_LINES
from rllib_reborn.evaluation.sentences import comparisons_in_words, interventions_in_words, method, overview, verdicts
from rllib_reborn.evaluation.style import FigureFiles
from rllib_reborn.evaluation.summary import Comparison, TaskSummary
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


@dataclasses.dataclass(frozen=True)
class Page:
    """What the Markdown is written from."""

    tasks: Sequence[TaskSummary]
    figures: Mapping[str, Sequence[FigureFiles]]
    differences: Mapping[str, Mapping[str, Sequence[str]]]
    left_out: Sequence[tuple[str, str]]
    level: float
    command: str | None
    versions: Mapping[str, str]


def render_markdown(page: Page) -> str:
    """The whole page."""
    lines = ["# Training report", "", overview(page.tasks, len(page.left_out)), ""]
    for task in page.tasks:
        lines += _task(task, page)
    lines += ["## Runs left out", ""]
    if page.left_out:
        lines += [f"{count(len(page.left_out), 'run')} found and not used:", ""]
        lines += [f"- `{name}`: {reason}" for name, reason in page.left_out]
    else:
        lines.append("None: every run found is used.")
    lines += [
        "",
        "## How to read the numbers",
        "",
        *(f"- {line}" for line in method(page.level)),
        "",
        "## Made with",
        "",
    ]
    lines += [f"Command: `{page.command}`" if page.command else "Command: not given", ""]
    lines += [", ".join(f"{name} {version}" for name, version in page.versions.items()), ""]
    return "\n".join(lines)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; a bar in a cell is escaped."""
    body = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in body]


def _table(data: TableData) -> list[str]:
    rows = [[f"`{cell}`" if at in data.code else cell for at, cell in enumerate(row)] for row in data.rows]
    return table(data.head, rows)


def _task(task: TaskSummary, page: Page) -> list[str]:
    lines = [f"## {task.task}", "", "### What was run", "", *_table(what_was_run(task))]
    lines += ["", task.forks_text] if task.forks_text else []
    lines += ["", "### Final greedy return", "", *_table(final_returns(task)), ""]
    lines += [f"- **{label}**: {text}" if label else f"- {text}" for label, text in verdicts(task)]
    lines.append("")
    if task.comparisons:
        lines += ["### One against another", "", *_comparisons(task.comparisons), ""]
    lines += _plasticity(task)
    lines += ["### Curves", ""]
    for figure in page.figures.get(task.task, ()):
        lines += [f"![{figure.title}]({figure.png.name})", "", f"{figure.caption}", ""]
        lines += [f"[PDF]({figure.pdf.name}), [data]({figure.csv.name})", ""]
    runs = every_run(task)
    lines += ["### Every run", "", *_table(runs), "", runs.note, ""]
    return [*lines, *_differences(task, page.differences.get(task.task, {}))]


def _comparisons(comparisons: Sequence[Comparison]) -> list[str]:
    """A line each; many of them as a table, after how many came out which way."""
    lines = [f"- {sentence}" for sentence in comparisons_in_words(comparisons)]
    return lines if len(comparisons) < MOST_LINES else [*lines, "", *_table(comparison_rows(comparisons))]


def _plasticity(task: TaskSummary) -> list[str]:
    if all(group.plasticity is None for group in task.groups):
        return []
    lines = ["### Plasticity", ""]
    for data in plasticity_tables(task):
        lines += [*_table(data), "", data.note, ""]
    listed = [f"- **{label}**, {text}" for label, text in interventions_in_words(task)]
    return [*lines, *listed, ""] if listed else lines


def _differences(task: TaskSummary, differences: Mapping[str, Sequence[str]]) -> list[str]:
    lines = []
    if len(task.groups) > 1:
        data = setting_differences([group.label for group in task.groups], differences, MOST_LINES)
        # Of many groups the settings are the names of columns.
        settings = [data.head[0], *(f"`{name}`" for name in data.head[1:])]
        shown = _table(data) if data.code else table(settings, data.rows)
        lines += [f"### {data.title}", "", *(shown if data.rows else ["None."]), ""]
    for group in task.groups:
        if group.varying_settings:
            names = ", ".join(f"`{name}`" for name in group.varying_settings)
            lines += [f"The runs of {group.label} differ among themselves in {names}.", ""]
    return lines
