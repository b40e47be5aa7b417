"""Values in sentences: no longer than a sentence can bear."""

from __future__ import annotations

from typing import Any

_MOST_CHARACTERS = 200


def short_repr(value: Any) -> str:
    """``repr(value)``, its middle left out where it is too long. Never raises."""
    try:
        text = repr(value)
    except Exception:  # a number of thousands of digits, a tree of thousands of levels, a foreign object's own
        return f"<{type(value).__name__}>"
    if len(text) <= _MOST_CHARACTERS:
        return text
    return f"{text[: _MOST_CHARACTERS // 2]}...{text[-_MOST_CHARACTERS // 4 :]} ({len(text):,} characters)"
