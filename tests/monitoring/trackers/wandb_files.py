"""Reads the files that wandb writes without a server (``run-<id>.wandb``): protobuf records in LevelDB's log format."""

from __future__ import annotations

import dataclasses
import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK, _HEADER = 32 * 1024, 7
_FULL, _LAST = 1, 4
_WRITTEN_S = 60.0


@dataclasses.dataclass
class WandbFile:
    """What one file holds.

    Attributes:
        run: The run's record: id, project, group, tags, name.
        config: Its config.
        history: One mapping for each row that was logged.
        summary: Values that were set in the summary.
        has_ended: Whether the run's end is in it.
    """

    run: Any
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    has_ended: bool = False


def files_below(folder: Path) -> list[WandbFile]:
    """The files of every run below ``folder``, in the order in which they were begun. wandb's own process writes them, and
    is waited for until it has written the end of each."""
    deadline = time.monotonic() + _WRITTEN_S
    while True:
        files = [_file(path) for path in folder.rglob("run-*.wandb")]
        if all(file.has_ended for file in files) or time.monotonic() > deadline:
            return sorted(files, key=lambda file: file.run.start_time.ToNanoseconds())
        time.sleep(0.2)


def _file(path: Path) -> WandbFile:
    found = WandbFile(None, {}, [], {})
    for record in _records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.run = record.run
            found.config |= _items(record.run.config.update)
        elif kind == "history":
            found.history.append(_items(record.history.item))
        elif kind == "exit":
            found.has_ended = True
        elif kind == "summary":
            found.summary |= _items(record.summary.update)
    return found


def _items(items: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        *path, last = item.nested_key or [item.key]
        place = found
        for part in path:
            place = place.setdefault(part, {})
        place[last] = json.loads(item.value_json)
    return found


def _records(path: Path) -> Iterator[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, parts = path.read_bytes(), _HEADER, b""
    assert data[:4] == b":W&B"
    while at + _HEADER <= len(data):
        if _BLOCK - at % _BLOCK < _HEADER:  # the rest of a block that has no room for a header
            at += _BLOCK - at % _BLOCK
            continue
        size, kind = struct.unpack("<HB", data[at + 4 : at + _HEADER])
        parts += data[at + _HEADER : at + _HEADER + size]
        at += _HEADER + size
        if kind in (_FULL, _LAST):
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""
