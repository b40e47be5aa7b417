"""The sweeps that are shipped: ``tune_experiments/`` at the top of a clone, ``rllib_reborn/tune_experiments`` in a wheel.

Imports neither Ray nor torch.
"""

from __future__ import annotations

import functools
import importlib.resources
from pathlib import Path

import rllib_reborn
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.suggestions import did_you_mean


@functools.cache
def sweeps_folder() -> Path:
    """The folder of shipped sweeps.

    Raises:
        FileNotFoundError: There is none; the installation is damaged.
    """
    installed = Path(str(importlib.resources.files("rllib_reborn"))) / "tune_experiments"
    clone = Path(rllib_reborn.__file__).resolve().parents[1] / "tune_experiments"
    for folder in (installed, clone):
        if folder.is_dir() and any(folder.glob("*.yaml")):
            return folder
    raise FileNotFoundError(
        f"no shipped sweeps in {installed} or {clone}; install rllib-reborn again, or run it in a complete clone."
    )


def sweep_names() -> list[str]:
    """Names of the shipped sweeps, sorted; those below a folder with it: ``studies/mixer_state_qmix``."""
    folder = sweeps_folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def sweep_path(given: str) -> Path:
    """The file that is meant by a path or a name.

    Raises:
        ExperimentError: There is none.
    """
    path = Path(given).expanduser()
    if path.is_file():
        return path
    name = given.removeprefix("tune_experiments/").removesuffix(".yaml")
    if name in sweep_names():
        return sweeps_folder() / f"{name}.yaml"
    raise ExperimentError(f"no sweep {given!r}.{did_you_mean(given, sweep_names())}")
