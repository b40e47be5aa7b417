"""A sweep as a job of a cluster with a token: processes that die, and ``ray job stop`` at any moment."""

from __future__ import annotations

import random
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.cluster.clusters import Job, TokenCluster, clean_env
from tests.cluster.sweeps import check_all_done, count_rows, lines, rows, runs, write_sweep

pytestmark = pytest.mark.long

RUNNER = {"resources.num_env_runners": 1}


def tune(cluster: TokenCluster, sweep: Path, out: Path) -> Job:
    """Submit the sweep, as docs/cluster.md says."""
    command = ["rllib-reborn", "tune", str(sweep), "--out", str(out), "--resume"]
    return cluster.submit(
        command, "--working-dir", ".", "--runtime-env", "runtime_env.yaml", "--entrypoint-num-cpus", "1"
    )


def commands(text: str) -> list[str]:
    """The lines that a user is told to type."""
    return re.findall(r"^  (rllib-reborn .*)$", text, flags=re.MULTILINE)


def paste(command: str, cwd: Path) -> str:
    """Run it in a shell on this machine, outside the job; returns what it printed."""
    done = subprocess.run(
        ["bash", "-c", command], env=clean_env(), cwd=cwd, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_job_survives_the_death_of_a_runner_and_of_a_trial(token_cluster: TokenCluster, tmp_path: Path) -> None:
    out, env_steps = tmp_path / "out", 2048
    sweep = write_sweep(tmp_path / "sweep.yaml", env_steps=env_steps, settings=RUNNER, concurrency=1)
    job = tune(token_cluster, sweep, out)
    first, second = out / "beta=1.5" / "s0", out / "beta=2" / "s0"
    job.wait_for("rows of the first run", lambda: len(lines(first)) >= 4)
    token_cluster.kill_one("ray::TeamEnvRunner")
    job.wait_for("another runner", lambda: rows(first)[-1]["faults/runner_restarts"] > 0)
    known = len(lines(first))
    job.wait_for("a checkpoint that knows of it", lambda: len(lines(first)) >= known + 4)
    token_cluster.kill_one("ray::SweepTrainable")
    job.wait_for("rows of the second run", lambda: len(lines(second)) >= 4)
    token_cluster.kill_one("ray::SweepTrainable")
    assert job.wait() == 0, job.printed()
    assert "succeeded" in job.printed()
    assert "2 runs: 2 done" in job.printed()
    check_all_done(out, count=2, env_steps=env_steps)
    last = rows(first)[-1]
    assert (last["faults/runner_restarts"], last["faults/episodes_dropped"]) == (1, 16), "the games of one runner"
    (report,) = commands(job.printed())
    assert report == f"rllib-reborn report {out}"
    paste(report, tmp_path)


def test_a_job_that_is_stopped_at_any_moment_loses_at_most_an_iteration(
    token_cluster: TokenCluster, tmp_path: Path
) -> None:
    out, env_steps, random_moments = tmp_path / "out", 4096, random.Random(6)
    # No checkpoint but the one that is made when the job is told to stop.
    settings = RUNNER | {"checkpoint.interval_env_steps": 10**6}
    sweep = write_sweep(tmp_path / "sweep.yaml", env_steps=env_steps, settings=settings, concurrency=1)
    kept: dict[Path, list[str]] = {}
    last_words = ""
    for attempt in range(5):
        job = tune(token_cluster, sweep, out)
        before = count_rows(out)
        if attempt == 0:  # before there is anything
            time.sleep(random_moments.uniform(0, 15))
        else:
            more = random_moments.randint(1, 20)
            job.wait_for("rows", lambda before=before, more=more: count_rows(out) >= before + more)
            time.sleep(random_moments.uniform(0, 0.5))
        there = {run: lines(run) for run in runs(out)}
        job.stop()
        # What was kept of earlier attempts went on, and nothing that was there before this stop is gone.
        for earlier in (kept, there):
            for run, known in earlier.items():
                assert lines(run)[: len(known)] == known, f"{run}, attempt {attempt}"
        assert attempt == 0 or count_rows(out) > before
        kept = {run: lines(run) for run in runs(out)}
        last_words = job.printed() if commands(job.printed()) else last_words
        print(f"attempt {attempt}: {before} rows at its start, {count_rows(out)} after it")
    # The last word of a stopped job is a command; here it is pasted instead of a sixth submit, on a Ray of its own.
    (go_on,) = commands(last_words)
    assert "stopped by SIGTERM; every run is saved. Go on with:" in last_words
    printed = paste(go_on, tmp_path)
    assert "2 runs: 2 done" in printed
    for run, known in kept.items():
        assert lines(run)[: len(known)] == known
    check_all_done(out, count=2, env_steps=env_steps)
    (report,) = commands(printed)
    paste(report, tmp_path)
