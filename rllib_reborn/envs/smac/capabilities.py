"""What is drawn for one episode: teams, places, skills. After SMACv2's ``distributions.py``, but seeded.

A draw is a function of scenario, options and one seed, so a battle does not depend on what is played beside it. The
numbers come from :mod:`~rllib_reborn.envs.random_streams`, not from numpy's generators, whose distributions may change
between versions.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.smac.generators import (
    AllTeams,
    GeneratedTeams,
    PositionSettings,
    ReflectPositions,
    SurroundedPositions,
    TeamSettings,
    WeightedTeams,
)
from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.scenarios import Scenario
from rllib_reborn.envs.smac.unit_types import KIND, kinds_of

_SALT = 0x5AC2

#: How far from the centre, along both axes, the inner end of a diagonal of :class:`SurroundedPositions` is; and how far
#: from the middle line :class:`ReflectPositions` keeps allies. The game misplaces units that are created on top of others.
_CENTRE_GAP = 2.0
_MIDDLE_GAP = 1.0


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Capabilities:
    """One episode's draw.

    Attributes:
        ally_kinds: [n] int64, kinds of the agents' units, in the agents' order (see :func:`agent_order`).
        enemy_kinds: [m] int64, in the order in which they are created.
        ally_xy: [n, 2] float32, where they are created; the scenario's spawn points where no places are drawn.
        enemy_xy: [m, 2] float32, likewise.
        attack_probability: [n] float32 in 0..1, or None.
        health_level: [n] float32 in 0..1, or None.
        enemy_mask: [n, m] bool, True where the agent cannot make out the enemy's features, or None.
    """

    ally_kinds: npt.NDArray[np.int64]
    enemy_kinds: npt.NDArray[np.int64]
    ally_xy: npt.NDArray[np.float32]
    enemy_xy: npt.NDArray[np.float32]
    attack_probability: npt.NDArray[np.float32] | None = None
    health_level: npt.NDArray[np.float32] | None = None
    enemy_mask: npt.NDArray[np.bool_] | None = None


def agent_order(
    scenario: Scenario, kinds: Sequence[int] | npt.NDArray[np.integer], x: npt.ArrayLike, y: npt.ArrayLike
) -> npt.NDArray[np.int64]:
    """The order of the agents: by the allies' own type numbers, then x, then y, as both originals sort them at the start
    of an episode.

    Args:
        kinds, x, y: [n] of the allied units, in any order.

    Returns:
        [n]: ``kinds[order]`` is in the agents' order. Equal ones keep their order.
    """
    return np.lexsort((np.asarray(y), np.asarray(x), _id_ranks(scenario)[np.asarray(kinds)]))


@functools.lru_cache(maxsize=128)
def _id_ranks(scenario: Scenario) -> npt.NDArray[np.int64]:
    """[number of kinds] place of a kind among the allies' own type numbers."""
    ranks = np.full(len(KIND), len(KIND), np.int64)
    for rank, name in enumerate(scenario.ally_ids):
        ranks[KIND[name]] = rank
    return ranks


def draw(scenario: Scenario, options: SmacOptions, seed: int) -> Capabilities:
    """What is drawn for the episode of ``seed`` (a whole number >= 0). Also for scenarios in which nothing is drawn: then
    it is their fixed teams and spawn points, and the skills of ``options`` if there are any."""
    dice = _Dice(seed)
    if scenario.generated is None:
        allies, enemies = list(scenario.allies), list(scenario.enemies)
        ally_xy, enemy_xy = np.array(scenario.ally_spawn), np.array(scenario.enemy_spawn)
        order = np.arange(scenario.n_agents)
    else:
        allies, enemies = _draw_teams(scenario.generated.teams, scenario, dice)
        ally_xy, enemy_xy = _draw_places(scenario.generated, scenario, dice)
        order = agent_order(scenario, kinds_of(tuple(allies)), ally_xy[:, 0], ally_xy[:, 1])
    attack, health, mask = options.attack, options.health, options.enemy_mask
    n, m = scenario.n_agents, scenario.n_enemies
    hidden = None
    if mask is not None:
        shows = options.compat_flags(scenario).mask_probability_shows
        hidden = (dice.numbers(n * m) < mask.mask_probability).reshape(n, m) ^ shows
    return Capabilities(
        ally_kinds=kinds_of(tuple(allies))[order],
        enemy_kinds=kinds_of(tuple(enemies)),
        ally_xy=ally_xy[order].astype(np.float32),
        enemy_xy=enemy_xy.astype(np.float32),
        attack_probability=None if attack is None else dice.between(attack.low, attack.high, n).astype(np.float32),
        health_level=None if health is None else dice.between(health.low, health.high, n).astype(np.float32),
        enemy_mask=hidden,
    )


class _Dice:
    """Random choices of one seed."""

    def __init__(self, seed: int) -> None:
        self._stream = RandomStreams(1, [seed], salt=_SALT)

    def numbers(self, count: int) -> npt.NDArray[np.float64]:
        """[count] in [0, 1)."""
        return self._stream.uniform(count)[0]

    def between(self, low: float, high: float, count: int) -> npt.NDArray[np.float64]:
        return low + (high - low) * self.numbers(count)

    def below(self, bound: int) -> int:
        """0..bound-1."""
        return int(self.numbers(1)[0] * bound)

    def order(self, count: int) -> npt.NDArray[np.int64]:
        """A permutation of 0..count-1."""
        return np.argsort(self.numbers(count), kind="stable")


# ----------------------------------------------------------------------------------------------------------------------
# teams


def _draw_teams(settings: TeamSettings, scenario: Scenario, dice: _Dice) -> tuple[list[str], list[str]]:
    n, m = scenario.n_agents, scenario.n_enemies
    if isinstance(settings, WeightedTeams):
        allies = _weighted_team(settings, n, dice)
        extra = _weighted_team(settings, m - n, dice) if m > n else []
        return allies, [*allies, *extra][:m]
    if isinstance(settings, AllTeams):
        drawn = _any_team(settings, n, dice)
    else:
        drawn = settings.teams[dice.below(len(settings.teams))]
    allies = [drawn[i] for i in dice.order(n)]
    return allies, list(allies)


def _weighted_team(settings: WeightedTeams, size: int, dice: _Dice) -> list[str]:
    """Drawn until not all are exceptions; that some type is none is held by the settings."""
    edges = np.cumsum(settings.weights)[:-1]
    while True:
        team = [settings.unit_types[i] for i in np.searchsorted(edges, dice.numbers(size), side="right")]
        if not all(name in settings.exceptions for name in team):
            return team


def _any_team(settings: AllTeams, size: int, dice: _Dice) -> tuple[str, ...]:
    teams = _combinations(settings, size)
    return teams[dice.below(len(teams))]


@functools.lru_cache(maxsize=32)
def _combinations(settings: AllTeams, size: int) -> tuple[tuple[str, ...], ...]:
    """All teams of this size that are not exceptions only, each in one order."""
    teams = itertools.combinations_with_replacement(settings.unit_types, size)
    return tuple(team for team in teams if not all(name in settings.exceptions for name in team))


# ----------------------------------------------------------------------------------------------------------------------
# places

Places = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def _draw_places(generated: GeneratedTeams, scenario: Scenario, dice: _Dice) -> Places:
    settings, n, m = generated.positions, scenario.n_agents, scenario.n_enemies
    if settings is None:
        return np.array(scenario.ally_spawn), np.array(scenario.enemy_spawn)
    if isinstance(settings, ReflectPositions):
        return _reflected(settings, n, m, dice)
    if isinstance(settings, SurroundedPositions):
        return _surrounded(settings, n, m, dice)
    if dice.numbers(1)[0] > settings.p:
        return _surrounded(settings, n, m, dice)
    return _reflected(settings, n, m, dice)


def _reflected(settings: PositionSettings, n: int, m: int, dice: _Dice) -> Places:
    width, height = settings.map_x, settings.map_y
    allies = dice.numbers(2 * n).reshape(n, 2) * (width / 2 - _MIDDLE_GAP, height)
    mirrored = allies[: min(n, m)] * (-1, 1) + (width, 0)
    more = dice.numbers(2 * max(m - n, 0)).reshape(-1, 2) * (width / 2, height) + (width / 2, 0)
    return allies, np.concatenate([mirrored, more])


def _surrounded(settings: PositionSettings, n: int, m: int, dice: _Dice) -> Places:
    size = np.array([settings.map_x, settings.map_y])
    groups = 1 + dice.below(4)
    # Enemies fall into groups independently (so the groups' sizes are multinomial); then they are lined up by group.
    group = np.sort((dice.numbers(m) * groups).astype(np.int64))
    share = dice.numbers(groups)[:, None]
    side = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])[dice.order(4)[:groups]]
    inner, corner = size / 2 + side * _CENTRE_GAP, size / 2 * (1 + side)
    return np.tile(size / 2, (n, 1)), (inner * share + corner * (1 - share))[group]
