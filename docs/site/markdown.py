"""Links, headings and anchors of a Markdown text, by GitHub's rules."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

_FENCE = re.compile(r"^(?P<indent>[ ]*)(?P<fence>`{3,}|~{3,})[^\n]*\n.*?(?:^[ ]*(?P=fence)[ ]*$|\Z)", re.M | re.S)
_INLINE_CODE = re.compile(r"(?<!`)(`+)(?!`)(?:(?!\n\n).)+?(?<!`)\1(?!`)", re.S)
_COMMENT = re.compile(r"<!--.*?-->", re.S)
_LINK = re.compile(r"\]\((?P<target>[^()\s]+)(?:\s+\"[^\"]*\")?\)")
_HEADING = re.compile(r"^(?P<level>#{1,6})\s+(?P<title>.+?)\s*#*$", re.M)


class Link(NamedTuple):
    """A link or a picture.

    Attributes:
        start: Where its target begins in the text.
        end: Where its target ends.
        target: A URL, or a path relative to the page's folder, or ``#anchor``, as it stands there.
    """

    start: int
    end: int
    target: str

    @property
    def is_local(self) -> bool:
        """It leads to a file or to an anchor, not to the network."""
        return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", self.target) is None

    @property
    def path(self) -> str:
        """The target without the anchor; "" where it is an anchor of the same page."""
        return self.target.partition("#")[0]

    @property
    def anchor(self) -> str:
        """What stands behind ``#``, or ""."""
        return self.target.partition("#")[2]


def without_code(text: str) -> str:
    """The text with blanks in place of code blocks, inline code and comments: every other character keeps its place."""

    def blank(found: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", found[0])

    for pattern in (_FENCE, _COMMENT, _INLINE_CODE):
        text = pattern.sub(blank, text)
    return text


def links(text: str) -> list[Link]:
    """All links and pictures, in the order of the text."""
    return [Link(*found.span("target"), found["target"]) for found in _LINK.finditer(without_code(text))]


def with_targets(text: str, targets: dict[Link, str]) -> str:
    """The text with other targets for some of its links."""
    for link in sorted(targets, reverse=True):
        text = text[: link.start] + targets[link] + text[link.end :]
    return text


def headings(text: str) -> list[tuple[int, str]]:
    """Level and title (with its markup) of each heading."""
    # Inline code belongs to a title; a '#' in a block of code is none.
    text = _COMMENT.sub("", _FENCE.sub("", text))
    return [(len(found["level"]), found["title"]) for found in _HEADING.finditer(text)]


def slug(title: str) -> str:
    """The anchor that GitHub and MyST make of a heading."""
    title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "").replace("*", "")
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    """All anchors of a page; a title that comes again has a number behind it."""
    found: set[str] = set()
    times: Counter[str] = Counter()
    for _, title in headings(text):
        name = slug(title)
        found.add(name if not times[name] else f"{name}-{times[name]}")
        times[name] += 1
    return found
