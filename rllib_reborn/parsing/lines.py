"""Lines of a file, each in bounded memory."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from rllib_reborn.parsing.errors import ParseError


def read_lines(path: Path, *, most_bytes: int, most_of_a_line: int) -> Iterator[bytes | None]:
    """The lines of a regular file that are not empty, one after the other.

    Args:
        path: The file; a link is followed.
        most_bytes: Bytes that it may have.
        most_of_a_line: Bytes that a line may have; of a longer one, which comes as None, no more are kept in memory.

    Raises:
        ParseError: It is larger, no regular file, or cannot be read.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ParseError("is no regular file")
        if status.st_size > most_bytes:
            raise ParseError(f"is larger than {most_bytes:,} bytes and was not read")
        with path.open("rb") as file:
            while line := file.readline(most_of_a_line + 1):
                if len(line) <= most_of_a_line or line.endswith(b"\n"):
                    if line.strip():
                        yield line
                    continue
                while line and not line.endswith(b"\n"):
                    line = file.readline(most_of_a_line)
                yield None
    except OSError as error:
        raise ParseError(f"cannot be read: {error.strerror or error}") from None
