"""Films of episodes that run folders hold, as far as they fit into the page."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rllib_reborn.evaluation.groups import RunGroup

#: What ``rllib-reborn train`` writes into a run folder.
FILM_FILE = "episode.gif"
#: Bytes of one film, and of all films of a page.
MOST_BYTES = 1_000_000
MOST_BYTES_IN_ALL = 2_500_000
_MAGIC = (b"GIF87a", b"GIF89a")


@dataclasses.dataclass(frozen=True)
class Film:
    """An episode of a run; ``data`` is the GIF, empty where ``left_out`` says why it is not on the page."""

    run: str
    group: str
    data: bytes
    left_out: str = ""

    @property
    def source(self) -> str:
        """As the address of a picture that holds it."""
        return f"data:image/gif;base64,{base64.b64encode(self.data).decode('ascii')}" if self.data else ""


def find_films(groups: Sequence[RunGroup]) -> list[Film]:
    """A film for each run that has one."""
    films: list[Film] = []
    for group in groups:
        for run in group.runs:
            path = run.path / FILM_FILE
            if not path.is_file():
                continue
            taken = sum(len(film.data) for film in films)
            data, reason = _read(path, MOST_BYTES_IN_ALL - taken)
            films.append(Film(run.name, group.label, data, reason))
    return films


def _read(path: Path, room: int) -> tuple[bytes, str]:
    """The file, or nothing and the reason."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        return b"", f"cannot be read: {error.strerror or error}"
    if not data.startswith(_MAGIC):
        return b"", "is no GIF"
    if len(data) > MOST_BYTES:
        return b"", f"is larger than {MOST_BYTES:,} bytes"
    if len(data) > room:
        return b"", f"does not fit beside the films before it ({MOST_BYTES_IN_ALL:,} bytes in all)"
    return data, ""
