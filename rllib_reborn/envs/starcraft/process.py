"""One process of the game: started, watched, and ended with all that it has started itself.

It must never outlive us. Three things see to that, each for what the others miss:

* ``close()``, a ``weakref.finalize`` behind it for objects that are forgotten, and the same at the end of Python;
* a process group of its own, so that whatever the game starts is ended with it;
* ``PR_SET_PDEATHSIG`` for the day on which we are killed. The kernel sends that signal when the *thread* that started the
  process ends, and RLlib and thread pools end threads all the time; so all games are started by one thread of this process
  that never ends. The wish has to be made between fork and exec; Python's ``preexec_fn`` would run Python code in a forked
  copy of a process with many threads, where any lock may be held without end. A tiny Python program makes it instead and
  then becomes the game.
"""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from rllib_reborn.envs.starcraft import ports

_OUTPUT_FILE = "output.txt"
#: Of what the game has written, no more than this is ever read.
_TAIL_BYTES = 8_192
_LOOK_EVERY_S = 0.02

# What becomes the game. An end of the parent before prctl is seen by its number.
_STARTER = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
try:
    os.execv(sys.argv[2], sys.argv[2:])
except OSError as error:
    os.write(2, f"cannot execute: {error}\\n".encode())
    os._exit(126)
"""


class _Starter:
    """The one thread that starts games."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        # A daemon: it ends with the process and not a moment before.
        threading.Thread(target=self._serve, name="starcraft-starter", daemon=True).start()

    def submit(self, task: Callable[[], Any]) -> Future[Any]:
        """What ``task()`` will return or raise in that thread."""
        done: Future[Any] = Future()
        self._tasks.put((task, done))
        return done

    def _serve(self) -> None:
        while True:
            task, done = self._tasks.get()
            try:
                done.set_result(task())
            except BaseException as error:
                done.set_exception(error)
            del task, done  # nothing may live on only because this thread sleeps over it


_starters: dict[int, _Starter] = {}
_starters_lock = threading.Lock()


def _starter() -> _Starter:
    """Of this process: a forked child has inherited the object, but not its thread."""
    with _starters_lock:
        if os.getpid() not in _starters:
            _starters[os.getpid()] = _Starter()
        return _starters[os.getpid()]


class GameProcess:
    """A running game.

    Args:
        command: The program and its arguments.
        port: On which it listens.
        env: Its environment variables; None: ours.
        folder: Its own folder for temporary files and what it writes, deleted with it.

    Raises:
        OSError: Python itself, which becomes the game, could not be started.
    """

    def __init__(
        self, command: Sequence[str], port: int, *, env: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> None:
        self.port = port
        self.folder = new_folder() if folder is None else folder
        started = _starter().submit(functools.partial(_start, command, env, self.folder))
        try:
            self._popen: subprocess.Popen[bytes] = started.result()
        except BaseException:
            # Also where we are interrupted (Ctrl-C) while it is being started: nobody would know of it.
            started.add_done_callback(functools.partial(_abandon, folder=self.folder, owner=os.getpid()))
            raise
        self.pid: int = self._popen.pid
        self._end = weakref.finalize(self, _end, self._popen, self.folder, os.getpid())

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._end.alive and _has_ended(self._popen) is None

    def listener(self) -> ports.Listener:
        """Who listens on its port."""
        return ports.listener(self.port, self.pid)

    def rss_bytes(self) -> int:
        """Resident memory; 0 where it has ended or the system does not say."""
        return resident_bytes(self.pid)

    def how_it_ended(self) -> str:
        """``has ended with exit code 1``, ``was ended by SIGSEGV``, or ``is running``."""
        status = self._popen.returncode if not self._end.alive else _has_ended(self._popen)
        if status is None:
            return "is running"
        if status >= 0:
            return f"has ended with exit code {status}"
        try:
            return f"was ended by {signal.Signals(-status).name}"
        except ValueError:
            return f"was ended by signal {-status}"

    def last_words(self, lines: int = 12) -> str:
        """The last lines that it has written, standard error and output together; empty where there are none."""
        try:
            with (self.folder / _OUTPUT_FILE).open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - _TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.strip().splitlines()[-lines:])

    def wait(self, patience_s: float) -> bool:
        """Wait for it to end by itself; whether it has."""
        return ends_within(patience_s, self.is_alive)

    def close(self) -> None:
        """End it and all that it has started, at once, and delete its folder. May be called twice."""
        self._end()


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 where it has ended or the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def ends_within(patience_s: float, is_alive: Callable[[], bool]) -> bool:
    """Wait until something is no longer alive; whether that came within ``patience_s`` seconds."""
    deadline = time.monotonic() + patience_s
    while is_alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True


def new_folder() -> Path:
    """A folder for one game's temporary files."""
    return Path(tempfile.mkdtemp(prefix="rllib-reborn-sc2-"))


def _start(command: Sequence[str], env: Mapping[str, str] | None, folder: Path) -> subprocess.Popen[bytes]:
    with (folder / _OUTPUT_FILE).open("wb") as output:
        whole = list(command)
        if sys.platform == "linux":
            whole = [sys.executable, "-I", "-S", "-c", _STARTER, str(os.getpid()), *whole]
        return subprocess.Popen(
            whole,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=folder,
            process_group=0,
        )


def _has_ended(process: subprocess.Popen[bytes]) -> int | None:
    """Exit code (or minus the signal) of a process that has ended; None: it runs. It is left a zombie, so that its number,
    which is that of its group, is nobody else's until the group is ended."""
    if process.returncode is not None:
        return process.returncode
    try:
        found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # somebody else has waited for it
        return process.poll() or 0
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _abandon(started: Future[subprocess.Popen[bytes]], folder: Path, owner: int) -> None:
    if started.exception() is None:
        _end(started.result(), folder, owner)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _end(process: subprocess.Popen[bytes], folder: Path, owner: int) -> None:
    if os.getpid() != owner:
        return  # a forked child forgets its copy of our object; the game is still ours
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    # Where it had not become a group yet.
    process.kill()
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)
