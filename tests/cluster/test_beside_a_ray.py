"""Commands where somebody has said ``ray start``, where nobody has, and where what they are led to is gone."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from tests.cluster.clusters import REPOSITORY, Node, clean_env, free_ports

pytestmark = pytest.mark.long

SHORT = ("matrix/two_step/qmix", "training.buffer_episodes=100", "evaluation.final_episodes=4")
TRAIN = ("train", *SHORT, "stop.env_steps=400", "checkpoint.interval_env_steps=200", "--quiet", "--out")
WAIT_S = 400.0


@pytest.fixture
def env() -> Iterator[dict[str, str]]:
    """A user's shell; Ray notes in the temporary folder which cluster was started last."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # its sockets need a short path
    token = Path(folder, "home", ".ray", "auth_token")  # 'ray start' asks for one where there is one
    token.parent.mkdir(parents=True)
    token.write_text(secrets.token_hex(32))
    home = str(token.parents[1])
    yield clean_env() | {"RAY_TMPDIR": folder, "HOME": home, "RAY_raylet_start_wait_time_s": "180"}
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cluster(env: dict[str, str], tmp_path: Path) -> Iterator[tuple[Node, str]]:
    """The head that ``ray start --head`` makes, and its address."""
    names = ("port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "runtime-env-agent-port")
    ports = free_ports(len(names) + 2)
    given = [f"--{name}={port}" for name, port in zip(names, ports, strict=False)]
    # Where 'ray start' puts it by itself: Ray's 'auto' looks for no cluster on 127.0.0.1.
    more = [f"--node-ip-address={ray.util.get_node_ip_address()}"]
    more += [
        f"--dashboard-port={ports[-1]}",
        f"--metrics-export-port={ports[-2]}",
        f"--temp-dir={env['RAY_TMPDIR']}/ray",
    ]
    head = Node(["--head", "--num-cpus=2", *given, *more], env, tmp_path / "head.log")
    try:
        head.wait_until_started()
        yield head, f"{ray.util.get_node_ip_address()}:{ports[0]}"
    finally:
        head.stop()


def command(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rllib_reborn", *arguments],
        env=env,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )


def heads(head: Node) -> int:
    return sum("gcs_server" in process.name() for process in head.processes())


def test_everything_goes_on_beside_it_and_it_is_left_alone(
    env: dict[str, str], cluster: tuple[Node, str], tmp_path: Path
) -> None:
    head, address = cluster
    run, sweep = tmp_path / "run", tmp_path / "sweep"
    for arguments in (
        (*TRAIN, str(run)),
        ("evaluate", str(run), "--episodes", "4"),
        (*TRAIN, str(sweep), "--seeds", "0,1"),
        ("invariance", str(run), "--episodes", "2"),
        (*TRAIN, str(tmp_path / "there"), "--address", "auto"),
    ):
        done = command(env, *arguments)
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        assert heads(head) == 1
    # Ray sends no token of its own accord to a cluster that is named.
    refused = command(env, *TRAIN, str(tmp_path / "by_name"), "--address", address)
    assert refused.returncode == 2
    assert "set RAY_AUTH_MODE=token where it asks for a token" in refused.stderr
    done = command(env | {"RAY_AUTH_MODE": "token"}, *TRAIN, str(tmp_path / "by_name"), "--address", address)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:1"])
@pytest.mark.parametrize("by_variable", [False, True])
def test_no_cluster_there_is_a_sentence(env: dict[str, str], tmp_path: Path, address: str, by_variable: bool) -> None:
    given = () if by_variable else ("--address", address)
    done = command(env | ({"RAY_ADDRESS": address} if by_variable else {}), *TRAIN, str(tmp_path / "run"), *given)
    assert done.returncode in (1, 2), done.stdout
    assert done.stderr.splitlines()[-1].startswith("error: "), done.stderr
    assert "Traceback" not in done.stderr
