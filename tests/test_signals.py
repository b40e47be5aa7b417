"""A first signal ends a command in good order, a second one soon; SIGHUP is as SIGTERM, unless it is ignored."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from rllib_reborn.experiments.interruption import Interruption
from rllib_reborn.signals import ending_signals

WATCHED = """
import subprocess, sys, time
from rllib_reborn.signals import SecondSignal
from tests.fakes.stuck import wait_in_c
child = subprocess.Popen([sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '300'])"])
SecondSignal(limit_s=0.5).start()
print(child.pid, flush=True)
"""
STUCK = WATCHED + "wait_in_c()\n"
#: Takes 0.1 s to end, and ends in good order.
ORDERLY = (
    WATCHED
    + """
try:
    time.sleep(300)
except KeyboardInterrupt:
    import psutil
    for one in psutil.Process().children(recursive=True):
        one.kill()
    time.sleep(0.1)
    sys.exit(7)
"""
)


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Where the tests run under nohup or in the background of a script, programs would inherit that they ignore a signal."""
    ignored = [one for one in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(one) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def started(program: str) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A program that runs, and its child, which has one of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()))
        while not child.children():
            time.sleep(0.01)
        yield process, child
    finally:
        for left in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ():
            left.kill()
        process.kill()
        process.communicate()


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGTERM), (signal.SIGHUP, signal.SIGHUP)])
def test_a_second_signal_ends_what_hangs_in_a_library_and_all_that_it_has_started(numbers):
    with started(STUCK) as (process, child):
        grandchild = child.children()[0]
        process.send_signal(numbers[0])
        time.sleep(1.0)
        assert process.poll() is None
        process.send_signal(numbers[1])
        assert process.wait(60) == 128 + numbers[1]
        assert f"of a second {numbers[1].name}, and is ended now" in process.stderr.read()
        for one in (child, grandchild):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.wait(10)
            assert not one.is_running() or one.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_first_signal_is_a_keyboard_interrupt_and_is_given_its_time(number):
    with started(ORDERLY) as (process, _):
        process.send_signal(number)
        assert process.wait(60) == 7
        assert process.stderr.read() == ""


def test_hanging_up_is_noted_unless_it_is_ignored():
    before = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGHUP)
        assert interruption.received == "SIGHUP"
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
        assert signal.SIGHUP not in ending_signals()
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGHUP)
        assert interruption.received is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_where_nothing_can_be_lost_the_first_signal_interrupts():
    with Interruption() as interruption:
        with pytest.raises(KeyboardInterrupt), interruption.at_once():
            signal.raise_signal(signal.SIGTERM)
        assert interruption.received == "SIGTERM"
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt), interruption.at_once():
            pytest.fail("it came before")


def test_output_to_a_terminal_that_is_gone_goes_nowhere():
    program = (
        "import os, pty, sys, time\n"
        "from rllib_reborn.signals import let_go_of_terminal\n"
        "ours, theirs = pty.openpty()\n"
        "kept = os.dup(1)\n"
        "os.dup2(theirs, 2)\n"
        "os.close(theirs); os.close(ours)\n"
        "let_go_of_terminal()\n"
        "print('still here', file=sys.stderr, flush=True)\n"
        "os.write(kept, b'done')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "done")


@pytest.mark.long
@pytest.mark.parametrize("runners", [0, 1])
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGHUP])
def test_a_second_signal_ends_training_that_hangs_and_leaves_nothing_behind(tmp_path, first, runners):
    flag = tmp_path / "stuck"
    argv = [
        "--env",
        "tests.fakes.stuck:StuckWalk",
        "--algorithm",
        "qmix",
        f"env_config.flag={flag}",
        "stop.env_steps=9000",
    ]
    argv += [f"resources.num_env_runners={runners}", "env_config.at=3", "--out", str(tmp_path / "run")]
    printed = (tmp_path / "printed").open("w+")
    process = subprocess.Popen([sys.executable, "-m", "rllib_reborn", "train", *argv], stdout=printed, stderr=printed)
    try:
        deadline = time.monotonic() + 120
        while not flag.exists():
            assert time.monotonic() < deadline
            assert process.poll() is None, (tmp_path / "printed").read_text()
            time.sleep(0.2)
        theirs = psutil.Process(process.pid).children(recursive=True)
        assert len(theirs) > 3, "Ray's and the runner"
        process.send_signal(first)
        time.sleep(2)
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        process.wait(60)
        assert time.monotonic() - begun < 10.5, (tmp_path / "printed").read_text()
        _, alive = psutil.wait_procs(theirs, timeout=15)
        assert not alive
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for left in psutil.Process(process.pid).children(recursive=True):
                left.kill()
        process.kill()
        printed.close()


def test_the_command_line_watches_only_where_it_is_the_process(monkeypatch):
    from rllib_reborn.cli import main as cli

    begun: list[bool] = []
    monkeypatch.setattr(cli, "watch_for_second_signal", lambda: begun.append(True))
    cli.main(["evaluate", os.devnull])
    assert not begun
    monkeypatch.setattr(sys, "argv", ["rllib-reborn", "evaluate", os.devnull])
    cli.main()
    assert begun
