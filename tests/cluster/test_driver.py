"""The process that drives a sweep dies: no last words, and the same command goes on."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.cluster.clusters import REPOSITORY, clean_env, family, kill_all, wait_for
from tests.cluster.sweeps import check_all_done, count_rows, runs, write_sweep

pytestmark = pytest.mark.long
WAIT_S = 300.0


def finished(out: Path) -> dict[Path, bytes]:
    """Every file of the runs that are at their end."""
    ended = [run for run in runs(out) if (run / "final_evaluation.json").exists()]
    return {path: path.read_bytes() for run in ended for path in run.rglob("*") if path.is_file()}


class Driver:
    """A ``rllib-reborn tune`` with a Ray of its own."""

    def __init__(self, sweep: Path, out: Path, log: Path) -> None:
        command = [sys.executable, "-m", "rllib_reborn", "tune", str(sweep), "--out", str(out), "--resume"]
        self._log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                command, env=clean_env(), cwd=REPOSITORY, stdout=file, stderr=subprocess.STDOUT
            )
        self._all = [psutil.Process(self.process.pid)]

    def printed(self) -> str:
        return self._log.read_text()

    def kill(self) -> list[psutil.Process]:
        """SIGKILL; returns the processes of its runs that are left a minute later."""
        assert self.process.poll() is None, self.printed()
        self._all = family(self._all[0])
        trials = [one for one in self._all if "SweepTrainable" in one.name()]
        self.process.kill()
        self.process.wait()
        _, left = psutil.wait_procs(trials, timeout=60)
        return left

    def end(self) -> None:
        """Also what Ray left: its agents look for their raylet for a minute before they give up."""
        if self.process.poll() is None:
            self._all = family(self._all[0])
        kill_all(self._all)
        self.process.wait(30)


def test_a_driver_that_is_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    """Two runs at once; three kills, the last one where a run is over."""
    out, env_steps, random_moments = tmp_path / "out", 1024, random.Random(4)
    sweep = write_sweep(tmp_path / "sweep.yaml", env_steps=env_steps, settings={}, seeds=[0, 1], concurrency=2)
    done: dict[Path, bytes] = {}
    for attempt in range(3):
        driver = Driver(sweep, out, tmp_path / f"log{attempt}")
        try:
            least, least_over = count_rows(out) + random_moments.randint(3, 10), attempt // 2

            def is_the_moment(rows: int = least, over: int = least_over) -> bool:
                return count_rows(out) >= rows and len(list(out.glob("*/s*/final_evaluation.json"))) >= over

            wait_for("rows", is_the_moment, WAIT_S)
            assert not driver.kill(), "a run's process outlived its driver"
            print(f"attempt {attempt}: {count_rows(out)} rows, {len(done)} files of finished runs")
        finally:
            driver.end()
        assert {path: path.read_bytes() for path in done} == done
        done = finished(out)
    assert done
    driver = Driver(sweep, out, tmp_path / "log")
    try:
        assert driver.process.wait(WAIT_S) == 0, driver.printed()
    finally:
        driver.end()
    assert "4 runs: 4 done" in driver.printed()
    assert {path: path.read_bytes() for path in done} == done
    check_all_done(out, count=4, env_steps=env_steps)
