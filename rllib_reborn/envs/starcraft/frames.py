"""WebSocket messages (RFC 6455) on an open connection, as fast as Python can: websocket-client, which opens it, takes a
tenth of a millisecond for the answers of one env step, as much as everything else that is done with them."""

from __future__ import annotations

import random
import socket
import time

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING = 0x0, 0x1, 0x2, 0x8, 0x9
_PONG = 0xA
#: This bit makes it a frame of control, which has no message.
_CONTROL = 0x8
_FINAL = 0x80
_MASKED = 0x80
#: Bytes that are read at once, at least and at most.
_CHUNK, _LARGEST_CHUNK = 1 << 16, 1 << 20
#: Largest message, in bytes: an observation has some hundred thousand, a replay some million.
MAX_MESSAGE = 64 * 2**20
_MAX_CONTROL = 125
#: Frames of one message, pings between them included.
_MAX_FRAMES = 10_000
#: What is there already must be found.
_LEAST_PATIENCE_S = 0.01
_MOST_PATIENCE_S = 600.0


class ClosedError(ConnectionError):
    """The other side has ended the connection, or what it sends are no frames of this protocol."""


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
    """Takes the messages of a server from a socket, one by one; pings are answered.

    Args:
        peer: A connected socket whose handshake is done; its timeout is set here.
    """

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._data = b""
        self._at = 0
        self._deadline = 0.0

    def message(self, patience_s: float | None = None) -> bytes:
        """The next message.

        Args:
            patience_s: Seconds for the whole of it, however its bytes come; None: as many as the socket's timeout.

        Raises:
            ClosedError: The other side has ended the connection, sends no frames, or more than :data:`MAX_MESSAGE` bytes.
            TimeoutError: It took too long.
            OSError: The connection is broken.
        """
        if patience_s is None:
            patience_s = self._peer.gettimeout() or _MOST_PATIENCE_S
        self._deadline = time.monotonic() + max(patience_s, _LEAST_PATIENCE_S)
        parts: list[bytes] = []
        size_so_far = 0
        for _ in range(_MAX_FRAMES):
            first, second = self._take(2)
            size = second & 0x7F
            if size == 126:
                size = int.from_bytes(self._take(2), "big")
            elif size == 127:
                size = int.from_bytes(self._take(8), "big")
            if second & _MASKED:
                raise ClosedError("a server must not mask its messages")
            opcode = first & 0x0F
            # What is announced is looked at before it is waited for.
            size_so_far += size
            if size_so_far > MAX_MESSAGE or (opcode & _CONTROL and (size > _MAX_CONTROL or not first & _FINAL)):
                raise ClosedError(f"a frame of {size} bytes is too large")
            payload = self._take(size)
            if opcode in (_CONTINUATION, _TEXT, _BINARY):
                if (opcode == _CONTINUATION) != bool(parts):
                    raise ClosedError("the frames of a message are out of order")
                if first & _FINAL and not parts:
                    return payload
                parts.append(payload)
                if first & _FINAL:
                    return b"".join(parts)
            elif opcode == _PING:
                self._peer.settimeout(max(self._deadline - time.monotonic(), _LEAST_PATIENCE_S))
                self._peer.sendall(frame(payload, _PONG))
            elif opcode == _CLOSE:
                raise ClosedError("the connection was closed")
            elif opcode != _PONG:
                raise ClosedError(f"a frame has the unknown kind {opcode}")
        raise ClosedError(f"a message has more than {_MAX_FRAMES:,} frames")

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
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._peer.settimeout(left)
            part = self._peer.recv(min(max(_CHUNK, missing), _LARGEST_CHUNK))
            if not part:
                raise ClosedError("the connection was lost")
            parts.append(part)
            missing -= len(part)
        self._data, self._at = b"".join(parts), 0
