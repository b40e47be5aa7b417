"""Writing a small file so that no reader sees half of it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from rllib_reborn.durability import flush_to_disk


def write_text_atomically(path: Path, text: str) -> None:
    """Replace the content of ``path``; a crash, or a disk that is full, leaves either the old content or the new.

    Raises:
        OSError: It cannot be written; the old content is there.
    """
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_text(text, encoding="utf-8")
        flush_to_disk(beside)
        beside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):  # a disk that cannot be written, perhaps
            beside.unlink()
        raise
