"""The websocket's handshake within limits: websocket-client reads it byte by byte, each for as long as the socket waits, and
as many as there are."""

from __future__ import annotations

import socket
import time
from typing import Any

MAX_BYTES = 16 * 1024


class HandshakeSocket:
    """A socket as websocket-client uses it, which answers for a limited time and with a limited number of bytes.

    Args:
        peer: The socket; all else that is asked for is its own.
        patience_s: Seconds for all that is received.
    """

    def __init__(self, peer: socket.socket, patience_s: float) -> None:
        self._peer = peer
        self._deadline = time.monotonic() + patience_s
        self._received = 0

    def recv(self, size: int) -> bytes:
        """As a socket's.

        Raises:
            TimeoutError: The time is over.
            ConnectionError: So many bytes are no handshake.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._peer.settimeout(left)
        data = self._peer.recv(size)
        self._received += len(data)
        if self._received > MAX_BYTES:
            raise ConnectionError(f"more than {MAX_BYTES:,} bytes are no handshake")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._peer, name)
