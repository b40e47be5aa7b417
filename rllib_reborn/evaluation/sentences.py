"""What a report says in sentences, for all that shows them; backquotes mark names that are typed."""

from __future__ import annotations

from collections.abc import Sequence

from rllib_reborn.evaluation.sensitivity import MOST_LINES
from rllib_reborn.evaluation.summary import FINAL, LAST, Comparison, GroupSummary, TaskSummary, comparisons_counted
from rllib_reborn.evaluation.tables import chance
from rllib_reborn.evaluation.text import count, format_percent, format_time, percent


def overview(tasks: Sequence[TaskSummary], left_out: int) -> str:
    """How much there is."""
    groups = [group for task in tasks for group in task.groups]
    runs = [run for group in groups for run in group.runs]
    times = [run.wall_time_s for run in runs if run.wall_time_s is not None]
    text = f"{count(len(runs), 'run')} in {count(len(groups), 'group')} on {count(len(tasks), 'task')}"
    text += f", {count(sum(run.env_steps for run in runs), 'environment step')}"
    text += f", {format_time(sum(times))} of training" if times else ""
    return f"{text}. {count(left_out, 'run')} left out."


def verdicts(task: TaskSummary) -> list[tuple[str, str]]:
    """A group and what is said of it; of many groups only those of which there is more to say than that they beat the random
    policy. Last, of an empty group, what holds of all."""
    found = [(group.label, f"{group.verdict}{_source_note(group)}") for group in task.groups]
    plain = [group.label for group in task.groups if group.better_than_random and not _source_note(group)]
    if len(found) > MOST_LINES and len(plain) >= 2:
        found = [(label, text) for label, text in found if label not in plain]
        who = "All" if not found else "The other"
        found.append(("", f"{who} {len(plain)} groups are better than the random policy by more than the interval."))
    random_wins = task.groups[0].random_win_rate
    if any(group.win_rate is not None for group in task.groups) and random_wins is not None:
        found.append(("", f"Win rate of the random policy: {format_percent(random_wins)}."))
    return found


def comparisons_in_words(comparisons: Sequence[Comparison]) -> list[str]:
    """A sentence each; of many, how many came out which way."""
    if len(comparisons) >= MOST_LINES:
        return comparisons_counted(comparisons)
    return [
        f"{one.verdict} Probability of improvement: {chance(one)}, where 0.5 is no difference." for one in comparisons
    ]


def interventions_in_words(task: TaskSummary) -> list[tuple[str, str]]:
    """A group and the settings of an intervention of it."""
    return [
        (group.label, f"{one.name}: {words}.")
        for group in task.groups
        if group.plasticity is not None
        for one in group.plasticity.interventions
        for words in one.settings
    ]


def method(level: float) -> list[str]:
    """How the numbers were made."""
    shown = percent(level)
    return [
        (
            f"Numbers in brackets are {shown} intervals. With several seeds the final return is the mean of the "
            "seeds' means with Student's t; with one seed the interval is over that policy's episodes."
        ),
        (
            "IQM: the interquartile mean of the seeds' means with a stratified bootstrap interval; below four "
            "seeds it is their mean, and has no column."
        ),
        "The difference to the random policy uses Welch's interval.",
        (
            f"Curves: interquartile mean over seeds (below four seeds, the mean) with a pointwise {shown} "
            "stratified bootstrap band. Such a band is too narrow for few seeds: for normal values a nominal 95 % "
            "covers about 74 % at three seeds, 91 % at five and 93 % at ten."
        ),
        "Win rates: Wilson's interval; the number of episodes is reduced where seeds differ by more than chance.",
        (
            "Groups are compared by common seeds (Student's t of the differences) if there are two or more, else "
            "by Welch's interval. Nothing is corrected for comparing several groups."
        ),
    ]


def _source_note(group: GroupSummary) -> str:
    if group.source == LAST:
        return " These are the last evaluations during training: no run has a final evaluation."
    if group.source == FINAL and group.not_in_final:
        names = ", ".join(f"`{name}`" for name in group.not_in_final)
        return f" Left out for want of a final evaluation: {names}."
    return ""
