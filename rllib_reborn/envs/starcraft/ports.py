"""Ports of this machine: which are free, and which process listens on one (Linux, IPv4 and IPv6, through ``/proc``)."""

from __future__ import annotations

import contextlib
import enum
import os
import re
import socket
from pathlib import Path

LOCAL_HOST = "127.0.0.1"
_LISTENING = "0A"
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


class Listener(enum.Enum):
    """Who listens on a port."""

    NOBODY = "nobody"
    OURS = "ours"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"  #: the system does not say


def free_port() -> int:
    """A port that nobody uses now. Another process may take it before it is used: whoever listens there later must be asked
    for (:func:`listener`)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOCAL_HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def listener(port: int, group: int) -> Listener:
    """Who listens on ``port``; ``OURS`` is any process of the process group ``group``."""
    if not os.path.exists(_TABLES[0]):
        return Listener.UNKNOWN
    inodes = _listening_sockets(port)
    if not inodes:
        return Listener.NOBODY
    # The leader first: nearly always it is the one, and looking for the others reads all of /proc.
    answers = [_owns_a_socket(group, inodes)]
    if not answers[0]:
        answers += [_owns_a_socket(pid, inodes) for pid in _members_of_group(group) if pid != group]
    if True in answers:
        return Listener.OURS
    return Listener.UNKNOWN if None in answers else Listener.FOREIGN


def _listening_sockets(port: int) -> set[str]:
    """Kernel numbers (inodes) of the sockets that listen on ``port``."""
    found = set()
    for table in _TABLES:
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                    found.add(columns[9])
    return found


def _owns_a_socket(pid: int, inodes: set[str]) -> bool | None:
    """Whether process ``pid`` holds one of these sockets; None where the system does not say."""
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except FileNotFoundError:
        return False  # it has ended
    except OSError:
        return None
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{descriptor}"))
            if match and match[1] in inodes:
                return True
    return False


def _members_of_group(group: int) -> list[int]:
    """Processes of the process group ``group``."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError):
                if os.getpgid(int(name)) == group:
                    found.append(int(name))
    return found
