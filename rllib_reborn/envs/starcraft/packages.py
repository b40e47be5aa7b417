"""The packages of the extra ``starcraft``, imported when a game is started, and the errors where they are missing or of
the wrong kind."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from types import ModuleType
from typing import Any, NamedTuple

from rllib_reborn.envs.starcraft.errors import InstallationError

#: How to get the messages: s2clientprotocol's own wheels carry code that no current protobuf runs.
FIX_PROTOCOL = "pip install --force-reinstall --no-deps pys2clientprotocol"
_EXTRA = "run: pip install 'rllib-reborn[starcraft]'"


class Protocol(NamedTuple):
    """The modules of the game's messages."""

    sc2api: Any
    raw: Any
    common: Any
    decode_error: type[Exception]


@functools.cache
def protocol() -> Protocol:
    """The game's messages.

    Raises:
        InstallationError: They are not installed, or are the ones for a protobuf of before 2022.
    """
    try:
        modules = [importlib.import_module(f"s2clientprotocol.{name}_pb2") for name in ("sc2api", "raw", "common")]
        errors = importlib.import_module("google.protobuf.message")
    except ModuleNotFoundError as error:
        raise InstallationError(f"the game's protocol needs {error.name!r}, which is not installed", _EXTRA) from error
    except TypeError as error:  # "Descriptors cannot be created directly"
        raise InstallationError(stale_protocol(), f"run: {FIX_PROTOCOL}") from error
    sc2api, raw, common = modules
    return Protocol(sc2api, raw, common, errors.DecodeError)


@functools.cache
def websocket_client() -> ModuleType:
    """The package ``websocket-client``.

    Raises:
        InstallationError: It is not installed, or another package has its name.
    """
    try:
        module = importlib.import_module("websocket")
    except ModuleNotFoundError as error:
        raise InstallationError("the game's protocol needs websocket-client, which is not installed", _EXTRA) from error
    if not hasattr(module, "create_connection"):
        raise InstallationError(
            "the installed package 'websocket' is not websocket-client",
            "run: pip uninstall websocket && pip install --force-reinstall websocket-client",
        )
    return module


def stale_protocol() -> str:
    """A sentence for messages whose generated code is too old for the installed protobuf."""
    protobuf = _version("protobuf") or "?"
    theirs = _version("s2clientprotocol")
    who = f"s2clientprotocol {theirs}" if theirs else "the installed s2clientprotocol"
    return f"{who} carries code for protobuf 3 and cannot be used with protobuf {protobuf}"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
