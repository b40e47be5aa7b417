"""Run folders from a file that ``rllib-reborn tune pack`` has written."""

from __future__ import annotations

import contextlib
import io
import lzma
import re
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from rllib_reborn.evaluation.runs import RunError

SUFFIX = ".tar.xz"
#: Unpacked: what a sweep of thousands of runs has, which are some 100 kB each.
MAX_BYTES = 8_000_000_000
MAX_FILE_BYTES = 600_000_000
MAX_FILES = 200_000
#: Bytes of memory that unpacking may take; 'tune pack' asks for 65 MB of them.
_MAX_MEMORY = 128 * 2**20
_CHUNK = 1 << 16
#: ``sweep/point/seed/dormancy/events.jsonl`` is the deepest.
_NAME = re.compile(r"(?!\.)[^/\0]{1,255}(?:/(?!\.\.?(?:/|$))[^/\0]{1,255}){1,4}")


class _Unpacked(io.RawIOBase):
    """What one xz stream holds, piece by piece and with limited memory."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed
        self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_MEMORY)
        self._left = MAX_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = b""
        while not data and not self._decompressor.eof:
            packed = self._packed.read(_CHUNK) if self._decompressor.needs_input else b""
            if not packed and self._decompressor.needs_input:
                raise EOFError("it ends too early")
            data = self._decompressor.decompress(packed, max_length=len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise lzma.LZMAError(f"it unpacks to more than {MAX_BYTES:,} bytes")
        buffer[: len(data)] = data
        return len(data)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The folder that ``path`` is, or that the archive ``path`` holds, unpacked for as long as this is entered.

    Raises:
        RunError: The archive is damaged, holds what ``tune pack`` does not write, or more than it can need.
    """
    if not path.name.endswith(SUFFIX):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="rllib_reborn_sweep_") as folder:
        try:
            if not path.is_file():
                raise RunError(f"{path} {'is no regular file' if path.exists() else 'does not exist'}.")
            with path.open("rb") as packed:
                _unpack(cast(BinaryIO, packed), Path(folder))
        # A header may also name a file that is a folder already, or a size that is no number.
        except (OSError, tarfile.TarError, EOFError, lzma.LZMAError, MemoryError, ValueError, OverflowError) as error:
            if isinstance(error, RunError):
                raise
            raise RunError(f"{path} cannot be unpacked: {error}.") from None
        inside = sorted(Path(folder).iterdir())
        if len(inside) != 1 or not inside[0].is_dir():
            raise RunError(f"{path} holds no sweep; expected a file that 'tune pack' has written.")
        yield inside[0]


def _unpack(packed: BinaryIO, folder: Path) -> None:
    """Write what the archive holds below ``folder``, each file looked at before it is written.

    Raises:
        tarfile.TarError, lzma.LZMAError, OSError, EOFError: It is damaged, or is not as ``tune pack`` writes it.
    """
    stream = cast(BinaryIO, io.BufferedReader(_Unpacked(packed), _CHUNK))
    # A stream is read once, from the beginning: no member can send the reader elsewhere.
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for number, entry in enumerate(tar):
            if not entry.isreg() or not _NAME.fullmatch(entry.name):
                raise tarfile.TarError(f"{entry.name[:100]!r} is no file of a sweep")
            if number == MAX_FILES or entry.size > MAX_FILE_BYTES:
                raise tarfile.TarError(
                    f"it holds more than {MAX_FILES:,} files, or one of over {MAX_FILE_BYTES:,} bytes"
                )
            tar.extract(entry, folder, filter="data")
