"""A folder that one process at a time writes to."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from rllib_reborn.experiments.errors import ExperimentError

LOCK_NAME = ".lock"


@contextlib.contextmanager
def locked_folder(root: Path, in_use: str) -> Iterator[None]:
    """Hold ``root`` for this process, making it if need be; the lock goes with the process, however it ends.

    Raises:
        ExperimentError: Another process holds it (the message is ``in_use``), or it cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = (root / LOCK_NAME).open("w")
    except OSError as error:
        raise ExperimentError(f"{root} cannot be written ({error}); give another --out.") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ExperimentError(in_use) from None
        yield
