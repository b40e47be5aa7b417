"""``ray job submit`` of one training to a cluster that asks for a token: what ``make test`` runs of this folder."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.clusters import REPOSITORY, TokenCluster


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ray_job_submit_trains_on_a_cluster_with_token(tmp_path: Path) -> None:
    cluster = TokenCluster(tmp_path, num_cpus=4)
    try:
        cluster.head.wait_until_started()
        check_that_nobody_else_is_let_in(cluster, tmp_path)
        check_that_it_trains(cluster, tmp_path)
    finally:
        cluster.stop()


def check_that_nobody_else_is_let_in(cluster: TokenCluster, home: Path) -> None:
    without = {name: value for name, value in cluster.env.items() if not name.startswith("RAY_AUTH")} | {
        "HOME": str(home)
    }
    refused = subprocess.run(["ray", "job", "list"], env=without, capture_output=True, text=True, timeout=120)
    assert refused.returncode != 0
    assert "401" in refused.stderr + refused.stdout or "token" in refused.stderr + refused.stdout


def check_that_it_trains(cluster: TokenCluster, folder: Path) -> None:
    (folder / "empty").mkdir()
    out = folder / "run"
    command = ["ray", "job", "submit", "--working-dir", str(folder / "empty"), "--", sys.executable]
    command += ["-m", "rllib_reborn", "train", "matrix/two_step/qmix", "stop.env_steps=400", f"--out={out}", "--quiet"]
    deadline = time.monotonic() + 240
    while True:
        done = subprocess.run(command, env=cluster.env, capture_output=True, text=True, cwd=REPOSITORY)
        printed = done.stdout + done.stderr
        # The head answers some seconds before the agent that starts jobs is there.
        if "No available agent" not in printed or time.monotonic() > deadline:
            break
        time.sleep(2)
    assert done.returncode == 0, printed[-6000:]
    assert "succeeded" in printed
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["env_steps"] >= 400
