"""A folder that one process at a time writes to."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from rllib_reborn.experiments.errors import ExperimentError

logger = logging.getLogger(__name__)

LOCK_NAME, OWNER_NAME = ".lock", ".owner"
_GONE = "gone"
#: What file systems without locks answer.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_LOOK_EVERY_S = 0.1


@contextlib.contextmanager
def locked_folder(root: Path, in_use: str, patience_s: float = 0.0) -> Iterator[None]:
    """Hold ``root`` for this process, making it if need be; the lock goes with the process, however it ends.

    Where the file system has no locks (some NFS and FUSE mounts), who holds it is written down: a process of this machine
    that is still there holds it, and of one of another machine nothing is known, which is warned of.

    Args:
        root: The folder.
        in_use: What is said where another process holds it.
        patience_s: So many seconds it is waited for.

    Raises:
        ExperimentError: Another process holds it (the message is ``in_use``), or it cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = (root / LOCK_NAME).open("w")
    except OSError as error:
        raise ExperimentError(f"{root} cannot be written ({error}); give another --out.") from None
    with file, contextlib.ExitStack() as held:
        deadline = time.monotonic() + patience_s
        while not _try_to_hold(file, root, held):
            if time.monotonic() >= deadline:
                raise ExperimentError(in_use)
            time.sleep(_LOOK_EVERY_S)
        yield


def _try_to_hold(file: IO[str], root: Path, held: contextlib.ExitStack) -> bool:
    """Hold ``root`` until ``held`` is closed; False: another process does."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise ExperimentError(f"{root} cannot be locked ({error}); give another --out.") from error
    owner, me = root / OWNER_NAME, [socket.gethostname(), str(os.getpid()), _begun(os.getpid())]
    try:
        host, pid, begun = owner.read_text(encoding="utf-8").split()
    except (OSError, ValueError):  # none, or one that was cut off
        host = pid = begun = ""
    if host == me[0] and pid.isdecimal() and begun == _begun(int(pid)) != _GONE:
        return False
    if host not in ("", me[0]):
        logger.warning(
            "%s has no locks, and a process of %s was the last to write there; nothing else may write to it now.",
            root,
            host,
        )
    owner.write_text(" ".join(me) + "\n", encoding="utf-8")
    held.callback(owner.unlink, missing_ok=True)
    return True


def _begun(pid: int) -> str:
    """When a process of this machine began, as the system counts; other processes of that number began at another time."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return _GONE
