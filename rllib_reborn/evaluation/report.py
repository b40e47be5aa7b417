"""One call from run folders to a report that can be read, cited and checked."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rllib_reborn._version import __version__
from rllib_reborn.evaluation.dormancy_figures import event_figures
from rllib_reborn.evaluation.exports import latex_table, marl_eval_data
from rllib_reborn.evaluation.figures import CURVES, MetricCurve, final_figure, task_figures
from rllib_reborn.evaluation.groups import RunGroup, config_differences, group_runs
from rllib_reborn.evaluation.markdown import Page, render_markdown
from rllib_reborn.evaluation.profiles import profile_figure
from rllib_reborn.evaluation.runs import LeftOut, RunError, load_runs
from rllib_reborn.evaluation.sensitivity import MOST_LINES, lines_to_draw, sensitivity_figures
from rllib_reborn.evaluation.style import FigureFiles, FigureSpec, save_figure
from rllib_reborn.evaluation.summary import (
    FINAL,
    LAST,
    NONE,
    TaskSummary,
    comparisons_counted,
    final_means,
    final_rows,
    summarise_task,
)
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
    """

    folder: Path
    markdown: Path
    summary_json: Path
    marl_eval_json: Path
    latex_table: Path
    figures: tuple[FigureFiles, ...]
    tasks: tuple[TaskSummary, ...]
    left_out: tuple[LeftOut, ...]


def write_report(
    run_paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out_dir: str | os.PathLike[str],
    *,
    command: str | None = None,
    level: float = 0.95,
    reps: int = 2000,
    curves: Sequence[MetricCurve] = CURVES,
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

    Raises:
        RunError: A path is no run, no run can be read, or ``out_dir`` is a file.
    """
    records, broken = load_runs(run_paths)
    groups, doubles = group_runs(records)
    left_out = [*broken, *doubles]
    folder = Path(out_dir)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; the report needs a folder.")
    folder.mkdir(parents=True, exist_ok=True)

    by_task = {task: [g for g in groups if g.task == task] for task in dict.fromkeys(g.task for g in groups)}
    tasks = [summarise_task(members, level, reps) for members in by_task.values()]
    figures: dict[str, list[FigureFiles]] = {}
    stems: set[str] = set()
    for summary in tasks:
        specs = _figures(by_task[summary.task], summary, curves, level, reps)
        figures[summary.task] = [save_figure(_own_stem(spec, stems), folder, command) for spec in specs]
    differences = {task: config_differences(members) for task, members in by_task.items()}
    versions = {
        "rllib_reborn": __version__,
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "pandas": pd.__version__,
    }

    report = Report(
        folder=folder,
        markdown=folder / "report.md",
        summary_json=folder / "summary.json",
        marl_eval_json=folder / "marl_eval.json",
        latex_table=folder / "table.tex",
        figures=tuple(files for task in figures.values() for files in task),
        tasks=tuple(tasks),
        left_out=tuple(left_out),
    )
    named = [
        (_display(entry.path, folder), entry.reason.replace(str(entry.path), entry.path.name)) for entry in left_out
    ]
    page = Page(tasks, figures, differences, named, level, command, versions)
    report.markdown.write_text(render_markdown(page), encoding="utf-8")
    report.latex_table.write_text(latex_table(tasks), encoding="utf-8")
    _write_json(report.marl_eval_json, marl_eval_data(groups))
    _write_json(
        report.summary_json,
        {
            "format": FORMAT,
            "command": command,
            "level": level,
            "bootstrap_replicates": reps,
            "versions": versions,
            "runs_found": len(records) + len(broken),
            "runs_used": sum(len(group.runs) for group in groups),
            "left_out": [{"run": name, "reason": reason} for name, reason in named],
            "tasks": [dataclasses.asdict(task) for task in tasks],
            "config_differences": {
                task: {"groups": [g.label for g in by_task[task]], "settings": rows}
                for task, rows in differences.items()
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
    return "\n".join(lines)


def _figures(
    groups: Sequence[RunGroup],
    summary: TaskSummary,
    curves: Sequence[MetricCurve],
    level: float,
    reps: int,
) -> list[FigureSpec]:
    random = next((group.random_return for group in summary.groups if group.random_return), None)
    judged = {group.label: final_means(group) for group in groups}
    means = {
        label: {run.seed: value for run, value in found if run.seed is not None} for label, found in judged.items()
    }
    drawn = lines_to_draw(groups, means)
    # A group whose runs are still going on is not as far as the others: where these are judged at the end, it has no place.
    sources = {group.label: group.source for group in summary.groups}
    over = [label for label, source in sources.items() if source == FINAL]
    over = over or [label for label, source in sources.items() if source == LAST]
    returns = {label: [value for _, value in judged[label]] for label in over}
    going_on = len([source for source in sources.values() if source == LAST]) if FINAL in sources.values() else 0
    without = f" {count(going_on, 'group')} without a final evaluation left out." if going_on else ""
    curve_specs = task_figures(drawn, random, curves=curves, level=level, reps=reps)
    chance = None if random is None else random.estimate
    labels = [group.label for group in drawn]
    profile = profile_figure(summary.task, labels, returns, chance, level=level, reps=reps)
    profile = dataclasses.replace(profile, caption=profile.caption + without)
    specs = [*([] if profile.table.empty else [profile]), *curve_specs]
    specs += event_figures(drawn, level=level, reps=reps)
    if len(drawn) < len(groups):
        more = (
            f" Of {len(groups)} groups {len(drawn)} are drawn: controls, and from the best to the worst final "
            "return in equal steps."
        )
        specs = [dataclasses.replace(spec, caption=spec.caption + more) for spec in specs]
    swept = sensitivity_figures(summary.task, groups, {label: means[label] for label in over if means[label]}, level)
    swept = [dataclasses.replace(spec, caption=spec.caption + without) for spec in swept]
    # The figures of single points come after those of the whole sweep.
    specs = [*swept, *specs]
    rows = final_rows(summary)
    source = " or ".join(dict.fromkeys(g.source for g in summary.groups if g.source != NONE))
    return specs if rows.empty else [final_figure(summary.task, rows, level, source, labels), *specs]


def _own_stem(spec: FigureSpec, taken: set[str]) -> FigureSpec:
    """Names of tasks that differ only in marks that files cannot carry must not overwrite each other."""
    stem, number = spec.stem, 1
    while stem in taken:
        number += 1
        stem = f"{spec.stem}_{number}"
    taken.add(stem)
    return dataclasses.replace(spec, stem=stem)


def _display(path: Path, folder: Path) -> str:
    """A run's path as seen from the report, so that a report passed on names no one's home folder."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive
        return path.name


def _write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(_plain(data), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """JSON has no nan: what is not known is null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
