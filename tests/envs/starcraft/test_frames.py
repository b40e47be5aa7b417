"""WebSocket messages, against an implementation that is not ours (websocket-client's) and by hand (RFC 6455, section 5)."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

pytest.importorskip("websocket", reason="not run: the extra 'starcraft' is not installed")

import websocket
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_reborn.envs.starcraft.frames import MAX_MESSAGE, ClosedError, MessageReader, frame


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    yield ours, theirs
    ours.close()
    theirs.close()


def send(theirs: socket.socket, data: bytes) -> None:
    threading.Thread(target=theirs.sendall, args=(data,), daemon=True).start()


def unmasked(opcode: int, payload: bytes, final: bool = True) -> bytes:
    """A frame as a server sends it."""
    made = websocket.ABNF(int(final), 0, 0, 0, opcode, 0, payload)
    return made.format()


@settings(deadline=None, max_examples=30)
@given(st.one_of(st.binary(max_size=130), st.integers(0, 70_000).map(lambda n: bytes(i % 251 for i in range(n)))))
def test_what_we_send_is_read_by_another_implementation(payload):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send(ours, frame(payload))
        reader = websocket._abnf.frame_buffer(theirs.recv, skip_utf8_validation=True)
        made = reader.recv_frame()
    # ABNF knows no server, and takes the mask off itself.
    assert (made.opcode, made.fin, bytes(made.data)) == (2, 1, payload)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 300_000])
def test_messages_of_all_sizes_that_arrive_together(pair, size):
    ours, theirs = pair
    payloads = [bytes([k]) * size for k in (1, 2, 3)]
    send(theirs, b"".join(unmasked(2, payload) for payload in payloads))
    reader = MessageReader(ours)
    assert [reader.message() for _ in payloads] == payloads


def test_byte_by_byte(pair):
    ours, theirs = pair
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    data = unmasked(2, b"x" * 200) + unmasked(2, b"y")

    def drip():
        for byte in data:
            theirs.sendall(bytes([byte]))

    threading.Thread(target=drip, daemon=True).start()
    reader = MessageReader(ours)
    assert [reader.message(), reader.message()] == [b"x" * 200, b"y"]


def test_fragments_with_a_ping_between_them(pair):
    ours, theirs = pair
    theirs.settimeout(5)
    pieces = [
        unmasked(2, b"one ", False),
        unmasked(9, b"are you there"),
        unmasked(0, b"two ", False),
        unmasked(0, b"three"),
    ]
    send(theirs, b"".join([*pieces, unmasked(10, b""), unmasked(1, b"text")]))
    reader = MessageReader(ours)
    assert reader.message() == b"one two three"
    assert reader.message() == b"text"
    answer = websocket._abnf.frame_buffer(theirs.recv, skip_utf8_validation=True).recv_frame()
    assert (answer.opcode, bytes(answer.data)) == (10, b"are you there")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (unmasked(8, b"\x03\xe8"), "was closed"),
        (unmasked(2, b"x" * 10)[:5], "was lost"),
        (frame(b"masked"), "must not mask"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # a mask is random, a name must not be
)
def test_the_end(pair, data, message):
    ours, theirs = pair
    theirs.sendall(data)
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(ClosedError, match=message):
        MessageReader(ours).message()


def test_silence(pair):
    ours, _ = pair
    ours.settimeout(0.05)
    with pytest.raises(TimeoutError):
        MessageReader(ours).message()


def head(first: int, size: int) -> bytes:
    """The beginning of a server's frame that announces ``size`` bytes."""
    return bytes((first, 127)) + size.to_bytes(8, "big")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (head(0x82, 2**62), "too large"),
        (head(0x82, MAX_MESSAGE + 1), "too large"),
        ((head(0x02, 2**20) + b"x" * 2**20) + (head(0x00, MAX_MESSAGE) + b"x"), "too large"),
        (head(0x89, 2**63), "too large"),
        (bytes((0x89, 126, 0, 126)) + b"x" * 126, "too large"),
        (bytes((0x09, 0)), "too large"),
        (unmasked(0, b"x"), "out of order"),
        (bytes((0x02, 0)) + unmasked(2, b"x"), "out of order"),
        (bytes((0x83, 1)) + b"x", "unknown kind 3"),
        (bytes((0x8F, 0)), "unknown kind 15"),
        (bytes((0x02, 0)) + bytes((0x00, 0)) * 20_000, "more than"),
        (unmasked(10, b"") * 20_000, "more than"),
    ],
    ids=range(12),
)
def test_what_is_no_message_is_refused_before_it_is_waited_for(pair, data, message):
    ours, theirs = pair
    sender = threading.Thread(target=_send, args=(theirs, data), daemon=True)
    sender.start()
    with pytest.raises(ClosedError, match=message):
        MessageReader(ours).message(10.0)


def _send(peer, data):
    with contextlib.suppress(OSError):
        peer.sendall(data)


@pytest.mark.parametrize("begin", [b"", head(0x82, 1_000), bytes((0x02, 0))])
def test_bytes_that_trickle_have_one_deadline_together(pair, begin):
    """Each comes in time, the message never."""
    ours, theirs = pair
    stop = threading.Event()

    def trickle():
        _send(theirs, begin)
        while not stop.wait(0.02):
            _send(theirs, b"\x8a\x00" if begin == b"" else b"\x00\x00")

    sender = threading.Thread(target=trickle, daemon=True)
    sender.start()
    try:
        with pytest.raises(TimeoutError):
            MessageReader(ours).message(0.3)
    finally:
        stop.set()
        sender.join()
