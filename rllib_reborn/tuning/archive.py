"""A sweep without its weights in one small file."""

from __future__ import annotations

import lzma
import os
import tarfile
from pathlib import Path

from rllib_reborn.evaluation.origin import SWEEP_FILE
from rllib_reborn.evaluation.packed_runs import SUFFIX
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.tuning.population import MEMBER_FILE
from rllib_reborn.tuning.sweep_folder import SweepFolder

#: What a report, a status and a merge read; neither weights nor replay.
_OF_A_SWEEP = (SWEEP_FILE,)
_OF_A_POINT = ("point.json", MEMBER_FILE)
_OF_A_RUN = (
    "config.yaml",
    "metrics.jsonl",
    "dormancy/events.jsonl",
    "final_evaluation.json",
    "fork.json",
    "stopped_early.json",
    "error.txt",
)


def pack(folder: SweepFolder, archive: Path) -> int:
    """Write ``archive``; the same content gives the same bytes.

    Returns:
        How many runs are in it.

    Raises:
        ExperimentError: The folder holds no sweep, or ``archive`` exists or does not end in :data:`SUFFIX`.
    """
    folder.read()
    if not archive.name.endswith(SUFFIX):
        raise ExperimentError(f"{archive} does not end in {SUFFIX}; give a name that does.")
    if archive.exists():
        raise ExperimentError(f"{archive} exists; give another name, or remove it.")
    runs = sorted(path.parent for path in folder.root.glob("*/s*/config.yaml"))
    files = [folder.root / name for name in _OF_A_SWEEP]
    files += [path for name in _OF_A_POINT for path in sorted(folder.root.glob(f"*/{name}"))]
    files += [run / name for run in runs for name in _OF_A_RUN if (run / name).is_file()]
    partial = archive.with_name(f".{archive.name}.{os.getpid()}")
    top = folder.root.resolve().name
    try:
        # Seconds for some percent less: what a repository holds is written once and cloned for ever.
        with (
            lzma.open(partial, "wb", preset=9 | lzma.PRESET_EXTREME) as stream,
            tarfile.open(fileobj=stream, mode="w") as tar,
        ):
            for file in files:
                tar.add(file, f"{top}/{file.relative_to(folder.root).as_posix()}", filter=_without_owner)
        partial.replace(archive)
    finally:
        partial.unlink(missing_ok=True)
    return len(runs)


def _without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    entry.mode = 0o644
    return entry
