"""Parts of one sweep, run on several machines, as one folder."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from rllib_reborn.evaluation.packed_runs import opened
from rllib_reborn.experiments.atomic_text import write_text_atomically
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.tuning.population import MEMBER_FILE
from rllib_reborn.tuning.sweep import Sweep, dump_sweep
from rllib_reborn.tuning.sweep_folder import RunState, SweepFolder

#: In what the parts of a sweep may differ.
_FREE = ("seeds", "concurrency")
_ORDER = (RunState.WAITING, RunState.FAILED, RunState.BEGUN, RunState.STOPPED_EARLY, RunState.DONE)


def merge(parts: Sequence[Path], out: SweepFolder) -> Sweep:
    """Copy the runs of all parts into ``out``; of one that several have, the one that is furthest.

    Args:
        parts: Folders of sweeps, or archives of :func:`~rllib_reborn.tuning.archive.pack`.
        out: A new folder.

    Returns:
        The sweep that ``out`` holds: with the seeds of all parts.

    Raises:
        ExperimentError: ``out`` is taken, or the parts are of different sweeps.
        RunError: An archive is damaged.
    """
    out.require_free()
    with contextlib.ExitStack() as held:
        folders = [SweepFolder(held.enter_context(opened(path))) for path in parts]
        sweeps = [folder.read() for folder in folders]
        for path, sweep in zip(parts[1:], sweeps[1:]):
            for name in type(sweep).model_fields:
                if name not in _FREE and getattr(sweep, name) != getattr(sweeps[0], name):
                    raise ExperimentError(
                        f"{path} is a sweep with another {name} than {parts[0]}; only seeds may differ."
                    )
        seeds = list(dict.fromkeys(seed for sweep in sweeps for seed in sweep.seeds))
        merged = sweeps[0].model_copy(update={"seeds": seeds})
        best: dict[str, SweepFolder] = {}
        for folder, sweep in zip(folders, sweeps):
            for run in folder.runs(sweep):
                there = best.get(run.name)
                if there is None or _how_far(folder, run.name) > _how_far(there, run.name):
                    best[run.name] = folder
        out.root.mkdir(parents=True, exist_ok=True)
        for folder in folders:
            for point in folder.chosen_points():
                out.write_point(point)
        for name, folder in best.items():
            if folder.state_of(name) is not RunState.WAITING:
                shutil.copytree(folder.root / name, out.root / name, ignore=shutil.ignore_patterns(".lock"))
                member = folder.root / name.partition("/")[0] / MEMBER_FILE
                if member.exists():  # says which values its config has
                    shutil.copyfile(member, out.root / name.partition("/")[0] / MEMBER_FILE)
        write_text_atomically(out.sweep_file, dump_sweep(Sweep.model_validate(merged.model_dump(exclude_unset=True))))
    return merged


def _how_far(folder: SweepFolder, name: str) -> tuple[int, int]:
    rows = folder.rows_of(name)
    return _ORDER.index(folder.state_of(name)), int(rows[-1]["env_steps"]) if rows else 0
