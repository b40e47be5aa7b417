"""The client's side of the protocol, against a server that answers what a test wants."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

pytest.importorskip("s2clientprotocol", reason="not run: the extra 'starcraft' is not installed")

from s2clientprotocol import raw_pb2, sc2api_pb2

from rllib_reborn.envs.starcraft.connection import Connection, connect
from rllib_reborn.envs.starcraft.errors import (
    GameCrashedError,
    InstallationError,
    LaunchError,
    RequestRefusedError,
    RequestTimeoutError,
)
from rllib_reborn.envs.starcraft.ports import free_port
from rllib_reborn.envs.starcraft.settings import Timeouts
from tests.envs.starcraft.scripted_server import ScriptedServer, refuse, respond

QUICK = Timeouts(launch_s=0.3, join_s=0.3, request_s=0.3, quit_s=0.3)
PATIENT = Timeouts()


@pytest.fixture
def serve():
    """``serve(answer)`` is a connection to a server that answers so; ``serve.server`` the last server."""
    made = []

    def make(answer=respond, timeouts=PATIENT):
        server = ScriptedServer(answer)
        connection = connect(server.port, timeouts)
        made.append((server, connection))
        make.server = server
        return connection

    yield make
    for server, connection in made:
        connection.close()
        server.close()


def test_every_request_is_the_one_that_is_meant(serve):
    connection = serve()
    connection.create_game("SMAC_Maps/3m.SC2Map", b"map", "Z", "A", 7)
    connection.join_game("P")
    connection.turn(connection.passing(2))
    command = raw_pb2.ActionRawUnitCommand(ability_id=23, unit_tags=[5], target_unit_tag=9)
    connection.turn(connection.ordering([command, command]), connection.passing(8), connection.looking())
    connection.turn(connection.killing([3, 4]))
    connection.turn(connection.creating([(48, 1, 2.5, 3.5), (105, 2, 1.0, 2.0)]))
    connection.game_info()
    parts = [connection.passing(6), connection.killing([7]), connection.passing(2), connection.looking()]
    connection.turn(connection.ordering([]), *parts)
    assert connection.unit_type_count() == 0
    assert connection.save_replay() == b""
    assert connection.status == "in_game"
    connection.quit()
    sent = serve.server.requests[:16]
    assert [request.WhichOneof("request") for request in sent] == [
        *("create_game", "join_game", "step"),
        *("action", "step", "observation"),
        *("debug", "debug", "game_info"),
        *("action", "step", "debug", "step", "observation"),
        *("data", "save_replay"),
    ]
    assert [request.id for request in sent] == list(range(1, 17))
    create, join = sent[0].create_game, sent[1].join_game
    assert (create.local_map.map_path, create.local_map.map_data) == ("SMAC_Maps/3m.SC2Map", b"map")
    assert (create.random_seed, create.realtime) == (7, False)
    participant, computer = create.player_setup
    assert participant.type == sc2api_pb2.Participant
    assert computer.type == sc2api_pb2.Computer
    assert (computer.race, computer.difficulty) == (2, sc2api_pb2.CheatInsane)
    assert (join.race, join.options.raw, join.options.score) == (3, True, False)
    assert [sent[i].step.count for i in (2, 4, 10, 12)] == [2, 8, 6, 2]
    assert [action.action_raw.unit_command for action in sent[3].action.actions] == [command, command]
    assert [list(sent[i].debug.debug[0].kill_unit.tag) for i in (6, 11)] == [[3, 4], [7]]
    made = [(u.unit_type, u.owner, u.pos.x, u.pos.y, u.quantity) for u in (d.create_unit for d in sent[7].debug.debug)]
    assert made == [(48, 1, 2.5, 3.5, 1), (105, 2, 1.0, 2.0, 1)]
    assert (sent[14].data.unit_type_id, sent[14].data.ability_id) == (True, False)


def test_the_time_that_others_were_waited_for_counts(serve, monkeypatch):
    """Eight games that hang are given up after one timeout, not after eight."""
    connection = serve(lambda request: None)
    asked = connection.begin_turn(connection.passing(8))
    now = time.monotonic()
    monkeypatch.setattr("rllib_reborn.envs.starcraft.connection.time.monotonic", lambda: now + PATIENT.request_s)
    with pytest.raises(RequestTimeoutError, match="step was not answered within 60 s"):
        connection.end_turn(asked)


def test_a_turn_is_sent_as_a_whole_before_it_is_answered():
    """And answers that arrive together, or in pieces, are taken apart."""
    ours, theirs = socket.socketpair()
    answers = b""
    for number, kind in enumerate(("action", "step", "observation"), 1):
        response = sc2api_pb2.Response(id=number)
        getattr(response, kind).SetInParent()
        if kind == "observation":
            response.observation.observation.game_loop = 77
        data = response.SerializeToString()
        answers += bytes([0x82, len(data)]) + data

    def serve():
        sent = b""
        while len(sent) < 30:  # three masked frames of at least ten bytes; nothing is answered before
            sent += theirs.recv(4096)
        theirs.sendall(answers[:5])
        time.sleep(0.05)
        theirs.sendall(answers[5:])

    thread = threading.Thread(target=serve)
    thread.start()
    connection = Connection(ours, PATIENT)
    asked = connection.begin_turn(connection.ordering([]), connection.passing(8), connection.looking())
    assert connection.end_turn(asked).observation.game_loop == 77
    thread.join()
    connection.close()
    with pytest.raises(GameCrashedError, match="the connection was lost before step"):
        connection.turn(connection.passing(1))
    theirs.close()


def test_a_large_answer_is_taken_whole(serve):
    connection = serve(lambda request: respond(request, data=b"x" * 300_000))
    assert connection.save_replay() == b"x" * 300_000


def wrong_id(request):
    response = respond(request)
    response.id += 1
    return response


def wrong_kind(request):
    response = sc2api_pb2.Response(id=request.id, status=sc2api_pb2.Status.in_game)
    response.observation.SetInParent()
    return response


def with_error(request):
    response = respond(request)
    response.error.append("the game is over")
    return response


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (lambda request: None, RequestTimeoutError, "step was not answered within 0.3 s"),
        (lambda request: ConnectionError(), GameCrashedError, "the connection was lost during step"),
        (lambda request: b"\xff\xff\xff", RequestRefusedError, "step was answered with 3 bytes that are no response"),
        (wrong_id, RequestRefusedError, "the answer to another request"),
        (wrong_kind, RequestRefusedError, "step was answered with observation"),
        (with_error, RequestRefusedError, "step was refused: the game is over"),
    ],
)
def test_what_goes_wrong_is_told_apart(serve, answer, error, message):
    connection = serve(answer, QUICK)
    with pytest.raises(error, match=message):
        connection.turn(connection.passing(8))
    connection.quit()  # of a game that is gone: raises nothing
    connection.quit()


@pytest.mark.parametrize(
    ("name", "error"), [("InvalidMapData", InstallationError), ("MultiplayerUnsupported", RequestRefusedError)]
)
def test_a_map_that_cannot_be_loaded_is_hopeless_and_the_rest_is_not(serve, name, error):
    number = sc2api_pb2.ResponseCreateGame.Error.Value(name)
    connection = serve(lambda request: respond(request, error=number, error_details="details"))
    with pytest.raises(error, match=f"3m.SC2Map: {name} details") as caught:
        connection.create_game("3m.SC2Map", b"", "T", "7", 1)
    assert type(caught.value) is error


def test_a_game_that_cannot_be_joined(serve):
    number = sc2api_pb2.ResponseJoinGame.Error.Value("GameFull")
    connection = serve(lambda request: respond(request, error=number))
    with pytest.raises(RequestRefusedError, match="cannot be joined: GameFull"):
        connection.join_game("T")


def test_nobody_there_and_the_look_before_every_attempt():
    looks = []
    with pytest.raises(LaunchError, match=r"did not answer within 0\.3 s"):
        connect(free_port(), QUICK, lambda: looks.append(1) is None)
    assert len(looks) > 1

    def look():
        raise LaunchError("ended before it answered")

    with pytest.raises(LaunchError, match="ended before it answered"):
        connect(free_port(), PATIENT, look)


@pytest.mark.parametrize(
    ("handshake", "timeouts", "message"),
    [
        (refuse("500 Internal Server Error"), PATIENT, "refused the connection"),
        (lambda peer: bool(peer.recv(4096)) and False, PATIENT, "refused the connection on port .* 5 times"),
        (lambda peer: peer.sendall(b"hello\r\n\r\n") or False, PATIENT, "does not speak the protocol"),
        (lambda peer: bool(peer.recv(4096)) and bool(peer.recv(4096)), QUICK, "said nothing"),
    ],
)
def test_a_server_that_is_no_game(handshake, timeouts, message):
    server = ScriptedServer(respond, handshake)
    with pytest.raises(LaunchError, match=message):
        connect(server.port, timeouts)
    server.close()


def test_an_attempt_that_meets_itself_is_no_connection(monkeypatch):
    """On Linux a port of the ephemeral range can be given to the very attempt to reach it."""
    port = free_port()

    def meet(address, timeout):
        peer = socket.socket()
        peer.bind(address)
        peer.connect(address)
        return peer

    monkeypatch.setattr("socket.create_connection", meet)
    with pytest.raises(LaunchError, match="did not answer within"):
        connect(port, QUICK)


def test_no_proxy_is_asked(serve, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "example.org")
    assert serve().ping() is not None


@pytest.mark.parametrize("line", [b"HTTP/1.1 101 ok\r\n", b"HTTP/1.1 101 ok\r\nX: "])
def test_a_handshake_that_trickles_or_never_ends(line):
    def endless(peer):
        with contextlib.suppress(OSError):
            peer.sendall(line)
            while True:
                peer.sendall(b"x" * (2_000 if line.endswith(b" ") else 1))
                time.sleep(0.02)

    server = ScriptedServer(respond, endless)
    try:
        with pytest.raises(LaunchError):
            connect(server.port, Timeouts(launch_s=0.5))
    finally:
        server.close()


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"200 OK"])
def test_a_handshake_that_leads_elsewhere_is_not_followed(status):
    asked = []

    def elsewhere(peer):
        asked.append(peer.recv(4096))
        with contextlib.suppress(OSError):
            peer.sendall(b"HTTP/1.1 " + status + b"\r\nLocation: ws://127.0.0.1:9/\r\n\r\n")
        return False

    server = ScriptedServer(respond, elsewhere)
    try:
        with pytest.raises(LaunchError):
            connect(server.port, Timeouts(launch_s=0.5))
    finally:
        server.close()
    assert all(b"/sc2api" in request for request in asked)
