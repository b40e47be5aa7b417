"""A folder that one process at a time writes to."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from rllib_reborn.experiments.errors import ExperimentError

LOCK_NAME = ".lock"
_LOOK_EVERY_S = 0.1


@contextlib.contextmanager
def locked_folder(root: Path, in_use: str, patience_s: float = 0.0) -> Iterator[None]:
    """Hold ``root`` for this process, making it if need be; the lock goes with the process, however it ends.

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
    with file:
        deadline = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise ExperimentError(in_use) from None
                time.sleep(_LOOK_EVERY_S)
        yield
