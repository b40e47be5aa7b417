"""What is free in a container: its limit, less what is used, where page cache that can be given back is not used."""

from __future__ import annotations

from pathlib import Path

import pytest

from rllib_reborn.replay import memory

GB = 10**9
MACHINE = 64 * GB


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of no cgroup yet, below ``v1`` and ``v2``, on a machine with 64 GB free."""
    for name, group in (("v2", memory._CGROUP_V2), ("v1", memory._CGROUP_V1)):
        (tmp_path / name).mkdir()
        moved = [tmp_path / name / path.name for path in group[:3]]
        monkeypatch.setattr(memory, f"_CGROUP_{name.upper()}", memory._Cgroup(*moved, group.reclaimable))
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: type("Free", (), {"available": MACHINE}))
    return tmp_path


def write(folder: Path, limit: str, usage: int, statistics: str | None) -> None:
    names = (
        ("memory.max", "memory.current") if folder.name == "v2" else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    )
    for name, content in zip(names, (limit, str(usage)), strict=True):
        (folder / name).write_text(f"{content}\n")
    if statistics is not None:
        (folder / "memory.stat").write_text(statistics)


def test_without_cgroups_all_that_the_machine_has_free(container: Path) -> None:
    assert memory.available_memory() == MACHINE


@pytest.mark.parametrize(
    ("version", "statistics", "free"),
    [
        ("v2", f"anon 5\nactive_file 7\ninactive_file {13 * GB}\nslab 3\n", 14 * GB),
        ("v2", "anon 5\n", 1 * GB),
        ("v2", None, 1 * GB),
        # Below a v1 container there may be others, whose pages count too.
        ("v1", f"inactive_file 7\ntotal_inactive_file {13 * GB}\n", 14 * GB),
        ("v1", None, 1 * GB),
        # Read at another moment than the usage, it can be more.
        ("v2", f"inactive_file {17 * GB}\n", 16 * GB),
    ],
)
def test_page_cache_that_can_be_given_back_is_free(
    container: Path, version: str, statistics: str | None, free: int
) -> None:
    write(container / version, str(16 * GB), 15 * GB, statistics)
    assert memory.available_memory() == free


def test_a_container_without_a_limit_or_with_a_huge_one_has_what_the_machine_has(container: Path) -> None:
    write(container / "v2", "max", 15 * GB, None)
    assert memory.available_memory() == MACHINE
    write(container / "v2", str(2**62), 15 * GB, f"inactive_file {GB}\n")
    assert memory.available_memory() == MACHINE


def test_a_container_over_its_limit_has_nothing_free(container: Path) -> None:
    write(container / "v2", str(16 * GB), 17 * GB, "inactive_file 0\n")
    assert memory.available_memory() == 0
