"""The websocket of the mock server, frame by frame and with websocket-client."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from rllib_reborn.envs.starcraft.mock_server import rfc6455
from rllib_reborn.envs.starcraft.mock_server.rfc6455 import HandshakeRefused, PeerGone, WebSocket

REQUEST = (
    "GET /sc2api HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's and the server's end of one connection."""
    client, server = socket.socketpair()
    client.settimeout(5)
    server.settimeout(5)
    with client, server:
        yield client, server


def masked(
    opcode: int, payload: bytes, *, final: bool = True, mask: bytes = b"\x11\x22\x33\x44", first: int = 0
) -> bytes:
    """A frame as a client sends it, written out byte by byte."""
    size = len(payload)
    head = bytes([opcode | (0x80 if final else 0) | first])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += b"\xfe" + struct.pack(">H", size)
    else:
        head += b"\xff" + struct.pack(">Q", size)
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def opened(ends: tuple[socket.socket, socket.socket]) -> tuple[socket.socket, WebSocket]:
    client, server = ends
    client.sendall(REQUEST.encode())
    websocket = WebSocket.accept(server, "/sc2api")
    client.recv(4096)
    return client, websocket


def close_code(client: socket.socket) -> int:
    frame = client.recv(4096)
    assert frame[0] == 0x88, frame
    return int.from_bytes(frame[2:4], "big")


def test_the_handshake_is_answered_as_in_the_example_of_the_rfc(ends: tuple[socket.socket, socket.socket]) -> None:
    client, server = ends
    client.sendall(REQUEST.encode())
    WebSocket.accept(server, "/sc2api")
    answer = client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer


def test_a_handshake_in_pieces_with_the_first_frame_right_behind_it(ends: tuple[socket.socket, socket.socket]) -> None:
    client, server = ends
    raw = REQUEST.encode() + masked(rfc6455.BINARY, b"early")
    sender = threading.Thread(target=lambda: [client.sendall(raw[i : i + 7]) for i in range(0, len(raw), 7)])
    sender.start()
    assert WebSocket.accept(server, "/sc2api").receive() == b"early"
    sender.join()


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        ("/sc2api", "/other", b"404"),
        ("Upgrade: websocket", "Upgrade: h2c", b"400"),
        ("Connection: keep-alive, Upgrade", "Connection: keep-alive", b"400"),
        ("Version: 13", "Version: 8", b"426"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", b"400"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "***", b"400"),
        ("GET ", "POST ", b"400"),
        ("Host: x", "X: " + "y" * 20_000, b"431"),
    ],
)
def test_what_is_no_request_for_this_websocket_is_refused(
    ends: tuple[socket.socket, socket.socket], old: str, new: str, status: bytes
) -> None:
    client, server = ends
    sender = threading.Thread(target=client.sendall, args=(REQUEST.replace(old, new).encode(),))
    sender.start()
    with pytest.raises(HandshakeRefused):
        WebSocket.accept(server, "/sc2api")
    sender.join()
    assert client.recv(4096).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize("size", [0, 1, 3, 4, 125, 126, 127, 65535, 65536, 300_001])
def test_messages_of_every_kind_of_length_both_ways(ends: tuple[socket.socket, socket.socket], size: int) -> None:
    client, websocket = opened(ends)
    message = os.urandom(size)
    sender = threading.Thread(target=client.sendall, args=(masked(rfc6455.BINARY, message),))
    sender.start()
    assert websocket.receive() == message
    sender.join()
    sender = threading.Thread(target=websocket.send, args=(message,))
    sender.start()
    head = 2 if size < 126 else 4 if size < 65536 else 10
    answer = b""
    while len(answer) < head + size:
        answer += client.recv(1 << 16)
    sender.join()
    assert answer[head:] == message
    assert answer[0] == 0x82
    assert not answer[1] & 0x80


def test_fragments_with_a_ping_between_them(ends: tuple[socket.socket, socket.socket]) -> None:
    client, websocket = opened(ends)
    client.sendall(
        masked(rfc6455.BINARY, b"one ", final=False)
        + masked(rfc6455.PING, b"there?")
        + masked(rfc6455.CONTINUATION, b"", final=False)
        + masked(rfc6455.PONG, b"unasked")
        + masked(rfc6455.CONTINUATION, b"message")
        + masked(rfc6455.BINARY, b"next")
    )
    assert websocket.receive() == b"one message"
    assert client.recv(4096) == b"\x8a\x06there?"
    assert websocket.receive() == b"next"


def test_text_is_taken_as_it_is(ends: tuple[socket.socket, socket.socket]) -> None:
    """pysc2 sends its messages as text, which they are not."""
    client, websocket = opened(ends)
    client.sendall(masked(rfc6455.TEXT, b"\x08\xff\x00"))
    assert websocket.receive() == b"\x08\xff\x00"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x82\x01a", 1002),  # not masked
        (masked(rfc6455.BINARY, b"a", first=0x40), 1002),  # a reserved bit
        (masked(0x3, b"a"), 1002),  # an opcode that is not defined
        (masked(rfc6455.PING, b"a" * 126), 1002),  # too long for a control frame
        (masked(rfc6455.PING, b"a", final=False), 1002),  # a control frame in fragments
        (masked(rfc6455.CONTINUATION, b"a"), 1002),  # continues nothing
        (masked(rfc6455.BINARY, b"a", final=False) + masked(rfc6455.BINARY, b"b"), 1002),  # the first one is not over
        (masked(rfc6455.CLOSE, b"a"), 1002),
        (b"\x82\xff" + (1 << 40).to_bytes(8, "big"), 1009),
    ],
)
def test_a_peer_that_breaks_the_protocol_is_told_so(
    ends: tuple[socket.socket, socket.socket], frame: bytes, code: int
) -> None:
    client, websocket = opened(ends)
    client.sendall(frame)
    assert websocket.receive() is None
    assert close_code(client) == code


def test_the_closing_handshake_from_either_side(ends: tuple[socket.socket, socket.socket]) -> None:
    client, websocket = opened(ends)
    client.sendall(masked(rfc6455.CLOSE, (1001).to_bytes(2, "big") + b"bye"))
    assert websocket.receive() is None
    assert client.recv(4096) == b"\x88\x02" + (1001).to_bytes(2, "big")
    websocket.close()
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.recv(1)  # It has been said once.


def test_a_connection_that_ends_without_a_word(ends: tuple[socket.socket, socket.socket]) -> None:
    client, websocket = opened(ends)
    client.sendall(masked(rfc6455.BINARY, b"half of it")[:-3])
    client.close()
    with pytest.raises(PeerGone):
        websocket.receive()
    with pytest.raises(PeerGone):
        websocket.send(b"x" * 1_000_000)


def test_with_websocket_client() -> None:
    """An independent implementation of the other side."""
    client_library = pytest.importorskip("websocket", reason="websocket-client (extra 'starcraft') is not installed")

    def echo(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            websocket = WebSocket.accept(connection, "/sc2api")
            while (message := websocket.receive()) is not None:
                websocket.send(message)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=echo, args=(listener,))
        server.start()
        connection = client_library.create_connection(f"ws://127.0.0.1:{listener.getsockname()[1]}/sc2api", timeout=5)
        for size in (0, 5, 200, 70_000):
            message = os.urandom(size)
            connection.send_binary(message)
            assert connection.recv() == message
        connection.ping("hello")
        opcode, data = connection.recv_data(control_frame=True)
        assert (opcode, data) == (0xA, b"hello")
        connection.close(timeout=5)
        server.join(5)
        assert not server.is_alive()
