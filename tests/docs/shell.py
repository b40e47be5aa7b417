"""Commands of a shell block as lists of words."""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

_ENDS = {"&&", "||", "|", ";", "&", ";;"}
_KEYWORDS = {"do", "done", "then", "fi", "else"}
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


class ShellCommand(NamedTuple):
    """One command.

    Attributes:
        line: Of the block, counted from 0.
        words: Program and arguments, quotes taken away; without assignments in front and redirections.
    """

    line: int
    words: list[str]


def shell_commands(code: str) -> list[ShellCommand]:
    """All commands of a block, loops and pipes taken apart; comments are none."""
    found: list[ShellCommand] = []
    for line, text in _logical_lines(code):
        words: list[str] = []
        for word in [*_words(text), ";"]:
            if word in _ENDS:
                words = _without_frame(words)
                if words:
                    found.append(ShellCommand(line, words))
                words = []
            else:
                words.append(word)
    return found


def _logical_lines(code: str) -> list[tuple[int, str]]:
    joined: list[tuple[int, str]] = []
    running = ""
    for number, text in enumerate(code.splitlines()):
        if not running:
            start = number
        if text.endswith("\\"):
            running += text[:-1] + " "
            continue
        joined.append((start, running + text))
        running = ""
    return joined


def _words(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    return list(lexer)


def _without_frame(words: list[str]) -> list[str]:
    while words and (words[0] in _KEYWORDS or _ASSIGNMENT.match(words[0])):
        words = words[1:]
    if not words or words[0] in ("for", "export", "if", "while"):
        return []
    kept: list[str] = []
    for word in words:
        if word in (">", ">>", "<"):
            break
        kept.append(word)
    return kept
