"""Prometheus and promtool, where they are installed."""

from __future__ import annotations

import shutil

import pytest

HOW_TO_GET = (
    "is not on the PATH: 'apt-get download prometheus && dpkg-deb -x prometheus_*.deb FOLDER' and PATH=FOLDER/usr/bin:$PATH "
    "have it without a service being started"
)


def program(name: str) -> str:
    """Its path; the test is skipped where it is not there."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} {HOW_TO_GET}")
    return path
