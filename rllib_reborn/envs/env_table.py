"""The table of environments: entries by name, and families of which a name says what its environment is."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from rllib_reborn.envs.env_entry import EnvEntry


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnvFamily:
    """Environments too many to list: their names are read, not looked up.

    Attributes:
        prefix: What their names begin with, e.g. ``rware/``.
        summary: One sentence for listings, which says what else a name may be.
        listed: The names of the family that listings show.
        parse: ``parse(name)`` gives the entry of a name that begins with the prefix; None: it is none of the family.
        similar: Names among which one looks for what a misspelt one may have meant; called only then.
    """

    prefix: str
    summary: str
    listed: tuple[str, ...]
    parse: Callable[[str], EnvEntry | None]
    similar: Callable[[], Iterable[str]]


class EnvTable(Mapping[str, EnvEntry]):
    """Name -> entry.

    Iteration and ``len`` are about what listings show: the single entries, and the listed names of each family.
    ``in``, ``[]`` and ``get`` know every name of a family.

    Args:
        entries: Single entries, and, of families, none.
        families: The families, listed behind the entries.
    """

    def __init__(self, entries: Iterable[EnvEntry], families: Sequence[EnvFamily] = ()) -> None:
        self._entries = {entry.name: entry for entry in entries}
        self.families = tuple(families)
        self._listed = (*self._entries, *(name for family in families for name in family.listed))

    def __getitem__(self, name: str) -> EnvEntry:
        entry = self._entries.get(name)
        family = None if entry is not None else self._family_of(name)
        if family is not None:
            entry = family.parse(name)
        if entry is None:
            raise KeyError(name)
        return entry

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)

    def near(self, name: str, most: int, cutoff: float) -> list[str]:
        """At most ``most`` names that are like ``name``, the most alike first; ``cutoff`` in 0..1: how alike at least."""
        family = self._family_of(name)
        known = self._listed if family is None else [*self._listed, *family.similar()]
        return difflib.get_close_matches(name, list(dict.fromkeys(known)), n=most, cutoff=cutoff)

    def _family_of(self, name: str) -> EnvFamily | None:
        return next((family for family in self.families if name.startswith(family.prefix)), None)
