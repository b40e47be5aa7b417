"""The tables of a report, cell by cell as text, for all that shows them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from rllib_reborn.evaluation.plasticity import LAST_CHECKS, InterventionSummary, PlasticitySummary
from rllib_reborn.evaluation.summary import LAST, Comparison, GroupSummary, TaskSummary
from rllib_reborn.evaluation.text import count, format_interval, format_number, format_percent, format_time


@dataclasses.dataclass(frozen=True)
class TableData:
    """One table.

    Attributes:
        title: What it is called.
        head: Names of the columns.
        rows: Cells, as many in each row as there are names.
        note: What has to be known to read it; may be empty.
        code: Columns of names that are typed, not read.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    code: frozenset[int] = frozenset()


def what_was_run(task: TaskSummary) -> TableData:
    """A row a group: what ran, and for how long."""
    return TableData(
        "What was run",
        ["group", "algorithm", "seeds", "environment steps", "wall time, all seeds"],
        [[g.label, g.algorithm, _seeds(g), _steps(g), format_time(g.wall_time_s)] for g in task.groups],
    )


def final_returns(task: TaskSummary) -> TableData:
    """A row a group: its return at the end, beside the random policy's."""
    wins = any(group.win_rate is not None for group in task.groups)
    iqm = any(group.shows_iqm for group in task.groups)
    head = ["group", "policy", *(["policy, IQM"] if iqm else []), "random policy", "difference", "interval over"]
    head += ["win rate"] if wins else []
    return TableData("Final greedy return", head, [_result(group, wins=wins, iqm=iqm) for group in task.groups])


def comparison_rows(comparisons: Sequence[Comparison]) -> TableData:
    """A row a comparison of two groups."""
    rows = []
    for one in comparisons:
        how = f"by {count(len(one.seeds), 'seed')}" if one.paired else "not paired"
        rows.append([one.label, one.baseline, format_interval(one.difference, signed=True), how, chance(one)])
    head = ["group", "against", "difference", "paired", "probability of improvement"]
    return TableData("One against another", head, rows)


def plasticity_tables(task: TaskSummary) -> list[TableData]:
    """Dormancy, interventions and drifts, those of them that there is data for."""
    groups = [(group.label, group.plasticity) for group in task.groups if group.plasticity is not None]
    listed = [(label, one) for label, found in groups for one in found.interventions]
    dormancy = TableData(
        "Dormancy",
        ["group", "dormant, mixer", "peak", "dormant, agents", "peak", "over-active sum, mixer", "checks"],
        [[label, *_dormancy_cells(found)] for label, found in groups if found.nets],
        f"Dormant fraction and over-active sum: mean of each run's last {LAST_CHECKS} checks (of all where there "
        "are fewer), mean and interval over seeds (cut to 0..100 %; none with one seed); peak: "
        "the largest dormant fraction of a run, mean over seeds.",
    )
    interventions = TableData(
        "Interventions",
        ["group", "intervention", "applications", "neurons each", "function drift", "greedy actions changed"],
        [[label, *_intervention_cells(one)] for label, one in listed],
        "Neurons with new weights (donors included), relative function drift and share of greedy actions changed: "
        "medians over all applications.",
    )
    return [table for table in (dormancy, interventions, _drifts(listed)) if table.rows]


def every_run(task: TaskSummary) -> TableData:
    """A row a run."""
    wins = any(group.win_rate is not None for group in task.groups)
    head = [
        "run",
        "group",
        "seed",
        "environment steps",
        "wall time",
        "return",
        *(["win rate"] if wins else []),
        "notes",
    ]
    return TableData(
        "Every run",
        head,
        [row for group in task.groups for row in _run_rows(group, wins=wins)],
        "Intervals of single runs are over their evaluation episodes.",
        frozenset({0}),
    )


def setting_differences(labels: Sequence[str], differences: Mapping[str, Sequence[str]], most: int) -> TableData:
    """A column a group, a row a setting; of more groups than ``most`` a row."""
    title = "Settings that differ between groups"
    rows = [[key, *values] for key, values in differences.items()]
    if len(labels) <= most or not rows:
        return TableData(title, ["setting", *labels], rows, code=frozenset({0}))
    names, *columns = zip(*rows)
    return TableData(title, ["group", *names], [[label, *column] for label, column in zip(labels, columns)])


def chance(comparison: Comparison) -> str:
    """The probability of improvement, ``0.75 [0.50, 1.00]``."""
    found = comparison.probability_of_improvement
    interval = f"[{found.low:.2f}, {found.high:.2f}]" if found.known else "(no interval)"
    return f"{found.estimate:.2f} {interval}"


def _drifts(listed: Sequence[tuple[str, InterventionSummary]]) -> TableData:
    """A row for each intervention and number of updates."""
    rows = [
        [
            label,
            one.name,
            f"{drift.updates:,}",
            format_number(drift.q_drift),
            format_number(drift.untreated),
            f"{drift.measured:,} of {drift.measured + drift.not_measured:,}",
        ]
        for label, one in listed
        for drift in one.drifts
    ]
    return TableData(
        "Drift over updates",
        ["group", "intervention", "updates later", "drift of Q_tot", "untreated", "measured"],
        rows,
        "Drift of Q_tot: mean distance to Q_tot of a copy without the application that made the same updates, over the "
        "standard deviation of the copy's, on held-out episodes; untreated: how far the copy moved by itself. Medians over "
        "the applications of which it was measured; it is not where another application came first.",
    )


def _dormancy_cells(found: PlasticitySummary) -> list[str]:
    mixer, agent = found.nets.get("mixer"), found.nets.get("agent")
    cells = []
    for net in (mixer, agent):
        cells += [format_percent(net.final), f"{100 * net.peak.estimate:.1f} %"] if net else ["-", "-"]
    cells.append(format_percent(mixer.overactive_sum if mixer else None))
    return [*cells, str(max(net.checks for net in found.nets.values()))]


def _intervention_cells(one: InterventionSummary) -> list[str]:
    low, high = min(one.applications), max(one.applications)
    shares = (one.function_drift, one.greedy_actions_changed)
    return [
        one.name,
        (f"{low:,}" if low == high else f"{low:,} to {high:,}") + (" per seed" if len(one.applications) > 1 else ""),
        format_number(one.neurons),
        *("-" if share is None else f"{format_number(100 * share)} %" for share in shares),
    ]


def _seeds(group: GroupSummary) -> str:
    known = [str(seed) for seed in group.seeds if seed is not None]
    unseeded = len(group.seeds) - len(known)
    names = ", ".join([*known, *([f"{unseeded} unseeded"] if unseeded else [])])
    return f"{len(group.seeds)} ({names})"


def _steps(group: GroupSummary) -> str:
    low, high = group.env_steps_min, group.env_steps_max
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _result(group: GroupSummary, *, wins: bool, iqm: bool) -> list[str]:
    seeds = len(group.runs) - len(group.not_in_final)
    over = count(seeds, "seed") if group.unit == "seeds" else f"{count(group.episodes, 'episode')}, 1 seed"
    return [
        group.label,
        format_interval(group.policy_return),
        *([format_interval(group.policy_iqm)] if iqm else []),
        format_interval(group.random_return),
        format_interval(group.difference, signed=True),
        over if group.policy_return else "-",
        *([f"{format_percent(group.win_rate)} ({count(group.episodes, 'episode')})"] if wins else []),
    ]


def _run_rows(group: GroupSummary, *, wins: bool) -> list[list[str]]:
    rows = []
    for run in group.runs:
        notes = [
            *run.notes,
            *(["return from the last evaluation during training"] if run.source == LAST else []),
        ]
        rows.append(
            [
                run.name,
                group.label,
                "-" if run.seed is None else str(run.seed),
                format_number(run.env_steps, 0),
                format_time(run.wall_time_s),
                format_interval(run.policy_return),
                *([format_percent(run.win_rate)] if wins else []),
                "; ".join(notes),
            ]
        )
    return rows
