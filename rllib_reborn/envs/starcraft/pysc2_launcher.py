"""Start the game through pysc2's run configs, for users whose installation only pysc2 finds (its own versions, macOS,
Windows). Our own launcher needs no pysc2 and looks better after its processes.

pysc2 is in no requirement of this package, because two traps come with it: enum34, and code for protobuf 3
(docs/starcraft.md). Install it with ``pip install --no-deps pysc2==4.0.0`` beside the extras ``starcraft`` and ``pysc2``.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import signal
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

from rllib_reborn.envs.starcraft import ports
from rllib_reborn.envs.starcraft.errors import InstallationError, LaunchError
from rllib_reborn.envs.starcraft.installation import HOW_TO_INSTALL, Installation
from rllib_reborn.envs.starcraft.packages import MEND_PROTOCOL, protocol, stale_protocol
from rllib_reborn.envs.starcraft.process import ends_within, resident_bytes

INSTALL = "run: pip install 'rllib-reborn[starcraft,pysc2]' && pip install --no-deps pysc2==4.0.0"

# Ends the game when we end: standard input is a pipe that only we hold, and closes when we are gone.
_WATCH = """
import os, sys
sys.stdin.buffer.read()
try:
    os.kill(int(sys.argv[1]), 9)
except OSError:
    pass
"""


def run_config(version: str | None) -> Any:
    """pysc2's description of the installation that it finds.

    Args:
        version: As pysc2 names it, such as ``4.10``; None: the newest.

    Raises:
        InstallationError: pysc2 is missing or unusable, or finds no game.
    """
    protocol()
    try:
        configs = importlib.import_module("pysc2.run_configs")
        flags = importlib.import_module("absl.flags").FLAGS
    except ModuleNotFoundError as error:
        raise InstallationError(
            f"pysc2 is asked for and needs {error.name!r}, which is not installed", INSTALL
        ) from error
    except TypeError as error:
        raise InstallationError(stale_protocol(), f"run: {MEND_PROTOCOL}") from error
    if not flags.is_parsed():
        # pysc2 reads its options from absl's command line; ours has none of them.
        flags.mark_as_parsed()
    try:
        return configs.get(version=version)
    except Exception as error:
        # Its own SC2LaunchError, ValueError for a version, FileNotFoundError where there is no folder Versions.
        raise InstallationError(
            f"pysc2 finds no StarCraft II: {type(error).__name__}: {error}", HOW_TO_INSTALL
        ) from error


def installation_of(config: Any) -> Installation:
    """The folder that pysc2 has found; for its maps."""
    return Installation(Path(config.data_dir), ())


def start_with_pysc2(config: Any, port: int) -> Pysc2Process:
    """Start the game.

    Raises:
        LaunchError: pysc2 could not start it.
    """
    try:
        return Pysc2Process(config.start(want_rgb=False, port=port, connect=False), port)
    except Exception as error:
        raise LaunchError(f"was not started by pysc2: {type(error).__name__}: {error}") from error


class Pysc2Process:
    """A process of the game that pysc2 has started; what it writes goes where our own output goes."""

    def __init__(self, started: Any, port: int) -> None:
        self.port = port
        self._started = started
        self.pid: int = started.pid
        watch = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WATCH, str(self.pid)], stdin=subprocess.PIPE, process_group=0
        )
        self._end = weakref.finalize(self, _end, started, self.pid, watch, os.getpid())

    def is_alive(self) -> bool:
        return bool(self._end.alive and self._started.running)

    def listener(self) -> ports.Listener:
        # It is in no group of its own; pysc2 starts the executable itself, so that it is the leader of what is asked for.
        return ports.listener(self.port, self.pid)

    def rss_bytes(self) -> int:
        return resident_bytes(self.pid)

    def how_it_ended(self) -> str:
        return "is running" if self.is_alive() else "has ended"

    def last_words(self, lines: int = 12) -> str:
        return ""

    def wait(self, patience_s: float) -> bool:
        return ends_within(patience_s, self.is_alive)

    def close(self) -> None:
        self._end()


def _end(started: Any, pid: int, watch: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() != owner:
        return
    watch.kill()
    watch.communicate()
    if started.running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    # Takes back its port and deletes its temporary folder; its process is gone already, so it does not wait.
    started.close()
