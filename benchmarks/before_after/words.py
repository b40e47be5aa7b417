"""The table of renamed words: settings in the words of a tree that does not know the new ones, and results in the new ones.

Run by :mod:`benchmarks.before_after.in_tree` under other commits, so it imports nothing of this repository.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple


class Word(NamedTuple):
    """A renamed word of the settings.

    Attributes:
        old, new: What it was and is called.
        values_of: Empty: it is the key of a setting. Else it is a value, of the settings with these keys.
        asks: Arguments of ``QMIXConfig.training`` in new words, which only a tree that knows the word accepts.
        asks_of: The algorithm whose config is asked.
    """

    old: str
    new: str
    values_of: tuple[str, ...]
    asks: dict[str, Any]
    asks_of: str = "QMIX"


#: Settings. Other words keep their name.
SETTINGS = (
    Word("method", "algorithm_settings", (), {"algorithm_settings": {}}),
    Word("targets", "target_networks", (), {"interventions": [{"kind": "reset", "target_networks": "none"}]}),
    Word("released", "official_code", ("rule",), {"interventions": [{"kind": "reborn", "rule": "official_code"}]}),
    Word("released", "official_code", ("layers",), {"dormancy": {"layers": "official_code"}}),
    Word("released", "official_code", ("compat",), {"algorithm_settings": {"compat": "official_code"}}, "RMIX"),
    Word("operable", "editable", ("layers",), {"dormancy": {"layers": "editable"}}),
    Word("nas", "activation", ("score",), {"interventions": [{"kind": "redo", "score": "activation"}]}),
)

#: Columns of the metrics row, old to new.
COLUMNS = {"intervention/units": "intervention/neurons"}

#: Keys of the plasticity events at any depth, old to new, beside those of :data:`SETTINGS` (an event holds its settings).
EVENT_KEYS = {"units": "neurons"}

#: Names of experiments, new to old.
EXPERIMENTS = {"predator_prey/small/qmix+reborn": "predator_prey/small/qmix_reborn"}


def renamed(data: Any, keys: dict[str, str], values: dict[tuple[str, str], str]) -> Any:
    """A copy of JSON data with other words, at any depth.

    Args:
        data: Dicts, lists and plain values.
        keys: Old key to new key.
        values: (key, old value) to new value, where the key is the one of ``data`` and the value a string.
    """
    if isinstance(data, dict):
        return {
            keys.get(key, key): values.get((key, value), value)
            if isinstance(value, str)
            else renamed(value, keys, values)
            for key, value in data.items()
        }
    return [renamed(one, keys, values) for one in data] if isinstance(data, list | tuple) else data


def in_old_words(settings: Any, unknown: Iterable[Word]) -> Any:
    """Settings, given in new words, for a tree that does not know the words ``unknown``."""
    unknown = list(unknown)
    return renamed(
        settings,
        {word.new: word.old for word in unknown if not word.values_of},
        {(key, word.new): word.old for word in unknown for key in word.values_of},
    )


def row_in_new_words(row: dict[str, Any]) -> dict[str, Any]:
    """A metrics row of either tree; new words stay."""
    return {COLUMNS.get(name, name): value for name, value in row.items()}


def events_in_new_words(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Plasticity events of either tree; new words stay."""
    keys = {word.old: word.new for word in SETTINGS if not word.values_of}
    values = {(key, word.old): word.new for word in SETTINGS for key in word.values_of}
    made: list[dict[str, Any]] = renamed(events, keys | EVENT_KEYS, values)
    return made
