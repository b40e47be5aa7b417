"""One call from run folders to a report that can be read, cited and checked."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rllib_reborn.evaluation.analysis import analyse
from rllib_reborn.evaluation.exports import latex_table, marl_eval_data, plain
from rllib_reborn.evaluation.figures import CURVES, MetricCurve
from rllib_reborn.evaluation.markdown import Page, render_markdown
from rllib_reborn.evaluation.page import HTML_FILE, find_films, page_data, render_page
from rllib_reborn.evaluation.runs import LeftOut, RunError, load_runs
from rllib_reborn.evaluation.sensitivity import MOST_LINES
from rllib_reborn.evaluation.style import FigureFiles, save_figure
from rllib_reborn.evaluation.summary import LAST, NONE, TaskSummary, comparisons_counted
from rllib_reborn.evaluation.text import count, format_interval, format_percent, format_time

FORMAT = "rllib_reborn.report/1"


@dataclasses.dataclass(frozen=True)
class Report:
    """What :func:`write_report` wrote.

    Attributes:
        folder: Where everything is.
        markdown: ``report.md``.
        summary_json: ``summary.json``.
        marl_eval_json: ``marl_eval.json``.
        latex_table: ``table.tex``.
        figures: Files of every figure.
        tasks: The numbers.
        left_out: Runs that were found and not used, with the reason.
        html: ``report.html``; ``None`` where it was not asked for.
    """

    folder: Path
    markdown: Path
    summary_json: Path
    marl_eval_json: Path
    latex_table: Path
    figures: tuple[FigureFiles, ...]
    tasks: tuple[TaskSummary, ...]
    left_out: tuple[LeftOut, ...]
    html: Path | None = None


def write_report(
    run_paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out_dir: str | os.PathLike[str],
    *,
    command: str | None = None,
    level: float = 0.95,
    reps: int = 2000,
    curves: Sequence[MetricCurve] = CURVES,
    html: bool = False,
) -> Report:
    """Writes figures (PNG, PDF, CSV, caption), ``report.md``, ``summary.json`` and files for other tools.

    Equal runs give equal files. Files of an earlier report in the same folder are overwritten where they have
    the same name, and otherwise left alone.

    Args:
        run_paths: Run folders, or folders of run folders.
        out_dir: Made if missing.
        command: What the user typed, to be written into the report.
        level: Confidence level, in (0, 1).
        reps: Bootstrap replicates, ``>= 1``.
        curves: Metrics that get learning curves.
        html: Also write ``report.html``, the same in one file for a browser.

    Raises:
        RunError: A path is no run, no run can be read, or ``out_dir`` is a file.
    """
    records, broken = load_runs(run_paths)
    folder = Path(out_dir)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; the report needs a folder.")
    folder.mkdir(parents=True, exist_ok=True)

    found = analyse(records, broken, level=level, reps=reps, curves=curves)
    tasks = [task.summary for task in found.tasks]
    figures = {task.summary.task: [save_figure(spec, folder, command) for spec in task.figures] for task in found.tasks}
    differences = {task.summary.task: task.differences for task in found.tasks}

    report = Report(
        folder=folder,
        markdown=folder / "report.md",
        summary_json=folder / "summary.json",
        marl_eval_json=folder / "marl_eval.json",
        latex_table=folder / "table.tex",
        figures=tuple(files for task in figures.values() for files in task),
        tasks=tuple(tasks),
        left_out=found.left_out,
        html=folder / HTML_FILE if html else None,
    )
    named = [
        (_display(entry.path, folder), entry.reason.replace(str(entry.path), entry.path.name))
        for entry in found.left_out
    ]
    page = Page(tasks, figures, differences, named, level, command, found.versions)
    report.markdown.write_text(render_markdown(page), encoding="utf-8")
    report.latex_table.write_text(latex_table(tasks), encoding="utf-8")
    if report.html is not None:
        data = page_data(found, command=command, left_out=named, films=find_films(found.groups))
        report.html.write_text(render_page(data), encoding="utf-8", errors="replace")
    _write_json(report.marl_eval_json, marl_eval_data(found.groups))
    _write_json(
        report.summary_json,
        {
            "format": FORMAT,
            "command": command,
            "level": level,
            "bootstrap_replicates": reps,
            "versions": found.versions,
            "runs_found": found.found,
            "runs_used": sum(len(group.runs) for group in found.groups),
            "left_out": [{"run": name, "reason": reason} for name, reason in named],
            "tasks": [dataclasses.asdict(task) for task in tasks],
            "config_differences": {
                task.summary.task: {"groups": [g.label for g in task.groups], "settings": task.differences}
                for task in found.tasks
            },
            "figures": [files.png.name for files in report.figures],
        },
    )
    return report


def print_summary(report: Report) -> str:
    """A few lines for the terminal: every group's result, and where the report is."""
    lines = []
    for task in report.tasks:
        lines.append(task.task)
        width = max(len(group.label) for group in task.groups)
        if len(task.groups) > MOST_LINES:
            for group in task.groups:
                seeds = count(len(group.runs), "seed")
                when = " (last evaluation during training)" if group.source == LAST else ""
                lines.append(f"  {group.label:<{width}}  {seeds}, return {format_interval(group.policy_return)}{when}")
            lines += [f"  {sentence}" for sentence in comparisons_counted(task.comparisons)]
            continue
        for group in task.groups:
            steps = f"{group.env_steps_max:,} env steps"
            head = f"{count(len(group.runs), 'seed')}, {steps}, {format_time(group.wall_time_s)}"
            lines.append(f"  {group.label:<{width}}  {head}")
            if group.source != NONE:
                won = f", win rate {format_percent(group.win_rate)}" if group.win_rate is not None else ""
                when = " (last evaluation during training)" if group.source == LAST else ""
                lines.append(f"  {'':<{width}}  return {format_interval(group.policy_return)}{won}{when}")
            if group.random_return is not None:
                lines.append(f"  {'':<{width}}  random {format_interval(group.random_return)}")
            lines.append(f"  {'':<{width}}  {group.verdict}")
        lines += [f"  {comparison.verdict}" for comparison in task.comparisons]
    for entry in report.left_out:
        lines.append(f"left out: {entry.path}: {entry.reason}")
    lines.append(f"report: {report.markdown}")
    lines += [f"page: {report.html}"] if report.html else []
    return "\n".join(lines)


def _display(path: Path, folder: Path) -> str:
    """A run's path as seen from the report, so that a report passed on names no one's home folder."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive
        return path.name


def _write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(plain(data), indent=2, allow_nan=False) + "\n", encoding="utf-8")
