"""Folders and files that a command was given and may not use: somebody else's, on a read-only disk, with too long a name.

Asking whether such a path exists raises already, so this can happen at any first look, in each command.
"""

from __future__ import annotations

import argparse
import errno
import os
from collections.abc import Iterator
from typing import Any

from rllib_reborn.short_repr import short_repr

_CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP}


def sentence_about(error: OSError, arguments: argparse.Namespace | None) -> str | None:
    """What is wrong with a path that the user named, or with what lies below it or below the present folder; None: ``error``
    is about something else, which the user should see with its traceback."""
    path = error.filename
    if arguments is None or error.errno not in _CLOSED or not isinstance(path, str | os.PathLike):
        return None
    whole = os.path.abspath(os.fspath(path))
    if not any(whole == named or whole.startswith(f"{named.rstrip(os.sep)}{os.sep}") for named in _named(arguments)):
        return None
    return (
        f"{short_repr(os.fspath(path))} cannot be used: {error.strerror}. Name another path, or let its owner open it to "
        f"this user (uid {os.geteuid()})."
    )


def _named(arguments: argparse.Namespace) -> Iterator[str]:
    yield os.getcwd()
    for value in vars(arguments).values():
        for one in value if isinstance(value, list | tuple) else [value]:
            if _may_be_a_path(one):
                yield os.path.abspath(os.path.expanduser(os.fspath(one)))


def _may_be_a_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike) and bool(os.fspath(value))
