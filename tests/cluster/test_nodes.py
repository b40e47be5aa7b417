"""Nodes that die during training and come back, and clusters that are too small."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cluster.clusters import REPOSITORY, TokenCluster, family, kill_all, wait_for
from tests.cluster.sweeps import lines, rows, write_sweep
from tests.tuning.test_campaign import SETTINGS

pytestmark = pytest.mark.long

FAR = {"far": 2}
ON_FAR = {
    "resources.num_env_runners": 2,
    "resources.num_envs_per_env_runner": 4,
    "resources.custom_resources_per_env_runner": {"far": 1},
}
NONE_ALIVE = "0 of 2 env runners are alive"


class Shell:
    """A command, typed in a shell on the cluster's head."""

    def __init__(self, cluster: TokenCluster, log: Path, command: str) -> None:
        self._log = log
        env = cluster.env | {"RAY_ADDRESS": cluster.address}
        with log.open("w") as file:
            self.process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], env=env, cwd=REPOSITORY, stdout=file, stderr=subprocess.STDOUT
            )

    def printed(self) -> str:
        return self._log.read_text()

    def wait_for(self, what: str, found: Callable[[], object]) -> float:
        """As :func:`wait_for`, also for the command's end; returns for how many seconds it was waited."""
        start = time.monotonic()
        wait_for(what, lambda: found() or self.process.poll() is not None)
        assert found(), self.printed()
        return time.monotonic() - start

    def says(self, text: str) -> float:
        """Wait until it has printed so; returns for how many seconds."""
        return self.wait_for(repr(text), lambda: text in self.printed())

    def end(self) -> None:
        if self.process.poll() is None:
            kill_all(family(psutil.Process(self.process.pid)))
        self.process.wait(30)
        print(self.printed())


@pytest.fixture
def shell(token_cluster: TokenCluster, tmp_path: Path) -> Iterator[Callable[[str], Shell]]:
    """Starts a command; what still runs at the end is killed."""
    started: list[Shell] = []

    def start(command: str) -> Shell:
        started.append(Shell(token_cluster, tmp_path / f"shell{len(started)}.log", command))
        return started[-1]

    yield start
    for one in started:
        one.end()


def train(out: Path, settings: dict[str, Any]) -> str:
    """The command of a ``train`` without interventions."""
    every = {key: value for key, value in SETTINGS.items() if not key.startswith("interventions")} | settings
    overrides = [f"{key}={json.dumps(value)}" for key, value in every.items()]
    return shlex.join(["rllib-reborn", "train", "matrix/two_step/qmix", "--out", str(out), *overrides])


def test_the_only_node_of_the_runners_dies_and_comes_back(
    token_cluster: TokenCluster, shell: Callable[[str], Shell], tmp_path: Path
) -> None:
    """Once while it goes on; once, when the node dies again, the run is stopped, and goes on later."""
    run, env_steps = tmp_path / "run", 64 * 40
    settings = ON_FAR | {"stop.env_steps": env_steps, "checkpoint.interval_env_steps": 10**6}
    node = token_cluster.add_node(num_cpus=2, resources=FAR)
    training = shell(train(run, settings))
    training.wait_for("rows", lambda: len(lines(run)) >= 5)
    node.kill()
    there = len(lines(run))
    print(f"first message {training.says(NONE_ALIVE):.0f} s after the node's death")
    assert re.search(f"no episodes for 3[0-5] s: {NONE_ALIVE}", training.printed())
    assert len(lines(run)) <= there + 1

    node = token_cluster.add_node(num_cpus=2, resources=FAR)
    waited = training.wait_for("training to go on", lambda: len(lines(run)) > there + 3)
    print(f"went on {waited:.0f} s after the node was back")
    assert "episodes come again" in training.printed()
    last = rows(run)[-1]
    assert (last["faults/runner_restarts"], last["faults/episodes_dropped"]) == (2, 8)

    node.kill()
    time.sleep(10)  # until the dead runners are noticed and nothing but waiting is left
    kept = lines(run)
    training.process.terminate()
    assert training.process.wait(60) == 1, training.printed()
    assert "stopped by SIGTERM" in training.printed()
    token_cluster.add_node(num_cpus=2, resources=FAR)
    (go_on,) = re.findall(r"Go on with:\n  (.*)", training.printed())
    again = shell(go_on)
    assert again.process.wait(240) == 0, again.printed()
    assert lines(run)[: len(kept)] == kept
    found = rows(run)
    assert [row["iteration"] for row in found] == list(range(1, len(found) + 1))
    assert found[-1]["env_steps"] >= env_steps
    # Nothing was started again after the second death: the runners are new ones, and the games of the dead are dropped.
    print({key: value for key, value in found[-1].items() if key.startswith("faults/")})
    assert (found[-1]["faults/runner_restarts"], found[-1]["faults/episodes_dropped"]) == (2, 16)


def test_a_cluster_that_is_too_small_is_said_and_given_up(shell: Callable[[str], Shell], tmp_path: Path) -> None:
    """A run, and a sweep, whose runs need a core for themselves too."""
    limit = {"resources.wait_timeout_s": 45}
    training = shell(train(tmp_path / "run", limit | {"resources.num_env_runners": 8}))
    training.says("replay  ")  # the last line before it looks for room
    waited = training.says("waiting for 4 of 8 env runners: 1 CPU each, the cluster has 4 CPU")
    print(f"train: message after {waited:.0f} s")
    assert waited <= 35
    assert training.process.wait(60) == 2, training.printed()
    assert re.search(r"error: gave up after 4\d s \(resources.wait_timeout_s=45\)", training.printed())

    settings = limit | {"resources.num_env_runners": 4}
    sweep = write_sweep(tmp_path / "sweep.yaml", env_steps=256, settings=settings)
    tuning = shell(f"rllib-reborn tune {sweep} --out {tmp_path / 'out'} --resume")
    tuning.says("sweep of 2 runs")
    waited = tuning.says("waiting for 1 of 4 env runners: 1 CPU each, the cluster has 4 CPU")
    print(f"tune: message after {waited:.0f} s")
    assert waited <= 35
    assert tuning.process.wait(60) == 2, tuning.printed()
    assert re.search(r"error: gave up after 4\d s \(resources.wait_timeout_s=45\)", tuning.printed())


def test_a_sweep_whose_only_node_dies_says_what_it_waits_for(
    token_cluster: TokenCluster, shell: Callable[[str], Shell], tmp_path: Path
) -> None:
    """Once while it goes on; once more, when it is stopped during the wait, and goes on later by the printed command."""
    out, env_steps = tmp_path / "out", 64 * 30
    settings = ON_FAR | {"checkpoint.interval_env_steps": 10**6}
    sweep = write_sweep(tmp_path / "sweep.yaml", env_steps=env_steps, settings=settings)
    node = token_cluster.add_node(num_cpus=4, resources=FAR)
    tuning = shell(
        f"env -u RAY_ADDRESS rllib-reborn tune {sweep} --out {out} --address {token_cluster.address} concurrency=1"
    )

    def begun() -> list[Path]:
        return [run for run in out.glob("*/s*") if not (run / "final_evaluation.json").exists() and lines(run)]

    tuning.wait_for("rows", lambda: any(len(lines(run)) >= 3 for run in begun()))
    node.kill()
    message = "waiting for 2 of 2 env runners: 1 CPU, 1 far each, the cluster has 4 CPU, 0 far"
    print(f"first message {tuning.says(message):.0f} s after the node's death")
    node = token_cluster.add_node(num_cpus=4, resources=FAR)
    print(f"went on after {tuning.says('episodes come again'):.0f} s")
    assert "started again  beta=1.5/s0  " in tuning.printed()
    assert "Traceback" not in tuning.printed()

    tuning.wait_for("rows", lambda: any(len(lines(run)) >= 3 for run in begun()))
    (run,) = begun()
    node.kill()
    before = tuning.printed().count(message)
    tuning.wait_for("another message", lambda: tuning.printed().count(message) > before)
    tuning.process.terminate()
    assert tuning.process.wait(60) == 1, tuning.printed()
    name = str(run.relative_to(out))
    assert (
        f"every run is saved, but {name}: the rows since the last checkpoint will be played again" in tuning.printed()
    )

    token_cluster.add_node(num_cpus=4, resources=FAR)
    (go_on,) = re.findall(r"Go on with:\n  (.*)", tuning.printed())
    assert f"--address {token_cluster.address}" in go_on
    again = shell(f"env -u RAY_ADDRESS {go_on}")
    assert again.process.wait(400) == 0, again.printed()
    for folder in out.glob("*/s*"):
        found = rows(folder)
        assert [row["iteration"] for row in found] == list(range(1, len(found) + 1))
        assert found[-1]["env_steps"] >= env_steps
