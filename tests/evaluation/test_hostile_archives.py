"""Archives that 'tune pack' did not write: one RunError, nothing written elsewhere, in bounded time, memory and disk."""

from __future__ import annotations

import io
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rllib_reborn.evaluation import packed_runs
from rllib_reborn.evaluation.packed_runs import opened
from rllib_reborn.evaluation.runs import RunError

pytestmark = pytest.mark.timeout(60)


def entry(name: str, data: bytes = b"x", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def tar_of(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def packed(folder: Path, tar: bytes, compress: Callable[[bytes], bytes] = lzma.compress) -> Path:
    path = folder / "some.tar.xz"
    path.write_bytes(compress(tar))
    return path


def refused(path: Path) -> str:
    with pytest.raises(RunError) as caught, opened(path):
        raise AssertionError("it was opened")
    return str(caught.value)


def test_what_tune_pack_writes_is_unpacked(tmp_path: Path) -> None:
    path = packed(tmp_path, tar_of(entry("top/sweep.yaml"), entry("top/p0/s0/dormancy/events.jsonl", b"abc")))
    with opened(path) as folder:
        assert folder.name == "top"
        assert (folder / "p0/s0/dormancy/events.jsonl").read_bytes() == b"abc"
    assert not folder.exists()


@pytest.mark.parametrize(
    "hostile",
    [
        entry("../outside"),
        entry("/tmp/outside"),
        entry("top/../../outside"),
        entry("top/a/b/c/d/e"),
        entry("loose"),
        entry(".hidden/a"),
        entry("top/" + "x" * 256),
        entry("top/link", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        entry("top/link", b"", type=tarfile.LNKTYPE, linkname="top/sweep.yaml"),
        entry("top/device", b"", type=tarfile.CHRTYPE),
        entry("top/pipe", b"", type=tarfile.FIFOTYPE),
        entry("top/folder", b"", type=tarfile.DIRTYPE),
        entry("top/sweep.yaml/below"),
    ],
    ids=range(13),
)
def test_members_that_are_no_files_of_a_sweep(tmp_path: Path, hostile: tuple[tarfile.TarInfo, bytes]) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    path = packed(inside, tar_of(entry("top/sweep.yaml"), hostile))
    assert "cannot be unpacked" in refused(path)
    assert sorted(tmp_path.rglob("*")) == [inside, path]


def test_a_file_that_says_it_has_a_terabyte(tmp_path: Path) -> None:
    info, _ = entry("top/metrics.jsonl")
    info.size = 10**12
    assert "over" in refused(packed(tmp_path, info.tobuf()))


def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_runs, "MAX_BYTES", 20_000_000)
    zeros = entry("top/metrics.jsonl", b"\0" * 30_000_000)
    path = packed(tmp_path, tar_of(zeros))
    assert path.stat().st_size < 10_000
    assert "unpacks to more than" in refused(path)
    monkeypatch.setattr(packed_runs, "MAX_FILES", 10)
    assert "more than 10 files" in refused(packed(tmp_path, tar_of(*(entry(f"top/f{n}") for n in range(20)))))


def test_a_dictionary_that_asks_for_a_gigabyte(tmp_path: Path) -> None:
    def greedy(data: bytes) -> bytes:
        chain = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 26}]
        made = bytearray(lzma.compress(data, filters=chain))
        # The size of the dictionary is one byte of the block's header, behind its length, flags and the filter's name.
        at = made.index(b"\x21\x01", 12) + 2
        made[at] = 38  # 2 GB
        end = 12 + (made[12] + 1) * 4
        made[end - 4 : end] = lzma_crc32(bytes(made[12 : end - 4]))
        return bytes(made)

    assert "emory" in refused(packed(tmp_path, tar_of(entry("top/sweep.yaml")), greedy))


def lzma_crc32(data: bytes) -> bytes:
    import zlib

    return zlib.crc32(data).to_bytes(4, "little")


@pytest.mark.parametrize(
    "damage", [b"", b"not xz", lzma.compress(b""), lzma.compress(b"x" * 3_000), lzma.compress(b"\0" * 20_000)]
)
def test_damaged_ones(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "some.tar.xz"
    path.write_bytes(damage)
    refused(path)


def test_cut_at_any_byte(tmp_path: Path) -> None:
    whole = lzma.compress(
        tar_of(entry("top/sweep.yaml", os.urandom(300)), entry("top/p/s0/config.yaml", os.urandom(300)))
    )
    path = tmp_path / "some.tar.xz"
    for length in range(0, len(whole) - 40, 37):
        path.write_bytes(whole[:length])
        refused(path)
    missing = tmp_path / "missing.tar.xz"
    assert "does not exist" in refused(missing)
    os.mkfifo(missing)
    assert "no regular file" in refused(missing)
