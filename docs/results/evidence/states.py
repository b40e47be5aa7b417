"""The tables and figures of docs/results/evidence.md, part (a), out of the packed sweeps in this folder.

python docs/results/evidence/states.py [NAME...]    (all if none is named: mixer_state_qmix, ...)

Prints the tables, and writes NAME.png beside the archives.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

from rllib_reborn.evaluation.packed_runs import opened
from rllib_reborn.evaluation.statistics import mean_interval
from rllib_reborn.evaluation.style import PALETTE

HERE = Path(__file__).parent
STATES = ("full", "pooled", "compact", "none")
DORMANT_FROM, EVALUATED_FROM = 40_000, 60_000
HEADS = (
    *("state", "final return by seed", "minus full", "mean from 60,000", "minus full", "dormant by seed"),
    *("final with ReBorn", "minus without"),
)


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """Of one run: the final policy's mean return (and win rate in battles), the mixer's mean dormant share over the checks
    from DORMANT_FROM env steps on, the mean of the evaluations from EVALUATED_FROM on, neurons treated."""

    final: float
    win_rate: float | None
    dormant: float
    evaluated: float
    treated: int


#: State -> seed -> outcomes.
ByState = dict[str, dict[int, Outcomes]]


def outcomes(run: Path) -> Outcomes:
    final = json.loads((run / "final_evaluation.json").read_text())
    policy, is_battle = final["policy"], final["env"].startswith("battle/")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    metric = "eval/win_rate" if is_battle else "eval/return_mean"
    played = [row[metric] for row in rows if row["env_steps"] >= EVALUATED_FROM and row[metric] is not None]
    events = [json.loads(line) for line in (run / "dormancy" / "events.jsonl").read_text().splitlines()]
    dormant = [
        event["metrics"]["dormancy/mixer/dormant_fraction"]
        for event in events
        if event["event"] == "dormancy" and event["clock"]["env_steps"] >= DORMANT_FROM
    ]
    return Outcomes(
        final=float(np.mean(policy["returns"])),
        win_rate=float(np.mean(policy["won"])) if is_battle else None,
        dormant=float(np.mean(dormant)),
        evaluated=float(np.mean(played)),
        treated=sum(event["neurons"] for event in events if event["event"] == "intervention"),
    )


def runs_of(folder: Path) -> dict[int, Outcomes]:
    """Of an arm, by seed; of runs that are over."""
    seeds = {int(run.name[1:]): run for run in folder.glob("s*") if (run / "final_evaluation.json").is_file()}
    return {seed: outcomes(seeds[seed]) for seed in sorted(seeds)}


def interval(values: list[float]) -> str:
    """Mean and 95 % t interval of one number per seed; a star where it excludes zero."""
    if len(values) < 2:
        return "-"
    found = mean_interval(np.array(values))
    return (
        f"{found.estimate:+.2f} [{found.low:+.2f}, {found.high:+.2f}]{' *' if found.low > 0 or found.high < 0 else ''}"
    )


def paired(one: dict[int, Outcomes], other: dict[int, Outcomes], name: str) -> str:
    """Difference of two arms, paired by the seeds that both have."""
    return interval([getattr(one[s], name) - getattr(other[s], name) for s in sorted(one.keys() & other.keys())])


def read(packed: Path) -> tuple[ByState, ByState]:
    """Runs without and with ReBorn."""
    with opened(packed) as folder:
        found = {
            path.name: path for path in folder.rglob("*") if path.is_dir() and any(path.glob("s[0-9]*/metrics.jsonl"))
        }
        plain = {state: runs_of(found[f"state={state}"]) for state in STATES if f"state={state}" in found}
        treated = {state: runs_of(found[f"reborn_{state}"]) for state in STATES if f"reborn_{state}" in found}
    return plain, treated


def draw(plain: ByState, treated: ByState, title: str, path: Path) -> None:
    """Each run's mean dormant share against its final outcome."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    is_battle = all(run.win_rate is not None for runs in plain.values() for run in runs.values())
    figure, axes = plt.subplots(figsize=(6.4, 4.0), dpi=110, layout="constrained")
    for colour, (state, without) in zip(PALETTE, plain.items(), strict=False):
        for runs, face, label in ((without, colour, state), (treated.get(state, {}), "white", f"{state}, ReBorn")):
            if runs:
                heights = [run.win_rate if is_battle else run.final for run in runs.values()]
                shares = [run.dormant for run in runs.values()]
                axes.scatter(
                    shares, heights, s=46, facecolor=face, edgecolor=colour, linewidth=1.6, label=label, zorder=3
                )
    axes.set_xlabel(f"dormant share of the mixer, mean from {DORMANT_FROM:,} env steps on")
    axes.set_ylabel("win rate of the final policy" if is_battle else "greedy return of the final policy")
    axes.set_title(f"{title}: a mark is a run", loc="left", fontsize=10)
    axes.grid(color="#E4E4E4")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


def print_tables(plain: ByState, treated: ByState, title: str) -> None:
    print(f"\n{title}")
    for row in (HEADS, ["---"] * len(HEADS)):
        print(f"| {' | '.join(row)} |")
    for state, runs in plain.items():
        by_reborn = treated.get(state, {})
        cells = [
            f"`{state}`",
            " / ".join(f"{run.final:.1f}" for run in runs.values()) or "-",
            "" if state == "full" else paired(runs, plain["full"], "final"),
            f"{np.mean([run.evaluated for run in runs.values()]):.2f}" if runs else "-",
            "" if state == "full" else paired(runs, plain["full"], "evaluated"),
            " / ".join(f"{run.dormant:.2f}" for run in runs.values()) or "-",
            " / ".join(f"{run.final:.1f}" for run in by_reborn.values()) or "-",
            paired(by_reborn, runs, "final"),
        ]
        print(f"| {' | '.join(cells)} |")
    for state, runs in treated.items():
        shares = [round(run.dormant, 2) for run in runs.values()]
        print(f"ReBorn, {state}: neurons treated {[run.treated for run in runs.values()]}, dormant {shares}")
    if all(run.win_rate is not None for runs in plain.values() for run in runs.values()):
        for state, runs in plain.items():
            print(f"{state}: final win rate {[round(run.win_rate or 0.0, 3) for run in runs.values()]}")


def main(names: list[str], pictures: Path = HERE) -> None:
    """Print the tables, write the figures into ``pictures``."""
    for name in names or sorted(path.name.removesuffix(".tar.xz") for path in HERE.glob("mixer_state_*.tar.xz")):
        plain, treated = read(HERE / f"{name}.tar.xz")
        print_tables(plain, treated, name)
        draw(plain, treated, name, pictures / f"{name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
