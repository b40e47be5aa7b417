"""The rules of level-based foraging as parameters.

Origin: Albrecht and Ramamoorthy (AAMAS 2013), and Papoudakis et al., "Benchmarking multi-agent deep reinforcement
learning algorithms in cooperative tasks" (NeurIPS 2021), whose package lbforaging is; names and defaults of parameters are
those of its 2.0.0 (the ids ``-v3``).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from rllib_reborn.envs.state_views import StateView
from rllib_reborn.envs.team_env import TeamSpec

#: What an agent's action numbers mean.
ACTION_NAMES = ("none", "north", "south", "west", "east", "load")
LOAD = ACTION_NAMES.index("load")
#: (down, right) of the four moves, actions 1..4.
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))

#: Observations are stored as int8.
_MOST = 127
#: With no ``max_food_level`` a food has at most the levels of so many players together.
LOWEST_PLAYERS = 3
_REWARDS = ("sum", "mean")
_STATES = ("observations", "board")

Levels = tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForagingRules:
    """Everything that decides how level-based foraging is played.

    One step: players move, or load, all at once. A move off the board or onto food, and ``load`` with no food beside one,
    is the action ``none``. Those who would arrive in one cell all stay where they are, and one who stays keeps others out;
    but a cell whose player was about to leave is entered even if that player then cannot leave: two may so share a cell.
    Then those who load beside one food take it if their levels together reach its level, and are paid. The episode
    terminates when no food is left.

    Attributes:
        players: Agents, 1..127.
        max_num_food: Foods at the start, 1..127; fewer where no more have room: no food lies on the border, nor beside (also
            diagonally) another, nor two cells from another in a straight line.
        field_size: (rows, columns), 3..127 each.
        sight: Cells that a player sees to each side, 1..127. In a list of numbers (without ``grid_observation``) it sees
            players somewhat farther down and right where the upper or left border cuts its sight short, as in lbforaging.
        min_player_level: Lowest level of a player, 1..127; or a list, one for each player, dealt to the players at random.
        max_player_level: Highest level of a player; likewise.
        min_food_level: Lowest level of a food, 1..127; or a list, one for each of ``max_num_food``, in random order. Not
            with ``force_coop``.
        max_food_level: Highest level of a food; likewise. None: the sum of the three lowest levels of players.
        max_episode_steps: Steps until truncation, >= 1.
        force_coop: Whether every food has its highest level.
        normalize_reward: Whether rewards of an episode in which all is taken sum up to 1. Otherwise one who takes part in
            loading is paid its level times the food's.
        grid_observation: Whether an agent sees three pictures of the cells around it (levels of players, levels of foods,
            free cells) in place of a list of numbers.
        observe_agent_levels: Whether it sees levels of players, in the list as in the picture.
        penalty: What each who takes part in loading in vain loses, >= 0.
        reward: The team's reward out of the agents': ``sum``, as EPyMARL has it, or ``mean``.
        state: The global state: ``observations``, all in a row, as EPyMARL has it; or ``board``: row, column and level of
            each food that is left, row by row, then of each player, whatever they see.
        mask_invalid_actions: Whether the action mask forbids moves off the board or onto food, and ``load`` with no food
            beside one. EPyMARL forbids nothing; such an action is then ``none``.
        compat: Whether two things are as in lbforaging, which ours put right: at ``max_episode_steps`` an episode is
            ``terminated``; and no player starts where it, or one behind it in their order, stood at the end of the last
            episode, so that an episode depends on the one before.

    Raises:
        ValueError: A value is outside its range, or the values do not fit together; the message names value and remedy.
    """

    players: int
    max_num_food: int
    field_size: tuple[int, int]
    sight: int
    min_player_level: int | Levels = 1
    max_player_level: int | Levels = 2
    min_food_level: int | Levels = 1
    max_food_level: int | Levels | None = None
    max_episode_steps: int = 50
    force_coop: bool = False
    normalize_reward: bool = True
    grid_observation: bool = False
    observe_agent_levels: bool = True
    penalty: float = 0.0
    reward: str = "sum"
    state: str = "observations"
    mask_invalid_actions: bool = False
    compat: bool = False

    def __post_init__(self) -> None:
        _whole(self.players, "players", 1)
        _whole(self.max_num_food, "max_num_food", 1)
        _whole(self.sight, "sight", 1)
        object.__setattr__(self, "field_size", _size(self.field_size))
        for low, high, count in (
            ("min_player_level", "max_player_level", self.players),
            ("min_food_level", "max_food_level", self.max_num_food),
        ):
            object.__setattr__(self, low, _levels(getattr(self, low), low, count))
            if high != "max_food_level" or self.max_food_level is not None:
                object.__setattr__(self, high, _levels(getattr(self, high), high, count))
        limit = self.max_episode_steps
        if not _is_whole(limit) or limit < 1:
            raise ValueError(f"max_episode_steps is {limit!r}; give a whole number >= 1.")
        for name in (
            "force_coop",
            "normalize_reward",
            "grid_observation",
            "observe_agent_levels",
            "mask_invalid_actions",
            "compat",
        ):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}; give True or False.")
        good = isinstance(self.penalty, int | float) and not isinstance(self.penalty, bool)
        if not good or not 0 <= self.penalty < math.inf:
            raise ValueError(f"penalty is {self.penalty!r}; give a number >= 0.")
        for name, known in (("reward", _REWARDS), ("state", _STATES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; give one of {', '.join(known)}.")
        self._check_room()
        self._check_levels()

    def _check_room(self) -> None:
        rows, columns = self.field_size
        if self.players >= rows * columns:
            raise ValueError(
                f"{self.players} players and a food do not fit on {rows} x {columns} = {rows * columns} cells; enlarge "
                "field_size or lower players."
            )
        if self.compat and 2 * self.players > rows * columns:
            raise ValueError(
                f"compat keeps {self.players} players from where {self.players} stood before, for which {rows} x {columns} "
                f"= {rows * columns} cells are too few; enlarge field_size, lower players or leave out compat."
            )

    def _check_levels(self) -> None:
        if self.force_coop and set(self.lowest_foods) != {1}:
            raise ValueError(
                f"min_food_level is {self.min_food_level}, which has no effect with force_coop: every food has its highest "
                "level; leave out one of them."
            )
        pairs = [("player", low, high) for low, high in zip(self.lowest_players, self.highest_players, strict=True)]
        if self.max_food_level is not None:
            pairs += [("food", low, high) for low, high in zip(self.lowest_foods, self.highest_foods, strict=True)]
        for what, low, high in pairs:
            if low > high:
                raise ValueError(
                    f"min_{what}_level is {low} where max_{what}_level is {high}; give a lower or equal one."
                )
        if self.max_food_level is None:
            least, most = (
                sum(sorted(levels)[:LOWEST_PLAYERS]) for levels in (self.lowest_players, self.highest_players)
            )
            if max(self.lowest_foods) > least:
                raise ValueError(
                    f"min_food_level is {max(self.lowest_foods)}, and with no max_food_level the highest level may be "
                    f"{least} (the sum of the {LOWEST_PLAYERS} lowest players' levels); lower it, or give max_food_level."
                )
            if most > _MOST:
                raise ValueError(
                    f"max_player_level lets foods have level {most}; lower it, or give max_food_level, to stay within "
                    f"{_MOST}."
                )

    @property
    def lowest_players(self) -> Levels:
        """Lowest level of each player, before they are dealt out."""
        return _each(self.min_player_level, self.players)

    @property
    def highest_players(self) -> Levels:
        """Highest level of each player, before they are dealt out."""
        return _each(self.max_player_level, self.players)

    @property
    def lowest_foods(self) -> Levels:
        """Lowest level of each food, before they are put in order."""
        return _each(self.min_food_level, self.max_num_food)

    @property
    def highest_foods(self) -> Levels:
        """Highest level of each food, likewise; empty: the levels of players decide."""
        return () if self.max_food_level is None else _each(self.max_food_level, self.max_num_food)

    @property
    def sees_all(self) -> bool:
        """Whether a list of numbers always names everybody and everything."""
        return self.sight >= max(self.field_size) - 1

    @property
    def numbers_of_player(self) -> int:
        """Numbers that a list has for each player."""
        return 3 if self.observe_agent_levels else 2

    @property
    def obs_dim(self) -> int:
        """Numbers in one agent's observation."""
        if self.grid_observation:
            return 3 * (2 * self.sight + 1) ** 2
        return 3 * self.max_num_food + self.numbers_of_player * self.players

    @property
    def board_dim(self) -> int:
        """Numbers in the state ``board``."""
        return 3 * (self.max_num_food + self.players)

    def spec(self) -> TeamSpec:
        """The team that these rules make."""
        in_a_row = self.state == "observations"
        views: tuple[StateView, ...] = ()
        if in_a_row and self.sees_all and not self.grid_observation:
            # The others' say the same, in another order of players.
            views = (StateView.of_columns("first_agent", range(self.obs_dim)),)
        return TeamSpec(
            n_agents=self.players,
            n_actions=len(ACTION_NAMES),
            obs_dim=self.obs_dim,
            state_dim=self.players * self.obs_dim if in_a_row else self.board_dim,
            episode_limit=self.max_episode_steps,
            agent_ids=tuple(f"player_{i}" for i in range(self.players)),
            agent_groups=("player",) * self.players,
            obs_dtype="int8",
            state_dtype="int8",
            has_win=True,
            state_views=views,
        )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _whole(value: Any, name: str, low: int) -> None:
    if not _is_whole(value) or not low <= value <= _MOST:
        raise ValueError(f"{name} is {value!r}; give a whole number in {low}..{_MOST}.")


def _size(value: Any) -> tuple[int, int]:
    good = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
    if not good or not all(_is_whole(number) and 3 <= number <= _MOST for number in value):
        raise ValueError(f"field_size is {value!r}; give two whole numbers in 3..{_MOST}, rows and columns.")
    return (value[0], value[1])


def _levels(value: Any, name: str, count: int) -> int | Levels:
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != count:
            raise ValueError(f"{name} has {len(value)} entries; give {count}, or one number for all.")
        for level in value:
            _whole(level, name, 1)
        return tuple(value)
    _whole(value, name, 1)
    return int(value)


def _each(value: int | Levels, count: int) -> Levels:
    return (value,) * count if isinstance(value, int) else value
