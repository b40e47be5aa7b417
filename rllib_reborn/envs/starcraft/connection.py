"""The game's protocol: one websocket, on which every request is answered by one response, in their order.

Messages are those of ``s2clientprotocol`` (package ``pys2clientprotocol``). A request that fails leaves the
connection in an unknown state: close it, and the game.
"""

from __future__ import annotations

import contextlib
import socket as socket_module
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rllib_reborn.envs.starcraft.errors import (
    GameCrashedError,
    InstallationError,
    LaunchError,
    RequestRefusedError,
    RequestTimeoutError,
)
from rllib_reborn.envs.starcraft.frames import MessageReader, frame
from rllib_reborn.envs.starcraft.handshake import HandshakeSocket
from rllib_reborn.envs.starcraft.installation import HOW_TO_GET_MAPS
from rllib_reborn.envs.starcraft.packages import protocol, websocket_client
from rllib_reborn.envs.starcraft.ports import LOCAL_HOST
from rllib_reborn.envs.starcraft.settings import DIFFICULTIES, Timeouts

_LOOK_EVERY_S = 0.05
#: The only status of HTTP after which both sides speak websocket.
_SWITCHING = 101
#: So many connections in a row that are ended at once are no accident of starting up.
_REFUSALS = 5
#: What no further attempt can change.
_HOPELESS_MAPS = ("MissingMap", "InvalidMapPath", "InvalidMapData", "InvalidMapName", "InvalidMapHandle")


def connect(port: int, timeouts: Timeouts, look: Callable[[], bool] = lambda: True) -> Connection:
    """Connect to the game that will listen on ``port``.

    Args:
        port: Of this machine.
        timeouts: How long to wait, and those of the connection.
        look: Called before every attempt: whether to make it; raises where there is no longer anything to wait for.

    Raises:
        LaunchError: Nobody answered in time, or the connection was refused: the game has another one already.
    """
    deadline = time.monotonic() + timeouts.launch_s
    refusals = 0
    while True:
        attempt = look()
        left = deadline - time.monotonic()
        if left <= 0:
            raise LaunchError(f"did not answer within {timeouts.launch_s:g} s on port {port}")
        if attempt:
            try:
                socket = _open(port, left)
            except _RefusedError as error:
                refusals += 1
                if refusals == _REFUSALS:
                    raise LaunchError(
                        f"refused the connection on port {port} {refusals} times; is something else connected to it?"
                    ) from error
            else:
                if socket is not None:
                    return Connection(socket, timeouts)
        time.sleep(_LOOK_EVERY_S)


class _RefusedError(Exception):
    """The connection was taken and ended at once."""


def _open(port: int, patience_s: float) -> socket_module.socket | None:
    """A socket on which websocket messages can be exchanged; None where it is too early for one.

    Raises:
        _RefusedError: The connection was taken and ended at once.
        LaunchError: Whoever listens does not speak as the game does.
    """
    websocket = websocket_client()
    try:
        # Not by websocket-client, which would ask the proxy of the environment variable http_proxy for this machine.
        peer = socket_module.create_connection((LOCAL_HOST, port), timeout=patience_s)
    except OSError:
        return None  # nobody listens yet
    opened = None
    try:
        # An attempt on a port of the ephemeral range where nobody listens can be given that very port, and meet itself.
        if peer.getsockname() == peer.getpeername():
            return None
        peer.setsockopt(socket_module.IPPROTO_TCP, socket_module.TCP_NODELAY, 1)
        # Asks for no byte beyond the handshake, and keeps no account of its own of the socket.
        opened = websocket.create_connection(
            f"ws://{LOCAL_HOST}:{port}/sc2api",
            timeout=patience_s,
            socket=HandshakeSocket(peer, patience_s),
            skip_utf8_validation=True,
            redirect_limit=0,
        )
        if opened.getstatus() != _SWITCHING:
            status = opened.getstatus()
            opened = None
            raise LaunchError(f"answered the handshake on port {port} with status {status} and not {_SWITCHING}")
    except (websocket.WebSocketConnectionClosedException, ConnectionError) as error:
        raise _RefusedError from error
    except websocket.WebSocketBadStatusException as error:
        if error.status_code != 404:  # it listens and has not set up its address yet
            raise LaunchError(f"refused the connection on port {port}: {error}") from error
    except websocket.WebSocketTimeoutException as error:
        raise LaunchError(f"took the connection on port {port} and said nothing") from error
    except websocket.WebSocketException as error:
        raise LaunchError(f"does not speak the protocol on port {port}: {error}") from error
    finally:
        if opened is None:
            peer.close()
    return None if opened is None else peer


#: A request by name, and one that was sent by name and number.
Ask = tuple[str, Any]
Asked = list[tuple[str, int]]


class Connection:
    """The requests of one game.

    Args:
        socket: Connected to the game, the websocket's handshake done.
        timeouts: How long requests may take.
    """

    def __init__(self, socket: socket_module.socket, timeouts: Timeouts) -> None:
        self._socket = socket
        self._reader = MessageReader(socket)
        self._timeouts = timeouts
        self._api = protocol()
        self._number = 0
        #: When the request that is to be answered next was sent, or the one before it answered.
        self._waiting_since = 0.0
        #: Name of the state that the game said it is in, such as ``in_game``; None before its first answer.
        self.status: str | None = None

    # ------------------------------------------------------------------ requests

    def ping(self) -> Any:
        """The game's version: ``game_version``, ``data_version``, ``data_build``, ``base_build``. The first thing that it is
        asked, for which it may take as long as for its start."""
        return self._ask("ping", self._api.sc2api.RequestPing(), self._timeouts.launch_s)

    def create_game(self, map_path: str, map_data: bytes, enemy_race: str, difficulty: str, seed: int) -> None:
        """Load a map for one participant against the computer.

        Args:
            map_path: Path of the map, as the game knows it.
            map_data: Its content, so that the game need not find it.
            enemy_race: ``T``, ``P`` or ``Z``.
            difficulty: A key of :data:`~rllib_reborn.envs.starcraft.settings.DIFFICULTIES`.
            seed: The game's random seed.

        Raises:
            InstallationError: The map is missing or damaged.
            RequestRefusedError: The game cannot do it for another reason.
        """
        api = self._api.sc2api
        request = api.RequestCreateGame(
            local_map=api.LocalMap(map_path=map_path, map_data=map_data), realtime=False, random_seed=seed
        )
        request.player_setup.add(type=api.Participant)
        request.player_setup.add(
            type=api.Computer, race=self._race(enemy_race), difficulty=api.Difficulty.Value(DIFFICULTIES[difficulty])
        )
        answer = self._ask("create_game", request, self._timeouts.join_s)
        if answer.HasField("error"):
            name = api.ResponseCreateGame.Error.Name(answer.error)
            message = f"the game cannot create a game on {map_path}: {name} {answer.error_details}".strip()
            if name in _HOPELESS_MAPS:
                raise InstallationError(message, HOW_TO_GET_MAPS)
            raise RequestRefusedError(message)

    def join_game(self, race: str) -> int:
        """Take part with raw data; returns the player's number.

        Raises:
            RequestRefusedError: The game cannot do it.
        """
        api = self._api.sc2api
        request = api.RequestJoinGame(race=self._race(race), options=api.InterfaceOptions(raw=True, score=False))
        answer = self._ask("join_game", request, self._timeouts.join_s)
        if answer.HasField("error"):
            name = api.ResponseJoinGame.Error.Name(answer.error)
            raise RequestRefusedError(f"the game cannot be joined: {name} {answer.error_details}".strip())
        return int(answer.player_id)

    def game_info(self) -> Any:
        """The map: ``start_raw`` with its sizes, pathing grid and terrain height."""
        return self._ask("game_info", self._api.sc2api.RequestGameInfo())

    def unit_type_count(self) -> int:
        """How many unit types the running map knows, those of its own included."""
        return len(self._ask("data", self._api.sc2api.RequestData(unit_type_id=True)).units)

    def save_replay(self) -> bytes:
        """The replay of the game so far, since it was created."""
        return bytes(self._ask("save_replay", self._api.sc2api.RequestSaveReplay(), self._timeouts.join_s).data)

    def quit(self) -> None:
        """Ask the game to end, and close the connection. Never raises: a game that is gone has ended."""
        with contextlib.suppress(OSError):
            request = self._api.sc2api.Request(quit=self._api.sc2api.RequestQuit(), id=self._number + 1)
            self._socket.settimeout(self._timeouts.quit_s)
            self._socket.sendall(frame(request.SerializeToString()))
        self.close()

    def close(self) -> None:
        """Close the connection at once, without the parting words that a hanging game would never answer."""
        self._socket.close()

    # ------------------------------------------------------------------ parts of a turn

    def ordering(self, commands: Iterable[Any]) -> Ask:
        """Give units orders (``raw_pb2.ActionRawUnitCommand``). What the game thinks of each is not looked at, as in SMAC:
        an order to a unit that died meanwhile is no mistake."""
        request = self._api.sc2api.RequestAction()
        for command in commands:
            request.actions.add().action_raw.unit_command.CopyFrom(command)
        return "action", request

    def passing(self, loops: int) -> Ask:
        """Let ``loops`` game loops pass (22.4 a second)."""
        return "step", self._api.sc2api.RequestStep(count=loops)

    def killing(self, tags: Iterable[int]) -> Ask:
        """Remove units by their tags."""
        request = self._api.sc2api.RequestDebug()
        request.debug.add().kill_unit.tag.extend(tags)
        return "debug", request

    def creating(self, units: Iterable[tuple[int, int, float, float]]) -> Ask:
        """Create units, each ``(unit type, owner, x, y)``, in this order."""
        request = self._api.sc2api.RequestDebug()
        for unit_type, owner, x, y in units:
            made = request.debug.add().create_unit
            made.unit_type, made.owner, made.quantity = unit_type, owner, 1
            made.pos.x, made.pos.y = x, y
        return "debug", request

    def looking(self) -> Ask:
        """What is on the map now: ``observation.raw_data.units`` and ``observation.game_loop``."""
        return "observation", self._api.sc2api.RequestObservation()

    # ------------------------------------------------------------------ turns

    def turn(self, *asks: Ask) -> Any:
        """:meth:`begin_turn` and :meth:`end_turn`."""
        return self.end_turn(self.begin_turn(*asks))

    def begin_turn(self, *asks: Ask) -> Asked:
        """Ask for several things at once. They are answered in their order, as the protocol allows; so the game need not
        wait for us in between, nor we for it.

        Returns:
            What :meth:`end_turn` is to be given, before anything else is asked.
        """
        return self._send(asks)

    def end_turn(self, asked: Asked) -> Any:
        """Wait for all answers; returns the last one."""
        answer = None
        for name, number in asked:
            answer = self._answer(name, number)
        return answer

    # ------------------------------------------------------------------ requests and answers

    def _ask(self, name: str, request: Any, patience_s: float | None = None) -> Any:
        """Send one request and take its answer.

        Raises:
            GameCrashedError: The connection is gone.
            RequestTimeoutError: No answer came in time.
            RequestRefusedError: The answer is an error, or not one to this request.
        """
        ((_, number),) = self._send([(name, request)])
        return self._answer(name, number, patience_s)

    def _send(self, requests: Sequence[Ask]) -> Asked:
        """Send requests; returns their names and numbers."""
        asked, data = [], bytearray()
        for name, request in requests:
            self._number += 1
            asked.append((name, self._number))
            message = self._api.sc2api.Request(id=self._number)
            getattr(message, name).CopyFrom(request)
            data += frame(message.SerializeToString())
        try:
            self._socket.settimeout(self._timeouts.request_s)
            self._socket.sendall(data)
        except TimeoutError as error:
            raise RequestTimeoutError(
                f"{requests[0][0]} could not be sent within {self._timeouts.request_s:g} s"
            ) from error
        except OSError as error:
            raise GameCrashedError(f"the connection was lost before {requests[0][0]}") from error
        self._waiting_since = time.monotonic()
        return asked

    def _answer(self, name: str, number: int, patience_s: float | None = None) -> Any:
        """The answer to the request ``name`` of this number, which is the next one to be answered."""
        patience = self._timeouts.request_s if patience_s is None else patience_s
        try:
            # Since it could have been answered, and not since we look: of many games that hang each had its time.
            passed = time.monotonic() - self._waiting_since
            data = self._reader.message(patience - passed)
            self._waiting_since = time.monotonic()
        except TimeoutError as error:
            raise RequestTimeoutError(f"{name} was not answered within {patience:g} s") from error
        except OSError as error:
            raise GameCrashedError(f"the connection was lost during {name}") from error
        try:
            response = self._api.sc2api.Response.FromString(data)
        except self._api.decode_error as error:
            raise RequestRefusedError(f"{name} was answered with {len(data)} bytes that are no response") from error
        if response.HasField("status"):
            self.status = self._api.sc2api.Status.Name(response.status)
        if response.error:
            raise RequestRefusedError(f"{name} was refused: {'; '.join(response.error)}")
        if response.HasField("id") and response.id != number:
            raise RequestRefusedError(f"{name} was answered with the answer to another request ({response.id})")
        if response.WhichOneof("response") != name:
            raise RequestRefusedError(f"{name} was answered with {response.WhichOneof('response') or 'nothing'}")
        return getattr(response, name)

    def _race(self, letter: str) -> int:
        names = {"T": "Terran", "P": "Protoss", "Z": "Zerg", "R": "Random"}
        return int(self._api.common.Race.Value(names[letter]))
