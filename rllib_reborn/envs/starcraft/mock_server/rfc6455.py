"""The server's side of a websocket (RFC 6455) over a connected socket, in the standard library: what a client of the
game needs, no extensions and no subprotocols."""

from __future__ import annotations

import base64
import binascii
import hashlib
import http
import socket
from typing import NoReturn

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_MAX_HEAD = 16 * 1024
#: Largest message taken, in bytes. A map is sent whole in one request; the largest known ones have a few MB.
MAX_MESSAGE = 64 * 2**20
_MAX_CONTROL = 125
_CHUNK = 1 << 16

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_DATA = (TEXT, BINARY)
_CONTROL = (CLOSE, PING, PONG)

NORMAL, PROTOCOL_ERROR, TOO_BIG = 1000, 1002, 1009


class HandshakeRefused(Exception):  # noqa: N818  (it was answered, and is no error of ours)
    """What connected did not ask for this websocket; it has been answered with an HTTP status."""


class PeerGone(Exception):  # noqa: N818
    """The connection ended without the closing handshake."""


class _Violation(Exception):  # noqa: N818
    """The peer broke the protocol; ``code`` is the status of the close frame that says so (section 7.4)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class WebSocket:
    """One websocket, after its handshake. Blocking; for one thread.

    >>> WebSocket.frame(BINARY, b"ab")
    b'\\x82\\x02ab'
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = bytearray()
        self._closing = False

    @classmethod
    def accept(cls, connection: socket.socket, path: str) -> WebSocket:
        """Answer the opening handshake (section 4.2).

        Args:
            connection: A socket that has just been accepted.
            path: What the client must ask for; anything else is answered with 404.

        Raises:
            HandshakeRefused: This is no websocket request for ``path``; it has been answered, the socket is still open.
            PeerGone: The connection ended first.
        """
        websocket = cls(connection)
        target, headers = websocket._request_head()
        if target.partition("?")[0] != path:
            websocket._refuse(http.HTTPStatus.NOT_FOUND, f"asked for {target!r}; this server has {path!r}")
        wants_upgrade = "upgrade" in [part.strip().lower() for part in headers.get("connection", "").split(",")]
        if headers.get("upgrade", "").lower() != "websocket" or not wants_upgrade:
            websocket._refuse(http.HTTPStatus.BAD_REQUEST, "no upgrade to a websocket was asked for")
        if headers.get("sec-websocket-version") != "13":
            websocket._refuse(
                http.HTTPStatus.UPGRADE_REQUIRED, "only version 13 is spoken", "Sec-WebSocket-Version: 13"
            )
        key = headers.get("sec-websocket-key", "")
        if not _is_key(key):
            websocket._refuse(http.HTTPStatus.BAD_REQUEST, f"Sec-WebSocket-Key is {key!r}; expected 16 bytes in base64")
        token = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
        websocket._send_raw(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {token}\r\n\r\n".encode()
        )
        return websocket

    def receive(self) -> bytes | None:
        """The next message, put together from its fragments; None once the websocket is closed.

        Pings that come in between are answered. A peer that breaks the protocol is told so with a close frame. Text is
        taken as it is, UTF-8 or not, for so does the game: pysc2 sends its binary messages as text.

        Raises:
            PeerGone: The connection ended without the closing handshake.
        """
        try:
            return self._message()
        except _Violation as violation:
            self.close(violation.code, str(violation))
            return None

    def send(self, message: bytes) -> None:
        """Send one binary message.

        Raises:
            PeerGone: The connection has ended.
        """
        self._send_raw(self.frame(BINARY, message))

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Send a close frame, once. The socket stays open: closing it is for the one who opened it."""
        if not self._closing:
            self._closing = True
            payload = code.to_bytes(2, "big") + reason.encode()[: _MAX_CONTROL - 2]
            self._send_raw(self.frame(CLOSE, payload))

    @staticmethod
    def frame(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
        """One frame as a server sends it: not masked (section 5.2)."""
        first, size = opcode | (0x80 if final else 0), len(payload)
        if size < 126:
            return bytes((first, size)) + payload
        if size < 1 << 16:
            return bytes((first, 126)) + size.to_bytes(2, "big") + payload
        return bytes((first, 127)) + size.to_bytes(8, "big") + payload

    def _message(self) -> bytes | None:
        parts: list[bytes] = []
        size = 0
        while True:
            final, opcode, payload = self._read_frame(MAX_MESSAGE - size)
            if opcode == PING:
                self._send_raw(self.frame(PONG, payload))
            elif opcode == CLOSE:
                self._answer_close(payload)
                return None
            elif opcode != PONG:
                if (opcode == CONTINUATION) != bool(parts):
                    raise _Violation(PROTOCOL_ERROR, "a fragment is out of place")
                if final and not parts:
                    return payload
                parts.append(payload)
                size += len(payload)
                if final:
                    return b"".join(parts)

    def _answer_close(self, payload: bytes) -> None:
        if len(payload) == 1:
            raise _Violation(PROTOCOL_ERROR, "a close frame of one byte")
        if not self._closing:
            self._closing = True
            self._send_raw(self.frame(CLOSE, payload[:2]))

    def _read_frame(self, room: int) -> tuple[bool, int, bytes]:
        first, second = self._read(2)
        opcode, size = first & 0x0F, second & 0x7F
        if first & 0x70:
            raise _Violation(PROTOCOL_ERROR, "reserved bits are set; no extension was agreed on")
        if opcode not in (CONTINUATION, *_DATA, *_CONTROL):
            raise _Violation(PROTOCOL_ERROR, f"opcode {opcode} is not defined")
        if not second & 0x80:
            raise _Violation(PROTOCOL_ERROR, "a frame of a client must be masked")
        if opcode in _CONTROL and (size > _MAX_CONTROL or not first & 0x80):
            raise _Violation(PROTOCOL_ERROR, "a control frame is fragmented or longer than 125 bytes")
        if size == 126:
            size = int.from_bytes(self._read(2), "big")
        elif size == 127:
            size = int.from_bytes(self._read(8), "big")
        if size > room:
            raise _Violation(TOO_BIG, f"a message of more than {MAX_MESSAGE} bytes")
        mask = self._read(4)
        return bool(first & 0x80), opcode, _unmasked(self._read(size), mask)

    def _read(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._fill(max(_CHUNK, count - len(self._buffer)))
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _fill(self, size: int) -> None:
        """Wait for more bytes, at most ``size`` of them."""
        try:
            chunk = self._socket.recv(size)
        except ConnectionError:
            chunk = b""
        if not chunk:
            raise PeerGone("the connection ended")
        self._buffer += chunk

    def _request_head(self) -> tuple[str, dict[str, str]]:
        """Target and headers (names in lower case) of the HTTP request; ("", {}) where it is none."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0 and len(self._buffer) <= _MAX_HEAD:
            self._fill(_CHUNK)
        if not 0 <= end <= _MAX_HEAD:
            self._refuse(http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"a head of over {_MAX_HEAD} bytes")
        head = bytes(self._buffer[:end])
        del self._buffer[: end + 4]
        first, *lines = head.decode("latin-1").split("\r\n")
        words = first.split()
        if len(words) != 3 or words[0] != "GET" or not words[2].startswith("HTTP/1."):
            self._refuse(http.HTTPStatus.BAD_REQUEST, f"{first[:80]!r} is no GET request")
        pairs = [line.partition(":") for line in lines]
        return words[1], {name.strip().lower(): value.strip() for name, _, value in pairs}

    def _refuse(self, status: http.HTTPStatus, why: str, header: str = "Connection: close") -> NoReturn:
        body = f"{why}\n".encode()
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\n{header}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._send_raw(head.encode() + body)
        raise HandshakeRefused(why)

    def _send_raw(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except ConnectionError as error:
            raise PeerGone("the connection ended") from error


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    """``payload`` XOR the repeated four bytes of ``mask`` (section 5.3), as one operation on whole numbers."""
    size = len(payload)
    if not size:
        return payload
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")
