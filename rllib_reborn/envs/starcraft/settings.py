"""How the game is started and looked after. What the agents see and are paid for is in
:class:`~rllib_reborn.envs.smac.options.SmacOptions`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

from rllib_reborn.suggestions import did_you_mean

Launcher = Literal["own", "pysc2"]
Backend = Literal["own", "oxwhirl"]

#: SMAC's letters of the computer player's difficulty -> StarCraft II's name of it.
DIFFICULTIES: Mapping[str, str] = {
    "1": "VeryEasy",
    "2": "Easy",
    "3": "Medium",
    "4": "MediumHard",
    "5": "Hard",
    "6": "Harder",
    "7": "VeryHard",
    "8": "CheatVision",
    "9": "CheatMoney",
    "A": "CheatInsane",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Seconds that the game may take, each > 0.

    Attributes:
        launch_s: From its start until it answers.
        join_s: To load a map and start its game (each of the two requests).
        request_s: For any other request. A game that takes longer is ended, and its episode is lost.
        quit_s: To end by itself after a request to quit; then it is killed.
    """

    launch_s: float = 60.0
    join_s: float = 120.0
    request_s: float = 60.0
    quit_s: float = 3.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not _is_number(value) or not value > 0:
                raise ValueError(f"timeouts.{field.name} is {value!r}; expected seconds > 0.")

    @staticmethod
    def of(given: Timeouts | Mapping[str, Any] | None) -> Timeouts:
        """From the data of a YAML file.

        Raises:
            ValueError: There is no such timeout, or its value is out of range.
        """
        if given is None:
            return Timeouts()
        if isinstance(given, Timeouts):
            return given
        if not isinstance(given, Mapping):
            raise ValueError(f"timeouts is {given!r}; expected a mapping such as {{'request_s': 60}}.")
        names = [field.name for field in dataclasses.fields(Timeouts)]
        for name in given:
            if name not in names:
                raise ValueError(f"unknown timeout {name!r}.{did_you_mean(str(name), names)}")
        return Timeouts(**given)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GameSettings:
    """How the game is started and looked after.

    Attributes:
        sc2_path: Folder of the installation; None: ``$SC2PATH``, else ``~/StarCraftII``.
        game_version: Which of the installed versions: ``"4.10"``, ``"4.7.1.70326"``, or a base build such as ``"75689"``;
            None: the newest one.
        difficulty: Of the computer player, SMAC's ``"1"`` to ``"9"`` or ``"A"``; it matters little, since the maps script
            what the enemies do.
        seed: The game's own random seed; None: the seed of the first episode that the game plays.
        replay_dir: Folder for replays; None: none are saved.
        save_replay_every: A replay is saved at the end of every so many-th episode of a game.
        restart_every: Episodes after which the game is restarted, between two episodes; None: never. The game's memory
            grows with the episodes.
        max_rss_mb: It is restarted, between two episodes, once its resident memory is above this; None: never.
        timeouts: Seconds that it may take; a mapping or :class:`Timeouts`.
        launcher: ``own``, or ``pysc2``: started through pysc2's run configs.
        backend: ``own``, or ``oxwhirl``: the installed ``smac`` or ``smacv2`` package plays (see ``bridge.py``).
    """

    sc2_path: str | None = None
    game_version: str | None = None
    difficulty: str = "7"
    seed: int | None = None
    replay_dir: str | None = None
    save_replay_every: int = 1
    restart_every: int | None = 2_000
    max_rss_mb: float | None = 4_000.0
    timeouts: Timeouts = dataclasses.field(default_factory=Timeouts)
    launcher: Launcher = "own"
    backend: Backend = "own"

    def __post_init__(self) -> None:
        object.__setattr__(self, "timeouts", Timeouts.of(self.timeouts))
        for name in ("difficulty", "game_version"):  # a YAML file may say 7 or 75689
            if _is_whole(getattr(self, name)):
                object.__setattr__(self, name, str(getattr(self, name)))
        if isinstance(self.game_version, float):  # 4.10 has become 4.1
            raise ValueError(f"game_version is the number {self.game_version}; write it as a text, as in '4.10'.")
        if self.difficulty not in DIFFICULTIES:
            raise ValueError(f"difficulty is {self.difficulty!r}; expected one of {', '.join(DIFFICULTIES)}.")
        for name in ("sc2_path", "game_version", "replay_dir"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise ValueError(f"{name} is {value!r}; expected a text, or None.")
        if self.seed is not None and (not _is_whole(self.seed) or not 0 <= self.seed < 2**32):
            raise ValueError(f"seed is {self.seed!r}; expected a whole number in 0..2**32 - 1, or None.")
        for name in ("save_replay_every", "restart_every"):
            value = getattr(self, name)
            if value is None and name == "restart_every":
                continue
            if not _is_whole(value) or value < 1:
                raise ValueError(f"{name} is {value!r}; expected a whole number >= 1.")
        if self.max_rss_mb is not None and (not _is_number(self.max_rss_mb) or not self.max_rss_mb > 0):
            raise ValueError(f"max_rss_mb is {self.max_rss_mb!r}; expected megabytes > 0, or None.")
        for name, known in (("launcher", get_args(Launcher)), ("backend", get_args(Backend))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected one of {known}.")
        if self.sc2_path is not None and (self.launcher == "pysc2" or self.backend == "oxwhirl"):
            raise ValueError(
                f"sc2_path is {self.sc2_path!r}, but pysc2 starts the game and finds it by the variable SC2PATH alone; set "
                "that one instead."
            )


#: Names of all settings, in the order of listings.
GAME_SETTINGS = tuple(field.name for field in dataclasses.fields(GameSettings))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
