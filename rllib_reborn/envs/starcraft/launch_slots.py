"""Games are started a few at a time, counted over all processes of this machine: a game that loads a map while twenty others
do the same takes minutes, and is then given up for dead."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import socket
import sys
import time
from collections.abc import Iterator

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.1
#: Whoever has waited so long starts without a slot; better late than never.
_PATIENCE_S = 900.0


@contextlib.contextmanager
def launch_slot(slots: int | None = None) -> Iterator[None]:
    """Hold one of this machine's ``slots`` (default: half of the CPUs, at least 2) while a game is started.

    A slot is the name of a socket in Linux's abstract name space: only one socket can have it, and the kernel gives it free
    when its process ends, however it ends. Elsewhere nothing is counted.
    """
    if sys.platform != "linux":
        yield
        return
    count = max(2, (os.cpu_count() or 1) // 2) if slots is None else slots
    deadline = time.monotonic() + _PATIENCE_S
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as ticket:
        while not _take(ticket, count):
            if time.monotonic() > deadline:
                logger.warning(
                    "No slot for starting StarCraft II was free for %g s; it is started without.", _PATIENCE_S
                )
                break
            # Not all at the same moment: those that wait are as many as the machine has games.
            time.sleep(_LOOK_EVERY_S * random.uniform(0.5, 1.5))
        yield


def _take(ticket: socket.socket, count: int) -> bool:
    for number in random.sample(range(count), count):
        with contextlib.suppress(OSError):
            ticket.bind(f"\0rllib_reborn.starcraft.launch.{os.getuid()}.{number}")
            return True
    return False
