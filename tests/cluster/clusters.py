"""Ray clusters on this machine: a head that asks for a token, and further raylets as its other nodes."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import psutil
import pytest

REPOSITORY = Path(__file__).parents[2]
#: A node starts within seconds where nothing else runs; beside other work it has taken minutes.
START_S = 600.0


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def clean_env() -> dict[str, str]:
    """The environment of a user's shell: nothing of another Ray, the virtual environment's commands on the path."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return env | {
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        # Ray ends processes where the whole machine is short of memory, whoever uses it.
        "RAY_memory_monitor_refresh_ms": "0",
    }


def wait_for(what: str, found: Callable[[], object], seconds: float = START_S) -> None:
    """Look until ``found()`` is true; fail with ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, f"after {seconds:g} s still waiting for {what}"
        time.sleep(0.1)


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and all that descend from it."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill_all(processes: list[psutil.Process]) -> None:
    """SIGKILL to each that still runs, and wait until none does."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=30)


class Node:
    """One raylet with all its processes, in the foreground of a ``ray start --block``."""

    def __init__(self, arguments: list[str], env: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("w") as file:
            self._started = subprocess.Popen(
                ["ray", "start", "--block", "--node-ip-address=127.0.0.1", "--disable-usage-stats", *arguments],
                env=env,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._root = psutil.Process(self._started.pid)

    def wait_until_started(self) -> None:
        wait_for("a node", lambda: self._is_there() or self._started.poll() is not None)
        assert self._started.poll() is None, self._log.read_text()

    def _is_there(self) -> bool:
        return "Ray runtime started" in self._log.read_text()

    def processes(self, title: str = "") -> list[psutil.Process]:
        """Those whose title begins so: ``ray::SweepTrainable``."""
        found = []
        for process in family(self._root):
            try:
                if " ".join(process.cmdline()).startswith(title):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def kill(self) -> None:
        """As when its power fails: every process of it at once."""
        kill_all(family(self._root))
        self._started.wait(30)

    def stop(self) -> None:
        """Told to end; what does not is killed."""
        processes = family(self._root)
        self._started.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._started.wait(20)
        kill_all(processes)
        self._started.wait(30)


class Job:
    """A job, and the ``ray job submit`` that waits for its end.

    Args:
        cluster: Where it runs.
        name: Its submission id.
        arguments: What follows the id in ``ray job submit``.
        log: What that prints, the job's own lines among it.
    """

    def __init__(self, cluster: TokenCluster, name: str, arguments: list[str], log: Path) -> None:
        self._env = cluster.env
        self._name = name
        self._log = log
        with log.open("w") as file:
            self._submit = subprocess.Popen(
                ["ray", "job", "submit", "--submission-id", name, *arguments],
                env=self._env,
                cwd=REPOSITORY,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def printed(self) -> str:
        return self._log.read_text()

    def wait_for(self, what: str, found: Callable[[], object]) -> None:
        """As :func:`wait_for`; a job that has ended meanwhile is no reason to wait."""
        wait_for(what, lambda: found() or self._submit.poll() is not None)
        assert found(), self.printed()

    def wait(self) -> int:
        """The exit status of the submit once the job has ended."""
        return self._submit.wait(600)

    def stop(self) -> None:
        """``ray job stop``, and wait until the job has ended."""
        # Nothing can be stopped that is not submitted yet.
        self.wait_for("the job's submission", lambda: "submitted successfully" in self.printed())
        subprocess.run(["ray", "job", "stop", self._name], env=self._env, check=True, capture_output=True, timeout=300)
        self.wait()


class TokenCluster:
    """A Ray head on localhost that asks for a token, with as many other nodes as are added.

    Args:
        folder: For logs and the token.
        num_cpus: Logical cores of the head.
        settings: Further variables of every node's environment.
    """

    def __init__(self, folder: Path, num_cpus: int, settings: Mapping[str, str] = MappingProxyType({})) -> None:
        self._folder = folder
        # Ray's sockets need a short path.
        self.ray_folder = Path(tempfile.mkdtemp(prefix="rr", dir="/tmp"))
        self._port, dashboard, *own = free_ports(7)
        token = folder / "token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        self.env = clean_env() | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
            **settings,
        }
        self._nodes: list[Node] = []
        self._jobs = 0
        self.head = self._start(
            "head",
            [
                *("--head", f"--port={self._port}", f"--num-cpus={num_cpus}", f"--temp-dir={self.ray_folder}"),
                *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
                f"--ray-client-server-port={own.pop()}",
            ],
            own,
        )

    @property
    def address(self) -> str:
        """For ``--address``."""
        return f"127.0.0.1:{self._port}"

    def wait_until_started(self) -> None:
        self.head.wait_until_started()
        # The head answers some seconds before the agent that starts jobs is there.
        command = ["ray", "job", "submit", "--", "true"]
        wait_for(
            "an agent that starts jobs",
            lambda: subprocess.run(command, env=self.env, capture_output=True).returncode == 0,
        )

    def add_node(self, num_cpus: int, resources: dict[str, float]) -> Node:
        """A second raylet on this machine, once it is there."""
        node = self._start(
            f"node{len(self._nodes)}",
            [f"--address={self.address}", f"--num-cpus={num_cpus}", f"--resources={json.dumps(resources)}"],
            free_ports(4),
        )
        node.wait_until_started()
        return node

    def _start(self, name: str, arguments: list[str], ports: list[int]) -> Node:
        # Raylets of one machine must not meet on the usual ports, nor on those of another Ray.
        names = (
            "metrics-export-port",
            "dashboard-agent-listen-port",
            "dashboard-agent-grpc-port",
            "runtime-env-agent-port",
        )
        first = 20_000 + 1_000 * (len(self._nodes) % 10)
        arguments = [*arguments, *(f"--{name}={port}" for name, port in zip(names, ports, strict=True))]
        arguments += [f"--min-worker-port={first}", f"--max-worker-port={first + 999}"]
        # Processes beforehand, one for each logical core, would only take the machine's.
        env = self.env | {"RAY_raylet_start_wait_time_s": "480", "RAY_prestart_worker_first_driver": "0"}
        node = Node(arguments, env, self._folder / f"{name}.log")
        self._nodes.append(node)
        return node

    def submit(self, command: list[str], *options: str) -> Job:
        """``ray job submit`` from the repository's folder."""
        self._jobs += 1
        return Job(self, f"job{self._jobs}", [*options, "--", *command], self._folder / f"job{self._jobs}.log")

    def kill_one(self, title: str) -> None:
        """SIGKILL to one process whose title begins so."""
        found = [process for node in self._nodes for process in node.processes(title)]
        assert found, f"no process {title}"
        found[0].kill()

    def stop(self) -> None:
        """End every node, the head last."""
        try:
            for node in reversed(self._nodes):
                node.stop()
        finally:
            shutil.rmtree(self.ray_folder, ignore_errors=True)


@pytest.fixture
def token_cluster(tmp_path: Path) -> Iterator[TokenCluster]:
    """A head with four logical cores."""
    cluster = TokenCluster(tmp_path, num_cpus=4)
    try:
        cluster.wait_until_started()
        yield cluster
    finally:
        cluster.stop()
