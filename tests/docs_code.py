"""The Python code blocks of README.md and docs/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
PAGES = (REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md")))

_BLOCK = re.compile(r"(?:^<!-- not run: (?P<why>.*?) -->\n)?^```python\n(?P<code>.*?)^```$", re.M | re.S)


class Block(NamedTuple):
    """One block.

    Attributes:
        line: Of the page, counted from 1, at which the code begins.
        code: As it stands there.
        not_run: The reason in the comment ``<!-- not run: reason -->`` right above it; None where there is none.
    """

    line: int
    code: str
    not_run: str | None


def python_blocks(page: Path) -> list[Block]:
    """In the order of the page."""
    text = page.read_text()
    return [
        Block(text.count("\n", 0, found.start("code")) + 1, found["code"], found["why"])
        for found in _BLOCK.finditer(text)
    ]
