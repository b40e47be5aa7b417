"""The game's side of the protocol: requests of ``s2clientprotocol`` in, responses out, with the states that a game goes
through (launched, init_game, in_game, quit) and its errors."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from s2clientprotocol import sc2api_pb2 as sc_pb

from rllib_reborn.envs.battle.battlefield import Backend
from rllib_reborn.envs.starcraft.mock_server import BUILD, GAME_VERSION, NOTICE
from rllib_reborn.envs.starcraft.mock_server.commands import ABILITIES, obey
from rllib_reborn.envs.starcraft.mock_server.game_setup import SetupRefused, check_participation, check_players, map_of
from rllib_reborn.envs.starcraft.mock_server.maps import MAPS, SUFFIX, Map
from rllib_reborn.envs.starcraft.mock_server.picture import ENEMY, PLAYER
from rllib_reborn.envs.starcraft.mock_server.terrain_images import grid_as_bits, heights_as_bytes
from rllib_reborn.envs.starcraft.mock_server.type_ids import TYPES_ON_SMACV2_MAP, names_by_type_id
from rllib_reborn.envs.starcraft.mock_server.world import CannotCreate, World
from rllib_reborn.envs.starcraft.packages import protocol as messages

_MAX_LOOPS = 100_000
_NO_MESSAGE = "unreadable"


class _NotNow(Exception):  # noqa: N818
    """A request that cannot be answered; the message becomes ``Response.error``."""


class Game:
    """One game for one player against scripted enemies.

    Args:
        data_folder: The installation, whose ``Maps`` are looked into for maps that are given by path alone.
        map_name: The map of every game, whatever is asked for. None: what is asked for.
        backend: Of the simulator.
        step_delay: A ``step`` request takes at least this long, in seconds.
        build: What a ping says of executable and data.
    """

    def __init__(
        self,
        *,
        data_folder: Path | None = None,
        map_name: str | None = None,
        backend: Backend = "numpy",
        step_delay: float = 0.0,
        build: int = BUILD,
    ) -> None:
        self.status = sc_pb.launched
        self._data_folder = data_folder
        self._forced_map = None if map_name is None else MAPS[map_name]
        self._backend: Backend = backend
        self._step_delay = step_delay
        self._build = build
        self._map: Map | None = None
        self._create: Any = None
        self._join: Any = None
        self._world: World | None = None

    @property
    def has_quit(self) -> bool:
        """Whether a client has said quit."""
        return bool(self.status == sc_pb.quit)

    @staticmethod
    def parse(message: bytes) -> Any:
        """The request in ``message``; None where it is none."""
        try:
            return sc_pb.Request.FromString(message)
        except messages().decode_error:
            return None

    @staticmethod
    def name_of(request: Any) -> str:
        """What is asked for: ``step``, ``observation``, ..."""
        return (None if request is None else request.WhichOneof("request")) or _NO_MESSAGE

    def answer(self, request: Any) -> bytes:
        """Do what is asked for, and the response to it, ready to be sent."""
        name = self.name_of(request)
        valid, handler = _HANDLERS.get(name, ((), None))
        if handler is None:
            what = "holds no request" if name == _NO_MESSAGE else f"asks for {name}"
            return self.refuse(request, f"the message {what}; this server answers {', '.join(_HANDLERS)}")
        if self.status not in valid:
            states = ", ".join(map(sc_pb.Status.Name, valid))
            return self.refuse(request, f"{name} in status {sc_pb.Status.Name(self.status)}; it is valid in {states}")
        response = sc_pb.Response()
        if request.HasField("id"):
            response.id = request.id
        part = getattr(response, name)
        part.SetInParent()
        try:
            handler(self, getattr(request, name), part)
        except _NotNow as error:
            return self.refuse(request, str(error))
        response.status = self.status
        return response.SerializeToString()

    def refuse(self, request: Any, reason: str) -> bytes:
        """A response with an error and nothing else."""
        response = sc_pb.Response(error=[reason], status=self.status)
        if request is not None and request.HasField("id"):
            response.id = request.id
        return response.SerializeToString()

    # ------------------------------------------------------------------ requests

    def _ping(self, request: Any, answer: Any) -> None:
        answer.game_version = GAME_VERSION
        answer.data_version = GAME_VERSION
        answer.base_build = answer.data_build = self._build

    def _available_maps(self, request: Any, answer: Any) -> None:
        answer.local_map_paths.extend(f"SMAC_Maps/{name}{SUFFIX}" for name in MAPS)

    def _create_game(self, request: Any, answer: Any) -> None:
        try:
            chosen = self._forced_map or map_of(request, self._data_folder)
            check_players(request)
        except SetupRefused as refused:
            answer.error, answer.error_details = refused.error, refused.details
            return
        if request.realtime:
            raise _NotNow("realtime is set; the mock server plays only when it is told to step")
        self._map, self._create, self._world = chosen, request, None
        self.status = sc_pb.init_game

    def _join_game(self, request: Any, answer: Any) -> None:
        try:
            check_participation(request)
        except SetupRefused as refused:
            answer.error, answer.error_details = refused.error, refused.details
            return
        self._join = request
        answer.player_id = PLAYER
        self._start()

    def _start(self) -> None:
        seed = self._create.random_seed if self._create.HasField("random_seed") else time.time_ns() % 2**31
        self._world = World(self._played.scenario, seed, self._backend)
        self.status = sc_pb.in_game

    def _restart_game(self, request: Any, answer: Any) -> None:
        self._start()

    def _leave_game(self, request: Any, answer: Any) -> None:
        self._world = None
        self.status = sc_pb.launched

    def _quit(self, request: Any, answer: Any) -> None:
        self.status = sc_pb.quit

    def _game_info(self, request: Any, answer: Any) -> None:
        world, path = self._running, self._create.local_map.map_path
        terrain = world.terrain
        answer.map_name = self._played.name
        answer.local_map_path = path
        answer.options.CopyFrom(self._join.options)
        setup = [player for player in self._create.player_setup if player.type == sc_pb.Computer]
        answer.player_info.add(
            player_id=PLAYER, type=sc_pb.Participant, race_requested=self._join.race, race_actual=self._join.race
        )
        for player in setup:
            answer.player_info.add(
                player_id=ENEMY, type=sc_pb.Computer, race_requested=player.race, difficulty=player.difficulty
            )
        raw = answer.start_raw
        raw.map_size.x, raw.map_size.y = terrain.map_x, terrain.map_y
        for image, bits, data in (
            (raw.pathing_grid, 1, grid_as_bits(terrain.pathing)),
            (raw.placement_grid, 1, grid_as_bits(terrain.pathing)),
            (raw.terrain_height, 8, heights_as_bytes(terrain.terrain_height)),
        ):
            image.bits_per_pixel, image.data = bits, data
            image.size.x, image.size.y = terrain.map_x, terrain.map_y
        low, high = raw.playable_area.p0, raw.playable_area.p1
        low.x, low.y = int(terrain.map_x - terrain.width) // 2, int(terrain.map_y - terrain.height) // 2
        high.x, high.y = low.x + int(terrain.width), low.y + int(terrain.height)

    def _observation(self, request: Any, answer: Any) -> None:
        answer.CopyFrom(self._running.picture())

    def _step(self, request: Any, answer: Any) -> None:
        count = request.count if request.HasField("count") else 1
        if count > _MAX_LOOPS:
            raise _NotNow(f"step of {count} game loops; at most {_MAX_LOOPS}")
        started = time.monotonic()
        self._running.step(count)
        left = self._step_delay - (time.monotonic() - started)
        if left > 0:
            time.sleep(left)
        answer.simulation_loop = self._running.game_loop

    def _action(self, request: Any, answer: Any) -> None:
        world = self._running
        for action in request.actions:
            answer.result.append(obey(world, action))
        world.give_orders()

    def _debug(self, request: Any, answer: Any) -> None:
        world = self._running
        for command in request.debug:
            kind = command.WhichOneof("command")
            if kind == "kill_unit":
                world.kill(command.kill_unit.tag)
            elif kind == "create_unit":
                unit = command.create_unit
                try:
                    for _ in range(unit.quantity if unit.HasField("quantity") else 1):
                        world.create(unit.unit_type, unit.owner, unit.pos.x, unit.pos.y)
                except CannotCreate as error:
                    raise _NotNow(str(error)) from error
            elif kind != "draw":  # There is no picture to draw on.
                raise _NotNow(f"debug command {kind}; this server knows kill_unit, create_unit and draw")

    def _data(self, request: Any, answer: Any) -> None:
        answer.CopyFrom(_static_data())

    def _save_replay(self, request: Any, answer: Any) -> None:
        world = self._running
        content = {"map": self._played.name, "seed": world.seed, "game_loop": world.game_loop}
        answer.data = f"{NOTICE} This is no replay.\n{json.dumps(content)}\n".encode()

    # The states of the table below see to it that there is a map, and a world where a handler asks for it.

    @property
    def _played(self) -> Map:
        assert self._map is not None
        return self._map

    @property
    def _running(self) -> World:
        assert self._world is not None
        return self._world


_Handler = Callable[[Game, Any, Any], None]
_ANY = (sc_pb.launched, sc_pb.init_game, sc_pb.in_game)
_PLAYING = (sc_pb.in_game,)

#: Request -> the states in which it is valid, and what answers it.
_HANDLERS: Mapping[str, tuple[tuple[Any, ...], _Handler]] = {
    "create_game": ((sc_pb.launched, sc_pb.init_game, sc_pb.in_game), Game._create_game),
    "join_game": ((sc_pb.init_game,), Game._join_game),
    "restart_game": (_PLAYING, Game._restart_game),
    "leave_game": (_PLAYING, Game._leave_game),
    "quit": (_ANY, Game._quit),
    "game_info": (_PLAYING, Game._game_info),
    "observation": (_PLAYING, Game._observation),
    "action": (_PLAYING, Game._action),
    "step": (_PLAYING, Game._step),
    "data": (_PLAYING, Game._data),
    "save_replay": (_PLAYING, Game._save_replay),
    "available_maps": (_ANY, Game._available_maps),
    "ping": (_ANY, Game._ping),
    "debug": (_PLAYING, Game._debug),
}


@functools.cache
def _static_data() -> Any:
    """A ``ResponseData``: every number up to the last one is listed, as the game does, named or not."""
    data, names = sc_pb.ResponseData(), names_by_type_id()
    for number in range(TYPES_ON_SMACV2_MAP):
        data.units.add(unit_id=number, name=names.get(number, ""), available=number in names)
    for ability, name in ABILITIES.items():
        data.abilities.add(ability_id=ability, link_name=name, button_name=name, available=True)
    return data
