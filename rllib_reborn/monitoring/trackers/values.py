"""What of a metrics row and of a run's config trackers can show, as plain numbers and texts."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np


def numbers_of(row: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The finite numbers of a row by their names, true and false as 1 and 0. Null, NaN, texts and lists are left out."""
    return {f"{prefix}{name}": number for name, value in row.items() if (number := _number(value)) is not None}


def lists_of(row: Mapping[str, Any]) -> dict[str, list[float]]:
    """The lists of numbers of a row, such as the returns of single episodes, by their names; empty ones are left out."""
    found = {name: [_number(item) for item in value] for name, value in row.items() if isinstance(value, list | tuple)}
    return {
        name: [item for item in items if item is not None]
        for name, items in found.items()
        if items and all(item is not None for item in items)
    }


def final_numbers(final: Mapping[str, Any]) -> dict[str, float]:
    """Means over the episodes of ``final_evaluation.json``: ``final/return_mean`` and, where games are won,
    ``final/win_rate`` of the trained policy; ``final/random/return_mean`` and ``final/random/win_rate`` of a random one. Of
    a sequence of tasks those of the last one."""
    found = {}
    for who, prefix in (("policy", "final/"), ("random", "final/random/")):
        for key, name in (("returns", "return_mean"), ("won", "win_rate")):
            values = final[who].get(key)
            if values:
                found[f"{prefix}{name}"] = float(np.mean(values))
    return numbers_of(found)


def flat_config(config: Mapping[str, Any]) -> dict[str, str | int | float | bool | None]:
    """``{"interventions.0.beta": 3.0}``: every single value of nested settings by its dotted name; empty lists and mappings
    are ``"[]"`` and ``"{}"``."""
    return dict(_leaves(config, ""))


def _leaves(value: Any, name: str) -> Iterator[tuple[str, str | int | float | bool | None]]:
    if isinstance(value, Mapping | list | tuple) and value:
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            yield from _leaves(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, str | int | float | bool) or value is None:
        yield name, value
    else:
        yield name, str(value)


def _number(value: Any) -> float | None:
    if not isinstance(value, numbers.Real | np.bool_):
        return None
    number = float(value)
    return number if math.isfinite(number) else None
