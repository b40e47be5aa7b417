"""``watch`` and ``report --html`` on the command line."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from rllib_reborn.cli.main import main
from tests.evaluation.synthetic import final, rows, write_run


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["watch", "nowhere"], ["nowhere does not exist", "name folders of runs"]),
        (["watch", ".", "--port", "70000"], ["--port 70000 is no port", "up to 65535"]),
        (["watch", ".", "--port", "x"], ["'x' is not a whole number"]),
        (["watch"], ["required: DIR"]),
    ],
)
def test_mistakes_are_sentences(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    parts: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    for part in parts:
        assert part in error


def test_a_port_that_is_taken_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["watch", str(tmp_path), "--port", str(port)]) == 2
    assert f"port {port} of 127.0.0.1 cannot be used" in capsys.readouterr().err


def test_report_says_where_the_page_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run", lines=rows(iterations=2, wins=False), end=final(wins=False))
    assert main(["report", str(folder), "--html"]) == 0
    assert f"page: {folder / 'report' / 'report.html'}" in capsys.readouterr().out
    assert (folder / "report" / "report.html").is_file()


@pytest.mark.slow
def test_ctrl_c_ends_it(tmp_path: Path) -> None:
    write_run(tmp_path / "run", lines=rows(iterations=2), end=final())
    command = [sys.executable, "-m", "rllib_reborn", "watch", str(tmp_path)]
    # As in a terminal: what a shell starts in the background ignores SIGINT, and so does what that starts.
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[0]
        with urllib.request.urlopen(f"{address}data.json", timeout=60) as answer:
            assert json.load(answer)["progress"]["rows"][0][0] == "run"
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, error) == (0, "")
    assert "ended; the runs go on." in out
