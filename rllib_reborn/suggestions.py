"""'Did you mean ...?' for every place where a user types a name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(given: str, known: Iterable[str], *, most: int = 12) -> str:
    """A sentence with the nearest known name, or with the known names (at most ``most``); empty when none is known.

    The result starts with a space, so that it can follow another sentence.
    """
    names = [str(name) for name in known]
    # Longer than every name: nothing is near it, and comparing takes its time.
    close = [] if len(given) > 1_000 else difflib.get_close_matches(given, names, n=1, cutoff=0.6)
    if close:
        return f" Did you mean {close[0]!r}?"
    if not names:
        return ""
    listed = ", ".join(sorted(names)[:most]) + (", ..." if len(names) > most else "")
    return f" Known: {listed}."
