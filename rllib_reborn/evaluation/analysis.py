"""Everything that a report and the HTML page show of runs, computed once: groups, numbers, and figures not yet drawn."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from rllib_reborn._version import __version__
from rllib_reborn.evaluation.dormancy_figures import event_figures
from rllib_reborn.evaluation.dormancy_heatmap import dormancy_heatmap
from rllib_reborn.evaluation.figures import CURVES, MetricCurve, final_figure, task_figures
from rllib_reborn.evaluation.groups import RunGroup, config_differences, group_runs
from rllib_reborn.evaluation.profiles import profile_figure
from rllib_reborn.evaluation.runs import LeftOut, RunRecord
from rllib_reborn.evaluation.sensitivity import lines_to_draw, sensitivity_figures
from rllib_reborn.evaluation.style import FigureSpec
from rllib_reborn.evaluation.summary import FINAL, LAST, NONE, TaskSummary, final_means, final_rows, summarise_task
from rllib_reborn.evaluation.text import count


@dataclasses.dataclass(frozen=True)
class TaskAnalysis:
    """One task.

    Attributes:
        summary: Its numbers.
        groups: Its groups, in the order of ``summary.groups``.
        figures: In the order of the report; their stems are unique among all tasks.
        differences: :func:`~rllib_reborn.evaluation.groups.config_differences` of the groups.
    """

    summary: TaskSummary
    groups: tuple[RunGroup, ...]
    figures: tuple[FigureSpec, ...]
    differences: Mapping[str, Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Analysis:
    """All tasks, and the runs that play no part.

    Attributes:
        level: Confidence level, in (0, 1).
        reps: Bootstrap replicates.
        found: Runs found, those left out included.
        versions: Of what computed this.
    """

    tasks: tuple[TaskAnalysis, ...]
    left_out: tuple[LeftOut, ...]
    level: float
    reps: int
    found: int
    versions: Mapping[str, str]

    @property
    def groups(self) -> list[RunGroup]:
        """Groups of all tasks."""
        return [group for task in self.tasks for group in task.groups]


def analyse(
    records: Sequence[RunRecord],
    broken: Sequence[LeftOut] = (),
    *,
    level: float = 0.95,
    reps: int = 2000,
    curves: Sequence[MetricCurve] = CURVES,
) -> Analysis:
    """Groups the runs, and computes the numbers and the rows of every figure.

    Args:
        records: Runs, at least one.
        broken: Runs that could not be read.
        level: Confidence level, in (0, 1).
        reps: Bootstrap replicates, ``>= 1``.
        curves: Metrics that get learning curves.
    """
    groups, doubles = group_runs(records)
    stems: set[str] = set()
    tasks = []
    for name in dict.fromkeys(group.task for group in groups):
        members = [group for group in groups if group.task == name]
        summary = summarise_task(members, level, reps)
        figures = tuple(_own_stem(spec, stems) for spec in figures_of(members, summary, curves, level, reps))
        tasks.append(TaskAnalysis(summary, tuple(members), figures, config_differences(members)))
    versions = {
        "rllib_reborn": __version__,
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "pandas": pd.__version__,
    }
    return Analysis(tuple(tasks), (*broken, *doubles), level, reps, len(records) + len(broken), versions)


def figures_of(
    groups: Sequence[RunGroup],
    summary: TaskSummary,
    curves: Sequence[MetricCurve],
    level: float,
    reps: int,
) -> list[FigureSpec]:
    """All figures of the groups of one task that there is data for, those of the whole sweep first."""
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
    specs += [*event_figures(drawn, level=level, reps=reps), *_heatmap(drawn, level, reps)]
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


def _heatmap(groups: Sequence[RunGroup], level: float, reps: int) -> list[FigureSpec]:
    spec = dormancy_heatmap(groups, level=level, reps=reps)
    return [] if spec.table.empty else [spec]


def _own_stem(spec: FigureSpec, taken: set[str]) -> FigureSpec:
    """Names of tasks that differ only in marks that files cannot carry must not overwrite each other."""
    stem, number = spec.stem, 1
    while stem in taken:
        number += 1
        stem = f"{spec.stem}_{number}"
    taken.add(stem)
    return dataclasses.replace(spec, stem=stem)
