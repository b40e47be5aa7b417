"""Paths that may not be looked at: a sentence in every command, whichever look was the first."""

from __future__ import annotations

import argparse
import errno
import os
from pathlib import Path

import pytest

from rllib_reborn.cli.closed_paths import sentence_about
from rllib_reborn.cli.main import main

#: Asking the file system whether it exists raises, as for a folder inside one that is closed, whoever runs the tests.
TOO_LONG = "/tmp/" + "a" * 300


@pytest.mark.parametrize(
    "command",
    [
        ["report", TOO_LONG],
        ["watch", TOO_LONG],
        ["evaluate", TOO_LONG],
        ["probe", TOO_LONG],
        ["export", TOO_LONG, "--out", "policy"],
        ["tune", "status", TOO_LONG],
        ["tune", "quick", "--out", TOO_LONG],
        ["train", "matrix/two_step/vdn", "--out", TOO_LONG],
    ],
    ids=lambda command: " ".join(command[:2]).replace(TOO_LONG, "PATH"),
)
def test_each_command_says_so_in_a_line(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "too long" in line
    assert list(tmp_path.iterdir()) == []


def closed(path: str, number: int = errno.EACCES) -> OSError:
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize("given", [{"out": "/a/b"}, {"out": Path("/a/b")}, {"what": ["x", "/a/b"]}])
@pytest.mark.parametrize("path", ["/a/b", "/a/b/c/d"])
def test_it_is_about_what_was_named(given: dict[str, object], path: str) -> None:
    sentence = sentence_about(closed(path), argparse.Namespace(command="x", **given))
    assert (
        sentence
        == f"'{path}' cannot be used: Permission denied. Name another path, or let its owner open it to this "
        + (f"user (uid {os.geteuid()}).")
    )


def test_or_about_the_present_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sentence_about(closed("runs"), argparse.Namespace(out=None)) is not None


@pytest.mark.parametrize(
    "error",
    [closed("/a/bc"), closed("/a"), closed("/a/b", errno.ENOSPC), OSError("a word"), closed("/a/b", errno.ENOENT)],
)
def test_anything_else_keeps_its_traceback(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/usr")
    assert sentence_about(error, argparse.Namespace(out="/a/b", number=3, flag=None)) is None
    assert sentence_about(error, None) is None
