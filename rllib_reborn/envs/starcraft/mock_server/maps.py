"""Map files of a mock installation: text that names a map of SMAC or SMACv2 and holds no terrain."""

from __future__ import annotations

import dataclasses
from pathlib import PurePosixPath

from rllib_reborn.envs.smac.scenarios import SMAC_SCENARIOS, SMACV2_SCENARIOS, Scenario
from rllib_reborn.suggestions import did_you_mean

SUFFIX = ".SC2Map"
_HEAD = "mock map of rllib_reborn, no map of StarCraft II: "
#: How files of the game itself begin (MPQ archives); they are known by their names then.
_MPQ = (b"MPQ\x1a", b"MPQ\x1b")


class UnknownMap(ValueError):  # noqa: N818  (it is told to the client as the game tells it)
    """What was given is no map that the simulator can play; the message says which there are."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Map:
    """A map that can be played.

    Attributes:
        name: Its file name without the suffix: ``3m``, ``32x32_flat``.
        scenario: What is played on it; None where the map is empty and the client creates the units.
    """

    name: str
    scenario: Scenario | None


def _table() -> dict[str, Map]:
    maps = [Map(name=scenario.map_file, scenario=scenario) for scenario in SMAC_SCENARIOS.values()]
    maps += [Map(name=name, scenario=None) for name in {scenario.map_file for scenario in SMACV2_SCENARIOS.values()}]
    return {found.name: found for found in maps}


#: File name without the suffix -> map.
MAPS = _table()


def map_file_content(name: str) -> bytes:
    """What is in the file of the map ``name``."""
    return f"{_HEAD}{MAPS[name].name}\n".encode()


def find_map(path: str, content: bytes) -> Map:
    """The map that a client asks for.

    Args:
        path: ``LocalMap.map_path``, may be empty.
        content: ``LocalMap.map_data``, may be empty; where given, it decides.

    Raises:
        UnknownMap: Neither names a map that can be played.
    """
    if content.startswith(_HEAD.encode()):
        name = content.decode(errors="replace").removeprefix(_HEAD).strip()
    elif content and not content.startswith(_MPQ):
        raise UnknownMap(f"map_data begins with {content[:16]!r}; expected a map of a mock installation.")
    else:
        name = PurePosixPath(path.replace("\\", "/")).name.removesuffix(SUFFIX)
    if name not in MAPS:
        raise UnknownMap(f"there is no map {name!r} for the mock server.{did_you_mean(name, MAPS)}")
    return MAPS[name]
