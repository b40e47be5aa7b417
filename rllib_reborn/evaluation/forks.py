"""What a report says and shows of runs that go on from another one."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from rllib_reborn.evaluation.groups import RunGroup

#: Series of the rows at which forks leave the run that they go on from.
FORK = "fork"
FORK_NOTE = "dotted upright line: fork"
_MOST_NAMES = 4


@dataclasses.dataclass(frozen=True)
class ForkSummary:
    """The runs that go on from one run.

    Attributes:
        source: Its name.
        source_env_steps: How far it was, in env steps.
        fresh: What was not taken over.
        runs: Names of the forks.
    """

    source: str
    source_env_steps: int
    fresh: list[str]
    runs: list[str]


def forks_of(groups: Sequence[RunGroup]) -> list[ForkSummary]:
    """One entry a source and env step, in the order in which they are met."""
    found: dict[tuple[str, int, tuple[str, ...]], list[str]] = {}
    for group in groups:
        for run in group.runs:
            if run.fork is not None:
                key = (run.fork.source, run.fork.source_env_steps, run.fork.fresh)
                found.setdefault(key, []).append(run.name)
    return [ForkSummary(source, steps, list(fresh), runs) for (source, steps, fresh), runs in found.items()]


def forks_text(groups: Sequence[RunGroup]) -> str:
    """The sentence about forks, and where seeds of a group share a source a second one; empty without forks."""
    forks = forks_of(groups)
    if not forks:
        return ""
    parts = [
        f"{_names(fork.runs)} from `{fork.source}` at {fork.source_env_steps:,} env steps"
        + (f" (fresh {' and '.join(fork.fresh)})" if fork.fresh else "")
        for fork in forks
    ]
    what = "whose rows, steps and time begin with those of the run that they go on from"
    if all("counters" in fork.fresh for fork in forks):
        what = "whose counters begin anew, so that their rows are their own alone"
    text = f"Forks, {what}: {'; '.join(parts)}."
    shared = [group.label for group in groups if _share_a_source(group)]
    if shared:
        text += f" Runs of {', '.join(shared)} share a source: their seeds differ from there on alone."
    return text


def fork_rows(groups: Sequence[RunGroup], columns: Sequence[str]) -> pd.DataFrame:
    """A row a beginning of forks, ``env_steps`` being the mean over its runs; none for those whose counters began anew."""
    steps: dict[str, list[int]] = {}
    for group in groups:
        for run in group.runs:
            if run.fork is not None and run.fork.env_steps > 0:
                steps.setdefault(group.beginning, []).append(run.fork.env_steps)
    rows = [(name, FORK, float(np.mean(found)), len(found)) for name, found in steps.items()]
    return pd.DataFrame(rows, columns=["label", "series", "env_steps", "runs"]).reindex(columns=list(columns))


def _share_a_source(group: RunGroup) -> bool:
    sources = Counter(run.fork.source for run in group.runs if run.fork is not None)
    return any(number > 1 for number in sources.values())


def _names(runs: Sequence[str]) -> str:
    shown = [f"`{name}`" for name in runs[:_MOST_NAMES]]
    more = len(runs) - len(shown)
    if more:
        return f"{len(runs)} runs ({', '.join(shown)} and {more} more)"
    return " and ".join([*([", ".join(shown[:-1])] if len(shown) > 1 else []), shown[-1]])
