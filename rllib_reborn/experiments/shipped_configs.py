"""The shipped configs: where ``configs/`` is and what is in it. Imports neither Ray nor torch.

``configs/`` is the folder of that name at the top of a clone, and ``rllib_reborn/configs`` in an installed wheel.
"""

from __future__ import annotations

import functools
import importlib.resources
import os
from pathlib import Path

import rllib_reborn

#: Folders of files that experiments are composed of.
PART_FOLDERS = ("algorithm", "env", "intervention", "paper", "protocol", "resources")
EXPERIMENTS_FOLDER = "experiments"


@functools.cache
def configs_folder() -> Path:
    """The folder of shipped configs: inside the installed package, else beside the package (a clone, also one that is
    installed as editable).

    Raises:
        FileNotFoundError: It is in neither place; the installation is damaged.
    """
    installed = Path(str(importlib.resources.files("rllib_reborn"))) / "configs"
    clone = Path(rllib_reborn.__file__).resolve().parents[1] / "configs"
    for folder in (installed, clone):
        if (folder / PART_FOLDERS[0]).is_dir():
            return folder
    raise FileNotFoundError(
        f"no shipped configs in {installed} or {clone}; install rllib-reborn again, or run it in a complete clone."
    )


def part_names(kind: str) -> list[str]:
    """Names of the files of one kind, such as ``redo`` for the kind ``intervention``, sorted; those in subfolders are not
    listed."""
    return sorted(path.stem for path in (configs_folder() / kind).glob("*.yaml"))


def part_file(kind: str, name: str) -> Path | None:
    """The file of a part, such as ``configs/intervention/redo.yaml``; None: there is none."""
    path = configs_folder() / kind / f"{name}.yaml"
    return path if ".." not in path.parts and os.path.isfile(path) else None


def experiment_names() -> list[str]:
    """Names of the experiments that have a file of their own, such as ``predator_prey/small/qmix_quick``, sorted."""
    folder = configs_folder() / EXPERIMENTS_FOLDER
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def env_file(env: str) -> Path:
    """The file with the settings of an environment: its own, else that of its family, else that for all others.

    Args:
        env: Name as ``envs`` takes it: ``battle/8m`` is looked up as ``env/battle/8m.yaml`` and ``env/battle.yaml``,
            ``pettingzoo:mpe2.simple_spread_v3`` as ``env/pettingzoo/mpe2.simple_spread_v3.yaml`` and
            ``env/pettingzoo.yaml``.
    """
    parts = env.replace(":", "/").split("/")
    for length in range(len(parts), 0, -1):
        path = part_file("env", "/".join(parts[:length]))
        if path is not None:
            return path
    return configs_folder() / "env" / "other.yaml"


def env_names_with_own_settings() -> list[str]:
    """Names, outside the table of environments, that have a file of their own, such as
    ``pettingzoo:mpe2.simple_spread_v3``; sorted."""
    folder = configs_folder() / "env"
    return sorted(
        f"{suite}:{path.stem}" for suite in ("gymnasium", "pettingzoo") for path in (folder / suite).glob("*.yaml")
    )


def shown(path: Path) -> str:
    """``path`` for people: a shipped file as ``configs/...``, any other as it was given."""
    folder = configs_folder()
    resolved = path.resolve()
    if resolved.is_relative_to(folder.resolve()):
        return f"configs/{resolved.relative_to(folder.resolve()).as_posix()}"
    return str(path)


def first_comment(path: Path) -> str:
    """What the file's first line says, if it is a comment, without the ``#``; else empty."""
    with path.open(encoding="utf-8") as file:
        line = file.readline().strip()
    return line.lstrip("#").strip() if line.startswith("#") else ""
