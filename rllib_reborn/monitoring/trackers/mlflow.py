"""MLflow: a run of its own there for each run, at ``MLFLOW_TRACKING_URI``, else in ``mlflow.db`` beside the run folder.

All of it is done by a thread of its own: starting MLflow takes seconds, and a server that does not answer minutes.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from rllib_reborn.limits import TRACKER_CLOSE_S
from rllib_reborn.monitoring.listeners import Row, RunFacts
from rllib_reborn.monitoring.trackers.identity import PROJECT, RunIdentity, identity_of
from rllib_reborn.monitoring.trackers.sender import Sender
from rllib_reborn.monitoring.trackers.values import final_numbers, flat_config, numbers_of

DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
#: Tag that a run is found by when it goes on.
RUN_ID_TAG = "rllib_reborn.run_id"
#: What a server takes at once.
_MOST_METRICS, _MOST_PARAMS = 1000, 100
_LONGEST_NAME = 250
_NOT_IN_NAMES = re.compile(r"[^\w\-. /]")


class MLflowTracker:
    """Metrics of each row over env steps; the config as parameters and as ``config.yaml``; algorithm, environment, seed and
    sweep as tags.

    A run is found again by a tag when it goes on. MLflow takes back neither metrics nor parameters: rows beyond the
    checkpoint stay, rows at env steps that it has are left out, and parameters are those that the run was begun with.
    """

    name = "mlflow"

    def __init__(self) -> None:
        self._sender: Sender | None = None
        self._remote: _RemoteRun | None = None
        self._folder = Path()
        self._env_steps = 0
        self._is_finished = False

    def on_start(self, run: RunFacts) -> None:
        """Begin the run there, or go on with it, and add the rows that it does not have."""
        self._folder = run.folder
        self._remote = remote = _RemoteRun(identity_of(run.folder))
        self._sender = Sender(self.name, _fails_for_good)
        self._sender.put(lambda: remote.start(run))
        for row in run.rows:
            self._put_row(row)

    def on_iteration(self, row: Row, events: Sequence[Row]) -> None:
        """Add the row."""
        self._put_row(row)

    def on_checkpoint(self, path: Path) -> None:
        """Nothing."""

    def on_wait(self, reason: str) -> None:
        """Nothing."""

    def on_final_evaluation(self, final: Mapping[str, Any]) -> None:
        """Metrics at the last env step."""
        assert self._remote is not None
        assert self._sender is not None
        remote, numbers, at, now = self._remote, final_numbers(final), self._env_steps, _now_ms()
        self._sender.put(lambda: remote.log(numbers, at, now))
        self._is_finished = True

    def close(self) -> None:
        """End the run there: finished after its final evaluation, failed where training broke off, else killed.

        Raises:
            TimeoutError: A server did not take the rest in time.
            RuntimeError: It refused something.
        """
        sender, remote, self._sender = self._sender, self._remote, None
        if sender is None or remote is None:
            return
        broke_off = (self._folder / "error.txt").exists()
        status = "FINISHED" if self._is_finished else "FAILED" if broke_off else "KILLED"
        with contextlib.suppress(RuntimeError):  # closing says why
            sender.put(lambda: remote.end(status))
        sender.close(TRACKER_CLOSE_S)

    def _put_row(self, row: Row) -> None:
        assert self._remote is not None
        assert self._sender is not None
        remote, numbers, now = self._remote, numbers_of(row), _now_ms()
        self._env_steps = at = int(row["env_steps"])
        self._sender.put(lambda: remote.log_row(numbers, at, now))


def log_figures(folder: Path, figures: Mapping[str, Path], env_steps: int) -> None:
    """Add PNG files as artifacts below ``report`` to the run in ``folder``, which has ended.

    Raises:
        TimeoutError: A server did not take them in time.
        RuntimeError: It refused one.
    """
    remote, sender = _RemoteRun(identity_of(folder)), Sender(MLflowTracker.name, _fails_for_good)
    sender.put(remote.find)
    for path in figures.values():
        sender.put(functools.partial(remote.log_file, path, "report"))
    sender.close(TRACKER_CLOSE_S)


class _RemoteRun:
    """One run as MLflow knows it. Every method can be called again after it has failed half-way."""

    def __init__(self, identity: RunIdentity) -> None:
        self._identity = identity
        self._client: Any = None
        self._entities: Any = None
        self._id = ""
        self._last = -1

    def start(self, run: RunFacts) -> None:
        """Make the run, or find it, and log its config."""
        identity = self._identity
        self.find()
        if not self._id:
            tags = {RUN_ID_TAG: identity.id, "algorithm": run.algorithm, "env": run.env, "seed": str(run.seed)}
            tags |= {} if identity.sweep is None else {"sweep": identity.sweep}
            self._id = self._client.create_run(self._experiment(), run_name=identity.name, tags=tags).info.run_id
        self._client.update_run(self._id, status="RUNNING")
        there = self._client.get_run(self._id).data
        self._last = int(there.metrics.get("env_steps", -1))
        params = [
            self._entities.Param(_name(name), str(value))
            for name, value in flat_config(run.config).items()
            if _name(name) not in there.params
        ]
        for at in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(self._id, params=params[at : at + _MOST_PARAMS])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "config.yaml")
            path.write_text(yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True), encoding="utf-8")
            self.log_file(path)

    def find(self) -> None:
        """Look for the run by its tag."""
        if self._client is None:
            self._connect()
        query = f"tags.`{RUN_ID_TAG}` = '{self._identity.id}'"
        found = self._client.search_runs([self._experiment()], filter_string=query, max_results=1)
        self._id = found[0].info.run_id if found else ""

    def log_row(self, numbers: Mapping[str, float], env_steps: int, now_ms: int) -> None:
        """Log the row unless one at its env steps, or later ones, are there."""
        if env_steps > self._last:
            self.log(numbers, env_steps, now_ms)

    def log(self, numbers: Mapping[str, float], env_steps: int, now_ms: int) -> None:
        metrics = [self._entities.Metric(_name(name), value, now_ms, env_steps) for name, value in numbers.items()]
        for at in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(self._id, metrics=metrics[at : at + _MOST_METRICS])

    def log_file(self, path: Path, folder: str | None = None) -> None:
        if self._id:
            self._client.log_artifact(self._id, str(path), folder)

    def end(self, status: str) -> None:
        self._client.set_terminated(self._id, status=status)

    def _connect(self) -> None:
        # Nothing is said of the run to anybody but the store that the user names.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        mlflow = importlib.import_module("mlflow")
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self._entities = mlflow.entities
        if os.environ.get("MLFLOW_TRACKING_URI"):
            self._client = mlflow.MlflowClient()
            return
        database = self._identity.home / DATABASE
        # Runs of a sweep start together, and MLflow's tables must be made by one of them.
        with _locked(database.with_name(f".{DATABASE}.lock")):
            self._client = mlflow.MlflowClient(f"sqlite:///{database}")

    def _experiment(self) -> str:
        """The id of the experiment: the one that MLflow's own variables name, else the sweep's."""
        named = os.environ.get("MLFLOW_EXPERIMENT_ID")
        if named:
            return named
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or self._identity.sweep or PROJECT
        found = self._client.get_experiment_by_name(name)
        if found is None:
            own_store = not os.environ.get("MLFLOW_TRACKING_URI")
            artifacts = (self._identity.home / ARTIFACTS).as_uri() if own_store else None
            try:
                return str(self._client.create_experiment(name, artifact_location=artifacts))
            except Exception:  # another run of the sweep was faster
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)


def _fails_for_good(error: Exception) -> bool:
    """Whether MLflow refuses what it was sent, or cannot be imported; servers and disks may come back."""
    if isinstance(error, ImportError):
        return True
    status = getattr(error, "get_http_status_code", None)
    return status is not None and 400 <= status() < 500 and status() not in (408, 429)


def _name(name: str) -> str:
    """``name`` with ``_`` for what MLflow has not in names, and not too long."""
    return _NOT_IN_NAMES.sub("_", name)[:_LONGEST_NAME]


def _now_ms() -> int:
    return int(time.time() * 1000)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
