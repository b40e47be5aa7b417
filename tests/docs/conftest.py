"""The site, built once for the long tests that look at it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs_code import REPOSITORY


@pytest.fixture(scope="session")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the site's pages, notebooks executed; any warning of Sphinx fails the tests that ask for it."""
    for name in ("sphinx", "myst_nb", "furo"):
        pytest.importorskip(name, reason="pip install -e '.[docs]'")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "docs.site", "--out", str(out)]
    done = subprocess.run(command, cwd=REPOSITORY, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out / "html"
