"""Lines of a file, each in bounded memory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rllib_reborn.parsing.errors import ParseError

#: Bytes of the last line by which a file that goes on is told from another one.
_REMEMBERED = 1_000


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


class GrowingLines:
    """The lines of a file that another process appends to, each given once.

    A last line without its end is left for the next time. Where the file has been cut, replaced, or holds something else
    than before, it is read from its beginning again.

    Args:
        path: The file.
        most_bytes: Bytes that it may have.
        most_of_a_line: Bytes that a line may have; a longer one comes as None.
    """

    def __init__(self, path: Path, *, most_bytes: int, most_of_a_line: int) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._most_of_a_line = most_of_a_line
        self._offset = 0
        self._last = b""
        self._file: tuple[int, int] = (0, 0)

    def new(self) -> tuple[list[bytes | None], bool]:
        """Lines that have been completed since the last call, and whether they are from the beginning.

        Raises:
            ParseError: The file is larger than it may be, no regular file, or cannot be read.
        """
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise ParseError("is no regular file")
                if status.st_size > self._most_bytes:
                    raise ParseError(f"is larger than {self._most_bytes:,} bytes and was not read")
                begin = self._file != (status.st_dev, status.st_ino) or not self._goes_on(file)
                if begin:
                    self._file, self._offset, self._last = (status.st_dev, status.st_ino), 0, b""
                file.seek(self._offset)
                return self._complete(file), begin
        except OSError as error:
            raise ParseError(f"cannot be read: {error.strerror or error}") from None

    def _goes_on(self, file: BinaryIO) -> bool:
        """Whether what was read last still stands where it stood."""
        file.seek(self._offset - len(self._last))
        return file.read(len(self._last)) == self._last

    def _complete(self, file: BinaryIO) -> list[bytes | None]:
        found: list[bytes | None] = []
        while line := file.readline():
            if not line.endswith(b"\n"):
                break
            self._offset += len(line)
            self._last = line[-_REMEMBERED:]
            if line.strip():
                found.append(line if len(line) <= self._most_of_a_line + 1 else None)
        return found
