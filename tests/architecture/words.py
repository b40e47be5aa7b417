"""Finds banned words in a project. The words are data (``banned_words.py``)."""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.architecture.source_files import docstrings

NAME, LITERAL, TEXT, PATH = "name", "literal", "text", "path"

#: What is read. Not CHANGELOG.md, which says what was renamed, nor the guards, which hold the words.
READ = (
    "rllib_reborn",
    "tests",
    "docs",
    "configs",
    "examples",
    "benchmarks",
    "docker",
    "README.md",
    "CONTRIBUTING.md",
    "Makefile",
    "setup.cfg",
)
EXEMPT = ("tests/architecture/",)
SUFFIXES = (".py", ".md", ".yaml", ".yml", ".cfg", ".toml", ".sh")


@dataclass(frozen=True, order=True)
class Word:
    """One banned word.

    Attributes:
        kind: ``NAME``, ``LITERAL``, ``TEXT`` or ``PATH``.
        pattern: Regular expression; must match the whole of a name or literal, and any part of a text or path.
        instead: What to write.
        where: Beginnings of the paths of files it is banned in; empty: everywhere.
        unless: Beginnings of the paths of files it is allowed in.
    """

    kind: str
    pattern: str
    instead: str
    where: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()

    def covers(self, place: str) -> bool:
        return (not self.where or place.startswith(self.where)) and not (self.unless and place.startswith(self.unless))


@dataclass(frozen=True, order=True)
class Found:
    """``text`` at ``line`` (0: the path itself) of the file at ``place``; banned by ``word``."""

    place: str
    line: int
    text: str
    word: Word

    def __str__(self) -> str:
        return f"{self.place}:{self.line} has {self.text!r}; write {self.word.instead}"


def project_files(project: Path) -> Iterator[Path]:
    """The files that are read, in order."""
    for name in READ:
        path = project / name
        if path.is_dir():
            yield from (
                inner
                for inner in sorted(path.rglob("*"))
                if inner.suffix in SUFFIXES
                and not inner.relative_to(project).as_posix().startswith(EXEMPT)
                and "__pycache__" not in inner.parts
            )
        elif path.exists():
            yield path


def banned_in_project(project: Path, words: Iterable[Word]) -> list[Found]:
    words = list(words)
    found: list[Found] = []
    for path in project_files(project):
        found += banned_in_text(path.relative_to(project).as_posix(), path.read_text(encoding="utf-8"), words)
    return found


def banned_in_text(place: str, text: str, words: Iterable[Word]) -> list[Found]:
    """Banned words of one file in order of lines; ``place`` is its path below the project."""
    mine = [word for word in words if word.covers(place)]
    is_python = place.endswith(".py")
    strings = {NAME: _lines_of(_names(text)), LITERAL: _lines_of(_literals(text))} if is_python else {}
    found = set()
    for word in mine:
        if word.kind == PATH:
            match = re.search(word.pattern, place)
            if match:
                found.add(Found(place, 0, match.group(), word))
        elif word.kind == TEXT:
            for match in _over_line_ends(word.pattern).finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                found.add(Found(place, line, " ".join(match.group().split()), word))
        else:
            for string, lines in strings.get(word.kind, {}).items():
                if _is_whole(word.pattern, string):
                    found |= {Found(place, line, string, word) for line in lines}
    return sorted(found)


def _lines_of(found: Iterable[tuple[int, str]]) -> dict[str, list[int]]:
    lines: dict[str, list[int]] = {}
    for line, string in found:
        lines.setdefault(string, []).append(line)
    return lines


@functools.cache
def _is_whole(pattern: str, string: str) -> bool:
    return re.fullmatch(pattern, string) is not None


def _names(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], token.string


def _literals(text: str) -> Iterator[tuple[int, str]]:
    tree = ast.parse(text)
    prose = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


@functools.cache
def _over_line_ends(pattern: str) -> re.Pattern[str]:
    """The pattern with each bare space widened to white space and comment signs, so that a wrapped phrase is found.

    A space that is counted (``" ?"``, ``" +"``) or stands in a class stays as it is.
    """
    return re.compile(re.sub(r"(?<!\[) (?![?*+\]])", r"[\\s#]+", pattern))
