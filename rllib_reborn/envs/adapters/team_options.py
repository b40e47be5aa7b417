"""Options of the team, beside the environment's own: ``team={...}``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from rllib_reborn.suggestions import did_you_mean

STATES = ("auto", "env", "observations", "none")
WORKERS = ("inline", "threads", "processes")
SCALES = ("auto", "none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeamOptions:
    """How a foreign environment becomes a team.

    Attributes:
        reward: The team's reward from those of its agents: ``sum``, ``mean`` (over all agents of the team, dead ones
            too) or ``module:function``, called with the dictionary of the rewards of the team's agents.
        agents: Who our team is: names, or beginnings of names such as ``adversary``; None is everybody.
        opponents: Who plays the others: ``random``, ``noop`` (action 0), ``module:function``, called with
            (observation, action mask or None, action space, random generator) and returning an action, or
            ``policy:<folder>``, a trained team that ``rllib-reborn export`` wrote. One for all, or a mapping from names or
            their beginnings.
        state: The global state: ``env`` (the environment's own), ``observations`` (those of the team in a row),
            ``none``, or ``auto``: the environment's own where it has one, else the observations.
        observation_scale: ``auto``: numbers whose bounds in the space are 0 and 255, as those of pictures, go into the
            networks divided by 255, in the observations and in the state; ``none``: as they are.
        flatten_actions: Whether each combination of a MultiDiscrete or MultiBinary action is one action of the team.
        episode_limit: Steps after which an episode is cut. None looks for the environment's own.
        workers: Where the games of one runner are stepped: ``inline``, ``threads`` or ``processes``.
        num_workers: How many threads or processes; None: one thread per game, one process per CPU.
        step_timeout_s: Seconds after which a step counts as a crash (threads and processes only); None: 600.

    Raises:
        ValueError: A value is not as above.
    """

    reward: str = "sum"
    agents: str | tuple[str, ...] | None = None
    opponents: str | Mapping[str, str] | None = None
    state: Literal["auto", "env", "observations", "none"] = "auto"
    observation_scale: Literal["auto", "none"] = "auto"
    flatten_actions: bool = False
    episode_limit: int | None = None
    workers: Literal["inline", "threads", "processes"] = "inline"
    num_workers: int | None = None
    step_timeout_s: float | None = None

    def __post_init__(self) -> None:
        _one_of("state", self.state, STATES)
        _one_of("workers", self.workers, WORKERS)
        _one_of("observation_scale", self.observation_scale, SCALES)
        if not isinstance(self.flatten_actions, bool):
            raise ValueError(f"team.flatten_actions is {self.flatten_actions!r}; expected true or false.")
        if self.reward not in ("sum", "mean") and not (isinstance(self.reward, str) and ":" in self.reward):
            raise ValueError(f"team.reward is {self.reward!r}; expected 'sum', 'mean' or 'module:function'.")
        for name in ("episode_limit", "num_workers"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ValueError(f"team.{name} is {value!r}; expected a whole number >= 1.")
        if self.num_workers is not None and self.workers == "inline":
            raise ValueError(f"team.num_workers is {self.num_workers}, but team.workers is 'inline', which has none.")
        timeout = self.step_timeout_s
        if timeout is not None and (not isinstance(timeout, int | float) or not timeout > 0):
            raise ValueError(f"team.step_timeout_s is {timeout!r}; expected a number of seconds > 0.")
        if self.step_timeout_s is not None and self.workers == "inline":
            raise ValueError(
                f"team.step_timeout_s is {self.step_timeout_s!r}, but a game that is played inline cannot be given up; say "
                "workers: processes, or threads."
            )
        self._check_agents()
        self._check_opponents()

    def _check_agents(self) -> None:
        if self.agents is None or isinstance(self.agents, str):
            return
        if not isinstance(self.agents, list | tuple) or not self.agents:
            raise ValueError(
                f"team.agents is {self.agents!r}; expected a name, a beginning of names, or a list of them."
            )
        object.__setattr__(self, "agents", tuple(self.agents))

    def _check_opponents(self) -> None:
        given = self.opponents
        players = [given] if isinstance(given, str) else list(given.values()) if isinstance(given, Mapping) else []
        if given is not None and not players:
            raise ValueError(f"team.opponents is {given!r}; expected a policy, or a mapping from names to policies.")
        for player in players:
            named = isinstance(player, str) and ":" in player and player != "policy:"
            if player not in ("random", "noop") and not named:
                raise ValueError(
                    f"team.opponents has {player!r}; expected 'random', 'noop', 'module:function' or 'policy:<folder>'."
                )


def team_options(given: Any) -> TeamOptions:
    """The options that ``team={...}`` gives.

    Raises:
        ValueError: An option is unknown (the message suggests a near one) or has a wrong value.
    """
    if isinstance(given, TeamOptions):
        return given
    if not isinstance(given, Mapping):
        raise ValueError(f"team is {given!r}; expected a mapping of options, such as {{'reward': 'mean'}}.")
    known = [field.name for field in dataclasses.fields(TeamOptions)]
    for key in given:
        if key not in known:
            raise ValueError(f"unknown option {key!r} in team.{did_you_mean(str(key), known)}")
    return TeamOptions(**given)


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"team.{name} is {value!r}; expected one of {', '.join(known)}.")
