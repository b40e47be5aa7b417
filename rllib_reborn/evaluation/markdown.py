"""The text of a report as plain Markdown."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from rllib_reborn.evaluation.plasticity import LAST_CHECKS, InterventionSummary, PlasticitySummary
from rllib_reborn.evaluation.sensitivity import MOST_LINES
from rllib_reborn.evaluation.style import FigureFiles
from rllib_reborn.evaluation.summary import FINAL, LAST, Comparison, GroupSummary, TaskSummary, comparisons_counted
from rllib_reborn.evaluation.text import (
    count,
    format_interval,
    format_number,
    format_percent,
    format_time,
    percent,
)


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
    lines = ["# Training report", "", _overview(page), ""]
    for task in page.tasks:
        lines += _task(task, page)
    lines += ["## Runs left out", ""]
    if page.left_out:
        lines += [f"{count(len(page.left_out), 'run')} found and not used:", ""]
        lines += [f"- `{name}`: {reason}" for name, reason in page.left_out]
    else:
        lines.append("None: every run found is used.")
    lines += ["", "## How to read the numbers", "", *_method(page), "", "## Made with", ""]
    lines += [f"Command: `{page.command}`" if page.command else "Command: not given", ""]
    lines += [", ".join(f"{name} {version}" for name, version in page.versions.items()), ""]
    return "\n".join(lines)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; a bar in a cell is escaped."""
    body = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in body]


def _overview(page: Page) -> str:
    groups = [group for task in page.tasks for group in task.groups]
    runs = [run for group in groups for run in group.runs]
    times = [run.wall_time_s for run in runs if run.wall_time_s is not None]
    text = f"{count(len(runs), 'run')} in {count(len(groups), 'group')} on {count(len(page.tasks), 'task')}"
    text += f", {count(sum(run.env_steps for run in runs), 'environment step')}"
    text += f", {format_time(sum(times))} of training" if times else ""
    return f"{text}. {count(len(page.left_out), 'run')} left out."


def _task(task: TaskSummary, page: Page) -> list[str]:
    lines = [f"## {task.task}", "", "### What was run", ""]
    lines += table(
        ["group", "algorithm", "seeds", "environment steps", "wall time, all seeds"],
        [[g.label, g.algorithm, _seeds(g), _steps(g), format_time(g.wall_time_s)] for g in task.groups],
    )
    lines += ["", task.forks_text] if task.forks_text else []
    lines += ["", "### Final greedy return", ""]
    wins = any(group.win_rate is not None for group in task.groups)
    iqm = any(group.shows_iqm for group in task.groups)
    head = [
        "group",
        "policy",
        *(["policy, IQM"] if iqm else []),
        "random policy",
        "difference",
        "interval over",
        *(["win rate"] if wins else []),
    ]
    lines += table(head, [_result(group, wins=wins, iqm=iqm) for group in task.groups])
    lines.append("")
    lines += _verdicts(task.groups)
    random_wins = task.groups[0].random_win_rate
    if wins and random_wins is not None:
        lines.append(f"- Win rate of the random policy: {format_percent(random_wins)}.")
    lines.append("")
    if task.comparisons:
        lines += ["### One against another", "", *_comparisons(task.comparisons), ""]
    lines += _plasticity(task)
    lines += ["### Curves", ""]
    for figure in page.figures.get(task.task, ()):
        lines += [f"![{figure.title}]({figure.png.name})", "", f"{figure.caption}", ""]
        lines += [f"[PDF]({figure.pdf.name}), [data]({figure.csv.name})", ""]
    lines += ["### Every run", ""]
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
    lines += table(head, [row for group in task.groups for row in _run_rows(group, wins=wins)])
    lines += ["", "Intervals of single runs are over their evaluation episodes.", ""]
    return [*lines, *_differences(task, page.differences.get(task.task, {}))]


def _verdicts(groups: Sequence[GroupSummary]) -> list[str]:
    """A line a group; of many groups only those of which there is more to say than that they beat the random policy."""
    lines = {group.label: f"- **{group.label}**: {group.verdict}{_source_note(group)}" for group in groups}
    plain = [group.label for group in groups if group.better_than_random and not _source_note(group)]
    if len(groups) <= MOST_LINES or len(plain) < 2:
        return list(lines.values())
    rest = [line for label, line in lines.items() if label not in plain]
    who = "All" if not rest else "The other"
    return [*rest, f"- {who} {len(plain)} groups are better than the random policy by more than the interval."]


def _comparisons(comparisons: Sequence[Comparison]) -> list[str]:
    """A line each; many of them as a table, after how many came out which way."""
    if len(comparisons) < MOST_LINES:
        return [
            f"- {one.verdict} Probability of improvement: {_chance(one)}, where 0.5 is no difference."
            for one in comparisons
        ]
    rows = []
    for one in comparisons:
        how = f"by {count(len(one.seeds), 'seed')}" if one.paired else "not paired"
        rows.append([one.label, one.baseline, format_interval(one.difference, signed=True), how, _chance(one)])
    head = ["group", "against", "difference", "paired", "probability of improvement"]
    return [*(f"- {sentence}" for sentence in comparisons_counted(comparisons)), "", *table(head, rows)]


def _chance(comparison: Comparison) -> str:
    chance = comparison.probability_of_improvement
    interval = f"[{chance.low:.2f}, {chance.high:.2f}]" if chance.known else "(no interval)"
    return f"{chance.estimate:.2f} {interval}"


def _plasticity(task: TaskSummary) -> list[str]:
    groups = [(group.label, group.plasticity) for group in task.groups if group.plasticity is not None]
    if not groups:
        return []
    lines = ["### Plasticity", ""]
    measured = [(label, found) for label, found in groups if found.nets]
    if measured:
        head = ["group", "dormant, mixer", "peak", "dormant, agents", "peak", "over-active sum, mixer", "checks"]
        lines += [*table(head, [[label, *_dormancy_cells(found)] for label, found in measured]), ""]
        lines += [
            f"Dormant fraction and over-active sum: mean of each run's last {LAST_CHECKS} checks (of all where there "
            "are fewer), mean and interval over seeds (cut to 0..100 %; none with one seed); peak: "
            "the largest dormant fraction of a run, mean over seeds.",
            "",
        ]
    listed = [(label, one) for label, found in groups for one in found.interventions]
    if listed:
        head = ["group", "intervention", "applications", "neurons each", "function drift", "greedy actions changed"]
        lines += [*table(head, [[label, *_intervention_cells(one)] for label, one in listed]), ""]
        lines += [
            "Neurons with new weights (donors included), relative function drift and share of greedy actions changed: "
            "medians over all applications.",
            "",
        ]
        lines += _drifts(listed)
        for label, one in listed:
            lines += [f"- **{label}**, {one.name}: {words}." for words in one.settings]
        lines.append("")
    return lines


def _drifts(listed: Sequence[tuple[str, InterventionSummary]]) -> list[str]:
    """A row for each intervention and number of updates; nothing where no run has any."""
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
    if not rows:
        return []
    head = ["group", "intervention", "updates later", "drift of Q_tot", "untreated", "measured"]
    return [
        *table(head, rows),
        "",
        "Drift of Q_tot: mean distance to Q_tot of a copy without the application that made the same updates, over the "
        "standard deviation of the copy's, on held-out episodes; untreated: how far the copy moved by itself. Medians over "
        "the applications of which it was measured; it is not where another application came first.",
        "",
    ]


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


def _differences(task: TaskSummary, differences: Mapping[str, Sequence[str]]) -> list[str]:
    lines = []
    if len(task.groups) > 1:
        lines += ["### Settings that differ between groups", ""]
        lines += _differences_table([group.label for group in task.groups], differences)
        lines.append("")
    for group in task.groups:
        if group.varying_settings:
            names = ", ".join(f"`{name}`" for name in group.varying_settings)
            lines += [f"The runs of {group.label} differ among themselves in {names}.", ""]
    return lines


def _differences_table(labels: Sequence[str], differences: Mapping[str, Sequence[str]]) -> list[str]:
    """A column a group; of many groups a row."""
    if not differences:
        return ["None."]
    rows = [[f"`{key}`", *values] for key, values in differences.items()]
    if len(labels) <= MOST_LINES:
        return table(["setting", *labels], rows)
    names, *columns = zip(*rows)
    return table(["group", *names], [[label, *column] for label, column in zip(labels, columns)])


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


def _source_note(group: GroupSummary) -> str:
    if group.source == LAST:
        return " These are the last evaluations during training: no run has a final evaluation."
    if group.source == FINAL and group.not_in_final:
        names = ", ".join(f"`{name}`" for name in group.not_in_final)
        return f" Left out for want of a final evaluation: {names}."
    return ""


def _run_rows(group: GroupSummary, *, wins: bool) -> list[list[str]]:
    rows = []
    for run in group.runs:
        notes = [
            *run.notes,
            *(["return from the last evaluation during training"] if run.source == LAST else []),
        ]
        rows.append(
            [
                f"`{run.name}`",
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


def _method(page: Page) -> list[str]:
    level = percent(page.level)
    return [
        f"- Numbers in brackets are {level} intervals. With several seeds the final return is the mean",
        "  of the seeds' means with Student's t; with one seed the interval is over that policy's episodes.",
        "- IQM: the interquartile mean of the seeds' means with a stratified bootstrap interval; below four seeds it is",
        "  their mean, and has no column.",
        "- The difference to the random policy uses Welch's interval.",
        f"- Curves: interquartile mean over seeds (below four seeds, the mean) with a pointwise {level}",
        "  stratified bootstrap band. Such a band is too narrow for few seeds: for normal values a nominal",
        "  95 % covers about 74 % at three seeds, 91 % at five and 93 % at ten.",
        "- Win rates: Wilson's interval; the number of episodes is reduced where seeds differ by more than",
        "  chance.",
        "- Groups are compared by common seeds (Student's t of the differences) if there are two or more,",
        "  else by Welch's interval. Nothing is corrected for comparing several groups.",
    ]
