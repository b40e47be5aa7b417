"""The names ``rware/<id>``: what stands between ``rware-`` and the version in the ids that rware 2 registers.

``img-``, ``imgdict-`` and ``Nd-`` (images that are not turned) may stand in front, and behind that ``2s-`` to ``5s-`` (the
sensor range), where rware registers them.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

from rllib_reborn.envs.env_entry import EnvEntry
from rllib_reborn.envs.env_table import EnvFamily
from rllib_reborn.envs.rware.rules import WarehouseRules
from rllib_reborn.envs.team_env import TeamSpec, VectorTeamEnv

PREFIX = "rware/"
#: The tasks of Papoudakis et al. (2021), and those of two robots with more and with fewer requests.
LISTED = ("tiny-2ag", "tiny-4ag", "small-4ag", "tiny-2ag-easy", "tiny-2ag-hard")

#: Size -> (blocks above each other, blocks beside each other).
SIZES = MappingProxyType({"tiny": (1, 3), "small": (2, 3), "medium": (2, 5), "large": (3, 5)})
#: Difficulty -> requests for two robots.
DIFFICULTIES = MappingProxyType({"-easy": 4, "": 2, "-hard": 1})
#: Kind of observation, as a name says it -> the option.
_KINDS = MappingProxyType({"": "flattened", "img-": "image", "imgdict-": "image_dict"})
_REWARDS = MappingProxyType({"indiv": "individual", "global": "global", "twostage": "two_stage"})
_COLUMN_HEIGHT = 8

_FORM = re.compile(
    r"(?P<kind>img-|imgdict-|)(?P<fixed>Nd-|)(?P<sight>[2-5]s-|)"
    r"(?:(?P<size>tiny|small|medium|large)-(?:(?P<height>[1-9]\d?)h-)?(?P<agents>[1-9]\d?)ag(?P<difficulty>-easy|-hard|)"
    r"|(?P<rows>[1-4])x(?P<columns>[3579])-(?P<own_height>[1-9]\d?)h-(?P<own_agents>[1-9]\d?)ag-(?P<requests>[1-9]\d?)req-"
    r"(?P<reward>indiv|global|twostage))"
)
_MOST_AGENTS, _MOST_REQUESTS, _MOST_HEIGHT = 19, 19, 15

#: Options that are the warehouse's size, in whose place ``layout`` stands.
_SIZE_OPTIONS = ("shelf_columns", "column_height", "shelf_rows")
_IMAGE_OPTIONS = ("image_observation_layers", "image_observation_directional")

_REMEDIES = MappingProxyType(
    {
        "render_mode": "every game can be drawn; ask for no mode",
        "episode_limit": "say max_steps=...",
        "time_limit": "say max_steps=...",
        "seed": "reset takes it",
    }
)


def family() -> EnvFamily:
    """All names ``rware/<id>``."""
    return EnvFamily(
        prefix=PREFIX,
        summary=(
            "every id of rware 2 without 'rware-' and version, e.g. rware/medium-6ag-hard, rware/img-tiny-2ag, "
            "rware/2s-2x5-8h-4ag-6req-global."
        ),
        listed=tuple(PREFIX + name for name in LISTED),
        parse=entry,
        similar=_similar,
    )


@functools.lru_cache(maxsize=256)
def entry(name: str) -> EnvEntry | None:
    """The entry of ``rware/<id>``; None: rware registers no such id."""
    settings = defaults(name.removeprefix(PREFIX))
    if settings is None:
        return None
    n_agents, requests = settings["n_agents"], settings["request_queue_size"]
    return EnvEntry(
        name=name,
        summary=f"Warehouse: {n_agents} robots bring requested shelves to goals, {requests} requested at a time.",
        options=tuple(WarehouseRules.__dataclass_fields__),
        make=functools.partial(_make, settings),
        spec=functools.partial(_spec, settings),
        remedies=_REMEDIES,
    )


def defaults(given: str) -> dict[str, Any] | None:
    """What rware registers for ``rware-<given>``, as fields of :class:`WarehouseRules`; None: it registers no such id."""
    found = _FORM.fullmatch(given)
    if found is None:
        return None
    kind, height, own_size = found["kind"], found["height"] or found["own_height"], found["size"] is None
    agents = int(found["own_agents"] or found["agents"])
    settings: dict[str, Any] = {"column_height": int(height or _COLUMN_HEIGHT), "n_agents": agents}
    if own_size:
        settings |= {"shelf_rows": int(found["rows"]), "shelf_columns": int(found["columns"])}
        settings |= {"request_queue_size": int(found["requests"]), "reward_type": _REWARDS[found["reward"]]}
    else:
        settings["shelf_rows"], settings["shelf_columns"] = SIZES[found["size"]]
        settings["request_queue_size"] = DIFFICULTIES[found["difficulty"]] * agents // 2
    too_many = agents > _MOST_AGENTS or settings["request_queue_size"] > 2 * _MOST_REQUESTS
    too_many |= own_size and settings["request_queue_size"] > _MOST_REQUESTS
    # What rware registers no ids for: heights or ranges in the middle of short names, and ``Nd-`` without images in front of
    # a named size. In front of a size in numbers it registers that too, and there it has no effect.
    if too_many or settings["column_height"] > _MOST_HEIGHT or (found["fixed"] and not kind and not own_size):
        return None
    if (found["sight"] and height is None) or (kind == "imgdict-" and height is not None):
        return None
    if found["sight"]:
        settings["sensor_range"] = int(found["sight"][0])
    if kind:
        settings["observation_type"] = _KINDS[kind]
    if kind or found["fixed"]:
        settings["image_observation_directional"] = not found["fixed"]
    return settings


def _similar() -> Iterator[str]:
    agents = range(1, _MOST_AGENTS + 1)
    for kind, fixed in (("", ""), *itertools.product(("img-", "imgdict-"), ("", "Nd-"))):
        for size, count, difficulty in itertools.product(SIZES, agents, DIFFICULTIES):
            yield f"{PREFIX}{kind}{fixed}{size}-{count}ag{difficulty}"


def _make(settings: dict[str, Any], num_envs: int, **options: Any) -> VectorTeamEnv:
    from rllib_reborn.envs.rware.warehouse import Warehouse

    return Warehouse(_rules(settings, options), num_envs)


def _spec(settings: dict[str, Any], **options: Any) -> TeamSpec:
    return _rules(settings, options).spec()


def _rules(settings: dict[str, Any], options: dict[str, Any]) -> WarehouseRules:
    """The rules of a name with the options that were given.

    Raises:
        ValueError: As :class:`WarehouseRules`; or an option is given that has no effect beside the others.
    """
    played = {**settings, **options}
    if "observation_type" in options:  # the name's image settings are then no longer asked for
        for key in set(_IMAGE_OPTIONS) - set(options):
            played.pop(key, None)
    rules = WarehouseRules(**played)
    idle = [(key, "beside layout") for key in _SIZE_OPTIONS if rules.layout is not None]
    idle += [(key, "without images") for key in _IMAGE_OPTIONS if not rules.has_images]
    idle += [("state_layers", "with state='observations'")] if rules.state != "image" else []
    for key, when in idle:
        if key in options:
            raise ValueError(f"{key} is {options[key]!r}, which has no effect {when}; leave one of them out.")
    return rules
