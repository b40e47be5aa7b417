"""The mock server as a process: its installation, its faults as a client meets them, its command line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rllib_reborn.cli.main import main
from rllib_reborn.envs.starcraft.mock_server import NOTICE
from rllib_reborn.envs.starcraft.mock_server.faults import PLAN_VARIABLE, Fault, FaultPlan, events
from rllib_reborn.envs.starcraft.mock_server.install import executable_of, make_mock_install, running_servers
from rllib_reborn.envs.starcraft.mock_server.maps import MAPS
from rllib_reborn.envs.starcraft.mock_server.server import Options, serve
from tests.envs.starcraft.mock_server_client import Client, connect, free_port, running_server, sc_pb, websocket

GONE = (ConnectionError, websocket.WebSocketConnectionClosedException)


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_mock_install(tmp_path_factory.mktemp("it's an install"))


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "faults.jsonl")


def with_faults(log: str, *faults: Fault, **settings: float) -> dict[str, str]:
    return {PLAN_VARIABLE: FaultPlan(log=log, faults=faults, **settings).to_json()}  # type: ignore[arg-type]


@pytest.fixture
def faulty(request: pytest.FixtureRequest, install: Path, log: str) -> Iterator[tuple[subprocess.Popen[bytes], Client]]:
    """A server with the test's fault, in a game on 3m."""
    port = free_port()
    with running_server(install, port, with_faults(log, *request.param)) as process:
        client = connect(port)
        client.start("3m")
        yield process, client
        client.connection.shutdown()


def on_step(kind: str, at: int = 2) -> pytest.param:
    return pytest.param((Fault(kind=kind, request="step", at=at),), id=kind)


class TestFaults:
    """What a client meets."""

    @pytest.mark.parametrize("faulty", [on_step("crash")], indirect=True)
    def test_a_crash(self, faulty: tuple[subprocess.Popen[bytes], Client], log: str) -> None:
        process, client = faulty
        client.step(8)
        client.send(step={"count": 8})
        with pytest.raises(GONE):
            client.connection.recv()
        assert process.wait(10) == 139
        assert events(log) == {"start": 1, "crash": 1}

    @pytest.mark.parametrize("faulty", [on_step("hang")], indirect=True)
    def test_a_hang(self, faulty: tuple[subprocess.Popen[bytes], Client], log: str) -> None:
        process, client = faulty
        client.step(8)
        client.send(step={"count": 8})
        client.connection.settimeout(0.3)
        with pytest.raises(websocket.WebSocketTimeoutException):
            client.connection.recv()
        assert process.poll() is None
        assert events(log)["hang"] == 1
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM

    @pytest.mark.parametrize("faulty", [on_step("close")], indirect=True)
    def test_a_connection_that_breaks(self, faulty: tuple[subprocess.Popen[bytes], Client], log: str) -> None:
        process, client = faulty
        client.step(8)
        client.send(step={"count": 8})
        with pytest.raises(GONE):
            client.connection.recv()
        assert process.poll() is None
        assert events(log)["close"] == 1

    @pytest.mark.parametrize("faulty", [on_step("garbage")], indirect=True)
    def test_garbage(self, faulty: tuple[subprocess.Popen[bytes], Client], log: str) -> None:
        from google.protobuf.message import DecodeError

        _, client = faulty
        client.step(8)
        client.send(step={"count": 8})
        with pytest.raises(DecodeError):
            sc_pb.Response.FromString(client.connection.recv())
        assert client.step(8).status == sc_pb.in_game
        assert events(log)["garbage"] == 1

    @pytest.mark.parametrize("faulty", [on_step("error")], indirect=True)
    def test_an_error(self, faulty: tuple[subprocess.Popen[bytes], Client], log: str) -> None:
        _, client = faulty
        loop = client.step(8).step.simulation_loop
        assert "plan of faults" in client.step(8).error[0]
        assert client.step(8).step.simulation_loop == loop + 8
        assert events(log)["error"] == 1

    def test_a_refused_connection(self, install: Path, log: str) -> None:
        port = free_port()
        with running_server(install, port, with_faults(log, Fault(kind="refuse_connection", at=1))) as process:
            with pytest.raises(GONE):
                connect(port)
            client = connect(port)
            assert client.ask(ping={}).status == sc_pb.launched
            assert process.poll() is None
            client.close()
        assert events(log) == {"start": 1, "refuse_connection": 1}

    def test_a_refused_launch_of_one_server_of_several(self, install: Path, log: str) -> None:
        faults = with_faults(log, Fault(kind="refuse_launch", server=1))
        port = free_port()
        with running_server(install, port, faults) as process:
            assert process.wait(10) == 1
            assert process.stderr is not None
            assert b"refused to launch" in process.stderr.read()
        with running_server(install, port, faults):
            connect(port).close()
        assert events(log) == {"start": 2, "refuse_launch": 1}

    def test_slow_steps_and_deaf_to_sigterm(self, install: Path, log: str) -> None:
        port = free_port()
        faults = with_faults(log, step_delay_ms=60, ignore_sigterm=True)
        with running_server(install, port, faults) as process:
            client = connect(port)
            client.start("3m")
            start = time.monotonic()
            for _ in range(5):
                client.step(1)
            assert time.monotonic() - start >= 0.3
            process.terminate()
            assert client.step(1).status == sc_pb.in_game
            client.connection.shutdown()

    def test_a_late_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        slept: list[float] = []
        monkeypatch.setattr("time.sleep", slept.append)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            taken = Options(port=listener.getsockname()[1])
            assert serve(taken, FaultPlan(start_delay_ms=300)) == 1
        assert slept == [0.3]

    def test_a_broken_plan_is_told(self, install: Path) -> None:
        with running_server(install, free_port(), {PLAN_VARIABLE: '{"falts": []}'}) as process:
            assert process.wait(10) == 2
            assert process.stderr is not None
            assert "Did you mean 'faults'?" in process.stderr.read().decode()


class TestInstallation:
    """A folder that stands for $SC2PATH."""

    def test_what_is_in_it(self, install: Path) -> None:
        assert os.access(executable_of(install), os.X_OK)
        assert executable_of(install) == install / "Versions" / "Base75689" / "SC2_x64"
        maps = {path.stem for path in (install / "Maps" / "SMAC_Maps").glob("*.SC2Map")}
        assert maps == set(MAPS)
        assert len(maps) == 24
        assert b"no map of StarCraft II" in (install / "Maps" / "SMAC_Maps" / "3m.SC2Map").read_bytes()

    def test_its_own_faults_give_way_to_the_environments(self, tmp_path: Path, log: str) -> None:
        install = make_mock_install(tmp_path / "sc2", faults=FaultPlan(log=log, faults=(Fault(kind="refuse_launch"),)))
        with running_server(install, free_port()) as process:
            assert process.wait(10) == 1
        port = free_port()
        with running_server(install, port, {PLAN_VARIABLE: "{}"}):
            connect(port).close()
        assert events(log) == {"start": 1, "refuse_launch": 1}
        make_mock_install(tmp_path / "sc2")
        with running_server(install, port):
            connect(port).close()

    def test_its_servers_are_found(self, install: Path, tmp_path: Path) -> None:
        port = free_port()
        with running_server(install, port) as process:
            connect(port).close()
            assert process.pid in running_servers(install)
            assert running_servers(tmp_path) == []
        assert process.pid not in running_servers(install)

    def test_a_port_that_is_taken(self, install: Path) -> None:
        port = free_port()
        with running_server(install, port):
            connect(port).close()
            with running_server(install, port) as second:
                assert second.wait(10) == 1
                assert second.stderr is not None
                assert b"cannot listen on 127.0.0.1" in second.stderr.read()

    def test_arguments_of_the_game(self) -> None:
        options = Options.parse(["-listen", "::1", "-port", "77", "-dataDir", "/a b/", "-tempDir", "/t/", "-verbose"])
        assert (options.host, options.port, options.data_folder) == ("::1", 77, Path("/a b"))
        assert Options.parse([]) == Options()
        assert Options.parse(["-backend", "numba"]).backend == "numba"

    def test_the_simulators_backend_is_part_of_it(self, tmp_path: Path) -> None:
        launcher = executable_of(make_mock_install(tmp_path, backend="numba"))
        assert launcher.read_text().endswith('"$@" -build 75689 -backend numba\n')
        launcher.write_text(launcher.read_text().replace("numba", "abacus"))
        with running_server(tmp_path, free_port()) as process:
            assert process.wait(10) == 2
            assert process.stderr is not None
            assert "-backend is 'abacus'; expected one of" in process.stderr.read().decode()


class TestCommandLine:
    """rllib-reborn sc2-mock-server."""

    def test_install(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["sc2-mock-server", "--install", str(tmp_path / "sc2")]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == NOTICE
        assert f"export SC2PATH={tmp_path / 'sc2'}" in lines[1]
        assert executable_of(tmp_path / "sc2").is_file()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--map", "MM"], "Did you mean 'MMM'?"),
            (["--faults", "nowhere.json"], "cannot be read"),
            (["--port", "x"], "not a whole number"),
        ],
    )
    def test_mistakes(self, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["sc2-mock-server", *arguments]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert message in printed.err

    def test_it_serves_one_map_whatever_is_asked_for(self, tmp_path: Path, log: str) -> None:
        plan = tmp_path / "plan.json"
        plan.write_text(FaultPlan(log=log).to_json())
        port = free_port()
        command = [sys.executable, "-m", "rllib_reborn", "sc2-mock-server"]
        command += ["--port", str(port), "--map", "2s3z", "--faults", str(plan)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            client = connect(port)
            client.start("anything")
            assert (len(client.side(1)), len(client.side(2))) == (5, 5)
            client.ask(quit={})
            assert process.wait(10) == 0
            assert process.stdout is not None
            assert process.stdout.readline().strip() == NOTICE
        assert events(log) == {"start": 1}
