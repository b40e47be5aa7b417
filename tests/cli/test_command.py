"""What is printed to be typed next."""

import shutil
import sys
from pathlib import Path

import pytest

from rllib_reborn.cli.command import program, program_here, user_path


@pytest.fixture
def as_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/rllib_reborn/__main__.py"])


def test_the_console_script_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/rllib-reborn"])
    assert program() == program_here() == "rllib-reborn"


@pytest.mark.usefixtures("as_module")
def test_plain_python_where_that_is_what_runs_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: sys.executable)
    assert program_here() == "python -m rllib_reborn"


@pytest.mark.usefixtures("as_module")
def test_the_interpreter_of_an_environment_that_is_not_activated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/python")
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    monkeypatch.chdir(tmp_path)
    assert program_here() == ".venv/bin/python -m rllib_reborn"
    monkeypatch.chdir("/")
    assert program_here() == f"{str(tmp_path)[1:]}/.venv/bin/python -m rllib_reborn"


def test_a_tilde_is_the_home_folder_where_no_shell_has_seen_to_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/run") == tmp_path / "run"
    assert user_path("~nobody_of_this_name/run") == Path("~nobody_of_this_name/run")
    assert user_path("run~1") == Path("run~1")
