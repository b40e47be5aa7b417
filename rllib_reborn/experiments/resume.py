"""What ``--resume`` and ``--from`` mean: which run goes on, from which checkpoint, in which folder, with which rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from rllib_reborn.algorithms import ValueFactorizationConfig
from rllib_reborn.checkpoints import CheckpointError, CheckpointStore, Manifest, RunChangedError, check_checkpoint
from rllib_reborn.checkpoints import manifest as manifests
from rllib_reborn.checkpoints.resolve import is_checkpoint, require_folder
from rllib_reborn.checkpoints.run_record import require_manifest_of
from rllib_reborn.experiments.build import FREE_ON_RESUME, config_hash, configure, first_difference, resolved_dict
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.fork import ForkPlan, ForkRequest, noted_fork, plan_fork
from rllib_reborn.experiments.load import experiment_from_dict
from rllib_reborn.experiments.metrics_log import MetricsLog, rows_of_checkpoint
from rllib_reborn.experiments.own_config import read_config, require_own_config
from rllib_reborn.experiments.run_folder import RunFolder, new_run_folder, newest_run_folder, run_of_checkpoint
from rllib_reborn.experiments.schema import Experiment
from rllib_reborn.experiments.training_loop import RunPosition

AUTO = "auto"


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """Where a run writes and what it starts from.

    Attributes:
        folder: The run folder.
        checkpoint: What to restore; None: from the beginning.
        progress: How far the checkpoint is, in complete iterations.
        rows: Rows that ``metrics.jsonl`` starts with: those that the checkpoint knows of.
        events: The same of the plasticity events.
        fork: The other run's state that this one begins with; None: it is no fork, or has begun already.
        interrupted_env_steps: Env steps of the checkpoint beyond ``progress``.
        falls_back: Whether the checkpoint before is taken where this one cannot be restored: none was named.
        notes: What of the run is not as it was, in sentences.
    """

    folder: RunFolder
    checkpoint: Path | None = None
    progress: RunPosition = dataclasses.field(default_factory=RunPosition)
    rows: tuple[dict[str, Any], ...] = ()
    events: tuple[dict[str, Any], ...] = ()
    fork: ForkPlan | None = None
    interrupted_env_steps: int = 0
    falls_back: bool = False
    notes: tuple[str, ...] = ()

    @property
    def goes_on_in_its_folder(self) -> bool:
        """Whether the checkpoint is one of the very run that :attr:`folder` holds."""
        checkpoint = self.checkpoint
        return checkpoint is not None and checkpoint.resolve().parent.parent == self.folder.root.resolve()


def plan_run(
    experiment: Experiment,
    config: ValueFactorizationConfig,
    resolved: dict[str, Any],
    out: Path | None,
    resume: str | None,
    fork: ForkRequest | None = None,
    passed_over: Collection[str] = (),
) -> RunPlan:
    """Decide all that; writes nothing.

    Args:
        experiment: What to run.
        config: Its config.
        resolved: Its resolved form, to compare with the run that is to go on.
        out: ``--out``, the run folder; None: a new one below ``runs/``.
        resume: None: a new run. ``auto``: the run in ``out`` (without ``out``: the newest of this env,
            algorithm and seed below ``runs/``) from its newest sound checkpoint; a new run where there is
            none yet. Else a checkpoint or run folder.
        fork: ``--from``: a new run begins with that state.
        passed_over: Names of checkpoints that turned out not to be restorable.

    Raises:
        ExperimentError: The folder is taken; the run to resume, or the state to fork, does not fit the experiment.
        CheckpointError: The checkpoint is missing or damaged.
    """
    if fork is not None and resume not in (None, AUTO):
        raise ExperimentError(f"--resume {resume} and --from are both given; expected one of them, or --resume auto.")
    if fork is not None and resume == AUTO and out is None:
        raise ExperimentError("--from with --resume auto needs --out, the folder of the fork.")
    if resume is None:
        folder = RunFolder(out) if out is not None else new_run_folder(experiment)
        folder.require_free()
        return RunPlan(folder) if fork is None else _plan_fork(fork, folder, experiment, config, resolved)
    if resume == AUTO:
        folder, begun = _plan_auto(experiment, resolved, out, passed_over)
        # A fork that ended before its first checkpoint begins again from its source.
        fork = fork if begun is not None else noted_fork(folder) or fork
        if begun is not None:
            return begun
        return _plan_again(folder) if fork is None else _plan_fork(fork, folder, experiment, config, resolved)
    asked = Path(resume).expanduser()
    checkpoint, is_named = _checkpoint_of(asked, passed_over)
    source = run_of_checkpoint(checkpoint)
    if source is None or (out is not None and out.resolve() != source.root.resolve()):
        target = RunFolder(out) if out is not None else new_run_folder(experiment)
        target.require_free()
    else:
        target = source
        if is_named:
            _require_newest(checkpoint)
    return _plan_from(checkpoint, source, target, resolved, falls_back=not is_named)


def _checkpoint_of(asked: Path, passed_over: Collection[str]) -> tuple[Path, bool]:
    """The checkpoint that ``--resume`` means, and whether it is named; a run folder means its newest sound one."""
    require_folder(asked)
    if is_checkpoint(asked):
        check_checkpoint(asked)
        return asked, True
    require_manifest_of(asked)
    folder = RunFolder(asked).checkpoints
    newest = CheckpointStore(folder if folder.is_dir() else asked).latest_valid(passed_over)
    if newest is None:
        raise CheckpointError(f"{asked} holds no checkpoint; give a checkpoint folder, or a run folder with one.")
    return newest[0], False


def _plan_auto(
    experiment: Experiment, resolved: dict[str, Any], out: Path | None, passed_over: Collection[str]
) -> tuple[RunFolder, RunPlan | None]:
    """The folder, and how its run goes on; None: it begins."""
    folder = RunFolder(out) if out is not None else newest_run_folder(experiment)
    if folder is None:
        return new_run_folder(experiment), None
    newest = CheckpointStore(folder.checkpoints).latest_valid(passed_over)
    if newest is not None:
        return folder, _plan_from(newest[0], folder, folder, resolved, falls_back=True)
    if not folder.is_free() and not folder.config.exists():
        raise ExperimentError(f"{folder.root} is not empty and no run folder; give another --out.")
    # A run that ended before its first checkpoint starts again in its own folder.
    if folder.config.exists():
        _require_same(folder, resolved)
    return folder, None


def _plan_again(folder: RunFolder) -> RunPlan:
    """From the beginning; what the folder has of an earlier attempt is said."""
    lost = len(MetricsLog(folder.metrics).lines())
    if not lost:
        return RunPlan(folder)
    return RunPlan(
        folder, notes=(f"{folder.metrics} has {lost} rows and {folder.root} no checkpoint: training begins anew.",)
    )


def _plan_fork(
    request: ForkRequest,
    folder: RunFolder,
    experiment: Experiment,
    config: ValueFactorizationConfig,
    resolved: dict[str, Any],
) -> RunPlan:
    plan = plan_fork(request, config, resolved)
    if not plan.keeps_counters:
        return RunPlan(folder, fork=plan, notes=plan.notes)
    progress = _position(plan.iteration, plan.env_steps, plan.rows)
    if experiment.stop.fraction(**dataclasses.asdict(progress)) >= 1:
        raise ExperimentError(
            f"{plan.request.source} is {progress.env_steps:,} env steps far, and the fork would end at once: stop is "
            f"{experiment.stop.model_dump(exclude_none=True)}; give more, e.g. stop.env_steps={2 * progress.env_steps}."
        )
    return RunPlan(folder, None, progress, plan.rows, plan.events, plan, notes=plan.notes)


def _plan_from(
    checkpoint: Path, source: RunFolder | None, target: RunFolder, resolved: dict[str, Any], *, falls_back: bool
) -> RunPlan:
    manifest = _manifest_of(checkpoint)
    try:
        require_own_config(checkpoint, manifest)
    except RunChangedError as error:
        raise ExperimentError(str(error)) from None
    notes: list[str] = []
    if source is None:
        if manifest.config_hash != config_hash(resolved):
            raise ExperimentError(
                f"{checkpoint} was saved by an experiment with other settings, and its run folder is gone, "
                "which could tell them; resume with the config.yaml of that run, or begin a new run with what it has "
                f"learnt: train --from {checkpoint}."
            )
        rows: list[dict[str, Any]] = []
        events: list[dict[str, Any]] = []
    else:
        _require_same(source, resolved)
        rows, changed = rows_of_checkpoint(source.metrics, manifest.metrics, manifest.iteration, one_each=True)
        events, missing = rows_of_checkpoint(source.dormancy, manifest.events, manifest.iteration, one_each=False)
        notes += [note for note in (changed, missing) if note is not None]
    progress = _position(manifest.iteration, manifest.env_steps, rows)
    interrupted = manifest.interrupted_env_steps
    return RunPlan(
        target,
        checkpoint,
        progress,
        tuple(rows),
        tuple(events),
        interrupted_env_steps=interrupted,
        falls_back=falls_back,
        notes=tuple(notes),
    )


def _position(iteration: int, env_steps: int, rows: Sequence[dict[str, Any]]) -> RunPosition:
    seconds = rows[-1].get("time/total_s") if rows else None
    return RunPosition(iteration, env_steps, float(seconds) if isinstance(seconds, int | float) else 0.0)


def _manifest_of(checkpoint: Path) -> Manifest:
    try:
        return manifests.read(checkpoint)
    except CheckpointError as error:
        raise ExperimentError(
            f"{error} 'train --resume' goes on with runs of 'train' only; RLlib's and Tune's own are "
            "restored in Python."
        ) from None


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
    difference = first_difference(resolved, _written_out(read_config(folder)))
    if difference:
        raise ExperimentError(
            f"the run in {folder.root} cannot go on with other settings: {difference}; "
            f"resume it with {folder.config}, or begin a new run with what it has learnt: train --from {folder.root}."
        )


def recorded_settings(plan: RunPlan, resolved: dict[str, Any]) -> dict[str, Any]:
    """What ``config.yaml`` and the hash in checkpoints say of a run: where one goes on in its folder what it was begun with,
    so that earlier checkpoints still belong to it when this version knows more settings (with their defaults), and the
    present settings of what may change.

    Args:
        plan: Of the run.
        resolved: Its settings, as this version writes them out.

    Raises:
        ExperimentError: The run's ``config.yaml`` cannot be read.
    """
    if not plan.goes_on_in_its_folder:
        return resolved
    begun = read_config(plan.folder)
    return begun | {key: resolved[key] for key in FREE_ON_RESUME if key in resolved}


def _written_out(config: dict[str, Any]) -> dict[str, Any]:
    """A run's config with the defaults of settings that did not exist when it was begun: it goes on with these alone."""
    try:
        experiment = experiment_from_dict(config)
        return resolved_dict(experiment, configure(experiment))
    except ExperimentError:  # one that this version refuses; what differs is named by what stands there
        return config
