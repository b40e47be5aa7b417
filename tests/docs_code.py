"""Blocks and commands of README.md, CONTRIBUTING.md and docs/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
PAGES = (REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md")))
NOTEBOOKS = tuple(sorted((DOCS / "notebooks").glob("*.ipynb")))

_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<why>.*?) -->\n)?^(?P<indent>[ ]*)```(?P<language>[^\n`]*)\n(?P<code>.*?)^[ ]*```$",
    re.M | re.S,
)
_INDENTED = re.compile(r"(?<=\n\n)(?:    [^\n]*\n)+")
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")


class Block(NamedTuple):
    """One block.

    Attributes:
        line: Of the page, counted from 1, at which the code begins.
        code: As it stands there.
        not_run: The reason in the comment ``<!-- not run: reason -->`` right above it; None where there is none.
        language: What stands behind the fence, or "".
    """

    line: int
    code: str
    not_run: str | None
    language: str = "python"


def fenced_blocks(page: Path) -> list[Block]:
    """All blocks between fences, in the order of the page."""
    text = page.read_text()
    return [
        Block(text.count("\n", 0, found.start("code")) + 1, found["code"], found["why"], found["language"])
        for found in _BLOCK.finditer(text)
    ]


def python_blocks(page: Path) -> list[Block]:
    """Blocks of Python, in the order of the page."""
    return [block for block in fenced_blocks(page) if block.language == "python"]


def shell_blocks(page: Path) -> list[Block]:
    """Blocks of ``bash`` and ``sh``, and blocks that are indented in place of a fence."""
    text = page.read_text()
    without_fences = _BLOCK.sub(lambda found: "\n" * found[0].count("\n"), text)
    fenced = [block for block in fenced_blocks(page) if block.language in ("bash", "sh")]
    indented = [
        Block(
            without_fences.count("\n", 0, found.start()) + 1, re.sub(r"^    ", "", found[0], flags=re.M), None, "bash"
        )
        for found in _INDENTED.finditer(without_fences)
    ]
    return sorted([*fenced, *indented])


def code_spans(page: Path) -> list[str]:
    """What stands between single backticks, outside blocks; a line's end in it is a blank."""
    return [" ".join(found.split()) for found in _SPAN.findall(_INDENTED.sub("\n", _BLOCK.sub("", page.read_text())))]
