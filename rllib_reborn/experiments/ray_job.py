"""Whether this process is a job of ``ray job submit``, and where such a job may write. Imports neither Ray nor torch."""

from __future__ import annotations

import os
from pathlib import Path

from rllib_reborn.experiments.errors import ExperimentError

#: Set by Ray for the entry point of a job.
_JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
#: Part of the path that Ray unpacks a job's working directory to; it wipes that folder as it likes.
_PACKAGES = ("runtime_resources", "working_dir_files")


def inside_job() -> bool:
    """Whether this process was started by ``ray job submit``."""
    return _JOB_CONFIG in os.environ or _is_package(Path.cwd())


def require_lasting_out(out: Path | None) -> None:
    """Raise where a job would write into Ray's package folder, which does not last.

    Raises:
        ExperimentError: ``out`` is relative or not given inside a job, or lies in such a folder.
    """
    if not inside_job() or (out is not None and out.is_absolute() and not _is_package(out)):
        return
    given = "is missing" if out is None else f"is {out}"
    raise ExperimentError(
        f"--out {given}, and the working folder of a Ray job is wiped by Ray; give an absolute path on a disk that lasts "
        "and that all nodes share: --out /shared/runs/a."
    )


def require_lasting_base(base: str) -> None:
    """Raise where a sweep would remember an experiment's file that Ray wipes: no later start could go on with it, since each
    change of the working directory is another folder.

    Raises:
        ExperimentError: ``base`` is a file in Ray's package folder.
    """
    if _is_package(Path(base)):
        raise ExperimentError(
            f"base is {base}, which is in the working folder of a Ray job, and Ray wipes that; give the name of an "
            "experiment with what differs in 'set', or a file on a disk that lasts and that all nodes share."
        )


def _is_package(path: Path) -> bool:
    parts = path.parts
    return any(parts[at : at + 2] == _PACKAGES for at in range(len(parts)))
