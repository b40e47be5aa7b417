"""What ``probe`` prints: rows of JSON, tables for people."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rllib_reborn.evaluation import Interval
    from rllib_reborn.studies.probe import ProbeResult
    from rllib_reborn.studies.probe.from_scratch import ScratchRow, ScratchSettings
    from rllib_reborn.studies.probe.measures import NetMeasures, Separability

_HEADS = ("arm", "area", "minus fresh", "minus as_is", "AUC", "dormant", "over-active", "lowest rank", "treated")
_NOTES = (
    "area: holdout error along updates, 1 is nothing learnt; differences above 0: slower. 95 % intervals over repetitions.",
    "dormant, over-active: shares of neurons of agents / mixer before learning; treated: neurons with new weights.",
)


def as_rows(result: ProbeResult) -> list[dict[str, Any]]:
    """A JSON object for each arm."""
    from rllib_reborn.studies.probe.study import mean_curve

    rows = []
    for arm in result.arms:
        row: dict[str, Any] = {
            "checkpoint": result.checkpoint,
            "algorithm": result.algorithm,
            "env": result.env,
            "arm": arm.arm,
            "refused": arm.refused,
            "area": _interval(arm.area),
            "minus_fresh": _interval(arm.minus_fresh),
            "minus_as_is": _interval(arm.minus_as_is),
            "share_of_as_is": _interval(result.shares.get(arm.arm)),
            "areas": {str(seed): curve.area for seed, curve in arm.curves.items()},
            "updates": list(next(iter(arm.curves.values())).at) if arm.curves else [],
            "errors": [_finite(error) for error in mean_curve(list(arm.curves.values()))] if arm.curves else [],
            "auc": _separability(arm.separability),
            "neurons_treated": {str(seed): neurons for seed, neurons in arm.neurons.items()},
            "before": None if arm.before is None else dataclasses.asdict(arm.before),
            "after": None if arm.after is None else dataclasses.asdict(arm.after),
            "data": result.data,
            "optimizer_was_saved": result.optimizer_was_saved,
            "settings": dataclasses.asdict(result.settings),
            "verdict": result.verdict if arm.arm == "as_is" else None,
        }
        rows.append(row)
    return rows


def checkpoint_lines(result: ProbeResult) -> list[str]:
    """A table of one checkpoint's arms, and sentences."""
    from rllib_reborn.evaluation.text import format_interval

    rows: list[Sequence[str]] = [_HEADS]
    for arm in result.arms:
        if arm.refused is not None:
            rows.append((arm.arm, f"refused: {arm.refused}"))
            continue
        rows.append(
            (
                arm.arm,
                format_interval(arm.area),
                format_interval(arm.minus_fresh, signed=True),
                format_interval(arm.minus_as_is, signed=True),
                "-" if arm.separability is None else f"{arm.separability.auc:.3f}",
                _of_nets(arm.before, "dormant"),
                _of_nets(arm.before, "overactive"),
                _lowest_rank(arm.before),
                f"{next(iter(arm.neurons.values()))}" if arm.neurons else "-",
            )
        )
    learnt = "a new random reward" if result.settings.task is None else f"the returns of {result.settings.task}"
    lines = [
        f"{result.algorithm} on {result.env}: {result.checkpoint}",
        f"learns {learnt} from {result.data}, {result.settings.updates} updates of {result.settings.batch} episodes",
        *_columns(rows),
        *_NOTES,
    ]
    names = {"agents_frozen": "the mixer alone, agents frozen", "state_only": "the state alone"}
    for name, share in result.shares.items():
        lines.append(f"{names.get(name, name)}: {format_interval(share)} of what the whole net learns")
    if not result.optimizer_was_saved:
        lines.append(
            "the checkpoint holds no optimizer's state: all arms begin with an empty one, and policies for it do nothing"
        )
    return [*lines, result.verdict]


def pooled_lines(results: Sequence[ProbeResult]) -> list[str]:
    """Each team and environment with several checkpoints: arms over these, each checkpoint counting once."""
    from rllib_reborn.evaluation.text import count, format_interval
    from rllib_reborn.studies.probe.comparison import over_checkpoints, verdict_over_checkpoints

    lines: list[str] = []
    groups: dict[tuple[str, str], list[ProbeResult]] = {}
    for result in results:
        groups.setdefault((result.algorithm, result.env), []).append(result)
    for (algorithm, env), of_group in groups.items():
        if len(of_group) < 2:
            continue
        means = [{arm.arm: arm.area.estimate for arm in one.arms if arm.area is not None} for one in of_group]
        rows: list[Sequence[str]] = [_HEADS[:4]]
        for name, arm in over_checkpoints(means).items():
            differences = (
                format_interval(difference, signed=True) for difference in (arm.minus_fresh, arm.minus_as_is)
            )
            rows.append((name, format_interval(arm.mean), *differences))
        lines += [
            "",
            f"{algorithm} on {env}, over {count(len(of_group), 'checkpoint')}, each counting once:",
            *_columns(rows),
        ]
        lines.append(verdict_over_checkpoints(means))
    return lines


def scratch_row(name: str, settings: ScratchSettings, row: ScratchRow) -> dict[str, Any]:
    """One net after some updates, as a JSON object."""
    return {
        "experiment": name,
        "seed": row.seed,
        "updates": row.updates,
        "auc": _separability(row.separability),
        **dataclasses.asdict(row.measures),
        "settings": dataclasses.asdict(settings),
    }


def scratch_lines(name: str, settings: ScratchSettings, rows: Sequence[ScratchRow]) -> list[str]:
    """A table: a line for each number of updates, the AUC of each seed, and dormant neurons by layer."""
    layers = sorted({layer for row in rows for layer in row.measures.dormant_neurons})
    seeds = sorted({row.seed for row in rows})
    table: list[Sequence[str]] = [
        ("updates", *(f"AUC, seed {seed}" for seed in seeds), *(f"dormant {layer}" for layer in layers))
    ]
    for updates in sorted({row.updates for row in rows}):
        here = [row for row in rows if row.updates == updates]
        aucs = ["-" if row.separability is None else f"{row.separability.auc:.3f}" for row in here]
        dormant = ["/".join(f"{row.measures.dormant_neurons.get(layer, 0)}" for row in here) for layer in layers]
        table.append((f"{updates}", *aucs, *dormant))
    found = next((row.separability for row in rows if row.separability is not None), None)
    of_what = "" if found is None else f"; AUC of {found.paying} situations against {found.failing}"
    return [
        f"{name}: fresh nets, {settings.episodes} episodes of random play, {settings.batch} in an update{of_what}",
        *_columns(table),
        "dormant: neurons at the numbers of updates, seeds behind each other",
    ]


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell; a row of two cells is a sentence behind a name."""
    wide = max(len(row) for row in rows)
    widths = [max(len(row[at]) for row in rows if len(row) == wide) for at in range(wide)]
    widths[0] = max(len(row[0]) for row in rows)
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _of_nets(measures: NetMeasures | None, name: str) -> str:
    if measures is None:
        return "-"
    shares: Mapping[str, float] = getattr(measures, name)
    return " / ".join(f"{shares[net]:.0%}" if net in shares else "-" for net in ("agent", "mixer"))


def _lowest_rank(measures: NetMeasures | None) -> str:
    if measures is None or not measures.effective_rank:
        return "-"
    layer = min(measures.effective_rank, key=lambda key: measures.effective_rank[key])
    return f"{measures.effective_rank[layer]:.1f} {layer}"


def _interval(interval: Interval | None) -> dict[str, Any] | None:
    if interval is None:
        return None
    return {
        "mean": interval.estimate,
        "low": _finite(interval.low),
        "high": _finite(interval.high),
        "level": interval.level,
        "n": interval.n,
    }


def _separability(found: Separability | None) -> dict[str, Any] | None:
    return None if found is None else dataclasses.asdict(found)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
