"""A game's process ends with us, however we end."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import pytest

from rllib_reborn.envs.starcraft import ports
from rllib_reborn.envs.starcraft.ports import Listener
from rllib_reborn.envs.starcraft.process import GameProcess
from tests.envs.starcraft.programs import eventually, is_running, program

SLEEPS = "import time; time.sleep(600)"
LISTENS = """
import socket, sys, time
s = socket.socket(); s.bind(("127.0.0.1", int(sys.argv[1]))); s.listen()
time.sleep(600)
"""


def start(folder: Path, code: str, *arguments: str, port: int = 1) -> GameProcess:
    return GameProcess([str(program(folder, code)), *arguments], port)


def test_it_is_ended_with_all_that_it_started_and_leaves_no_file(tmp_path):
    code = "import subprocess, sys, time; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); time.sleep(600)"
    game = start(tmp_path, code)
    assert eventually(game.last_words)
    child = int(game.last_words())
    assert game.is_alive()
    assert game.how_it_ended() == "is running"
    assert is_running(child)
    assert game.rss_bytes() > 1_000_000
    game.close()
    game.close()
    assert not game.is_alive()
    assert game.how_it_ended() == "was ended by SIGKILL"
    assert not is_running(game.pid)
    assert eventually(lambda: not is_running(child))
    assert not game.folder.exists()
    assert game.rss_bytes() == 0


def test_one_that_is_forgotten_is_ended(tmp_path):
    game = start(tmp_path, SLEEPS)
    pid = game.pid
    del game
    gc.collect()
    assert not is_running(pid)


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("import sys; sys.exit(3)", "has ended with exit code 3"),
        ("import os; os.kill(os.getpid(), 11)", "was ended by SIGSEGV"),
    ],
)
def test_how_it_ended_and_its_last_words(tmp_path, code, how):
    game = start(tmp_path, f"import sys\nfor i in range(1000): print('line', i, file=sys.stderr, flush=True)\n{code}")
    assert game.wait(20)
    assert not game.is_alive()
    assert game.how_it_ended() == how
    assert game.last_words(2) == "line 998\nline 999"
    game.close()
    assert game.how_it_ended() == how


def test_a_program_that_cannot_be_executed_says_why(tmp_path):
    path = tmp_path / "SC2_x64"
    path.write_bytes(b"\x7fELF nonsense")
    path.chmod(0o755)
    game = GameProcess([str(path)], 1)
    assert game.wait(20)
    assert game.how_it_ended() == "has ended with exit code 126"
    assert "cannot execute: [Errno 8]" in game.last_words()
    game.close()


def test_waiting_gives_up(tmp_path):
    game = start(tmp_path, SLEEPS)
    assert not game.wait(0.05)
    game.close()


def test_who_listens(tmp_path):
    port = ports.free_port()
    game = start(tmp_path, LISTENS, str(port), port=port)
    assert eventually(lambda: game.listener() is not Listener.NOBODY)
    assert game.listener() is Listener.OURS
    other = start(tmp_path, SLEEPS, port=port)
    assert other.listener() is Listener.FOREIGN
    game.close()
    assert eventually(lambda: other.listener() is Listener.NOBODY)
    other.close()


def test_a_listener_that_the_game_started_is_the_game(tmp_path):
    port = ports.free_port()
    inner = program(tmp_path, LISTENS, "inner")
    game = start(tmp_path, f"import subprocess; subprocess.run([{str(inner)!r}, '{port}'])", port=port)
    assert eventually(lambda: game.listener() is not Listener.NOBODY)
    assert game.listener() is Listener.OURS
    game.close()


PARENT = """
import sys, threading, time
from rllib_reborn.envs.starcraft.process import GameProcess
def launch():
    global game
    game = GameProcess([sys.argv[1]], 1)
thread = threading.Thread(target=launch)
thread.start()
thread.join()
print(game.pid, flush=True)
{end}
"""


def parent_of(folder: Path, end: str) -> tuple[subprocess.Popen[str], int]:
    """Another Python that starts a game from a thread that ends at once, and the game's process id."""
    code = PARENT.format(end=end)
    # A parent that is killed leaves the game's folder behind.
    env = {**os.environ, "TMPDIR": str(folder)}
    arguments = [sys.executable, "-c", code, str(program(folder, SLEEPS))]
    parent = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=env)
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


def test_the_end_of_the_thread_that_asked_for_it_is_not_its_end_and_sigkill_of_the_parent_is(tmp_path):
    parent, game = parent_of(tmp_path, "time.sleep(600)")
    assert is_running(game)
    assert not eventually(lambda: not is_running(game), patience_s=0.5)
    parent.kill()
    parent.wait()
    assert eventually(lambda: not is_running(game))


def test_the_end_of_the_program_is_its_end(tmp_path):
    parent, game = parent_of(tmp_path, "pass")
    assert parent.wait(60) == 0
    assert eventually(lambda: not is_running(game))


def test_a_forked_child_leaves_it_alone_and_can_start_its_own(tmp_path):
    game = start(tmp_path, SLEEPS)
    code = 1
    child = os.fork()
    if child == 0:
        try:
            copy = game
            del copy
            game._end()  # what its finalizer would do
            # In a folder of its own: the program's file must not be written again while the first game begins to read it.
            (tmp_path / "own").mkdir()
            own = start(tmp_path / "own", SLEEPS)
            code = 0 if own.is_alive() else 2
            own.close()
        except BaseException:
            traceback.print_exc()  # into what pytest captures: a child that fails must say why
            code = 3
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert game.is_alive()
    game.close()


def test_an_interruption_while_it_starts_leaves_nothing(tmp_path, monkeypatch):
    """Ctrl-C in the moment in which another thread starts it."""
    started = []
    go_on = threading.Event()
    from rllib_reborn.envs.starcraft import process as module

    real = module._start

    def slow(*arguments):
        go_on.wait(20)
        started.append(real(*arguments))
        return started[0]

    monkeypatch.setattr(module, "_start", slow)
    main = threading.main_thread()
    timer = threading.Timer(0.2, lambda: signal.pthread_kill(main.ident, signal.SIGINT))
    # Ray Tune, in an earlier test of this process, leaves a handler of its own behind.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path, SLEEPS)
    finally:
        signal.signal(signal.SIGINT, before)
    go_on.set()
    assert eventually(lambda: started and not is_running(started[0].pid))
