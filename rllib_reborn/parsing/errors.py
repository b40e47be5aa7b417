"""The one error of this package."""

from __future__ import annotations


class ParseError(ValueError):
    """A text cannot be read, or is beyond what is read; the message follows the name of what was read in a sentence, without
    a full stop: ``is not JSON: ...``.

    Attributes:
        line: Line of the problem, counted from 1; None where it has none.
    """

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(" ".join(problem.split()))
        self.line = line


class ReadError(ParseError):
    """The file system does not let a file be read; what is in it may be as it was."""
