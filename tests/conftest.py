"""Shared fixtures."""

from __future__ import annotations

import logging
import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--faults", type=int, default=40, help="faults of the StarCraft training test; 200 take two minutes and more"
    )


@pytest.fixture(scope="module")
def ray_session():
    """A local Ray for a module's tests, with more logical CPUs than the machine has, so that several small actors fit."""
    import ray

    if not ray.is_initialized():
        ray.init(num_cpus=8, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def no_gpu_skip():
    """Skip, with the reason, where there is no GPU."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU on this machine")
