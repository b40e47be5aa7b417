"""Whether the ``config.yaml`` of a run folder is still that of the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from rllib_reborn._version import __version__
from rllib_reborn.checkpoints import MANIFEST_NAME, Manifest, RunChangedError, use_checkpoint
from rllib_reborn.checkpoints import manifest as manifests
from rllib_reborn.checkpoints.run_record import run_root
from rllib_reborn.experiments.build import FREE_ON_RESUME, config_hash
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.run_folder import RunFolder
from rllib_reborn.experiments.yaml_text import read_yaml

T = TypeVar("T")


def read_config(folder: RunFolder) -> dict[str, Any]:
    """What ``config.yaml`` of a run says, as plain data.

    Raises:
        ExperimentError: It is missing, cannot be read, or is no mapping.
    """
    if not folder.config.exists():
        raise ExperimentError(
            f"{folder.config} is missing, so what the run in {folder.root} was is not known; put it back, or move the "
            "checkpoint out of the run's folder to use it on its own."
        )
    found = read_yaml(folder.config)
    if not isinstance(found, dict):
        raise ExperimentError(f"{folder.config} is no mapping; put back the one that the run has written.")
    return found


def is_own_config(config: dict[str, Any], manifest: Manifest) -> bool:
    """Whether the settings of a run folder are those by which a checkpoint was saved; of another version of this package,
    whose settings had other defaults, that is not known, and taken to be so."""
    try:
        return manifest.versions.get("rllib_reborn") != __version__ or config_hash(config) == manifest.config_hash
    except (TypeError, ValueError):  # edited into something that no run has written, such as a date
        return False


def require_own_config(checkpoint: Path, manifest: Manifest | None = None) -> None:
    """Raise where a checkpoint lies in a run folder whose ``config.yaml`` is gone or says something else than the run did.

    Raises:
        RunChangedError: It is; the message says what to do.
    """
    root = run_root(checkpoint)
    if root is None or (manifest is None and not (checkpoint / MANIFEST_NAME).exists()):
        return
    folder = RunFolder(root)
    try:
        config = read_config(folder)
    except ExperimentError as error:
        raise RunChangedError(str(error)) from None
    if not is_own_config(config, manifest or manifests.read(checkpoint)):
        raise RunChangedError(
            f"{folder.config} was changed after {checkpoint.name} was saved, in more than {', '.join(FREE_ON_RESUME)}; put "
            "back what it was, or begin a new run with what this one has learnt, under the new settings: train --from "
            f"{checkpoint} --out DIR."
        )


def use_own_checkpoint(path: Path, use: Callable[[Path], T]) -> tuple[Path, T]:
    """As :func:`~rllib_reborn.checkpoints.use_checkpoint`, for checkpoints whose run is still what it was.

    Raises:
        CheckpointError: See there, and :func:`require_own_config`.
    """

    def check_and_use(checkpoint: Path) -> T:
        require_own_config(checkpoint)
        return use(checkpoint)

    return use_checkpoint(path, check_and_use)
