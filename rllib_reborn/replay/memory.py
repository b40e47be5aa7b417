"""Bytes before they are spent: how large a replay can become, and whether this machine has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

from rllib_reborn.replay.fields import OBSERVATION_FIELDS


class _Cgroup(NamedTuple):
    """Where one version of cgroups tells of the container's memory."""

    limit: Path
    usage: Path
    statistics: Path
    reclaimable: str  #: Key in ``statistics``: page cache that the kernel gives back when memory is asked for


_CGROUP_V2 = _Cgroup(
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory.current"),
    Path("/sys/fs/cgroup/memory.stat"),
    "inactive_file",
)
_CGROUP_V1 = _Cgroup(
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    Path("/sys/fs/cgroup/memory/memory.stat"),
    "total_inactive_file",
)


class ReplayMemoryError(ValueError):
    """The replay asked for would not fit into the memory that is free."""


def bytes_per_step(layout: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> tuple[int, int]:
    """Bytes of one observation row and of one env-step row for the fields of ``layout``."""
    size = {name: int(np.prod(shape, dtype=np.int64)) * dtype.itemsize for name, (shape, dtype) in layout.items()}
    observation = sum(size[name] for name in OBSERVATION_FIELDS)
    return observation, sum(size.values()) - observation


def largest_size(layout: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]], episodes: int, episode_limit: int) -> int:
    """Bytes of ``episodes`` episodes that all reach ``episode_limit`` env steps."""
    observation, step = bytes_per_step(layout)
    return episodes * (observation * (episode_limit + 1) + step * episode_limit)


def available_memory() -> int:
    """Bytes that can still be used: what the system has free, or what is left of the container's limit if smaller."""
    free = int(psutil.virtual_memory().available)
    for group in (_CGROUP_V2, _CGROUP_V1):
        try:
            limit, usage = group.limit.read_text().strip(), group.usage.read_text().strip()
        except OSError:
            continue  # this machine does not use that version of cgroups
        if limit.isdigit():
            used = max(0, int(usage) - _reclaimable(group))
            return min(free, max(0, int(limit) - used))
    return free


def _reclaimable(group: _Cgroup) -> int:
    """Bytes that the container's usage counts and that are free all the same; 0 where it does not say."""
    try:
        lines = group.statistics.read_text().splitlines()
    except OSError:
        return 0
    return next(
        (int(value) for key, _, value in (line.partition(" ") for line in lines) if key == group.reclaimable), 0
    )


def check_fits(needed: int, available: int, *, episodes: int, episode_limit: int) -> None:
    """Raise :class:`ReplayMemoryError`, with advice, when ``needed`` bytes are more than ``available``."""
    if needed <= available:
        return
    fitting = int(episodes * available / needed)
    raise ReplayMemoryError(
        f"a replay of {episodes} episodes of up to {episode_limit} steps can grow to {format_bytes(needed)}, but only "
        f"{format_bytes(available)} of memory are free; set training.buffer_episodes to at most {fitting}, or store "
        "observations as float16 or uint8 (TeamSpec.obs_dtype, state_dtype)."
    )


def format_bytes(count: float) -> str:
    """``count`` bytes for people, in powers of 1000: ``4.1 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
