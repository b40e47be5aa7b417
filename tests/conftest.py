"""Shared fixtures."""

from __future__ import annotations

import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Ray starts a process for each of its CPUs beforehand, of which most tests use none.
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")

import hypothesis
import pytest

from tests import shared_ray

# No example has a time of its own: a busy machine is no fault.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


def pytest_addoption(parser):
    parser.addoption(
        "--faults",
        type=int,
        default=200,
        help="faults in the long StarCraft training test; its short sample in `make test` keeps its own number",
    )
    parser.addoption(
        "--kills",
        type=int,
        default=100,
        help="SIGKILLs in the long series of tests/reliability, over all kinds of runs",
    )


@pytest.fixture(scope="module")
def ray_session():
    """The local Ray of this test process, started for the first module that asks for one and handed on to the next.

    It has more logical CPUs than the machine, so that several small actors fit. A module that leaves processes behind
    does not hand it on: the next one gets a new Ray.
    """
    shared_ray.start()
    yield
    shared_ray.hand_on()


@pytest.fixture(scope="module")
def no_shared_ray():
    """For modules that start a Ray of their own (other resources, another path): the shared one is stopped before, and
    theirs must be stopped by them."""
    shared_ray.stop()


def pytest_sessionfinish():
    shared_ray.stop()


@pytest.fixture
def no_gpu_skip():
    """Skip, with the reason, where there is no GPU."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU on this machine")
