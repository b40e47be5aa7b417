"""Start the game through pysc2's run configs, for users whose installation is known to pysc2 by its names of versions, or
who want what it gives to the game (``-dataVersion``). Our own launcher needs no pysc2.

pysc2 is in no requirement of this package, because two traps come with it: enum34, and code for protobuf 3
(docs/starcraft.md). Install it with ``pip install --no-deps pysc2==4.0.0`` beside the extras ``starcraft`` and ``pysc2``.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rllib_reborn.envs.starcraft.errors import InstallationError, LaunchError
from rllib_reborn.envs.starcraft.installation import HOW_TO_INSTALL, Installation
from rllib_reborn.envs.starcraft.packages import FIX_PROTOCOL, protocol, stale_protocol
from rllib_reborn.envs.starcraft.process import GameProcess

INSTALL = "run: pip install 'rllib-reborn[starcraft,pysc2]' && pip install --no-deps pysc2==4.0.0"

_teaching = threading.Lock()


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
        raise InstallationError(stale_protocol(), f"run: {FIX_PROTOCOL}") from error
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
    """Start the game: pysc2 makes the command line and the environment, and we the process, which is looked after as any of
    ours.

    Raises:
        LaunchError: pysc2 could not start it.
    """
    begun: list[Pysc2Process] = []

    def begin(command: Sequence[str]) -> None:
        begun.append(Pysc2Process(command, port, env=config.env))

    _let_others_begin()
    try:
        started = config.start(want_rgb=False, port=port, connect=False, begin=begin)
    except Exception as error:
        for process in begun:
            process.close()
        raise LaunchError(f"was not started by pysc2: {type(error).__name__}: {error}") from error
    if not begun:
        raise LaunchError("was not started by pysc2: its flag sc2_port says that a game runs already")
    begun[0].leftovers = started
    return begun[0]


class Pysc2Process(GameProcess):
    """A process of the game whose command line is pysc2's.

    Attributes:
        leftovers: pysc2's own object, which has a port and a temporary folder to give back.
    """

    leftovers: Any = None

    def close(self) -> None:
        super().close()
        leftovers, self.leftovers = self.leftovers, None
        if leftovers is not None:
            leftovers.close()


def _let_others_begin() -> None:
    """Teach pysc2's processes the argument ``begin``, which is called with the command line and starts it in their place.
    Those that are not given it, such as the games of oxwhirl's packages, start as ever."""
    kind = importlib.import_module("pysc2.lib.sc_process").StarcraftProcess
    with _teaching:
        usual = kind._launch
        if hasattr(usual, "begins"):
            return

        def launch(self: Any, run_config: Any, args: Sequence[str], **options: Any) -> Any:
            begin = options.pop("begin", None)
            return usual(self, run_config, args, **options) if begin is None else begin(args)

        launch.begins = True  # type: ignore[attr-defined]
        kind._launch = launch
