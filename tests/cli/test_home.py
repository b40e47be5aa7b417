"""Ray writes into the home folder; where that cannot be, training goes on all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rllib_reborn.cli.home import ensure_writable_home


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_home_that_cannot_be_written_is_replaced_and_it_is_said(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    if kind == "file":
        home.write_text("")
    monkeypatch.setenv("HOME", str(home))
    ensure_writable_home()
    assert os.environ["HOME"] != str(home)
    (Path.home() / "a").write_text("")
    assert "cannot be written" in capsys.readouterr().err


def test_one_that_can_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ensure_writable_home()
    assert os.environ["HOME"] == str(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_training_runs_without_one(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "rllib_reborn",
        "train",
        "matrix/two_step/vdn",
        "--out",
        str(tmp_path / "run"),
        "--quiet",
    ]
    short = [
        "stop.env_steps=null",
        "stop.iterations=1",
        "logging.report_interval_env_steps=32",
        "evaluation.final_episodes=2",
    ]
    done = subprocess.run([*command, *short], env=os.environ | {"HOME": "/proc"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
