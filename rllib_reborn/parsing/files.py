"""A file's bytes, unless there are too many of them."""

from __future__ import annotations

import stat
from pathlib import Path

from rllib_reborn.parsing.errors import ParseError, ReadError


def read_file(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file; its size is looked at before anything is read, and no more is read than allowed.

    Args:
        path: The file; a link is followed.
        most_bytes: Bytes that it may have.

    Raises:
        FileNotFoundError: There is none.
        ReadError: It cannot be read.
        ParseError: It is larger, or no regular file (a device or a pipe may never end).
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ParseError("is no regular file")
        if status.st_size <= most_bytes:
            with path.open("rb") as file:
                data = file.read(most_bytes + 1)  # it may have grown
            if len(data) <= most_bytes:
                return data
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ReadError(f"cannot be read: {error.strerror or error}") from None
    raise ParseError(f"is larger than {most_bytes:,} bytes, which is more than such a file can need, and was not read")
