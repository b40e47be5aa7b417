"""Where the game is, which versions and maps there are, and what is wrong with it, in sentences."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
from pathlib import Path

from rllib_reborn.envs.starcraft.errors import InstallationError

#: Environment variable that names the installation's folder.
SC2PATH = "SC2PATH"
_DEFAULT_FOLDER = Path("~/StarCraftII")
EXECUTABLE = "SC2_x64"
#: Folder of the maps of SMAC and SMACv2, below the installation's.
MAPS_FOLDER = Path("Maps", "SMAC_Maps")

HOW_TO_INSTALL = (
    "Blizzard's Linux packages and their licence are at https://github.com/Blizzard/s2client-proto#downloads; unpack one "
    f"and set {SC2PATH} to its folder StarCraftII (docs/starcraft.md)"
)
UNPACK_AGAIN = f"unpack the game again; {HOW_TO_INSTALL}"
HOW_TO_GET_MAPS = (
    "unpack SMAC_Maps.zip from https://github.com/oxwhirl/smac/releases (SMACv2: "
    f"https://github.com/oxwhirl/smacv2/releases) into {MAPS_FOLDER} of the installation"
)

#: Version as players know it -> base build, which names its folder. What comes last in a full version (4.7.1.70326) is the
#: build of its data, and for some versions another number.
_BASE_BUILD_OF = {
    "3.16.1": 55958,
    "3.17.0": 56787,
    "4.0.0": 59587,
    "4.0.2": 59587,
    "4.1.1": 60321,
    "4.1.2": 60321,
    "4.1.3": 60321,
    "4.1.4": 60321,
    "4.6.0": 67926,
    "4.6.1": 67926,
    "4.6.2": 69232,
    "4.7.0": 70154,
    "4.7.1": 70154,
    "4.8.0": 71061,
    "4.8.1": 71523,
    "4.8.2": 71663,
    "4.8.3": 72282,
    "4.8.4": 73286,
    "4.8.5": 73559,
    "4.8.6": 73620,
    "4.9.0": 74071,
    "4.9.1": 74456,
    "4.9.2": 74741,
    "4.9.3": 75025,
    "4.10.0": 75689,
}


@dataclasses.dataclass(frozen=True, order=True)
class Build:
    """One version of the game on the disk: ``Versions/Base<number>/SC2_x64``."""

    number: int
    executable: Path


@dataclasses.dataclass(frozen=True)
class Installation:
    """A folder with the game.

    Attributes:
        root: The folder, absolute.
        builds: The versions in it, oldest first, at least one.
    """

    root: Path
    builds: tuple[Build, ...]

    def build(self, version: str | None = None) -> Build:
        """The version to start: the newest, or the one that ``version`` names (``4.10``, ``4.7.1.70326``, ``75689``,
        ``Base75689``).

        Raises:
            InstallationError: It is not installed.
        """
        if version is None:
            return self.builds[-1]
        number = base_build(version)
        for build in self.builds:
            if build.number == number:
                return build
        there = ", ".join(f"Base{build.number}" for build in self.builds)
        wanted = f"Base{number}" if number is not None else "a build such as 75689"
        raise InstallationError(
            f"game_version {version!r} ({wanted}) is not installed: {self.root / 'Versions'} has {there}",
            "give one of these, or leave game_version out for the newest",
        )

    def map_file(self, stem: str) -> Path:
        """The file of the map ``stem``: in ``Maps/SMAC_Maps``, else anywhere below ``Maps``.

        Raises:
            InstallationError: There is none.
        """
        name = f"{stem}.SC2Map"
        usual = self.root / MAPS_FOLDER / name
        if usual.is_file():
            return usual
        elsewhere = next((path for path in sorted((self.root / "Maps").rglob(name)) if path.is_file()), None)
        if elsewhere is not None:
            return elsewhere
        folder = self.root / MAPS_FOLDER
        there = sorted(path.stem for path in folder.glob("*.SC2Map"))
        others = f", which has {len(there)} others" if there else ", which has none at all"
        raise InstallationError(f"the map {name} is not in {folder}{others}", HOW_TO_GET_MAPS)


def base_build(version: str) -> int | None:
    """``4.10`` -> 75689, ``4.7.1.70326`` -> 70154, ``Base75689`` and ``75689`` -> 75689; None for what is no version.

    A full version that is in no table is taken to have the same base build as data.
    """
    parts = version.removeprefix("Base").split(".")
    if not all(part.isdecimal() for part in parts):
        return None
    if len(parts) == 1:
        return int(parts[0])
    known = _BASE_BUILD_OF.get(".".join([*parts, "0", "0"][:3]))
    return int(parts[-1]) if known is None and len(parts) == 4 else known


def same_version(wanted: str, reported: str) -> bool:
    """Whether a game that reports ``reported`` (``4.7.1.70326``) is the ``wanted`` one, as far as that is more than a build:
    ``4.7`` and ``4.7.1`` have one base build and are two versions."""
    asked, found = wanted.split("."), reported.split(".")
    if len(asked) == 1 or len(found) != 4:
        return True
    return found[: max(3, len(asked))] == [*asked, "0", "0"][: max(3, len(asked))]


def installation_folder(given: str | None = None) -> tuple[Path, str]:
    """Where the game should be, and what says so."""
    if given is not None:
        return Path(given).expanduser(), "sc2_path"
    variable = os.environ.get(SC2PATH)
    if variable:
        return Path(variable).expanduser(), f"${SC2PATH}"
    return _DEFAULT_FOLDER.expanduser(), f"the default, since {SC2PATH} is not set"


def find_installation(given: str | None = None) -> Installation:
    """The installation in ``given``, ``$SC2PATH`` or ``~/StarCraftII``, the first of these that is named.

    Raises:
        InstallationError: There is none, or it holds no version of the game.
    """
    folder, why = installation_folder(given)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InstallationError(f"StarCraft II was looked for in {folder} ({why}), which {what}", HOW_TO_INSTALL)
    root = folder.absolute()
    builds = []
    for path in (root / "Versions").glob("Base*"):
        number = re.fullmatch(r"Base(\d+)", path.name)
        if number and (path / EXECUTABLE).exists():
            builds.append(Build(int(number[1]), path / EXECUTABLE))
    if not builds:
        raise InstallationError(
            f"{root} ({why}) holds no Versions/Base*/{EXECUTABLE}, so it is no installation of StarCraft II for Linux",
            HOW_TO_INSTALL,
        )
    return Installation(root, tuple(sorted(builds)))


def check_executable(build: Build) -> None:
    """Raise unless the system can start this build, as far as can be known without trying.

    Raises:
        InstallationError: It cannot.
    """
    path = build.executable
    if not path.is_file():
        raise InstallationError(f"{path} is not a file", UNPACK_AGAIN)
    if not os.access(path, os.X_OK):
        raise InstallationError(f"{path} may not be executed", f"run: chmod +x {path}")
    if os.statvfs(path).f_flag & getattr(os, "ST_NOEXEC", 0):
        raise InstallationError(
            f"{path} is on a file system that is mounted noexec, from which nothing can be started",
            f"move the game to another one, or mount it exec, and set {SC2PATH}",
        )
    with path.open("rb") as file:
        head = file.read(20)
    if head[:4] == b"\x7fELF":
        # Bytes 18 and 19 of an ELF file name the machine; 62 is x86-64.
        if int.from_bytes(head[18:20], "little") == 62 and platform.machine() not in ("x86_64", "AMD64"):
            raise InstallationError(
                f"{path} is built for x86-64 and this machine is {platform.machine()}", "use a machine with x86-64"
            )
    elif head[:2] != b"#!":
        raise InstallationError(f"{path} is no program for Linux (it begins with {head[:4]!r})", UNPACK_AGAIN)


#: What a game that cannot start writes -> what to do about it.
_KNOWN_COMPLAINTS = (
    (r"GLIBC_[\d.]+' not found", "its C library is too old for the game; use a newer system, or the image of docker/"),
    (
        r"error while loading shared libraries: (\S+):",
        "a library is missing; install it, or use the image of docker/",
    ),
    (r"e_fileCorruptRepairable|fileCorrupt", "its files are damaged; unpack the game again"),
    (r"cannot execute: \[Errno 8\]", "it is no program for this machine; unpack the game again"),
    (r"cannot execute: \[Errno 13\]", "it may not be executed; check its mode and how its file system is mounted"),
    (r"cannot execute: \[Errno 2\]", "it, or the interpreter that it names, is not there; unpack the game again"),
)


def known_complaint(last_words: str) -> str | None:
    """What to do about a game that wrote ``last_words`` and ended, where no further attempt can help; None: it may."""
    for pattern, remedy in _KNOWN_COMPLAINTS:
        if re.search(pattern, last_words):
            return remedy
    return None
