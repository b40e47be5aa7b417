"""The names ``lbf/<id>``: what stands between ``Foraging-`` and the version in the ids of lbforaging."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

from rllib_reborn.envs.env_entry import EnvEntry
from rllib_reborn.envs.env_table import EnvFamily
from rllib_reborn.envs.lbf.rules import ForagingRules
from rllib_reborn.envs.team_env import TeamSpec, VectorTeamEnv

PREFIX = "lbf/"
#: The tasks of Papoudakis et al. (2021), and one more that is often reported.
LISTED = (
    "8x8-2p-2f-coop",
    "2s-8x8-2p-2f-coop",
    "8x8-2p-3f",
    "10x10-3p-3f",
    "2s-10x10-3p-3f",
    "15x15-3p-5f",
    "15x15-4p-3f",
    "15x15-4p-5f",
)

#: What lbforaging registers: 2.0.0 up to 4 foods, its repository up to 9.
_SIZES, _PLAYERS, _FOODS = range(5, 20), range(2, 10), range(1, 10)
_PARTIAL_SIGHT = 2
_FORM = re.compile(
    r"(?P<grid>grid-)?(?:(?P<sight>[1-9]\d?)s-)?(?P<rows>[1-9]\d?)x(?P<columns>[1-9]\d?)-(?P<players>\d)p-(?P<foods>\d)f"
    r"(?P<coop>-coop)?"
)

_REMEDIES = MappingProxyType(
    {
        "render_mode": "every game can be drawn; ask for no mode",
        "max_food": "max_num_food says how many",
        "episode_limit": "max_episode_steps says it",
        "time_limit": "max_episode_steps says it",
        "seed": "reset takes it",
    }
)


def family() -> EnvFamily:
    """All names ``lbf/<id>``."""
    return EnvFamily(
        prefix=PREFIX,
        summary=(
            "every id of lbforaging without 'Foraging-' and version: 5x5 to 19x19, -2p to -9p, -1f to -9f, -coop, in front "
            "2s-, or grid- and any sight; e.g. lbf/2s-8x8-2p-2f-coop, lbf/grid-3s-10x10-4p-3f."
        ),
        listed=tuple(PREFIX + name for name in LISTED),
        parse=entry,
        similar=_similar,
    )


@functools.lru_cache(maxsize=256)
def entry(name: str) -> EnvEntry | None:
    """The entry of ``lbf/<id>``; None: lbforaging registers no such id."""
    rules = rules_of(name.removeprefix(PREFIX))
    if rules is None:
        return None
    return EnvEntry(
        name=name,
        summary=_summary(rules),
        options=tuple(field.name for field in dataclasses.fields(ForagingRules)),
        make=functools.partial(_make, rules),
        spec=functools.partial(_spec, rules),
        remedies=_REMEDIES,
    )


def rules_of(given: str) -> ForagingRules | None:
    """What lbforaging registers for ``Foraging-<given>``; None: it registers no such id."""
    found = _FORM.fullmatch(given)
    if found is None or found["rows"] != found["columns"]:
        return None
    size, players, foods = int(found["rows"]), int(found["players"]), int(found["foods"])
    grid, sight = found["grid"] is not None, int(found["sight"] or size)
    # A picture's sight may be any below the whole, which goes without saying; a list's is the whole or 2.
    known_sight = found["sight"] is None or (sight < size if grid else sight == _PARTIAL_SIGHT)
    if size not in _SIZES or players not in _PLAYERS or foods not in _FOODS or not known_sight:
        return None
    return ForagingRules(
        players=players,
        max_num_food=foods,
        field_size=(size, size),
        sight=sight,
        force_coop=found["coop"] is not None,
        grid_observation=grid,
    )


def _summary(rules: ForagingRules) -> str:
    rows, columns = rules.field_size
    view = "" if rules.sees_all else f", seeing {rules.sight} cells far"
    foods = "1 food" if rules.max_num_food == 1 else f"{rules.max_num_food} foods"
    together = ", which takes all of them (of three or more: three)" if rules.force_coop else ""
    return f"{rules.players} players load {foods}{together} on {rows} x {columns} cells{view}."


def _similar() -> Iterator[str]:
    sights = ("", f"{_PARTIAL_SIGHT}s-", "grid-", f"grid-{_PARTIAL_SIGHT}s-")
    for sight, size, players, foods, coop in itertools.product(sights, _SIZES, _PLAYERS, _FOODS, ("", "-coop")):
        yield f"{PREFIX}{sight}{size}x{size}-{players}p-{foods}f{coop}"


def _make(rules: ForagingRules, num_envs: int, **options: Any) -> VectorTeamEnv:
    from rllib_reborn.envs.lbf.foraging import Foraging

    return Foraging(_played(rules, options), num_envs)


def _spec(rules: ForagingRules, **options: Any) -> TeamSpec:
    return _played(rules, options).spec()


def _played(rules: ForagingRules, options: dict[str, Any]) -> ForagingRules:
    return dataclasses.replace(rules, **options)
