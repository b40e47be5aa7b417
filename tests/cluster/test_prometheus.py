"""A run on a cluster with a token, scraped by the real Prometheus with the files that ``dashboard`` writes.

The cluster exports every second in place of every ten, so that an iteration of some seconds is longer than two intervals,
after which Ray forgets a gauge that was not set again.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from rllib_reborn.monitoring.alert_rules import recordings
from rllib_reborn.monitoring.metrics_table import METRICS
from rllib_reborn.monitoring.panels import rows_in_ray, run_rows, sweep_rows
from tests.cluster.clusters import REPOSITORY, TokenCluster, family, free_ports, kill_all, wait_for
from tests.monitoring.programs import program

pytestmark = pytest.mark.long

EXPORT_S = 1.0
WAIT_S = 300.0
#: Iterations of 400 steps that sleep 20 ms each: eight seconds and more, and little to compute.
EXPERIMENT = {
    "algorithm": "QMIX",
    "env": "tests.fakes.slow_game:SlowGame",
    "training": {
        "batch_episodes": 4,
        "learning_starts_episodes": 4,
        "buffer_episodes": 500,
        "dormancy": {"every": 400, "unit": "env_steps"},
    },
    "interventions": [
        {"kind": "reborn", "every": 400, "alpha": 0.1, "beta": 3.0, "scope": "mixer", "drift_updates": [1, 10]}
    ],
    "evaluation": {"interval_env_steps": 400, "episodes": 4, "final_episodes": 4},
    "resources": {"num_env_runners": 1},
    "checkpoint": {"interval_env_steps": 400},
    "logging": {"report_interval_env_steps": 400},
    "stop": {"env_steps": 4000},
}


class Prometheus:
    """The server, with a config file as it is."""

    def __init__(self, config: Path, log: Path) -> None:
        (self._port,) = free_ports(1)
        command = [
            program("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={log.parent / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]
        with log.open("w") as file:
            self._process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)

    def ask(self, path: str, **parameters: str) -> list[dict[str, Any]]:
        """Series of an answer of its HTTP API."""
        address = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found

    def now(self, expression: str) -> list[dict[str, Any]]:
        return self.ask("query", query=expression)

    def number(self, expression: str) -> float | None:
        """Of the one series that there is; None: there is none."""
        found = self.now(expression)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def over_time(self, expression: str, since: float, until: float) -> list[dict[float, float]]:
        """Of each series its values by second."""
        found = self.ask("query_range", query=expression, start=str(since), end=str(until), step="1")
        return [{float(at): float(value) for at, value in series["values"]} for series in found]

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)


class Training:
    """``rllib-reborn train`` on the cluster, of one run folder."""

    def __init__(self, cluster: TokenCluster, experiment: Path, out: Path, log: Path) -> None:
        self._out, self._log = out, log
        command = [sys.executable, "-m", "rllib_reborn", "train", str(experiment), "--out", str(out), "--quiet"]
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [*command, "--resume", "auto", "--address", cluster.address],
                env=cluster.env,
                cwd=REPOSITORY,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def rows(self) -> list[dict[str, Any]]:
        path = self._out / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait_for_rows(self, count: int) -> None:
        wait_for(f"{count} rows", lambda: len(self.rows()) >= count or self.process.poll() is not None, WAIT_S)
        assert len(self.rows()) >= count, self._log.read_text()

    def kill(self) -> None:
        """With no last words."""
        kill_all(family(psutil.Process(self.process.pid)))
        self.process.wait(30)

    def end(self) -> None:
        if self.process.poll() is None:
            self.kill()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[TokenCluster]:
    program("prometheus")
    interval = {"RAY_metrics_report_interval_ms": str(int(1000 * EXPORT_S))}
    one = TokenCluster(tmp_path, num_cpus=4, settings=interval)
    try:
        one.wait_until_started()
        yield one
    finally:
        one.stop()


@pytest.fixture
def prometheus(cluster: TokenCluster, tmp_path: Path) -> Iterator[Prometheus]:
    files = tmp_path / "dashboard"
    command = [sys.executable, "-m", "rllib_reborn", "dashboard", "--out", str(files), "--interval", "1"]
    subprocess.run([*command, "--ray-folder", str(cluster.ray_folder)], cwd=REPOSITORY, check=True)
    server = Prometheus(files / "prometheus.yml", tmp_path / "prometheus.log")
    try:
        wait_for("a scrape of all nodes", lambda: _is_scraping(server), WAIT_S)
        yield server
    finally:
        server.stop()


def _is_scraping(server: Prometheus) -> bool:
    try:
        return bool(server.now("ray_node_disk_free"))
    except OSError:  # it is starting
        return False


def of_run(name: str, run: Path) -> str:
    return f'ray_rllib_reborn_{name}{{run="{run}"}}'


def test_a_run_and_its_resume_as_prometheus_has_them(
    cluster: TokenCluster, prometheus: Prometheus, tmp_path: Path
) -> None:
    experiment, run = tmp_path / "experiment.yaml", tmp_path / "sweep" / "point" / "s0"
    experiment.write_text(yaml.safe_dump(EXPERIMENT))
    first = Training(cluster, experiment, run, tmp_path / "first.log")
    second = None
    try:
        first.wait_for_rows(4)
        env_steps = of_run("env_steps", run)
        wait_for("the run's rows in Prometheus", lambda: prometheus.number(f"max({env_steps})"), WAIT_S)
        first.kill()
        killed_at = len(first.rows())
        second = Training(cluster, experiment, run, tmp_path / "second.log")
        second.wait_for_rows(killed_at + 2)
        check_no_double_sum(prometheus, run, second)
        check_every_metric(prometheus, run)
        check_every_expression(prometheus, run)
        since = time.time()
        second.wait_for_rows(killed_at + 4)
        check_never_missing(prometheus, run, since, time.time())
        check_what_is_left_of_rllib(prometheus, run)
        assert second.process.wait(WAIT_S) == 0, (tmp_path / "second.log").read_text()
        ended = time.monotonic()
        wait_for("the gauges to vanish", lambda: not prometheus.now(f'{{run="{run}", __name__=~"ray_.*"}}'), 60.0)
        print(f"gone {time.monotonic() - ended:.1f} s after the end of the process")
        check_totals_never_double(prometheus, run, second.rows())
    finally:
        first.end()
        if second is not None:
            second.end()


def check_no_double_sum(prometheus: Prometheus, run: Path, training: Training) -> None:
    """Two intervals after the kill one process's series is left, and its total is a row's."""
    found = prometheus.now(of_run("env_steps", run))
    assert len(found) == 1, found
    totals = {row["env_steps"] for row in training.rows()}
    assert float(found[0]["value"][1]) in totals
    print(f"after the resume: one series, env_steps {found[0]['value'][1]}")


def check_every_metric(prometheus: Prometheus, run: Path) -> None:
    there = {one.name: len(prometheus.now(of_run(one.name, run))) for one in METRICS}
    assert all(there.values()), there
    print(f"{len(there)} metrics, {sum(there.values())} series")
    assert sum(there.values()) <= 100


def check_every_expression(prometheus: Prometheus, run: Path) -> None:
    """Those of alerts are tested by promtool, as most of them are about nothing here."""
    variables = {"$run": ".+", "$sweep": str(run.parents[1]), "$SessionName": ".+", "$Cluster": ".*"}
    queries = [
        query.expression
        for rows in (run_rows(), sweep_rows(), rows_in_ray())
        for row in rows
        for panel in row.panels
        for query in panel.queries
    ]
    for name, value in variables.items():
        queries = [query.replace(name, value) for query in queries]
    queries += list(recordings())
    empty = [query for query in queries if not prometheus.now(query)]
    assert not empty
    print(f"{len(queries)} expressions, each with data")


def check_never_missing(prometheus: Prometheus, run: Path, since: float, until: float) -> None:
    """At every second, though the iterations are longer than the two intervals after which Ray forgets a gauge."""
    first, last = math.ceil(since), math.floor(until)
    seconds = {float(second) for second in range(first, last + 1)}
    for one in METRICS:
        (values,) = prometheus.over_time(f"count({of_run(one.name, run)})", first, last)
        assert set(values) == seconds, f"{one.name} is missing at {sorted(seconds - set(values))} of {first} to {last}"
    (ages,) = prometheus.over_time(f"max({of_run('seconds_since_row', run)})", first, last)
    longest = max(ages.values())
    assert longest > 2.5 * EXPORT_S, "the iterations were too short to show anything"
    print(f"{len(METRICS)} metrics at each of {len(seconds)} seconds; the longest without a row: {longest:.1f} s")


def check_what_is_left_of_rllib(prometheus: Prometheus, run: Path) -> None:
    """Without the buckets a process is within 100 series, RLlib's own ones included."""
    assert not prometheus.now('{__name__=~"ray_rllib_.*_bucket"}')
    (worker,) = {series["metric"]["WorkerId"] for series in prometheus.now(of_run("env_steps", run))}
    of_rllib = prometheus.number(f'count({{__name__=~"ray_rllib_[^r].*", WorkerId="{worker}"}})')
    of_both = prometheus.number(f'count({{__name__=~"ray_rllib_.*", WorkerId="{worker}"}})')
    assert of_rllib
    assert of_both
    print(f"series of the process that trains: {of_both:.0f}, of which {of_rllib:.0f} are RLlib's")
    assert of_both <= 100


def check_totals_never_double(prometheus: Prometheus, run: Path, rows: list[dict[str, Any]]) -> None:
    """Over both processes ``max by (run)`` never was anything but a row's total, also while both had a series."""
    now = time.time()
    (values,) = prometheus.over_time(f"max by (run) ({of_run('env_steps', run)})", now - 600, now)
    totals = {float(row["env_steps"]) for row in rows}
    assert set(values.values()) <= totals, set(values.values()) - totals
    sums = prometheus.over_time(f"sum by (run) ({of_run('env_steps', run)})", now - 600, now)
    print(
        f"{len(values)} seconds, {len(set(values.values()))} totals; a sum has been {max(sums[0].values()):,.0f} at most"
    )
