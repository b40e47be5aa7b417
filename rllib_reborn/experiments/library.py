"""The shipped experiments: where ``configs/`` is, what is in it, and which file a CONFIG argument means."""

from __future__ import annotations

from pathlib import Path

import rllib_reborn
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.suggestions import did_you_mean

# Folders of parts that experiments extend; not experiments themselves.
PART_FOLDERS = ("algorithms", "interventions", "protocols", "resources")


def configs_folder() -> Path | None:
    """The folder of shipped experiments: beside the package in a clone, else ``configs`` where the command
    was typed; None when there is neither."""
    candidates = (Path(rllib_reborn.__file__).resolve().parents[1] / "configs", Path.cwd() / "configs")
    return next((folder for folder in candidates if (folder / PART_FOLDERS[0]).is_dir()), None)


def config_names() -> list[str]:
    """Names of all shipped experiments, such as ``predator_prey/small/qmix``, sorted."""
    folder = configs_folder()
    if folder is None:
        return []
    names = (path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))
    return sorted(name for name in names if name.split("/")[0] not in PART_FOLDERS)


def find_config(given: str) -> Path:
    """The file that a CONFIG argument means: a path, or the name of a shipped experiment or part.

    Raises:
        ExperimentError: There is no such file.
    """
    path = Path(given)
    if path.is_file():
        return path
    folder = configs_folder()
    if folder is not None:
        name = given.removesuffix(".yaml").removeprefix("configs/")
        shipped = folder / f"{name}.yaml"
        if shipped.is_file():
            return shipped
    if path.is_dir():
        raise ExperimentError(f"{given} is a folder; give a YAML file, or a name that 'configs' lists.")
    raise ExperimentError(
        f"no experiment {given!r}: neither a file nor a shipped name.{did_you_mean(given, config_names())}"
    )


def first_comment(path: Path) -> str:
    """What the file's first line says, if it is a comment, without the ``#``; else empty."""
    with path.open(encoding="utf-8") as file:
        line = file.readline().strip()
    return line.lstrip("#").strip() if line.startswith("#") else ""
