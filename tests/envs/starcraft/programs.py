"""Small programs that take the game's place, and what is asked of processes."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path


def program(folder: Path, code: str, name: str = "SC2_x64") -> Path:
    """An executable file of Python ``code``; the game's arguments are in ``sys.argv``."""
    path = folder / name
    path.write_text(f"#!{sys.executable} -IS\n{code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def installation(folder: Path, code: str, *, build: int = 75689, maps: tuple[str, ...] = ("3m",)) -> Path:
    """A folder that looks like the game's, with ``code`` as its program; empty files for maps."""
    versions = folder / "Versions" / f"Base{build}"
    versions.mkdir(parents=True)
    program(versions, code)
    map_folder = folder / "Maps" / "SMAC_Maps"
    map_folder.mkdir(parents=True, exist_ok=True)
    for stem in maps:
        (map_folder / f"{stem}.SC2Map").write_bytes(b"map")
    return folder


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def eventually(condition: Callable[[], object], patience_s: float = 20.0) -> bool:
    """Whether ``condition()`` becomes true; patience is for loaded machines, and is no assertion about speed."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def processes_with(text: str) -> list[int]:
    """Running processes whose command line contains ``text``, ours excepted."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != os.getpid():
            try:
                line = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if text in line and is_running(int(name)):
                found.append(int(name))
    return found
