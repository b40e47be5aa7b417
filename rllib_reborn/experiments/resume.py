"""What ``--resume`` means: which run goes on, from which checkpoint, in which folder, with which rows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rllib_reborn.checkpoints import CheckpointError, CheckpointStore, Manifest, resolve_checkpoint
from rllib_reborn.checkpoints import manifest as manifests
from rllib_reborn.checkpoints.resolve import CHECKPOINTS_FOLDER
from rllib_reborn.experiments.build import config_hash, first_difference
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.metrics_log import MetricsLog, rows_until
from rllib_reborn.experiments.run_folder import RunFolder, new_run_folder, newest_run_folder
from rllib_reborn.experiments.schema import Experiment
from rllib_reborn.experiments.training_loop import RunPosition
from rllib_reborn.experiments.yaml_text import parse_yaml

AUTO = "auto"


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """Where a run writes and what it starts from.

    Attributes:
        folder: The run folder.
        checkpoint: What to restore; None: from the beginning.
        progress: How far the checkpoint is.
        rows: Rows that ``metrics.jsonl`` starts with: those that the checkpoint knows of.
        events: The same of the plasticity events.
    """

    folder: RunFolder
    checkpoint: Path | None = None
    progress: RunPosition = dataclasses.field(default_factory=RunPosition)
    rows: tuple[dict[str, Any], ...] = ()
    events: tuple[dict[str, Any], ...] = ()


def plan_run(experiment: Experiment, resolved: dict[str, Any], out: Path | None, resume: str | None) -> RunPlan:
    """Decide all that; writes nothing.

    Args:
        experiment: What to run.
        resolved: Its resolved form, to compare with the run that is to go on.
        out: ``--out``, the run folder; None: a new one below ``runs/``.
        resume: None: a new run. ``auto``: the run in ``out`` (without ``out``: the newest of this env,
            algorithm and seed below ``runs/``) from its newest sound checkpoint; a new run where there is
            none yet. Else a checkpoint or run folder.

    Raises:
        ExperimentError: The folder is taken; the run to resume does not fit the experiment.
        CheckpointError: The checkpoint is missing or damaged.
    """
    if resume is None:
        folder = RunFolder(out) if out is not None else new_run_folder(experiment)
        folder.require_free()
        return RunPlan(folder)
    if resume == AUTO:
        return _plan_auto(experiment, resolved, out)
    checkpoint = resolve_checkpoint(Path(resume))
    source = _run_of(checkpoint)
    if source is None or (out is not None and out.resolve() != source.root.resolve()):
        target = RunFolder(out) if out is not None else new_run_folder(experiment)
        target.require_free()
    else:
        target = source
        _require_newest(checkpoint)
    return _plan_from(checkpoint, source, target, resolved)


def _plan_auto(experiment: Experiment, resolved: dict[str, Any], out: Path | None) -> RunPlan:
    folder = RunFolder(out) if out is not None else newest_run_folder(experiment)
    if folder is None:
        return RunPlan(new_run_folder(experiment))
    newest = CheckpointStore(folder.checkpoints).latest_valid()
    if newest is not None:
        return _plan_from(newest[0], folder, folder, resolved)
    if not folder.is_free() and not folder.config.exists():
        raise ExperimentError(f"{folder.root} is not empty and no run folder; give another --out.")
    # A run that ended before its first checkpoint starts again in its own folder.
    _require_same(folder, resolved)
    return RunPlan(folder)


def _plan_from(checkpoint: Path, source: RunFolder | None, target: RunFolder, resolved: dict[str, Any]) -> RunPlan:
    manifest = _manifest_of(checkpoint)
    if source is None:
        if manifest.config_hash != config_hash(resolved):
            raise ExperimentError(
                f"{checkpoint} was saved by an experiment with other settings, and its run folder is gone, "
                "which could tell them; resume with the config.yaml of that run."
            )
        rows: list[dict[str, Any]] = []
        events: list[dict[str, Any]] = []
    else:
        _require_same(source, resolved)
        rows = rows_until(MetricsLog(source.metrics).rows(), manifest.iteration)
        events = rows_until(MetricsLog(source.dormancy).rows(), manifest.iteration)
    time_s = float(rows[-1]["time/total_s"] or 0.0) if rows else 0.0
    progress = RunPosition(manifest.iteration, manifest.env_steps, time_s)
    return RunPlan(target, checkpoint, progress, tuple(rows), tuple(events))


def _manifest_of(checkpoint: Path) -> Manifest:
    try:
        return manifests.read(checkpoint)
    except CheckpointError as error:
        raise ExperimentError(
            f"{error} 'train --resume' goes on with runs of 'train' only; RLlib's and Tune's own are "
            "restored in Python."
        ) from None


def _run_of(checkpoint: Path) -> RunFolder | None:
    """The run folder that a checkpoint lies in, if it lies in one."""
    if checkpoint.resolve().parent.name != CHECKPOINTS_FOLDER:
        return None
    folder = RunFolder(checkpoint.parent.parent)
    return folder if folder.config.exists() else None


def _require_newest(checkpoint: Path) -> None:
    """Going on in place from an older checkpoint would leave newer ones that know of rows that are gone."""
    paths = [path.resolve() for path in CheckpointStore(checkpoint.parent).paths()]
    for newer in reversed(paths[paths.index(checkpoint.resolve()) + 1 :]):
        try:
            manifests.verify(newer)
        except CheckpointError:
            continue  # damaged, so nothing can go on from it anyway
        raise ExperimentError(
            f"{checkpoint} is not the newest checkpoint of its run ({newer.name} is), and going on would "
            "drop what came after it; give --out DIR to branch off into a new run folder."
        )


def _require_same(folder: RunFolder, resolved: dict[str, Any]) -> None:
    if not folder.config.exists():
        return
    other = parse_yaml(folder.config.read_text(encoding="utf-8"), str(folder.config))
    difference = first_difference(resolved, other)
    if difference:
        raise ExperimentError(
            f"the run in {folder.root} cannot go on with other settings: {difference}; "
            f"resume it with {folder.config}, or start a new run."
        )
