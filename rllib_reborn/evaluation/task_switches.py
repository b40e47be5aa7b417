"""What a report says and shows of runs that go through a sequence of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from rllib_reborn.evaluation.groups import RunGroup
from rllib_reborn.evaluation.runs import RunRecord
from rllib_reborn.evaluation.style import REFERENCE_COLOUR

#: Series of the rows at which runs go over to another task.
SWITCH = "task"
SWITCH_NOTE = "dashed upright line: another task"
#: Switches of a group that get a row (of more, only every m-th), and a number.
_MOST, _MOST_NUMBERS = 30, 12
_SWITCHES, _INDEX = "task/switches", "task/index"


def switches_of(run: RunRecord) -> dict[int, tuple[float, int]]:
    """Of each period but the first of a run: the env steps at which it began, and the number of its task. Empty where the
    run has one task, or its rows do not say it."""
    steps, periods = run.series(_SWITCHES)
    index_steps, tasks = run.series(_INDEX)
    if not steps.size or not np.array_equal(steps, index_steps):
        return {}
    changed = np.flatnonzero(np.diff(periods) > 0)
    # A row's numbers are of one task, so that the next one begins where the last row of the one before ends.
    return {int(periods[at + 1]): (float(steps[at]), int(tasks[at + 1])) for at in changed.tolist()}


def switch_rows(groups: Sequence[RunGroup], columns: Sequence[str]) -> pd.DataFrame:
    """A row a group and switch: ``env_steps``, the mean over its ``runs``; ``value``, the number of the task that begins."""
    rows = []
    for group in groups:
        found = [switches_of(run) for run in group.runs]
        periods = sorted({period for of_run in found for period in of_run})
        every = max(1, -(-len(periods) // _MOST))
        for period in periods[every - 1 :: every]:
            at = [of_run[period] for of_run in found if period in of_run]
            rows.append((group.label, SWITCH, float(np.mean([steps for steps, _ in at])), float(at[0][1]), len(at)))
    table = pd.DataFrame(rows, columns=["label", "series", "env_steps", "value", "runs"])
    return table.reindex(columns=list(columns))


def switches_text(table: pd.DataFrame) -> str:
    """The sentence of a caption about the switches in its table; empty where there are none."""
    if table.empty or not (table["series"] == SWITCH).any():
        return ""
    return (
        " Dashed upright lines: another task of the sequence begins (its number above, where there are few lines); what is "
        "drawn behind such a line is of that task."
    )


def draw_switches(axes: Any, table: pd.DataFrame) -> None:
    """A line for each env step at which another task begins, the number of the task above it where there is room."""
    rows = table[table["series"] == SWITCH].drop_duplicates("env_steps")
    for steps, task in zip(rows["env_steps"], rows["value"], strict=True):
        axes.axvline(steps, color=REFERENCE_COLOUR, linestyle=(0, (4, 3)), linewidth=0.8, zorder=1.5)
        if len(rows) <= _MOST_NUMBERS:
            where = {
                "xycoords": ("data", "axes fraction"),
                "xytext": (2, -2),
                "textcoords": "offset points",
                "va": "top",
            }
            axes.annotate(f"{task:.0f}", (steps, 1), fontsize=8, color=REFERENCE_COLOUR, **where)
