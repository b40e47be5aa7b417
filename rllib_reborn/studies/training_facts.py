"""What is known of the training of a checkpoint: read from its manifest and the files of its run, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rllib_reborn.checkpoints import MANIFEST_NAME, Manifest
from rllib_reborn.checkpoints import manifest as manifests
from rllib_reborn.checkpoints.run_record import run_root
from rllib_reborn.evaluation import Episodes, RunError, RunRecord, read_run
from rllib_reborn.evaluation.origin import ForkNote


@dataclasses.dataclass(frozen=True)
class GreedyEpisodes:
    """Greedy episodes of the very weights of a checkpoint.

    Attributes:
        policy: Theirs.
        random: Of a random policy, where it was played too.
        when: In words.
        of_tasks: Where a sequence of tasks was played, the mean return on each.
    """

    policy: Episodes
    random: Episodes | None
    when: str
    of_tasks: str = ""


@dataclasses.dataclass(frozen=True)
class Dormancy:
    """Share of dormant neurons of a network, in 0..1, when it was measured last, and after how many env steps that was."""

    fraction: float
    env_steps: int


@dataclasses.dataclass(frozen=True)
class TrainingFacts:
    """What is known of a training; None and empty: it is not known.

    Attributes:
        checkpoint: Its name.
        env_steps, updates: Of the run when the checkpoint was saved.
        run, run_id: Name of the run's folder, and its id.
        config: The run's settings, without secrets.
        seed: Of the run.
        versions: Of the packages that wrote the checkpoint.
        game_versions: Of the program that the games ran on.
        fork: What the run went on from.
        evaluated: Episodes of these weights.
        dormancy: Network to what was measured last.
        interventions: Applications so far.
        reason: Why the run's files are not known.
    """

    checkpoint: str | None = None
    env_steps: int | None = None
    updates: int | None = None
    run: str | None = None
    run_id: str | None = None
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seed: int | None = None
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    game_versions: tuple[str, ...] = ()
    fork: ForkNote | None = None
    evaluated: GreedyEpisodes | None = None
    dormancy: Mapping[str, Dormancy] = dataclasses.field(default_factory=dict)
    interventions: int | None = None
    reason: str = ""


def facts_of(checkpoint: Path) -> TrainingFacts:
    """What is known of the training of a checkpoint folder that can be used.

    A number of the run's files is taken only where it is of the time of the checkpoint, or before: an evaluation only where
    it was played by these weights.

    Raises:
        CheckpointError: Its manifest is damaged.
    """
    if not (checkpoint / MANIFEST_NAME).exists():
        return TrainingFacts(reason="the checkpoint has no manifest, and lies in no run of 'rllib-reborn train'")
    manifest = manifests.read(checkpoint)
    facts = TrainingFacts(
        checkpoint=manifest.name,
        env_steps=manifest.env_steps + manifest.interrupted_env_steps,
        run_id=manifest.run_id or None,
        versions=manifest.versions,
    )
    root = run_root(checkpoint)
    if root is None:
        return dataclasses.replace(facts, reason="the checkpoint lies in no run's folder")
    try:
        run = read_run(root)
    except RunError as error:
        # The message names the folder, which is a place on this machine only.
        return dataclasses.replace(facts, reason=str(error).replace(str(root), "the run's folder").rstrip("."))
    return _with_run(facts, run, manifest)


def _with_run(facts: TrainingFacts, run: RunRecord, manifest: Manifest) -> TrainingFacts:
    rows = run.metrics[run.metrics["env_steps"] <= manifest.env_steps]
    return dataclasses.replace(
        facts,
        run=run.name,
        config=run.config,
        seed=run.seed,
        updates=_last(rows, "updates"),
        game_versions=run.game_versions,
        fork=run.fork,
        evaluated=_evaluated(run, rows, manifest),
        dormancy=_dormancy(rows),
        interventions=_last(rows, "intervention/count"),
    )


def _last(rows: pd.DataFrame, column: str) -> int | None:
    known = _numbers(rows, column)
    return int(known.iloc[-1]) if len(known) else None


def _numbers(rows: pd.DataFrame, column: str) -> pd.Series:
    """The values of a column that there are."""
    if column not in rows or not pd.api.types.is_numeric_dtype(rows[column]):
        return pd.Series(dtype=np.float64)
    values = rows[column].astype(np.float64)
    return values[np.isfinite(values)]


def _dormancy(rows: pd.DataFrame) -> dict[str, Dormancy]:
    found = {}
    for column in rows.columns:
        parts = str(column).split("/")
        if len(parts) == 3 and parts[0] == "dormancy" and parts[2] == "dormant_fraction":
            known = _numbers(rows, column)
            if len(known):
                found[parts[1]] = Dormancy(float(known.iloc[-1]), int(rows.loc[known.index[-1], "env_steps"]))
    return found


def _evaluated(run: RunRecord, rows: pd.DataFrame, manifest: Manifest) -> GreedyEpisodes | None:
    """The final evaluation where it was played after as many env steps; or the one of the checkpoint's own iteration."""
    final = run.final
    if manifest.interrupted_env_steps:
        return None
    if final is not None and final.env_steps == manifest.env_steps:
        return GreedyEpisodes(final.policy, final.random, "after training, on fresh games", final.of_tasks)
    settings = run.config.get("evaluation")
    # Beside the next iteration it is played with the weights from before that one.
    beside = not isinstance(settings, Mapping) or bool(settings.get("parallel_to_training"))
    own = rows[rows["env_steps"] == manifest.env_steps]
    if beside or own.empty or "eval/returns" not in own:
        return None
    returns = _episode_values(own["eval/returns"].iloc[-1])
    if returns is None:
        return None
    won, wins = None, _numbers(own, "eval/win_rate")
    if len(wins):
        won = np.zeros(len(returns))
        won[: round(float(wins.iloc[-1]) * len(returns))] = 1  # how many, not which
    task = f" (of task {int(own['eval/task'].iloc[-1])} of the sequence)" if len(_numbers(own, "eval/task")) else ""
    return GreedyEpisodes(Episodes(returns, won), None, f"during training, when the checkpoint was saved{task}")


def _episode_values(value: Any) -> npt.NDArray[np.float64] | None:
    try:
        values = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return values if values.ndim == 1 and len(values) and np.isfinite(values).all() else None
