"""The process: listens as the game's executable does, serves one client at a time, and injects the faults of its plan."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rllib_reborn.envs.battle.battlefield import BACKENDS, Backend
from rllib_reborn.envs.starcraft.mock_server import BUILD, NOTICE
from rllib_reborn.envs.starcraft.mock_server.faults import FaultPlan, Injector, PlanError, plan_from_environment
from rllib_reborn.envs.starcraft.mock_server.rfc6455 import HandshakeRefused, PeerGone, WebSocket

if TYPE_CHECKING:
    from rllib_reborn.envs.starcraft.mock_server.protocol import Game

#: Where the game's websocket is.
PATH = "/sc2api"
#: A server that nobody has asked anything for so long ends, so that a failed test leaves nothing running.
IDLE_SECONDS = 1800.0
#: How long a new client waits for the last one to be gone, in seconds: one that hangs up and calls again is let in.
_GRACE = 0.25
_SEGMENTATION_FAULT = 139
_GARBAGE = b"\xff" * 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the game's executable takes that matters here; everything else it takes is skipped.

    >>> Options.parse(["-listen", "127.0.0.1", "-port", "5000", "-dataDir", "/sc2/", "-headlessNoRender"]).port
    5000

    Attributes:
        host: Address to listen on.
        port: 0 takes a free one.
        data_folder: The installation, whose ``Maps`` are looked into for maps that are given by path alone.
        map_name: The map of every game, whatever a client asks for. None: what it asks for. Not an option of the game.
        backend: Of the simulator: ``numpy`` starts at once, ``numba`` takes half a second and then a thirtieth of the time.
            Not an option of the game (``-backend``).
        build: Which build a ping says that it is. Not an option of the game (``-build``).
    """

    host: str = "127.0.0.1"
    port: int = 0
    data_folder: Path | None = None
    map_name: str | None = None
    backend: Backend = "numpy"
    build: int = BUILD

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Options:
        """From a command line of the game.

        Raises:
            ValueError: ``-port`` or ``-build`` is no number, or there is no such backend.
        """
        values = {name.lower(): value for name, value in zip(arguments, [*arguments[1:], ""]) if name.startswith("-")}
        folder, backend = values.get("-datadir"), values.get("-backend", "numpy")
        if backend not in BACKENDS:
            raise ValueError(f"-backend is {backend!r}; expected one of {BACKENDS}.")
        return cls(
            host=values.get("-listen", "127.0.0.1"),
            port=int(values.get("-port", "0")),
            data_folder=Path(folder) if folder else None,
            backend=cast(Backend, backend),
            build=int(values.get("-build", BUILD)),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as the game's executable would, until a client says quit. Returns the exit status."""
    _say(NOTICE)
    try:
        options = Options.parse(sys.argv[1:] if arguments is None else arguments)
        plan = plan_from_environment(os.environ)
    except (ValueError, PlanError) as error:
        _say(f"cannot start: {error}")
        return 2
    return serve(options, plan)


def serve(options: Options, plan: FaultPlan) -> int:
    """Listen and serve until a client says quit. Returns the exit status."""
    injector = Injector(plan)
    if plan.ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if injector.refuses_launch():
        _say("refused to launch, as the plan of faults says.")
        return 1
    time.sleep(plan.start_delay_ms / 1000)
    try:
        listener = _listen(options)
    except OSError as error:
        _say(f"cannot listen on {options.host}:{options.port}: {error.strerror}.")
        return 1
    host, port = listener.getsockname()[:2]
    _say(f"listening on {host}:{port}")
    with listener:
        _Server(options, injector).serve(listener)
    return 0


class _Server:
    """One game behind one port. A second client is turned away while there is one, as the game does."""

    def __init__(self, options: Options, injector: Injector) -> None:
        self._injector = injector
        self._options = options
        self._clients: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        self._free = threading.Semaphore(1)

    def serve(self, listener: socket.socket) -> None:
        # What is slow to import comes once the port is open: who connects meanwhile waits in the queue of the listener.
        from rllib_reborn.envs.starcraft.mock_server.protocol import Game

        game = Game(
            data_folder=self._options.data_folder,
            map_name=self._options.map_name,
            backend=self._options.backend,
            build=self._options.build,
            step_delay=self._injector.plan.step_delay_ms / 1000,
        )
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        while not game.has_quit:
            try:
                connection = self._clients.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                _say(f"nobody has asked anything for {IDLE_SECONDS:.0f} s: the end.")
                return
            try:
                with connection:
                    self._talk(WebSocket.accept(connection, PATH), game)
            except TimeoutError:
                _say(f"the client has asked nothing for {IDLE_SECONDS:.0f} s: the end.")
                return
            except (PeerGone, HandshakeRefused):
                pass  # The game, too, waits for the next client then, and keeps what it was playing.
            finally:
                self._free.release()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            if self._injector.refuses_connection() or not self._free.acquire(timeout=_GRACE):
                connection.close()
                continue
            connection.settimeout(IDLE_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._clients.put(connection)

    def _talk(self, websocket: WebSocket, game: Game) -> None:
        while not game.has_quit:
            message = websocket.receive()
            if message is None:
                return
            request = game.parse(message)
            fault = self._injector.at_request(game.name_of(request))
            if fault == "crash":
                os._exit(_SEGMENTATION_FAULT)
            if fault == "hang":
                time.sleep(IDLE_SECONDS)
                return
            if fault == "close":
                return
            if fault == "garbage":
                websocket.send(_GARBAGE)
            elif fault == "error":
                websocket.send(game.refuse(request, "an error that the plan of faults asked for"))
            else:
                websocket.send(game.answer(request))
        with contextlib.suppress(PeerGone):
            websocket.close()


def _listen(options: Options) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    return socket.create_server((options.host, options.port), family=family, backlog=16)


def _say(sentence: str) -> None:
    # Whoever started us may have closed the other end.
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{sentence}\n")
        sys.stderr.flush()
