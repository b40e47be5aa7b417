"""The names inside a run folder, and the rules for making one: nothing that exists is ever overwritten."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from rllib_reborn.checkpoints.run_record import CHECKPOINTS_FOLDER, RUN_FILE
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.folder_lock import LOCK_NAME, OWNER_NAME, locked_folder

if TYPE_CHECKING:
    # The schema brings in Ray; whether a folder is free must be known at once.
    from rllib_reborn.experiments.schema import Experiment

RUNS_FOLDER = Path("runs")
_LONGEST_ENV = 120
#: Begin of the names of folders with what a run was before it went on from another one's state.
SET_ASIDE = "before-"


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Paths of one run below ``root``."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved experiment; can be run again as it is."""
        return self.root / "config.yaml"

    @property
    def record(self) -> Path:
        """Which run this is (:mod:`rllib_reborn.checkpoints.run_record`)."""
        return self.root / RUN_FILE

    @property
    def metrics(self) -> Path:
        """One JSON object per iteration."""
        return self.root / "metrics.jsonl"

    @property
    def dormancy(self) -> Path:
        """One JSON object per dormancy check and per application of an intervention, neuron by neuron."""
        return self.root / "dormancy" / "events.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folder of :class:`rllib_reborn.checkpoints.CheckpointStore`."""
        return self.root / CHECKPOINTS_FOLDER

    @property
    def fork(self) -> Path:
        """What the run was forked from; only in forks."""
        return self.root / "fork.json"

    @property
    def report(self) -> Path:
        """Figures and tables."""
        return self.root / "report"

    @property
    def final_evaluation(self) -> Path:
        """Episodes of the final policy and of a random one."""
        return self.root / "final_evaluation.json"

    @property
    def error(self) -> Path:
        """The full traceback, where training broke off."""
        return self.root / "error.txt"

    def is_free(self) -> bool:
        """Whether a new run may be put here: it does not exist, or is a folder with nothing but a lock file, the reason why
        nothing could begin, and what was set aside."""
        if not self.root.exists():
            return True
        return self.root.is_dir() and all(
            path.name in (LOCK_NAME, OWNER_NAME, self.error.name) or path.name.startswith(SET_ASIDE)
            for path in self.root.iterdir()
        )

    def require_free(self) -> None:
        """Raise unless a new run may be put here.

        Raises:
            ExperimentError: It exists and is no empty folder.
        """
        if self.root.exists() and not self.root.is_dir():
            raise ExperimentError(f"{self.root} is a file; give a folder with --out.")
        if not self.is_free():
            raise ExperimentError(
                f"{self.root} exists and is not empty; give another --out, "
                "or --resume auto to go on with the run in it."
            )

    def locked(self, patience_s: float = 0.0) -> contextlib.AbstractContextManager[None]:
        """Hold the folder for this process (:func:`locked_folder`), waiting at most ``patience_s`` seconds for it.

        Raises:
            ExperimentError: Another process is training in it, or it cannot be written.
        """
        in_use = f"{self.root} is in use by another training process; wait for it, or give another --out."
        return locked_folder(self.root, in_use, patience_s)


def run_of_checkpoint(checkpoint: Path) -> RunFolder | None:
    """The run folder that a checkpoint lies in, if it lies in one."""
    if checkpoint.resolve().parent.name != CHECKPOINTS_FOLDER:
        return None
    folder = RunFolder(checkpoint.parent.parent)
    return folder if folder.config.exists() else None


def run_name_prefix(experiment: Experiment) -> str:
    """``predator_prey-small_qmix_s0_``: the start of the names of all runs of this env, algorithm, seed."""
    env, algorithm = (
        "".join(c if c.isalnum() or c in "._-" else "-" for c in name)
        for name in (experiment.env, experiment.algorithm)
    )
    if len(env) > _LONGEST_ENV:  # many tasks; a file system bears names of 255 bytes
        env = f"{env[: _LONGEST_ENV - 9]}-{hashlib.sha256(experiment.env.encode()).hexdigest()[:8]}"
    return f"{env}_{algorithm.lower()}_s{experiment.seed}_"


def new_run_folder(experiment: Experiment, now: datetime.datetime | None = None) -> RunFolder:
    """A folder below ``runs/`` that no run has yet."""
    stamp = (now or datetime.datetime.now()).strftime("%Y%m%d-%H%M%S")
    base = RUNS_FOLDER / f"{run_name_prefix(experiment)}{stamp}"
    candidate, number = base, 1
    while candidate.exists():
        number += 1
        candidate = base.with_name(f"{base.name}-{number}")
    return RunFolder(candidate)


def newest_run_folder(experiment: Experiment) -> RunFolder | None:
    """The latest run of this env, algorithm and seed below ``runs/``, or None."""
    prefix = run_name_prefix(experiment)
    if not RUNS_FOLDER.is_dir():
        return None
    found = [path for path in RUNS_FOLDER.iterdir() if path.name.startswith(prefix) and path.is_dir()]
    return RunFolder(max(found, key=lambda path: path.name)) if found else None
