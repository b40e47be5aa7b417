"""Data laid over data, and for each key the place that it was last set at."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.short_repr import short_repr

KeyPath = tuple[str, ...]


@dataclasses.dataclass
class Layers:
    """Merged data. Mappings are merged key by key; lists and everything else are replaced.

    Attributes:
        data: What came of the layers so far.
        sources: For each path of keys (places in lists as text) that was set: where it was last set.
    """

    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    sources: dict[KeyPath, str] = dataclasses.field(default_factory=dict)

    def add(self, data: Mapping[str, Any], source: str, *, dotted: int = 0) -> None:
        """Put ``data`` over what is there.

        Args:
            data: Plain data.
            source: What to call the place it comes from.
            dotted: How many levels of ``data`` are parts of a dotted path, which may be places in lists.

        Raises:
            ExperimentError: A key is not text, or a list has no such place.
        """
        self._merge(self.data, data, (), source, dotted)

    def add_layers(self, other: Layers) -> None:
        """Put what came of other layers over what is there; its keys keep their sources."""
        self._merge(self.data, other.data, (), "", 0)
        self.sources.update(other.sources)

    def take(self, key: str) -> Layers:
        """Remove ``key`` and what is below it, and return it as layers of its own; empty where it is not set."""
        taken = {path: source for path, source in self.sources.items() if path[0] == key}
        for path in taken:
            del self.sources[path]
        return Layers({key: self.data.pop(key)} if key in self.data else {}, taken)

    def append_list(self, key: str, other: Layers) -> None:
        """Put the items of the list at ``key`` of other layers behind those of the list here; they keep their sources.

        Raises:
            ExperimentError: What is here is no list.
        """
        there = self.data.setdefault(key, [])
        if not isinstance(there, list):
            raise ExperimentError(f"{self.source_of((key,))}: {key} is {short_repr(there)}; expected a list.")
        offset = len(there)
        there.extend(copy.deepcopy(other.data.get(key, [])))
        for path, source in other.sources.items():
            if path[0] == key and len(path) > 1:
                self.sources[key, str(offset + int(path[1])), *path[2:]] = source

    def source_of(self, path: Sequence[Any]) -> str:
        """Where ``path``, or the nearest key above it, was set; empty: nowhere."""
        parts = tuple(str(part) for part in path)
        for length in range(len(parts), 0, -1):
            if parts[:length] in self.sources:
                return self.sources[parts[:length]]
        return ""

    def has(self, path: Sequence[Any]) -> bool:
        """Whether a layer has set ``path``."""
        value: Any = self.data
        for part in path:
            if (isinstance(value, Mapping) and part in value) or (
                isinstance(value, list) and isinstance(part, int) and part < len(value)
            ):
                value = value[part]
            else:
                return False
        return True

    def _merge(
        self, under: dict[str, Any] | list[Any], over: Mapping[str, Any], path: KeyPath, source: str, dotted: int
    ) -> None:
        for key, value in over.items():
            if not isinstance(key, str):
                where = ".".join((*path, str(key)))
                raise ExperimentError(f"{source}: key {where} is not text; put it in quotes.")
            slot: Any = _place(key, under, path, source) if isinstance(under, list) else key
            here = (*path, str(slot))
            self.sources[here] = source
            if isinstance(value, Mapping):
                there = under[slot] if isinstance(under, list) else under.get(key)
                descend = isinstance(there, dict) or (dotted > 1 and isinstance(there, list))
                # Also None becomes a mapping: an override of a part switches the whole on.
                below: Any = there if descend else {}
                under[slot] = below
                self._merge(below, value, here, source, max(0, dotted - 1))
            else:
                there = under[slot] if isinstance(under, list) else under.get(key)
                self._forget_below(here, there)
                self._record(here, value, source)
                under[slot] = copy.deepcopy(value)

    def _record(self, path: KeyPath, value: Any, source: str) -> None:
        """``value`` and all that is in it comes from ``source``."""
        self.sources[path] = source
        if isinstance(value, Mapping):
            for key, below in value.items():
                self._record((*path, str(key)), below, source)
        elif isinstance(value, list):
            for at, below in enumerate(value):
                self._record((*path, str(at)), below, source)

    def _forget_below(self, path: KeyPath, value: Any) -> None:
        """What was set inside ``value``, which is replaced, is gone."""
        if not isinstance(value, dict | list):
            return
        for key, below in value.items() if isinstance(value, dict) else enumerate(value):
            here = (*path, str(key))
            self.sources.pop(here, None)
            self._forget_below(here, below)


def _place(key: str, items: list[Any], path: KeyPath, source: str) -> int:
    """The index that ``key`` means in the list at ``path``.

    Raises:
        ExperimentError: It is no number, or there are not so many items.
    """
    if key.isdecimal() and int(key) < len(items):
        return int(key)
    where = ".".join(path)
    if not items:
        raise ExperimentError(f"{source}: {where} is an empty list; give all of it, {where}=[...].")
    expected = "0" if len(items) == 1 else f"0 to {len(items) - 1}"
    raise ExperimentError(
        f"{source}: {where} is a list of length {len(items)} and {key!r} is no place in it; expected {expected}, or all of "
        f"it as {where}=[...]."
    )
