"""The tables of docs/results/evidence.md, (b) and (c), out of packed rows of `rllib-reborn probe --json` in this folder.

python docs/results/evidence/probes.py [NAME...]    (all if none is named: probe_small, ...)
"""

from __future__ import annotations

import json
import lzma
import sys
from pathlib import Path
from typing import Any

from rllib_reborn.evaluation.statistics import Interval, mean_interval
from rllib_reborn.studies.probe.comparison import over_checkpoints, verdict_over_checkpoints

HERE = Path(__file__).parent
HEADS = (
    *("arm", "area", "minus fresh", "minus as_is", "share of the loss regained"),
    *("AUC", "dormant in the mixer", "neurons treated"),
)
Rows = dict[str, dict[str, Any]]


def read(path: Path) -> dict[str, Rows]:
    """Checkpoint -> arm -> row."""
    found: dict[str, Rows] = {}
    with lzma.open(path, "rt") as lines:
        for line in lines:
            row = json.loads(line)
            found.setdefault(row["checkpoint"], {})[row["arm"]] = row
    return found


def settings_of(checkpoint: str) -> tuple[str, str]:
    """The point of a sweep that a checkpoint's run belongs to, and the checkpoint's name."""
    parts = Path(checkpoint).parts
    return parts[-4], parts[-1]


def table(checkpoints: list[Rows]) -> list[str]:
    """Arms over checkpoints, each counting once."""
    means = [{arm: row["area"]["mean"] for arm, row in rows.items() if row["area"] is not None} for rows in checkpoints]
    lines = ["| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    for arm, areas in over_checkpoints(means).items():
        rows = [checkpoint[arm] for checkpoint in checkpoints if arm in checkpoint]
        differences = (text(areas.minus_fresh, signed=True), text(areas.minus_as_is, signed=True), regained(arm, means))
        beside = (mean(map(auc, rows), ".3f"), mean(map(dormant, rows), ".0%"), mean(map(treated, rows), ".0f"))
        lines.append("| " + " | ".join((f"`{arm}`", text(areas.mean), *differences, *beside)) + " |")
    return [*lines, "", verdict_over_checkpoints(means)]


def regained(arm: str, means: list[dict[str, float]]) -> str:
    """How much of ``as_is - fresh`` an arm takes back, each checkpoint counting once; only where all have lost some."""
    losses = [areas["as_is"] - areas["fresh"] for areas in means]
    if arm in ("as_is", "fresh") or min(losses) <= 0:
        return ""
    found = mean_interval([(areas["as_is"] - areas[arm]) / loss for areas, loss in zip(means, losses, strict=True)])
    return f"{found.estimate:.0%} [{found.low:.0%}, {found.high:.0%}]" if found.known else f"{found.estimate:.0%}"


def by_checkpoint(checkpoints: dict[str, Rows]) -> list[str]:
    """What the table counts: the two areas of each checkpoint."""
    lines = ["| checkpoint | as_is | fresh | difference |", "|---|---|---|---|"]
    for name, rows in checkpoints.items():
        as_is, fresh = (rows[arm]["area"]["mean"] for arm in ("as_is", "fresh"))
        lines.append(f"| {name} | {as_is:.3f} | {fresh:.3f} | {as_is - fresh:+.3f} |")
    return lines


def along_the_runs(checkpoints: dict[str, Rows]) -> list[str]:
    """``as_is`` minus ``fresh`` at each time of runs that were probed at several, and how it grew; paired by run."""
    losses: dict[str, dict[str, float]] = {}
    for name, rows in checkpoints.items():
        run, _, saved = name.partition("/checkpoints/")
        losses.setdefault(run, {})[saved] = rows["as_is"]["area"]["mean"] - rows["fresh"]["area"]["mean"]
    times = sorted({saved for of_run in losses.values() for saved in of_run})
    if len(times) < 2 or any(of_run.keys() != set(times) for of_run in losses.values()):
        return []
    lines = ["| checkpoint | as_is minus fresh by run | mean |", "|---|---|---|"]
    for time in times:
        values = [of_run[time] for of_run in losses.values()]
        by_run = " / ".join(f"{value:+.3f}" for value in values)
        lines.append(f"| {time} | {by_run} | {text(mean_interval(values), signed=True)} |")
    grown = mean_interval([of_run[times[-1]] - of_run[times[0]] for of_run in losses.values()])
    return [*lines, "", f"The last minus the first: {text(grown, signed=True)}"]


def text(interval: Interval | None, *, signed: bool = False) -> str:
    """With a star where it excludes zero, of a difference."""
    if interval is None:
        return "-"
    sign = "+" if signed else ""
    if not interval.known:  # of one checkpoint
        return f"{interval.estimate:{sign}.3f}"
    star = " *" if signed and (interval.low > 0 or interval.high < 0) else ""
    return f"{interval.estimate:{sign}.3f} [{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]{star}"


def auc(row: dict[str, Any]) -> float | None:
    return None if row["auc"] is None else row["auc"]["auc"]


def dormant(row: dict[str, Any]) -> float | None:
    return None if row["before"] is None else row["before"]["dormant"].get("mixer")


def treated(row: dict[str, Any]) -> float | None:
    neurons = list(row["neurons_treated"].values())
    return sum(neurons) / len(neurons) if neurons else None


def mean(values: Any, form: str) -> str:
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):{form}}" if known else "-"


def main(names: list[str]) -> None:
    known = sorted(path.name.removesuffix(".jsonl.xz") for path in HERE.glob("probe_*.jsonl.xz"))
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"there are no rows of {', '.join(unknown)}; there are {', '.join(known)}.")
    for path in sorted(HERE.glob("probe_*.jsonl.xz")):
        name = path.name.removesuffix(".jsonl.xz")
        if names and name not in names:
            continue
        checkpoints = read(path)
        print(f"## {name}: {len(checkpoints)} checkpoints\n")
        groups: dict[tuple[str, str], list[Rows]] = {}
        for checkpoint, rows in checkpoints.items():
            groups.setdefault(settings_of(checkpoint), []).append(rows)
        for (point, saved), of_group in sorted(groups.items()):
            print(f"### {point}, {saved}: {len(of_group)} checkpoints\n")
            print("\n".join(table(of_group)) + "\n")
        print("\n".join(by_checkpoint(checkpoints)) + "\n")
        if along := along_the_runs(checkpoints):
            print("\n".join(along) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
