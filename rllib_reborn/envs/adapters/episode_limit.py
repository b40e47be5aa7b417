"""How long episodes of a foreign environment are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

#: Options and attributes in which environments keep it.
_NAMES = ("max_cycles", "_max_episode_steps", "max_steps", "max_episode_steps")
_INNER = ("env", "aec_env", "unwrapped")
_MOST_LAYERS = 20


def find_episode_limit(env: Any, env_options: Mapping[str, Any], title: str) -> int:
    """Steps of the longest episode: from the options that the environment was built with, else the attributes of
    ``env`` and what it wraps, outermost first, else its ``spec``.

    Raises:
        ValueError: It is found nowhere.
    """
    spec = getattr(env, "spec", None)
    places = (
        *(env_options.get(name) for name in _NAMES),
        *(getattr(layer, name, None) for layer in _layers(env) for name in _NAMES),
        getattr(spec, "max_episode_steps", None),
    )
    for value in places:
        if isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 1:
            return int(value)
    raise ValueError(
        f"{title} does not say how long its episodes are; give the most steps as team={{'episode_limit': ...}} "
        "(longer episodes are cut there)."
    )


def _layers(env: Any) -> Iterator[Any]:
    queue: list[Any] = [env]
    visited: list[Any] = []
    while queue and len(visited) < _MOST_LAYERS:
        layer = queue.pop(0)
        if any(layer is other for other in visited):
            continue
        visited.append(layer)
        yield layer
        queue += [inner for inner in (getattr(layer, name, None) for name in _INNER) if inner is not None]
