"""A bare client for tests of the mock server: websocket-client and the real messages, and nothing of ours."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

websocket = pytest.importorskip("websocket", reason="websocket-client (extra 'starcraft') is not installed")
sc_pb = pytest.importorskip(
    "s2clientprotocol.sc2api_pb2", reason="pys2clientprotocol (extra 'starcraft') is not installed"
)

from s2clientprotocol import common_pb2, debug_pb2, raw_pb2  # noqa: E402

from rllib_reborn.envs.starcraft.mock_server.install import executable_of  # noqa: E402

PATIENCE = 20.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running_server(
    install: Path, port: int, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """What a client of the game starts, with the arguments that pysc2 gives; killed at the end."""
    command = [
        executable_of(install),
        "-listen",
        "127.0.0.1",
        "-port",
        port,
        "-dataDir",
        f"{install}/",
        "-headlessNoRender",
    ]
    process = subprocess.Popen(
        list(map(str, command)), env={**os.environ, **(environment or {})}, stderr=subprocess.PIPE, cwd="/"
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def connect(port: int, *, patience: float = PATIENCE) -> Client:
    """Connect as soon as somebody listens."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return Client(websocket.create_connection(f"ws://127.0.0.1:{port}/sc2api", timeout=PATIENCE))
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


class Client:
    """Requests by name, each answered."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._number = 100

    def send(self, **request: Any) -> int:
        """Send one request; returns its number."""
        self._number += 7
        self.connection.send_binary(sc_pb.Request(id=self._number, **request).SerializeToString())
        return self._number

    def ask(self, **request: Any) -> Any:
        """The whole Response, whose number and status are as they must always be."""
        number = self.send(**request)
        response = sc_pb.Response.FromString(self.connection.recv())
        assert response.id == number
        assert response.HasField("status")
        assert response.error or response.WhichOneof("response") == next(iter(request))
        return response

    def create(self, name: str, seed: int = 5) -> Any:
        request = sc_pb.RequestCreateGame(
            local_map=sc_pb.LocalMap(map_path=f"SMAC_Maps/{name}.SC2Map"), random_seed=seed
        )
        request.player_setup.add(type=sc_pb.Participant)
        request.player_setup.add(type=sc_pb.Computer, race=common_pb2.Terran, difficulty=sc_pb.VeryHard)
        return self.ask(create_game=request)

    def join(self) -> Any:
        options = sc_pb.InterfaceOptions(raw=True, score=False)
        return self.ask(join_game=sc_pb.RequestJoinGame(race=common_pb2.Terran, options=options))

    def start(self, name: str, seed: int = 5) -> None:
        self.create(name, seed)
        assert self.join().status == sc_pb.in_game

    def step(self, count: int) -> Any:
        return self.ask(step=sc_pb.RequestStep(count=count))

    def units(self) -> list[Any]:
        return list(self.ask(observation=sc_pb.RequestObservation()).observation.observation.raw_data.units)

    def side(self, owner: int) -> list[Any]:
        return [unit for unit in self.units() if unit.owner == owner]

    def command(self, ability: int, *tags: int, at: tuple[float, float] | None = None, target: int = 0) -> list[int]:
        command = raw_pb2.ActionRawUnitCommand(ability_id=ability, unit_tags=tags)
        if at is not None:
            command.target_world_space_pos.x, command.target_world_space_pos.y = at
        if target:
            command.target_unit_tag = target
        action = sc_pb.Action(action_raw=raw_pb2.ActionRaw(unit_command=command))
        return list(self.ask(action=sc_pb.RequestAction(actions=[action])).action.result)

    def kill(self, *tags: int) -> Any:
        return self.debug(debug_pb2.DebugCommand(kill_unit=debug_pb2.DebugKillUnit(tag=tags)))

    def create_unit(self, type_id: int, owner: int, x: float, y: float, quantity: int = 1) -> Any:
        unit = debug_pb2.DebugCreateUnit(
            unit_type=type_id, owner=owner, pos=common_pb2.Point2D(x=x, y=y), quantity=quantity
        )
        return self.debug(debug_pb2.DebugCommand(create_unit=unit))

    def debug(self, *commands: Any) -> Any:
        return self.ask(debug=sc_pb.RequestDebug(debug=commands))

    def close(self) -> None:
        self.connection.close(timeout=2)
