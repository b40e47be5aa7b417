"""From an installation to a game that answers: with programs in the game's place that go wrong in known ways."""

from __future__ import annotations

import socket
import threading

import pytest

pytest.importorskip("s2clientprotocol", reason="not run: the extra 'starcraft' is not installed")

from rllib_reborn.envs.starcraft import launch as module
from rllib_reborn.envs.starcraft.errors import GameCrashedError, InstallationError, LaunchError
from rllib_reborn.envs.starcraft.installation import find_installation
from rllib_reborn.envs.starcraft.launch import check_ready, launch
from rllib_reborn.envs.starcraft.launch_slots import launch_slot
from rllib_reborn.envs.starcraft.mock_server.install import executable_of, make_mock_install, running_servers
from rllib_reborn.envs.starcraft.settings import GameSettings
from tests.envs.starcraft.programs import eventually, installation, processes_with

PORT = "port = int(sys.argv[sys.argv.index('-port') + 1])"
LISTEN = f"import socket, sys, time; {PORT}; s = socket.socket(); s.bind(('127.0.0.1', port)); s.listen()"
QUICK = {"launch_s": 0.5, "request_s": 0.5, "join_s": 0.5, "quit_s": 0.2}


@pytest.fixture
def start(tmp_path, monkeypatch):
    """``start(code)`` launches a game that is this program; afterwards none may be left."""
    monkeypatch.setattr(module, "_JITTER_S", 0.0)

    def make(code, **settings):
        folder = installation(tmp_path / "game", code)
        settings = GameSettings(sc2_path=str(folder), timeouts=settings.pop("timeouts", QUICK), **settings)
        return launch(find_installation(str(folder)), settings)

    yield make
    assert processes_with(str(tmp_path / "game")) == []


def test_it_gets_pysc2s_arguments_and_the_games_libraries(start, tmp_path, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/mine")
    with pytest.raises(LaunchError) as caught:
        start("import sys, os; print(sys.argv[1:], os.environ['LD_LIBRARY_PATH'], os.path.isdir(sys.argv[8]))")
    message = str(caught.value)
    assert "['-listen', '127.0.0.1', '-port', '" in message
    assert f"'-dataDir', '{tmp_path}/game/', '-tempDir', '" in message
    assert f"/mine:{tmp_path}/game/Libs/ True" in message


def test_one_that_ends_at_once_is_told_with_its_last_words(start):
    with pytest.raises(
        LaunchError, match=r"ended before it answered; its process has ended with exit code 3"
    ) as caught:
        start("import sys; print('no graphics card', file=sys.stderr); sys.exit(3)")
    assert str(caught.value).startswith("StarCraft II ended")
    assert str(caught.value).endswith("Its last words:\nno graphics card")


def test_one_that_never_listens(start):
    with pytest.raises(LaunchError, match=r"did not answer within 0.5 s on port \d+; its process is running"):
        start("import time; time.sleep(600)")


def test_one_that_listens_and_says_nothing(start):
    with pytest.raises(LaunchError, match=r"said nothing; its process is running. It has written nothing"):
        start(f"{LISTEN}; time.sleep(600)")


def test_one_that_dies_while_it_is_connected_to(start):
    with pytest.raises(LaunchError, match="its process was ended by SIGSEGV"):
        start(f"{LISTEN}; peer = s.accept(); import os; os.kill(os.getpid(), 11)")


def test_one_that_can_never_run_is_an_installation_error(start):
    with pytest.raises(InstallationError, match="a library is missing") as caught:
        start("import sys; print('error while loading shared libraries: libx.so: no', file=sys.stderr); sys.exit(127)")
    assert "its process has ended with exit code 127" in str(caught.value)


def test_a_stolen_port_is_exchanged_for_another_one(start, monkeypatch):
    """Between the choice of a port and its use by the game another process may take it."""
    stolen = socket.create_server(("127.0.0.1", 0))
    ports = iter([stolen.getsockname()[1]] * 2)
    monkeypatch.setattr(module.ports, "free_port", lambda: next(ports))
    with stolen, pytest.raises(StopIteration):  # a third port was asked for
        start("import time; time.sleep(600)", timeouts={"launch_s": 60})


def test_a_port_that_is_always_stolen(start, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as stolen:
        monkeypatch.setattr(module.ports, "free_port", lambda: stolen.getsockname()[1])
        with pytest.raises(LaunchError, match="was taken by another process while the game started"):
            start("import time; time.sleep(600)", timeouts={"launch_s": 60})


def test_what_can_be_known_before(tmp_path, monkeypatch):
    folder = installation(tmp_path, "")
    assert check_ready(GameSettings(sc2_path=str(folder)), "3m").root == folder
    with pytest.raises(InstallationError, match=r"8m.SC2Map is not in"):
        check_ready(GameSettings(sc2_path=str(folder)), "8m")
    with pytest.raises(InstallationError, match="is not installed"):
        check_ready(GameSettings(sc2_path=str(folder), game_version="4.6.2"), "3m")
    monkeypatch.setitem(module.check_ready.__globals__, "protocol", _missing)
    with pytest.raises(InstallationError, match="pip install"):
        check_ready(GameSettings(sc2_path=str(folder)), "3m")


def _missing():
    raise InstallationError(
        "the game's protocol needs 's2clientprotocol'", "run: pip install 'rllib-reborn[starcraft]'"
    )


class TestVersions:
    """Of a game in the folder of base build 70154, whose data are of 70326."""

    @pytest.fixture
    def start(self, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "_JITTER_S", 0.0)
        folder = make_mock_install(tmp_path / "sc2", build=70154)
        program = executable_of(folder, 70154)
        patch = (
            'import rllib_reborn.envs.starcraft.mock_server.protocol as p; p.GAME_VERSION = "4.7.1.70326"; sys.exit('
        )
        program.write_text(program.read_text().replace("sys.exit(", patch))

        def make(game_version):
            settings = GameSettings(sc2_path=str(folder), game_version=game_version)
            return launch(find_installation(str(folder)), settings)

        make.folder = folder
        yield make
        assert running_servers(folder) == []

    @pytest.mark.parametrize("game_version", [None, "4.7.1", "4.7.1.70326", "70154", "Base70154"])
    def test_every_name_of_it(self, start, game_version):
        game = start(game_version)
        game.quit()
        assert (game.version, game.base_build) == ("4.7.1.70326", 70154)

    @pytest.mark.parametrize("game_version", ["4.7", "4.7.1.70325"])
    def test_another_one_of_the_same_build(self, start, game_version):
        with pytest.raises(InstallationError, match=r"Base70154 says it is 4.7.1.70326; name that one, or '70154' for"):
            start(game_version)

    def test_a_folder_that_has_another_ones_name(self, start):
        (start.folder / "Versions" / "Base70154").rename(start.folder / "Versions" / "Base75689")
        with pytest.raises(InstallationError, match=r"Base75689 says it is 4.7.1.70326; give the .* name, Base70154"):
            start("4.10")


def test_errors_of_a_running_game_have_its_last_words(tmp_path):
    class Process:
        def wait(self, patience_s):
            return True

        def how_it_ended(self):
            return "was ended by SIGSEGV"

        def last_words(self, lines=12):
            return "boom"

    game = module.RunningGame(Process(), None, "4.10", 1.0)
    explained = game.explain(GameCrashedError("the connection was lost during step"))
    assert type(explained) is GameCrashedError
    assert (
        str(explained) == "the connection was lost during step; its process was ended by SIGSEGV. Its last words:\nboom"
    )
    unchanged = InstallationError("x", "y")
    assert game.explain(unchanged) is unchanged


def test_no_more_games_start_at_once_than_there_are_slots():
    inside, most = 0, 0
    lock, entered = threading.Lock(), threading.Event()

    def start():
        nonlocal inside, most
        with launch_slot(2):
            with lock:
                inside += 1
                most = max(most, inside)
                if inside == 2:
                    entered.set()
            entered.wait(20)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert most == 2


def test_whoever_waits_too_long_for_a_slot_starts_without(monkeypatch, caplog):
    monkeypatch.setattr("rllib_reborn.envs.starcraft.launch_slots._PATIENCE_S", 0.1)
    with launch_slot(1), launch_slot(1):
        pass
    assert "No slot" in caplog.text
    with launch_slot(1):
        assert eventually(lambda: True)
