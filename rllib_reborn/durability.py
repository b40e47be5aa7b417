"""Waiting for the disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

#: What file systems answer that cannot flush a folder.
_NOT_THERE = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF})


def flush_to_disk(path: Path) -> None:
    """Wait until a file or a folder's list of names is on the disk; of folders only where the file system can do that.

    Raises:
        OSError: The disk is full, broken, ...
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_THERE or not path.is_dir():
            raise
    finally:
        os.close(descriptor)
