"""Requests that set up a game, and the errors that the game has for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from s2clientprotocol import sc2api_pb2 as sc_pb

from rllib_reborn.envs.starcraft.mock_server.maps import Map, UnknownMap, find_map

_CREATE, _JOIN = sc_pb.ResponseCreateGame, sc_pb.ResponseJoinGame


class SetupRefused(Exception):  # noqa: N818  (it is told to the client as the game tells it)
    """A game cannot be set up so.

    Attributes:
        error: ``ResponseCreateGame.Error`` or ``ResponseJoinGame.Error``.
        details: Why, for people.
    """

    def __init__(self, error: int, details: str) -> None:
        super().__init__(details)
        self.error, self.details = error, details


def map_of(request: Any, data_folder: Path | None) -> Map:
    """The map that a ``RequestCreateGame`` names.

    Args:
        request: The request.
        data_folder: The installation; a map given by path alone must be in its ``Maps``. None: any path will do.

    Raises:
        SetupRefused: None, or one that the simulator does not have.
    """
    if not request.HasField("local_map"):
        raise SetupRefused(_CREATE.MissingMap, "local_map is not set")
    path, content = request.local_map.map_path, request.local_map.map_data
    if not path and not content:
        raise SetupRefused(_CREATE.MissingMap, "neither map_path nor map_data is set")
    if not content and data_folder is not None and not (data_folder / "Maps" / path).is_file():
        raise SetupRefused(_CREATE.InvalidMapPath, f"{path} is not in {data_folder / 'Maps'}")
    try:
        return find_map(path, content)
    except UnknownMap as error:
        raise SetupRefused(_CREATE.InvalidMapData if content else _CREATE.InvalidMapPath, str(error)) from error


def check_players(request: Any) -> None:
    """Raise unless a ``RequestCreateGame`` is for one player against one computer.

    Raises:
        SetupRefused: It is not.
    """
    kinds = sorted(player.type for player in request.player_setup)
    if not kinds:
        raise SetupRefused(_CREATE.MissingPlayerSetup, "player_setup is empty")
    if kinds != [sc_pb.Participant, sc_pb.Computer]:
        raise SetupRefused(_CREATE.InvalidPlayerSetup, "expected one participant and one computer")


def check_participation(request: Any) -> None:
    """Raise unless a ``RequestJoinGame`` is that of a player who wants raw data.

    Raises:
        SetupRefused: It is not.
    """
    if request.WhichOneof("participation") is None:
        raise SetupRefused(_JOIN.MissingParticipation, "neither race nor observed_player_id is set")
    if request.HasField("observed_player_id"):
        raise SetupRefused(_JOIN.InvalidObservedPlayerId, "nobody can be watched here")
    if not request.options.raw:
        raise SetupRefused(_JOIN.MissingOptions, "options.raw is not set; there is nothing else here")
