"""Settings of a worker process that make its dense maths fast."""

from __future__ import annotations

import ctypes
import sys

import torch

# glibc's mallopt() parameters (malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


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
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_MAX, 0)
            libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
            libc.mallopt(_M_TOP_PAD, 64 * 2**20)
