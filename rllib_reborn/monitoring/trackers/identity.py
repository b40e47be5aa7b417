"""Under which name, in which group and with which tags every tracker shows a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rllib_reborn.checkpoints.run_record import RUN_FILE, run_id
from rllib_reborn.evaluation.origin import SWEEP_FILE, run_name

#: Project of Weights & Biases, and experiment of MLflow, where their own variables name none.
PROJECT = "rllib-reborn"


@dataclasses.dataclass(frozen=True)
class RunIdentity:
    """What a tracker knows a run by.

    Attributes:
        id: ``run_id`` of ``run.json``: the same when the run goes on, another one in a fork.
        name: The run folder's name; of a run of a sweep ``<point>/s<seed>``.
        sweep: Name of the sweep's folder; None: the run is of no sweep.
        home: The folder that holds the run folder; of a run of a sweep the one that holds the sweep's folder.
    """

    id: str
    name: str
    sweep: str | None
    home: Path


def identity_of(folder: Path) -> RunIdentity:
    """The identity of the run in ``folder``.

    Raises:
        ValueError: ``run.json`` is missing, so that a run that goes on could not be found again.
        RunChangedError: ``run.json`` cannot be read.
    """
    found = run_id(folder)
    if found is None:
        raise ValueError(f"{folder / RUN_FILE} is missing, by which a tracker finds the run again when it goes on")
    root = folder.resolve()
    above = root.parents[1]
    if (above / SWEEP_FILE).is_file():
        return RunIdentity(found, run_name(root), above.name, above.parent)
    return RunIdentity(found, run_name(root), None, root.parent)
