"""Linters over docker/, and the health check of the image with made-up processes."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest

DOCKER = Path(__file__).parents[2] / "docker"
SCRIPTS = sorted(DOCKER.glob("*.sh"))


def linter(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"])))
    if found is None:
        pytest.skip(f"not run: {name} is not installed; the extra 'dev' has it")
    return found


def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run([linter("hadolint"), DOCKER / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say(script: Path) -> None:
    done = subprocess.run([linter("shellcheck"), script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_each_script_is_one_for_its_shell(script: Path) -> None:
    shell = script.read_text(encoding="utf-8").splitlines()[0].removeprefix("#!")
    done = subprocess.run([shell, "-n", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def health(tmp_path: Path, command: str, *, age_s: int = 0, programs: dict[str, int] | None = None, **env: str) -> str:
    """What the check prints in a container whose process 1 is ``command``; empty: healthy.

    Args:
        age_s: For how long the container has run.
        programs: Status of ``pgrep`` and ``ray``.
    """
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    ps = f'#!/bin/sh\ncase "$*" in *etimes*) echo "   {age_s}";; *args*) echo "{command}";; esac\n'
    statuses = {"pgrep": 0, "ray": 0, **(programs or {})}
    for name, text in {"ps": ps, **{name: f"#!/bin/sh\nexit {status}\n" for name, status in statuses.items()}}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    settings = {"PATH": f"{folder}:{os.environ['PATH']}", "HEALTH_RUNS": str(tmp_path / "runs"), **env}
    done = subprocess.run([DOCKER / "healthcheck.sh"], env=settings, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == (1 if done.stdout else 0)
    return done.stdout


NODE = "tini -- ray start --block --address=head:6379"
TRAIN = "tini -- rllib-reborn train matrix/two_step/qmix --out /runs/one"


def test_a_node_is_healthy_while_its_raylet_runs_and_the_head_answers(tmp_path: Path) -> None:
    assert health(tmp_path, NODE) == ""
    assert "no raylet runs" in health(tmp_path, NODE, programs={"pgrep": 1})
    assert "the GCS of the cluster" in health(tmp_path, NODE, programs={"ray": 1})


def test_a_raylet_that_has_ended_and_that_nobody_has_waited_for_is_no_raylet(tmp_path: Path) -> None:
    """As in a container, where 'ray start' does not wait for it: found by its name, not by the check's own words."""
    line = next(
        line for line in (DOCKER / "healthcheck.sh").read_text(encoding="utf-8").splitlines() if "pgrep" in line
    )
    words = shlex.split(line.split(">")[0])
    of_this_test = ("--parent", str(os.getpid()))

    def found(command: list[str]) -> bool:
        """Whether it finds the one of this test; a Ray of other tests in this process has one too."""
        pids = subprocess.run([*command, *of_this_test], capture_output=True, text=True, check=False).stdout.split()
        return str(ended.pid) in pids

    shutil.copy(str(shutil.which("true")), tmp_path / "raylet")
    ended = subprocess.Popen([tmp_path / "raylet"])
    try:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is still there
        assert found(["pgrep", "-x", "raylet"])
        assert not found(words)
    finally:
        ended.wait()


def test_a_training_is_unhealthy_without_a_new_row(tmp_path: Path) -> None:
    row = tmp_path / "runs" / "one" / "metrics.jsonl"
    row.parent.mkdir(parents=True)
    assert health(tmp_path, TRAIN, age_s=3599) == ""  # no row yet, but young
    assert "has changed for 3600 s" in health(tmp_path, TRAIN, age_s=3601)
    row.write_text("{}\n")
    assert health(tmp_path, TRAIN, age_s=3601) == ""
    old = time.time() - 4000
    os.utime(row, (old, old))
    assert "has changed for 3600 s" in health(tmp_path, TRAIN, age_s=3601)
    assert health(tmp_path, TRAIN, age_s=3601, HEALTH_MAX_ROW_AGE_S="5000") == ""
    assert health(tmp_path, TRAIN, age_s=3601, HEALTH_MAX_ROW_AGE_S="0") == ""


def test_anything_else_is_healthy_while_it_runs(tmp_path: Path) -> None:
    assert health(tmp_path, "tini -- rllib-reborn doctor", age_s=99_999, programs={"pgrep": 1, "ray": 1}) == ""
