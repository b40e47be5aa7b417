"""The numbers of a report: final returns with intervals, against the random policy and between groups.

What is independent decides the interval. With several seeds the unit is the seed: each run counts by its mean
return. With one seed the unit is the episode, and the result holds for that one trained policy only; every
sentence states it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from rllib_reborn.evaluation.forks import ForkSummary, forks_of, forks_text
from rllib_reborn.evaluation.groups import RunGroup, baseline_of, differences_within
from rllib_reborn.evaluation.plasticity import PlasticitySummary, summarise_plasticity
from rllib_reborn.evaluation.runs import Episodes, RunRecord
from rllib_reborn.evaluation.statistics import (
    Interval,
    difference_interval,
    iqm,
    mean_interval,
    paired_difference,
    probability_of_improvement,
    proportion_interval,
    stratified_bootstrap,
)
from rllib_reborn.evaluation.text import count, format_interval, percent

FINAL = "final evaluation"
LAST = "last evaluation during training"
NONE = "no evaluation"
#: Seeds below which the interquartile mean cuts nothing away.
FEWEST_FOR_IQM = 4


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """One row of the table of runs; intervals are over the run's evaluation episodes."""

    name: str
    seed: int | None
    env_steps: int
    wall_time_s: float | None
    source: str
    policy_return: Interval | None
    win_rate: Interval | None
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class GroupSummary:
    """One experiment.

    Attributes:
        source: Where the policy's returns come from, :data:`FINAL`, :data:`LAST` or :data:`NONE`.
        unit: What the policy's interval is over, ``seeds`` or ``episodes``.
        episodes: Evaluation episodes behind the policy's numbers, all seeds together.
        policy_return: Mean greedy return, every seed with the same weight.
        policy_iqm: Interquartile mean of the seeds' mean returns, with its bootstrap interval; below four seeds it is
            their mean. ``None`` with one.
        random_return: Mean return of the random policy over its episodes, all runs of the task together.
        random_episodes: Number of those episodes.
        difference: ``policy_return - random_return``, Welch.
        better_than_random: ``True`` or ``False`` where the difference's interval leaves out zero, else
            ``None``.
        verdict: The same as a sentence.
        win_rate: Wilson; ``None`` where the game knows no winner.
        random_win_rate: The same of the random policy.
        not_in_final: Names of runs without the evaluation that the others are judged by.
        varying_settings: Settings in which the runs differ, other than the seed.
        plasticity: Dormancy and interventions; ``None`` where nothing was measured and nothing applied.
    """

    label: str
    algorithm: str
    seeds: list[int | None]
    env_steps_min: int
    env_steps_max: int
    wall_time_s: float | None
    source: str
    unit: str
    episodes: int
    policy_return: Interval | None
    policy_iqm: Interval | None
    random_return: Interval | None
    random_episodes: int
    difference: Interval | None
    better_than_random: bool | None
    verdict: str
    win_rate: Interval | None
    random_win_rate: Interval | None
    not_in_final: list[str]
    varying_settings: list[str]
    plasticity: PlasticitySummary | None
    runs: list[RunSummary]

    @property
    def shows_iqm(self) -> bool:
        """Whether there are so many seeds that the IQM is something else than their mean."""
        return self.policy_iqm is not None and self.policy_iqm.n >= FEWEST_FOR_IQM


@dataclasses.dataclass(frozen=True)
class Comparison:
    """``label`` against ``baseline`` on final returns.

    Attributes:
        paired: Whether the difference is over common seeds (Student's t of the differences) or Welch's of all
            seeds.
        seeds: The common seeds, where paired.
        difference: Mean return of ``label`` minus that of ``baseline``.
        probability_of_improvement: That a run of ``label`` beats one of ``baseline``.
        verdict: A sentence.
    """

    label: str
    baseline: str
    paired: bool
    seeds: list[int]
    difference: Interval
    probability_of_improvement: Interval
    verdict: str


@dataclasses.dataclass(frozen=True)
class TaskSummary:
    """Everything about one task; ``forks_text`` says in words what ``forks`` holds."""

    task: str
    env: str
    groups: list[GroupSummary]
    comparisons: list[Comparison]
    forks: list[ForkSummary] = dataclasses.field(default_factory=list)
    forks_text: str = ""


def summarise_task(groups: Sequence[RunGroup], level: float = 0.95, reps: int = 2000) -> TaskSummary:
    """Numbers of the groups of one task; what is compared with what: :func:`baseline_of`."""
    random = random_episodes(groups)
    summaries = [_summarise_group(group, random, level, reps) for group in groups]
    comparisons = []
    sources = {group.label: summary.source for group, summary in zip(groups, summaries)}
    for group in groups:
        baseline = baseline_of(group, groups)
        if baseline is not None and sources[baseline.label] == sources[group.label] != NONE:
            comparisons.append(_compare(group, baseline, level, reps))
    return TaskSummary(groups[0].task, groups[0].env, summaries, comparisons, forks_of(groups), forks_text(groups))


def random_episodes(groups: Sequence[RunGroup]) -> Episodes | None:
    """Episodes of the random policy from all runs of a task; ``None`` where none was evaluated.

    The random policy learns nothing, so its episodes may be pooled. Runs that evaluated it with the same
    seeds played the same episodes: equal lists of returns count once, or the interval would be too narrow.
    """
    distinct: dict[tuple[float, ...], Episodes] = {}
    for group in groups:
        for run in group.runs:
            if run.final is not None and run.final.random is not None:
                distinct.setdefault(tuple(run.final.random.returns), run.final.random)
    if not distinct:
        return None
    parts = list(distinct.values())
    won = [part.won for part in parts if part.won is not None]
    return Episodes(
        np.concatenate([part.returns for part in parts]),
        np.concatenate(won) if len(won) == len(parts) else None,
    )


def final_rows(summary: TaskSummary) -> pd.DataFrame:
    """Rows of the figure of final returns; empty where no policy was evaluated."""
    rows: list[tuple[str, str, float, float, float, str]] = []
    # Said where others have ended; where none has, the figure's caption says it of all.
    unfinished = " (not over)" if any(group.source == FINAL for group in summary.groups) else ""
    for group in summary.groups:
        if group.policy_return is None:
            continue
        several = len(group.runs) > 1
        for run in group.runs if several else []:
            if run.policy_return is not None and run.source == group.source:
                rows.append((group.label, "run", run.policy_return.estimate, math.nan, math.nan, ""))
        rows.append(_final_row(group.label, "policy", group.policy_return, "" if group.source == FINAL else unfinished))
    random = next((group.random_return for group in summary.groups if group.random_return), None)
    if rows and random is not None:
        rows.append(_final_row("random policy", "random", random))
    return pd.DataFrame(rows, columns=["label", "kind", "value", "low", "high", "text"])


def _final_row(label: str, kind: str, x: Interval, more: str = "") -> tuple[str, str, float, float, float, str]:
    return label, kind, x.estimate, x.low, x.high, format_interval(x) + more


def _summarise_group(group: RunGroup, random: Episodes | None, level: float, reps: int) -> GroupSummary:
    source, scored = _scored(group)
    runs = [_summarise_run(run, source, level) for run in group.runs]
    means = [float(episodes.returns.mean()) for _, episodes in scored]
    # One seed: its episodes are all there is. Several: episodes of one run share its luck, so runs are the
    # unit.
    units = np.asarray(means) if len(means) > 1 else scored[0][1].returns if scored else None
    unit = "seeds" if len(means) > 1 else "episodes"
    policy = None if units is None else mean_interval(units, level)
    baseline = None if random is None else mean_interval(random.returns, level)
    difference = None if units is None or random is None else difference_interval(units, random.returns, level)
    episodes = sum(e.returns.size for _, e in scored)
    times = [run.wall_time_s for run in group.runs if run.wall_time_s is not None]
    basis = _basis(unit, len(group.runs) if unit == "seeds" else episodes, len(means))
    return GroupSummary(
        label=group.label,
        algorithm=group.algorithm,
        seeds=group.seeds,
        env_steps_min=min(run.env_steps for run in group.runs),
        env_steps_max=max(run.env_steps for run in group.runs),
        wall_time_s=sum(times) if times else None,
        source=source,
        unit=unit,
        episodes=episodes,
        policy_return=policy,
        policy_iqm=stratified_bootstrap([means], iqm, reps, level) if len(means) > 1 else None,
        random_return=baseline,
        random_episodes=0 if random is None else random.returns.size,
        difference=difference,
        better_than_random=_sign(difference),
        verdict=_verdict(policy, baseline, difference, basis),
        win_rate=_win_rate([e for _, e in scored], level),
        random_win_rate=None if random is None else _win_rate([random], level),
        not_in_final=[r.name for r in group.runs if not any(r is run for run, _ in scored)],
        varying_settings=differences_within(group),
        plasticity=summarise_plasticity(group, level),
        runs=runs,
    )


def _scored(group: RunGroup) -> tuple[str, list[tuple[RunRecord, Episodes]]]:
    """Runs with the episodes they are judged by, all from one kind of evaluation."""
    final = [(run, run.final.policy) for run in group.runs if run.final is not None]
    if final:
        return FINAL, final
    last = [(run, episodes) for run in group.runs if (episodes := _last_evaluation(run)) is not None]
    return (LAST, last) if last else (NONE, [])


def _last_evaluation(run: RunRecord) -> Episodes | None:
    rows = run.evaluations()
    # Of a sequence of tasks a row is of one of them, by which runs that ended elsewhere cannot be judged.
    if rows.empty or "eval/returns" not in rows or "eval/task" in rows:
        return None
    row = rows.iloc[-1]
    listed = row["eval/returns"]
    returns = np.asarray(listed if isinstance(listed, list) else [], dtype=np.float64)
    if not returns.size or not np.isfinite(returns).all():
        return None
    rate = row.get("eval/win_rate", math.nan)
    # Which episodes were won is not in the row, only how many; no statistic here asks which.
    won = None
    if isinstance(rate, float) and math.isfinite(rate):
        won = (np.arange(returns.size) < round(rate * returns.size)).astype(np.float64)
    return Episodes(returns, won)


def _summarise_run(run: RunRecord, source: str, level: float) -> RunSummary:
    own = run.final.policy if run.final is not None else _last_evaluation(run)
    own_source = FINAL if run.final is not None else LAST if own is not None else NONE
    return RunSummary(
        name=run.name,
        seed=run.seed,
        env_steps=run.env_steps,
        wall_time_s=run.wall_time_s,
        source=own_source,
        policy_return=None if own is None else mean_interval(own.returns, level),
        win_rate=None if own is None else _win_rate([own], level),
        notes=run.notes,
    )


def _win_rate(parts: Sequence[Episodes], level: float) -> Interval | None:
    if not parts or any(part.won is None for part in parts):
        return None
    won = [float(part.won.sum()) for part in parts if part.won is not None]
    return proportion_interval(won, [part.returns.size for part in parts], level)


def _sign(difference: Interval | None) -> bool | None:
    if difference is None or not difference.known or difference.low <= 0 <= difference.high:
        return None
    return difference.low > 0


def _basis(unit: str, n: int, seeds: int) -> str:
    if unit == "seeds":
        return f"over {count(seeds, 'seed')}"
    return f"over {count(n, 'episode')} of one seed, so it says nothing about other seeds"


def comparisons_counted(comparisons: Sequence[Comparison]) -> list[str]:
    """``27 groups against QMIX: 0 better, 5 worse, 22 not shown to differ.``, a sentence for each baseline."""
    lines = []
    for baseline in dict.fromkeys(one.baseline for one in comparisons):
        signs = [_sign(one.difference) for one in comparisons if one.baseline == baseline]
        better, worse, unknown = (signs.count(sign) for sign in (True, False, None))
        found = f"{better} better, {worse} worse, {unknown} not shown to differ"
        lines.append(f"{count(len(signs), 'group')} against {baseline}: {found}.")
    return lines


def _verdict(policy: Interval | None, random: Interval | None, difference: Interval | None, basis: str) -> str:
    if policy is None:
        return "No evaluation was recorded, so nothing can be said about the policy."
    if random is None or difference is None:
        return "The random policy was not evaluated, so there is nothing to compare with."
    if not difference.known:
        return "One episode or run is too little to tell the policy from the random one."
    shown = format_interval(difference, signed=True)
    text = f"the difference is {shown} ({percent(difference.level)} interval {basis})"
    better = _sign(difference)
    if better is None:
        return f"The policy is not shown to differ from the random policy: {text}, which includes zero."
    word, side = ("better", "above") if better else ("worse", "below")
    return f"The policy is {word} than the random policy by more than the interval: {text}, all {side} zero."


def _compare(group: RunGroup, baseline: RunGroup, level: float, reps: int) -> Comparison:
    mine, theirs = final_means(group), final_means(baseline)
    by_seed, base_by_seed = (
        {run.seed: mean for run, mean in means if run.seed is not None} for means in (mine, theirs)
    )
    common = sorted(set(by_seed) & set(base_by_seed))
    x, y = [mean for _, mean in mine], [mean for _, mean in theirs]
    paired = len(common) >= 2
    if paired:
        difference = paired_difference(by_seed, base_by_seed, level, method="t")
        how = f"paired by {count(len(common), 'seed')}"
    else:
        difference = difference_interval(x, y, level)
        how = f"not paired: {len(x)} and {count(len(y), 'seed')}"
    improvement = probability_of_improvement([x], [y], reps, level)
    return Comparison(
        group.label,
        baseline.label,
        paired,
        common if paired else [],
        difference,
        improvement,
        _comparison_verdict(group.label, baseline.label, difference, how),
    )


def _comparison_verdict(label: str, baseline: str, difference: Interval, how: str) -> str:
    if not difference.known:
        return (
            f"{label} minus {baseline} is {format_interval(difference, signed=True)} ({how}); "
            "one seed cannot tell a real difference from luck."
        )
    text = f"{format_interval(difference, signed=True)} ({percent(difference.level)} interval, {how})"
    better = _sign(difference)
    if better is None:
        return f"{label} is not shown to differ from {baseline}: {text}, which includes zero."
    return f"{label} is {'better' if better else 'worse'} than {baseline}: {text}."


def final_means(group: RunGroup) -> list[tuple[RunRecord, float]]:
    """Of each run that is judged, its mean greedy return at the end."""
    return [(run, float(episodes.returns.mean())) for run, episodes in _scored(group)[1]]
