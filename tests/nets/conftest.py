"""Fixtures of tests of networks."""

import pytest
import torch

from rllib_reborn.nets import onednn


@pytest.fixture
def kernels_are_taken(monkeypatch):
    """As on a CPU where oneDNN is not the faster one, with one thread."""
    monkeypatch.setattr(onednn, "operator", None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
