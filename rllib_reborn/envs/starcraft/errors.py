"""What can go wrong with a game of StarCraft II. All but :class:`InstallationError` cost one episode: the game is closed and
restarted at its next reset."""

from __future__ import annotations

from rllib_reborn.envs.team_game import GameUnavailableError


class StarCraftError(RuntimeError):
    """Something went wrong with the running game."""


class InstallationError(StarCraftError, GameUnavailableError):
    """The game, a map or a package is missing or broken, so that no further attempt can succeed on this machine.

    Args:
        sentence: What is wrong, without a full stop.
        remedy: How to fix it, likewise.
    """

    def __init__(self, sentence: str, remedy: str = "") -> None:
        super().__init__(sentence, remedy)
        self.sentence, self.remedy = sentence, remedy

    def __str__(self) -> str:
        return f"{self.sentence}; {self.remedy}" if self.remedy else self.sentence


class LaunchError(StarCraftError):
    """The game was started and did not get as far as a battle. The next attempt may."""


class GameCrashedError(StarCraftError):
    """The game's process has ended, or has closed its connection."""


class RequestTimeoutError(StarCraftError):
    """The game did not answer a request in time; it hangs, or the machine is overloaded."""


class RequestRefusedError(StarCraftError):
    """The game answered that it cannot do what was asked."""
