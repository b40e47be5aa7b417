"""One local Ray for each test process: starting and stopping one takes seconds, and some twenty modules need it."""

from __future__ import annotations

import gc
import logging
import sys
import time

CPUS = 8
#: Seconds in which actors that were told to end must have given their CPUs back.
PATIENCE_S = 5.0


def start() -> None:
    """Start it, unless it runs; another Ray that a test has left (RLlib starts one where there is none) is stopped first."""
    import ray

    if ray.is_initialized() and ray.cluster_resources().get("CPU") != CPUS:
        stop()
    if not ray.is_initialized():
        # "local": a cluster that a test of another process has started is not joined.
        ray.init("local", num_cpus=CPUS, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)


def hand_on() -> None:
    """Keep it for the next module if everything that ran on it has ended; stop it otherwise."""
    gc.collect()  # actors end with their last handle, and algorithms are full of cycles
    if not is_idle():
        stop()


def stop() -> None:
    """Stop it, if it runs. Never imports Ray: most test processes of a few files do without."""
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        ray.shutdown()


def is_idle() -> bool:
    """Does it run, with all its CPUs free (each actor of RLlib books one), or are they within a few seconds?"""
    import ray

    deadline = time.monotonic() + PATIENCE_S
    while ray.is_initialized():
        if ray.available_resources().get("CPU", 0.0) == CPUS == ray.cluster_resources().get("CPU"):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return False
