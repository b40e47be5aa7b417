"""The page's data of runs that go on: what has changed in their folders is read, the rest is kept."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rllib_reborn.evaluation.analysis import analyse
from rllib_reborn.evaluation.dormancy_events import EVENTS_FILE, GrowingEvents
from rllib_reborn.evaluation.exports import plain
from rllib_reborn.evaluation.metrics_rows import GrowingRows
from rllib_reborn.evaluation.origin import FORK_FILE, run_name
from rllib_reborn.evaluation.page.data import page_data
from rllib_reborn.evaluation.page.films import FILM_FILE, Film, find_films
from rllib_reborn.evaluation.page.html import render_page
from rllib_reborn.evaluation.runs import (
    CONFIG_FILE,
    FINAL_FILE,
    METRICS_FILE,
    LeftOut,
    RunError,
    RunRecord,
    find_runs,
    read_run,
)
from rllib_reborn.evaluation.text import count

#: Files of a run whose change makes it be read again.
_FILES = (CONFIG_FILE, METRICS_FILE, FINAL_FILE, FORK_FILE, FILM_FILE, EVENTS_FILE.as_posix())
_State = tuple[tuple[int, int, int] | None, ...]


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What is served at one time.

    Attributes:
        page: The whole page, for who opens it.
        data: The same data, for a page that is open.
        tag: Changes when the data do.
        films: GIFs by the name that the data have for them.
    """

    page: bytes
    data: bytes
    tag: str
    films: dict[str, bytes]


class LiveRuns:
    """The runs below some folders, as they are now.

    Args:
        folders: Run folders, or folders of run folders at any depth; what appears below them later is found too.
        command: What the user typed.

    Raises:
        RunError: A folder does not exist, or is none.
    """

    def __init__(self, folders: Sequence[Path], *, command: str | None = None) -> None:
        for folder in folders:
            if not folder.is_dir():
                what = "is not a folder" if folder.exists() else "does not exist"
                raise RunError(
                    f"{folder} {what}; name folders of runs (a packed sweep does not change: see report --html)."
                )
        self._folders = list(folders)
        self._command = command
        self._readers: dict[Path, _RunReader] = {}
        self._states: dict[Path, _State] | None = None

    def look(self) -> Snapshot | None:
        """The present state; ``None`` where nothing has changed since the last call.

        Raises:
            ValueError: The runs cannot be shown together.
        """
        paths = self._find()
        states = {path: _state(path) for path in paths}
        if states == self._states:
            return None
        self._readers = {path: self._readers.get(path) or _RunReader(path) for path in paths}
        records, broken, progress = [], [], []
        for path, reader in self._readers.items():
            found = reader.read(states[path])
            if isinstance(found, RunRecord):
                records.append(found)
            elif states[path][_FILES.index(METRICS_FILE)] is not None:
                broken.append(found)
            progress.append(_progress(path, found, states[path]))
        snapshot = _snapshot(records, broken, progress, self._command)
        self._states = states
        return snapshot

    def _find(self) -> list[Path]:
        found: dict[Path, None] = {}
        for folder in self._folders:
            try:
                found |= dict.fromkeys(find_runs(folder))
            except RunError:
                continue  # none below it, yet
        return list(found)


class _RunReader:
    """One run folder, read again where a file of it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = GrowingRows(path / METRICS_FILE)
        self._events = GrowingEvents(path)
        self._state: _State = ()
        self._found: RunRecord | LeftOut = LeftOut(path, "not read yet")

    def read(self, state: _State) -> RunRecord | LeftOut:
        if state != self._state:
            try:
                self._found = read_run(
                    self._path, rows=lambda path: self._rows.read(), events=lambda folder: self._events.read()
                )
            except (RunError, OSError) as error:
                self._found = LeftOut(self._path, str(error))
            self._state = state
        return self._found


def _state(folder: Path) -> _State:
    """Of each file that matters: which it is, its size and when it was written."""
    return tuple(_stat(folder / name) for name in _FILES)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _snapshot(
    records: Sequence[RunRecord],
    broken: Sequence[LeftOut],
    progress: Sequence[tuple[list[str], float | None]],
    command: str | None,
) -> Snapshot:
    analysis = analyse(records, broken)
    films = find_films(analysis.groups)
    left_out = [(run_name(one.path), one.reason.replace(str(one.path), one.path.name)) for one in analysis.left_out]
    data = page_data(analysis, command=command, left_out=left_out, films=films)
    served = {_film_name(film): film.data for film in films if film.data}
    for entry, film in zip(data["films"], films):
        entry["source"] = _film_name(film) if film.data else ""
    data |= _live_parts(progress)
    text = json.dumps(plain(data), allow_nan=False, separators=(",", ":")).encode()
    tag = hashlib.sha256(text).hexdigest()[:32]
    page = render_page(data, live=True).encode("utf-8", "replace")
    return Snapshot(page, text, tag, served)


def _film_name(film: Film) -> str:
    return f"film/{hashlib.sha256(film.data).hexdigest()[:32]}.gif"


def _live_parts(progress: Sequence[tuple[list[str], float | None]]) -> dict[str, Any]:
    rows = [row for row, _ in progress]
    going_on = sum(row[1] != "ended" for row in rows)
    numbers = [[None if row[at] in ("", "-") else float(row[at].replace(",", "")) for row in rows] for at in (2, 3, 4)]
    return {
        "status": f"{count(len(rows), 'run')}, {going_on:,} not ended",
        "progress": {
            "title": "Progress",
            "head": ["run", "state", "rows", "environment steps", "of", "last row"],
            "rows": rows,
            "values": [None, None, *numbers, [at for _, at in progress]],
            "note": "",
            "code": [0],
        },
    }


def _progress(path: Path, found: RunRecord | LeftOut, state: _State) -> tuple[list[str], float | None]:
    """Cells of a run, and when its last row was written, in seconds since 1970."""
    metrics = state[_FILES.index(METRICS_FILE)]
    written = None if metrics is None else metrics[2] / 1e9
    clock = "-" if written is None else datetime.datetime.fromtimestamp(written).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(found, LeftOut):
        return [run_name(path), "no row yet" if metrics is None else "cannot be read", "-", "-", "-", clock], written
    stop = found.config.get("stop")
    goal = stop.get("env_steps") if isinstance(stop, dict) else None
    of = f"{goal:,}" if isinstance(goal, int) and not isinstance(goal, bool) else "-"
    ended = "ended" if found.final is not None else "not ended"
    return [run_name(path), ended, f"{len(found.metrics):,}", f"{found.env_steps:,}", of, clock], written
