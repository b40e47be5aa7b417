"""The one command of docs/results/evidence.md: it prints what the page says, and draws the figures of the page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "results" / "evidence.md"


@pytest.mark.slow
def test_one_command_draws_the_page(tmp_path: Path) -> None:
    command = [sys.executable, str(PAGE.with_suffix("") / "draw.py"), "--pictures", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    page = PAGE.read_text()
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == set(re.findall(r"\(evidence/(\w+\.png)\)", page))
    # A row of each table of means, as the page rounds it.
    for printed, written in (
        ("+45.39 [+17.77, +73.01]", "+45 [18, 73]"),
        ("+10.86 [+4.87, +16.85]", "+11 [5, 17]"),
        ("+0.24 [-0.67, +1.16]", "+0.24 [-0.67, 1.16]"),
        ("+0.202 [+0.181, +0.222]", "+0.202 [0.181, 0.222]"),
        ("+0.308 [+0.255, +0.361]", "+0.308 [0.255, 0.361]"),
        ("The last minus the first: +0.023 [+0.013, +0.034]", "+0.023 [0.013, 0.034]"),
        ("mean 84.1 [72.0, 96.3]", "mean 84 [72, 96]"),
    ):
        assert written in page
        assert printed in done.stdout
