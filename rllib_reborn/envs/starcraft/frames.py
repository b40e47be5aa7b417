"""WebSocket messages (RFC 6455) on an open connection, as fast as Python can: websocket-client, which opens it, takes a
tenth of a millisecond for the answers of one env step, as much as everything else that is done with them."""

from __future__ import annotations

import random
import socket

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING = 0x0, 0x1, 0x2, 0x8, 0x9
_PONG = 0xA
_FINAL = 0x80
_MASKED = 0x80
#: Bytes that are read at once.
_CHUNK = 1 << 16


class ClosedError(ConnectionError):
    """The other side has ended the connection."""


def frame(payload: bytes, opcode: int = _BINARY) -> bytes:
    """A message of a client in one piece, masked as a client's must be."""
    size = len(payload)
    if size < 126:
        head = bytes((_FINAL | opcode, _MASKED | size))
    elif size < 1 << 16:
        head = bytes((_FINAL | opcode, _MASKED | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((_FINAL | opcode, _MASKED | 127)) + size.to_bytes(8, "big")
    # The mask is there to confuse proxies, and there is none: it need not be hard to guess.
    key = random.getrandbits(32).to_bytes(4, "big")
    return head + key + _masked(payload, key)


def _masked(payload: bytes, key: bytes) -> bytes:
    size = len(payload)
    pattern = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(pattern, "little")).to_bytes(size, "little")


class MessageReader:
    """Takes the messages of a server from a socket, one by one; pings are answered, and what is late is waited for as long
    as the socket's timeout says.

    Args:
        peer: A connected socket whose handshake is done.
    """

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._data = b""
        self._at = 0

    def message(self) -> bytes:
        """The next message.

        Raises:
            ClosedError: The other side has ended the connection.
            TimeoutError: It took too long.
            OSError: The connection is broken.
        """
        parts: list[bytes] = []
        while True:
            first, second = self._take(2)
            size = second & 0x7F
            if size == 126:
                size = int.from_bytes(self._take(2), "big")
            elif size == 127:
                size = int.from_bytes(self._take(8), "big")
            if second & _MASKED:
                raise ClosedError("a server must not mask its messages")
            payload = self._take(size)
            opcode = first & 0x0F
            if opcode in (_CONTINUATION, _TEXT, _BINARY):
                if first & _FINAL and not parts:
                    return payload
                parts.append(payload)
                if first & _FINAL:
                    return b"".join(parts)
            elif opcode == _PING:
                self._peer.sendall(frame(payload, _PONG))
            elif opcode == _CLOSE:
                raise ClosedError("the connection was closed")

    def _take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            self._read_on(count)
            end = self._at + count
        part = self._data[self._at : end]
        self._at = end
        return part

    def _read_on(self, count: int) -> None:
        """Read until ``count`` bytes are there."""
        parts = [self._data[self._at :]]
        missing = count - len(parts[0])
        while missing > 0:
            part = self._peer.recv(max(_CHUNK, missing))
            if not part:
                raise ClosedError("the connection was lost")
            parts.append(part)
            missing -= len(part)
        self._data, self._at = b"".join(parts), 0
