"""Hostile bytes in place of what a game answers: frames, messages in them, and what the messages say."""

from __future__ import annotations

import random
import socket

from s2clientprotocol import sc2api_pb2

from rllib_reborn.envs.starcraft.connection import Connection
from rllib_reborn.envs.starcraft.errors import StarCraftError
from rllib_reborn.envs.starcraft.field import terrain_of
from rllib_reborn.envs.starcraft.settings import Timeouts
from tests.fuzzing.changes import changed_bytes
from tests.fuzzing.running import Target

_QUICK = Timeouts(launch_s=0.2, join_s=0.2, request_s=0.2, quit_s=0.2)
_SIZES = (0, 1, 125, 126, 127, 2**16, 2**26, 2**26 + 1, 2**31, 2**32, 2**62, 2**63, 2**64 - 1)
#: A field, the largest number and an end, as the messages write them.
_TOKENS = (b"\x08\x96\x01", b"\xff" * 9 + b"\x01", b"\0")


def _responses() -> list[bytes]:
    """What a game answers to :func:`read`'s requests."""
    info = sc2api_pb2.Response(id=1, status=3)
    info.game_info.start_raw.map_size.x = info.game_info.start_raw.map_size.y = 8
    info.game_info.start_raw.playable_area.p1.x = info.game_info.start_raw.playable_area.p1.y = 7
    for grid in (info.game_info.start_raw.pathing_grid, info.game_info.start_raw.terrain_height):
        grid.bits_per_pixel, grid.data, grid.size.x, grid.size.y = 8, b"\1" * 64, 8, 8
    observed = sc2api_pb2.Response(id=2, status=3)
    observed.observation.observation.game_loop = 7
    for tag in range(5):
        unit = observed.observation.observation.raw_data.units.add(
            tag=tag, unit_type=48, owner=1, health=45, alliance=1
        )
        unit.pos.x, unit.pos.y = 3.5, 4.5
    return [info.SerializeToString(), observed.SerializeToString()]


RESPONSES = _responses()


def _frame(payload: bytes, first: int = 0x82, size: int | None = None) -> bytes:
    size = len(payload) if size is None else size
    if size < 126:
        return bytes((first, size)) + payload
    if size < 1 << 16:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def make(rng: random.Random) -> bytes:
    """All that a game sends, less than a socket holds."""
    made = b""
    for response in RESPONSES:
        payload = (
            changed_bytes(response, rng, (b"\x08\x96\x01", b"\xff" * 9 + b"\x01", b"\0"))
            if rng.random() < 0.3
            else response
        )
        kind = rng.random()
        if kind < 0.5:
            made += _frame(payload)
        elif kind < 0.7:  # in pieces, with pings between them
            cut = rng.randint(0, len(payload))
            made += _frame(payload[:cut], 0x02) + _frame(b"?", rng.choice((0x89, 0x8A, 0x88, 0x09)))
            made += _frame(payload[cut:], rng.choice((0x80, 0x80, 0x00, 0x82)))
        elif kind < 0.85:
            made += _frame(payload, rng.randrange(256), rng.choice(_SIZES))
        elif kind < 0.9:
            made += _frame(b"", rng.choice((0x02, 0x00, 0x8A, 0x89))) * rng.choice((10, 3_000, 12_000)) + _frame(
                payload
            )
        else:
            made += rng.randbytes(rng.randint(0, 50))
    return (changed_bytes(made, rng) if rng.random() < 0.3 else made)[:60_000]


def read(data: bytes) -> None:
    """As a game's answers are read, which then ends."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        connection = Connection(ours, _QUICK)
        terrain_of(connection.game_info())
        connection.turn(connection.looking())


TARGET = Target(make, read, (StarCraftError,))
