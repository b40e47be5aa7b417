"""From an installation to a running game that answers."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import random
import time
from collections.abc import Callable
from typing import Protocol

from rllib_reborn.envs.starcraft import ports, pysc2_launcher
from rllib_reborn.envs.starcraft.connection import Connection, connect
from rllib_reborn.envs.starcraft.errors import InstallationError, LaunchError, RequestTimeoutError, StarCraftError
from rllib_reborn.envs.starcraft.installation import (
    Build,
    Installation,
    check_executable,
    find_installation,
    known_complaint,
    same_version,
)
from rllib_reborn.envs.starcraft.packages import protocol, websocket_client
from rllib_reborn.envs.starcraft.process import GameProcess, new_folder
from rllib_reborn.envs.starcraft.settings import GameSettings

logger = logging.getLogger(__name__)

#: How often another port is tried where somebody else took the first one.
_PORT_ATTEMPTS = 5
#: Starts are spread over up to so many seconds, so that the games of one machine do not load their maps in step.
_JITTER_S = 0.2
#: A connection closes a moment before its process has ended, with a code that tells why.
_DEATH_S = 0.5


class PortTakenError(LaunchError):
    """Somebody else listens on the port that was free a moment ago."""


class Process(Protocol):
    """What is asked of a game's process, whoever has started it."""

    port: int

    def is_alive(self) -> bool: ...

    def listener(self) -> ports.Listener: ...

    def rss_bytes(self) -> int: ...

    def how_it_ended(self) -> str: ...

    def last_words(self, lines: int = 12) -> str: ...

    def wait(self, patience_s: float) -> bool: ...

    def close(self) -> None: ...


@dataclasses.dataclass
class RunningGame:
    """A game that answers.

    Attributes:
        process: Its process.
        connection: To it.
        version: What it says it is, such as ``4.10.0.75689``.
        quit_s: Seconds that it is given to end by itself.
        base_build: What it says is the build of its executable, such as 75689; 0: it does not say.
    """

    process: Process
    connection: Connection
    version: str
    quit_s: float
    base_build: int = 0

    def explain(self, error: StarCraftError) -> StarCraftError:
        """``error`` again, with how the process ended and what it has written."""
        if not isinstance(error, RequestTimeoutError):
            self.process.wait(_DEATH_S)
        if isinstance(error, InstallationError):
            return error
        return type(error)(_with_last_words(str(error), self.process))

    def quit(self) -> None:
        """End it: it is asked to, and killed where it does not."""
        self.connection.quit()
        self.process.wait(self.quit_s)
        self.process.close()

    def kill(self) -> None:
        """End it at once."""
        self.connection.close()
        self.process.close()


def check_ready(settings: GameSettings, map_stem: str) -> Installation:
    """All that can be known without starting the game: packages, installation, version, map.

    Raises:
        InstallationError: The game cannot be played here; the message says how to fix it.
    """
    protocol()
    websocket_client()
    if settings.launcher == "pysc2":
        installation = pysc2_launcher.installation_of(pysc2_launcher.run_config(settings.game_version))
    else:
        installation = find_installation(settings.sc2_path)
        check_executable(installation.build(settings.game_version))
    installation.map_file(map_stem)
    return installation


def launch(installation: Installation, settings: GameSettings) -> RunningGame:
    """Start the game and connect to it; on a port that was taken, again on another one.

    Raises:
        InstallationError: It cannot be started on this machine.
        LaunchError: It ended, or did not answer in time. A further attempt may succeed.
    """
    start: Callable[[int], Process]
    build = None
    if settings.launcher == "pysc2":
        start = functools.partial(pysc2_launcher.start_with_pysc2, pysc2_launcher.run_config(settings.game_version))
    else:
        build = installation.build(settings.game_version)
        check_executable(build)
        start = functools.partial(start_process, installation, build)
    time.sleep(random.uniform(0, _JITTER_S))
    for attempt in range(1, _PORT_ATTEMPTS + 1):
        try:
            game = _launch_once(start, settings)
        except PortTakenError as error:
            if attempt == _PORT_ATTEMPTS:
                raise
            logger.info("%s; another port is tried.", error)
        else:
            if build is not None and settings.game_version is not None:
                _check_version(game, settings.game_version, build)
            return game
    raise AssertionError("unreachable")


def start_process(installation: Installation, build: Build, port: int) -> GameProcess:
    """The game's process, which listens on ``port``.

    Raises:
        LaunchError: No process can be started at all.
    """
    folder = new_folder()
    temporary = folder / "temp"
    temporary.mkdir()
    # pysc2's arguments, which the game takes as they are; both folders must end in a slash.
    command = [
        str(build.executable),
        "-listen",
        ports.LOCAL_HOST,
        "-port",
        str(port),
        "-dataDir",
        os.path.join(installation.root, ""),
        "-tempDir",
        os.path.join(temporary, ""),
    ]
    libraries = [os.environ.get("LD_LIBRARY_PATH"), os.path.join(installation.root, "Libs", "")]
    env = {**os.environ, "LD_LIBRARY_PATH": ":".join(filter(None, libraries))}
    try:
        return GameProcess(command, port, env=env, folder=folder)
    except OSError as error:
        raise LaunchError(f"no process could be started for {build.executable}: {error}") from error


def _launch_once(start: Callable[[int], Process], settings: GameSettings) -> RunningGame:
    process = start(ports.free_port())
    try:
        connection = connect(process.port, settings.timeouts, lambda: _look_after(process))
        try:
            # Whoever answered: is it our child?
            _look_after(process)
            ping = connection.ping()
        except BaseException:
            connection.close()
            raise
        return RunningGame(process, connection, str(ping.game_version), settings.timeouts.quit_s, int(ping.base_build))
    except StarCraftError as error:
        explained = _explained(error, process)
        process.close()
        raise explained from error
    except BaseException:
        process.close()
        raise


def _check_version(game: RunningGame, wanted: str, build: Build) -> None:
    """End a game that is not the version that was asked for.

    Raises:
        InstallationError: It is not.
    """
    if game.base_build not in (0, build.number):
        remedy = f"give the folder {build.executable.parent} its right name, Base{game.base_build}"
    elif not same_version(wanted, game.version):
        remedy = f"name that one, or {str(build.number)!r} for whatever Base{build.number} holds"
    else:
        return
    game.quit()
    raise InstallationError(
        f"game_version is {wanted!r} and the game that was started from Base{build.number} says it is {game.version}",
        remedy,
    )


def _look_after(process: Process) -> bool:
    """Whether it is worth while to connect now.

    Raises:
        PortTakenError: Another process listens on its port.
        LaunchError: It has ended.
    """
    listener = process.listener()
    if listener is ports.Listener.FOREIGN:
        raise PortTakenError(f"port {process.port} was taken by another process while the game started")
    if not process.is_alive():
        raise LaunchError("ended before it answered")
    return listener is not ports.Listener.NOBODY


def _explained(error: StarCraftError, process: Process) -> StarCraftError:
    """The error to raise for a game that could not be started."""
    if not isinstance(error, PortTakenError | RequestTimeoutError):
        process.wait(_DEATH_S)
    words = process.last_words()
    remedy = None if process.is_alive() else known_complaint(words)
    message = _with_last_words(str(error), process)
    if isinstance(error, LaunchError):
        message = f"StarCraft II {message}"
    if remedy is not None:
        return InstallationError(message, remedy)
    if isinstance(error, InstallationError):
        return error
    return type(error)(message) if isinstance(error, PortTakenError) else LaunchError(message)


def _with_last_words(message: str, process: Process) -> str:
    words = process.last_words()
    words_shown = f" Its last words:\n{words}" if words else " It has written nothing."
    return f"{message}; its process {process.how_it_ended()}.{words_shown}"
