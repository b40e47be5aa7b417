"""Threads of a driver share one heap."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
