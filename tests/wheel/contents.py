"""What a release may ship: what its wheel and its sdist hold, and what is wrong with that."""

from __future__ import annotations

import re
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

#: The folders of the repository that a wheel ships -> where.
SHIPPED = {
    "rllib_reborn/": "rllib_reborn/",
    "configs/": "rllib_reborn/configs/",
    "tune_experiments/": "rllib_reborn/tune_experiments/",
}
#: What a sdist has besides, at its top.
SDIST_FILES = {"LICENSE", "README.md", "pyproject.toml", "setup.cfg", "setup.py", "MANIFEST.in", "PKG-INFO"}
#: Folders where people and programs work.
MACHINE_PATH = re.compile(rb"(?<![\w.~])/(?:root|work|home/[a-z]\w*|Users/\w+)/[\w.]")


def read_archive(path: Path) -> dict[str, bytes]:
    """Files of a wheel or a sdist by their names, those of a sdist without its top folder."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist() if not name.endswith("/")}
    found = {}
    with tarfile.open(path) as sdist:
        for one in sdist.getmembers():
            file = sdist.extractfile(one) if one.isfile() else None
            if file is not None:
                found[one.name.partition("/")[2]] = file.read()
    return found


def wrong_in_wheel(files: Mapping[str, bytes], tracked: Iterable[str]) -> list[str]:
    """Sentences about a wheel; empty: it holds what it should.

    Args:
        files: Its files by name.
        tracked: Files of the repository.
    """
    wanted = {
        place + name.removeprefix(folder)
        for name in tracked
        for folder, place in SHIPPED.items()
        if name.startswith(folder)
    }
    there = {name for name in files if not re.match(r"rllib_reborn-[^/]+\.dist-info/", name)}
    metadata = {name.partition("/")[2] for name in set(files) - there}
    wrong = [f"{name} is not in the wheel" for name in sorted(wanted - there)]
    wrong += [f"{name} is in the wheel and not of the package" for name in sorted(there - wanted)]
    if "licenses/LICENSE" not in metadata:
        wrong.append("the wheel has no licence")
    return wrong + _machine_paths(files)


def wrong_in_sdist(files: Mapping[str, bytes], tracked: Iterable[str]) -> list[str]:
    """Sentences about a sdist; empty: a wheel can be made of it, and it has nothing that is only of the repository."""
    wanted = {name for name in tracked if name.startswith(tuple(SHIPPED))} | SDIST_FILES
    there = {name for name in files if not name.startswith("rllib_reborn.egg-info/")}
    wrong = [f"{name} is not in the sdist" for name in sorted(wanted - there)]
    wrong += [f"{name} is in the sdist and not of the package" for name in sorted(there - wanted)]
    return wrong + _machine_paths(files)


def _machine_paths(files: Mapping[str, bytes]) -> list[str]:
    found = ((name, MACHINE_PATH.search(content)) for name, content in sorted(files.items()))
    return [f"{name} has a path of a machine, {match[0].decode()}..." for name, match in found if match]
