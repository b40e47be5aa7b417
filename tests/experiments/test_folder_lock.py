"""A folder is held by one process at a time, also where the file system has no locks."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.folder_lock import OWNER_NAME, locked_folder


@pytest.fixture(params=["locks", "no locks"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "no locks":

        def refuse(*args: Any) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refuse)
    return str(request.param)


def test_a_second_one_is_refused_and_a_later_one_is_not(file_system: str, tmp_path: Path) -> None:
    for _ in range(2):
        with (
            locked_folder(tmp_path / "run", "in use"),
            pytest.raises(ExperimentError, match="in use"),
            locked_folder(tmp_path / "run", "in use", 0.2),
        ):
            pass
    assert not (tmp_path / "run" / OWNER_NAME).exists()


def test_it_is_free_after_an_error(file_system: str, tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked_folder(tmp_path, "in use"):
        raise KeyError("x")
    with locked_folder(tmp_path, "in use"):
        pass


class TestWithoutLocks:
    @pytest.fixture(autouse=True)
    def no_locks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*args: Any) -> None:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")

        monkeypatch.setattr(fcntl, "flock", refuse)

    def test_what_a_dead_process_has_left_is_taken_over(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        # A container that is started again has the same numbers: the time at which the process began tells them apart.
        for pid in (dead.pid, os.getpid()):
            (tmp_path / OWNER_NAME).write_text(f"{socket.gethostname()} {pid} 17\n")
            with locked_folder(tmp_path, "in use"):
                assert (tmp_path / OWNER_NAME).read_text().startswith(f"{socket.gethostname()} {os.getpid()} ")
        assert caplog.text == ""

    def test_a_living_process_holds_it(self, tmp_path: Path) -> None:
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
            began = Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[19]
            (tmp_path / OWNER_NAME).write_text(f"{socket.gethostname()} {other.pid} {began}\n")
            with pytest.raises(ExperimentError, match="in use"), locked_folder(tmp_path, "in use"):
                pass
            other.communicate(b"\n")

    def test_of_another_machine_nothing_is_known(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / OWNER_NAME).write_text("node17 12 345\n")
        with locked_folder(tmp_path, "in use"):
            pass
        assert "a process of node17 was the last to write there; nothing else may write to it now" in caplog.text

    @pytest.mark.parametrize("text", ["", "half", "a b", "host pid began extra"])
    def test_a_note_that_was_cut_off_is_none(self, tmp_path: Path, text: str) -> None:
        (tmp_path / OWNER_NAME).write_text(text)
        with locked_folder(tmp_path, "in use"):
            pass


def test_another_error_of_the_lock_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", refuse)
    words = r"cannot be locked \(.*Input/output error\); give another --out"
    with pytest.raises(ExperimentError, match=words), locked_folder(tmp_path, "in use"):
        pass
