"""Settings of a process: those that make a learner's dense maths fast, and those that keep a driver from growing."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from typing import Any

import torch

# glibc's mallopt() parameters (malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8


def skip_filling_empty_buffers() -> None:
    """RLlib switches deterministic algorithms on with a seed, and torch then writes NaN into every buffer it hands out:
    a tenth of an update, for a check that nothing here reads memory before it is written."""
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def tune_for_dense_math(num_cpus: float | str) -> None:
    """Pin torch's threads, let glibc keep freed memory and have a GPU calculate in float32; for the whole process, which
    with ``num_learners=0`` is the algorithm's own.

    Threads: several workers share a machine, and torch's default of one thread per core makes them fight for cores (updates
    become 2 to 40 times slower). Memory: an update allocates and frees hundreds of
    megabytes; returned to the system each time, they are faulted in page by page at the next update, which costs 10 to
    20 % of it. Float32: torch lets cuDNN round a GRU's products to ten bits (TF32) unless told not to, and no other
    product; hidden states were off by 3e-4, which an intervention that keeps values to 1e-6 would be measured through.

    Args:
        num_cpus: CPUs this process may use, as RLlib's config says it; below 1, or "auto", counts as 1.
    """
    skip_filling_empty_buffers()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_num_threads(1 if isinstance(num_cpus, str) else max(1, int(num_cpus)))
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_TOP_PAD, 64 * 2**20)


def share_one_heap() -> None:
    """Let all threads that this process starts from now on allocate from one heap, unless ``MALLOC_ARENA_MAX`` is set.

    glibc gives each thread a heap of its own, and Ray has some thirty threads that hand on messages: what one allocates
    another frees, and the heaps grow without an end while what is in use stays the same (3 MB in 1,000 iterations).
    """
    libc = _glibc()
    if libc is not None and "MALLOC_ARENA_MAX" not in os.environ:
        libc.mallopt(_M_ARENA_MAX, 1)


def give_back_memory() -> None:
    """Give what is free of this process's memory back to the system, at 0.1 ms for each MB. For rare moments that needed
    more than training does, such as a checkpoint, since :func:`tune_for_dense_math` lets glibc keep all of it."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@contextlib.contextmanager
def garbage_sought_among_new_objects() -> Iterator[None]:
    """Leave what this process holds now out of Python's search for garbage cycles, until the block ends.

    Python looks through all objects only once their number has grown by a quarter, and a driver holds half a million when
    training begins. So cycles that are left by every update (RLlib's metrics and conversions) or checkpoint would wait for
    hours, and each search would take 0.5 ms for a thousand objects. Without those that were there it comes often, and takes
    hardly any time.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # so that Python counts from here
    try:
        yield
    finally:
        gc.unfreeze()


def _glibc() -> Any:
    """The C library where it is glibc's, else None."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "mallopt") else None
