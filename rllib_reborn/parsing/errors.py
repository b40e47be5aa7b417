"""The one error of this package, and values as short as a sentence needs them."""

from __future__ import annotations

from typing import Any

#: Characters of a value that a sentence shows.
_MOST_SHOWN = 200


class ParseError(ValueError):
    """A text cannot be read, or is beyond what is read; the message follows the name of what was read in a sentence, and ends
    without a full stop: ``is not JSON: ...``.

    Attributes:
        line: Line of the problem, counted from 1; None where it has none.
    """

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(" ".join(problem.split()))
        self.line = line


def shortened(value: Any) -> str:
    """``repr(value)``, its middle left out where it is longer than a sentence can bear. Never raises."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, a tree of thousands of levels
        return f"<{type(value).__name__}>"
    if len(text) <= _MOST_SHOWN:
        return text
    return f"{text[: _MOST_SHOWN // 2]}...{text[-_MOST_SHOWN // 4 :]} ({len(text):,} characters)"
