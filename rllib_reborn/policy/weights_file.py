"""``weights.npz`` as arrays, without numpy's own reader: the zip's list, names, headers and sizes are compared with each
other before an array is made, and an array is a view of the file's bytes. Nothing is unpacked, and nothing evaluated."""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

#: Some tensors of each network; a thousand agents with networks of their own have 8,000.
MAX_ARRAYS = 20_000
#: As ``numpy.save`` writes it: type, order and shape.
_HEADER = re.compile(
    rb"\{'descr': '<f4', 'fortran_order': False, 'shape': \(((?:[0-9]{1,12}, ?){0,7}[0-9]{0,12},?)\), \} *\n"
)
_MAGIC = re.compile(rb"\x93NUMPY[\x01\x02\x03]\x00")
_NAME = re.compile(r"[A-Za-z0-9_.]{1,200}\.npy")
#: Bytes of a local entry before its name.
_LOCAL = struct.Struct("<4s5H3I2H")


class WeightsError(ValueError):
    """The file is not as ``numpy.savez`` writes one of float32 arrays; the message has no full stop at its end."""


def arrays_of(data: bytes) -> dict[str, npt.NDArray[np.float32]]:
    """The arrays of an uncompressed ``.npz`` file; read-only views of ``data``.

    Raises:
        WeightsError: It is another file, or its parts do not fit each other.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    # What Python's own reader raises for a list that is damaged, encrypted or of a version to come.
    except (
        zipfile.BadZipFile,
        ValueError,
        OSError,
        EOFError,
        NotImplementedError,
        OverflowError,
        struct.error,
    ) as error:
        raise WeightsError(f"it is no zip file: {error}") from None
    if len(entries) > MAX_ARRAYS:
        raise WeightsError(f"it has {len(entries):,} entries; expected at most {MAX_ARRAYS:,}")
    arrays: dict[str, npt.NDArray[np.float32]] = {}
    free_from = 0
    for entry in sorted(entries, key=lambda one: one.header_offset):
        if not _NAME.fullmatch(entry.filename):
            raise WeightsError(f"an entry has the name {entry.filename[:100]!r}")
        name = entry.filename.removesuffix(".npy")
        if name in arrays:
            raise WeightsError(f"{name!r} is in it twice")
        begin, end = _place(entry, data, name)
        if entry.header_offset < free_from:
            raise WeightsError(f"{name!r} lies inside another entry")
        free_from = end
        arrays[name] = _array(memoryview(data)[begin:end], name)
        if zlib.crc32(memoryview(data)[begin:end]) != entry.CRC:
            raise WeightsError(f"{name!r} has the wrong checksum")
    return {entry.filename.removesuffix(".npy"): arrays[entry.filename.removesuffix(".npy")] for entry in entries}


def _place(entry: zipfile.ZipInfo, data: bytes, name: str) -> tuple[int, int]:
    """Where the entry's bytes begin and end."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.compress_size != entry.file_size:
        raise WeightsError(f"{name!r} is compressed (method {entry.compress_type}) or encrypted; expected neither")
    at = entry.header_offset
    if at < 0 or at + _LOCAL.size > len(data):
        raise WeightsError(f"{name!r} begins behind the file's end")
    fields: tuple[Any, ...] = _LOCAL.unpack_from(data, at)
    begin = at + _LOCAL.size + fields[-2] + fields[-1]
    if fields[0] != b"PK\x03\x04" or begin + entry.file_size > len(data):
        raise WeightsError(f"{name!r} is not where the zip's list says")
    return begin, begin + entry.file_size


def _array(part: memoryview, name: str) -> npt.NDArray[np.float32]:
    """The array in the bytes of one ``.npy`` file."""
    if not _MAGIC.fullmatch(part[:8]):
        raise WeightsError(f"{name!r} is no array of numpy")
    width = 2 if part[6] == 1 else 4
    header_end = 8 + width + int.from_bytes(part[8 : 8 + width], "little")
    header = _HEADER.fullmatch(part[8 + width : min(header_end, 4096)])
    if header is None:
        raise WeightsError(f"{name!r} is no array of little-endian float32 numbers in C order")
    shape = tuple(int(size) for size in header[1].split(b",") if size.strip())
    if math.prod(shape) * 4 != len(part) - header_end:
        raise WeightsError(f"{name!r} says that it has shape {shape}, and has {len(part) - header_end:,} bytes")
    return np.frombuffer(part[header_end:], dtype="<f4").reshape(shape)
