"""Reads TensorBoard's event files, as TensorBoard does: what a later file takes back is left out."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def events_in(folder: Path) -> Iterator[Any]:
    """Every event, in the order of the files' names, checked by its checksums."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    for path in sorted(folder.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            (size,), (crc,) = struct.unpack("<Q", data[:8]), struct.unpack("<I", data[8:12])
            assert crc == masked_crc32c(data[:8])
            body = data[12 : 12 + size]
            assert struct.unpack("<I", data[12 + size : 16 + size])[0] == masked_crc32c(body)
            event = Event()
            event.ParseFromString(body)
            yield event
            data = data[16 + size :]


def values_in(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    """``{tag: [(step, value), ...]}`` of what is shown."""
    from tensorboardX.proto.event_pb2 import SessionLog

    found: dict[str, list[tuple[int, Any]]] = {}
    for event in events_in(folder):
        if event.HasField("session_log") and event.session_log.status == SessionLog.START:
            found = {tag: [pair for pair in pairs if pair[0] < event.step] for tag, pairs in found.items()}
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value))
    return {tag: pairs for tag, pairs in found.items() if pairs}


def scalars_in(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The same of scalars."""
    return {
        tag: [(step, value.simple_value) for step, value in pairs]
        for tag, pairs in values_in(folder).items()
        if pairs[0][1].HasField("simple_value")
    }
