"""A server in this process, for one connection at a time, that answers as a function says: for tests of the client alone."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

from s2clientprotocol import sc2api_pb2

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#: What is answered: a response; raw bytes in its place; None: nothing, ever; an exception: the connection is closed.
Answer = Any


class ScriptedServer:
    """Listens on ``port`` (0 before :meth:`start`); ``answer(request)`` gives what is answered, ``requests`` are kept."""

    def __init__(
        self, answer: Callable[[Any], Answer], handshake: Callable[[socket.socket], bool] | None = None
    ) -> None:
        self._answer = answer
        self._handshake = handshake or _shake_hands
        self.requests: list[Any] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self._talk(peer)

    def _talk(self, peer: socket.socket) -> None:
        with peer:
            if not self._handshake(peer):
                return
            while True:
                data = _receive(peer)
                if data is None:
                    return
                request = sc2api_pb2.Request.FromString(data)
                self.requests.append(request)
                answer = self._answer(request)
                if isinstance(answer, Exception):
                    return
                if answer is None:
                    self._closed.wait(60)
                    return
                peer.sendall(_frame(answer if isinstance(answer, bytes) else answer.SerializeToString()))


def respond(request: Any, **fields: Any) -> Any:
    """The response to ``request`` with the fields of its kind."""
    kind = request.WhichOneof("request")
    response = sc2api_pb2.Response(id=request.id, status=sc2api_pb2.Status.in_game)
    getattr(response, kind).SetInParent()
    for name, value in fields.items():
        setattr(getattr(response, kind), name, value)
    return response


def _shake_hands(peer: socket.socket) -> bool:
    head = b""
    while b"\r\n\r\n" not in head:
        part = peer.recv(4096)
        if not part:
            return False
        head += part
    key = next(
        line.split(b":", 1)[1].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
    )
    accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
    peer.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + accept
        + b"\r\n\r\n"
    )
    return True


def refuse(status: str) -> Callable[[socket.socket], bool]:
    """A handshake that answers ``404 Not Found`` or the like."""

    def answer(peer: socket.socket) -> bool:
        peer.recv(4096)
        peer.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        return False

    return answer


def _receive(peer: socket.socket) -> bytes | None:
    try:
        head = _exactly(peer, 2)
        length = head[1] & 0x7F
        if length == 126:
            length = struct.unpack("!H", _exactly(peer, 2))[0]
        elif length == 127:
            length = struct.unpack("!Q", _exactly(peer, 8))[0]
        mask = _exactly(peer, 4)
        data = _exactly(peer, length)
    except (ConnectionError, OSError):
        return None
    if head[0] & 0x0F == 8:
        return None
    return bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))


def _exactly(peer: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = peer.recv(count - len(data))
        if not part:
            raise ConnectionError
        data += part
    return data


def _frame(data: bytes) -> bytes:
    size = len(data)
    if size < 126:
        return bytes([0x82, size]) + data
    if size < 2**16:
        return bytes([0x82, 126]) + struct.pack("!H", size) + data
    return bytes([0x82, 127]) + struct.pack("!Q", size) + data
