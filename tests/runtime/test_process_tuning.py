"""Threads of a driver share one heap, and garbage is sought among what is new."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from rllib_reborn.runtime.process_tuning import garbage_sought_among_new_objects

COUNT_HEAPS = """
import ctypes, sys, threading
from rllib_reborn.runtime.process_tuning import share_one_heap
if sys.argv[2] == "shared":
    share_one_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
barrier = threading.Barrier(4)
def work():
    libc.malloc(ctypes.c_size_t(5000))
    barrier.wait(60)
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_info"), reason="not run: needs glibc"
)
def test_threads_started_later_share_one_heap(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}

    def heaps(how: str) -> int:
        file = tmp_path / how
        subprocess.run([sys.executable, "-c", COUNT_HEAPS, str(file), how], env=env, check=True, timeout=120)
        return file.read_text().count("<heap nr=")

    assert heaps("own") > heaps("shared")


class Knot:
    """Refers to itself, so that only the search for cycles frees it."""

    def __init__(self) -> None:
        self.knot = self


def test_cycles_that_have_grown_old_are_freed_though_much_else_is_there() -> None:
    # New objects after which Python searches among old ones; 3.13 waits for more than 3.12 did.
    enough = 3 * math.prod(gc.get_threshold()) // 2
    much = [[] for _ in range(5 * enough)]  # of which a quarter more would have to come before old cycles are sought
    with garbage_sought_among_new_objects():
        assert gc.get_freeze_count() > len(much)
        knot = Knot()
        gc.collect(1)  # it is now among the old ones
        left = weakref.ref(knot)
        del knot
        assert left() is not None
        new = [[] for _ in range(enough)]
        assert left() is None
    assert gc.get_freeze_count() == 0
    assert len(new) < len(much) / 4


def test_nothing_is_left_out_for_ever() -> None:
    with pytest.raises(RuntimeError, match="broken off"), garbage_sought_among_new_objects():
        raise RuntimeError("broken off")
    assert gc.get_freeze_count() == 0
