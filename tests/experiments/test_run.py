"""A run is planned before it starts: what another process did to its folder in between is never overwritten."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.checkpoints import CheckpointStore
from rllib_reborn.experiments import run as runs
from rllib_reborn.experiments.build import config_hash
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.load import dump_experiment, experiment_from_dict
from rllib_reborn.experiments.metrics_log import MetricsLog
from rllib_reborn.experiments.run_folder import RunFolder

EXPERIMENT = experiment_from_dict({"algorithm": "QMIX", "env": "matrix/two_step", "stop": {"iterations": 9}})


class TrainedError(Exception):
    """Training would begin here."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was started, instead of starting it; training raises :class:`TrainedError`."""
    calls: list[str] = []

    class Algorithm:
        def interrupt_when(self, is_interrupted: Any) -> None:
            pass

        def restore_from_path(self, path: str) -> None:
            calls.append(f"restore {Path(path).name}")

    @contextlib.contextmanager
    def session(experiment: Any) -> Iterator[None]:
        calls.append("ray")
        yield

    @contextlib.contextmanager
    def built(config: Any) -> Iterator[Algorithm]:
        calls.append("algorithm")
        yield Algorithm()

    def train(loop: Any, interruption: Any) -> None:
        raise TrainedError

    monkeypatch.setattr(runs, "ray_session", session)
    monkeypatch.setattr(runs, "_built", built)
    monkeypatch.setattr(runs.TrainingLoop, "run", train)
    return calls


def a_run(folder: RunFolder, resolved: dict[str, Any], first: int, last: int) -> None:
    """What training writes in the iterations first..last, with a checkpoint of the last one."""
    folder.root.mkdir(parents=True, exist_ok=True)
    folder.config.write_text(dump_experiment(resolved))
    log = MetricsLog(folder.metrics)
    for iteration in range(first, last + 1):
        log.append({"iteration": iteration, "env_steps": iteration, "time/total_s": 1.0})
    CheckpointStore(folder.checkpoints).save(
        lambda path: (path / "state").write_text("x"),
        iteration=last,
        env_steps=last,
        config_hash=config_hash(resolved),
    )


def contents(folder: RunFolder) -> dict[str, bytes]:
    files = (path for path in sorted(folder.root.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder.root)): path.read_bytes() for path in files}


@pytest.mark.parametrize("resume", [None, "auto"])
def test_a_folder_that_was_filled_after_the_plan_is_left_as_it_is(
    tmp_path: Path, started: list[str], resume: str | None
) -> None:
    folder = RunFolder(tmp_path / "run")
    run = runs.prepare_run(EXPERIMENT, out=folder.root, resume=resume)
    a_run(folder, run.resolved, 1, 3)
    before = contents(folder)
    message = "is not empty" if resume is None else "was none and is checkpoint_000001 now; give the command again"
    with pytest.raises(ExperimentError, match=message):
        runs.execute_run(run, observer=None)  # type: ignore[arg-type]
    assert contents(folder) == before
    assert started == []


def test_a_run_that_went_on_after_the_plan_keeps_its_rows(tmp_path: Path, started: list[str]) -> None:
    folder = RunFolder(tmp_path / "run")
    resolved = runs.prepare_run(EXPERIMENT, out=tmp_path / "other").resolved
    a_run(folder, resolved, 1, 2)
    run = runs.prepare_run(EXPERIMENT, out=folder.root, resume="auto")
    a_run(folder, resolved, 3, 7)
    with pytest.raises(ExperimentError, match=r"was \w+_000001 and is \w+_000002 now"):
        runs.execute_run(run, observer=None)  # type: ignore[arg-type]
    assert [row["iteration"] for row in MetricsLog(folder.metrics).rows()] == list(range(1, 8))
    assert started == []


def test_a_checkpoint_that_is_gone_by_now_is_said(tmp_path: Path, started: list[str]) -> None:
    source, target = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "branch")
    a_run(source, runs.prepare_run(EXPERIMENT, out=target.root).resolved, 1, 2)
    checkpoint = CheckpointStore(source.checkpoints).paths()[0]
    run = runs.prepare_run(EXPERIMENT, out=target.root, resume=str(checkpoint))
    checkpoint.rename(tmp_path / "elsewhere")
    with pytest.raises(ExperimentError, match=checkpoint.name):
        runs.execute_run(run, observer=None)  # type: ignore[arg-type]
    assert started == []


@pytest.mark.parametrize("resume", [None, "auto", "path", "branch"])
def test_what_has_not_changed_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[str], resume: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    if resume is not None:
        a_run(RunFolder(Path("mine")), runs.prepare_run(EXPERIMENT, out=Path("other")).resolved, 1, 2)
    wanted = {None: (None, None), "auto": ("mine", "auto"), "path": (None, "mine"), "branch": ("new", "mine")}
    out, asked = wanted[resume]
    run = runs.prepare_run(EXPERIMENT, out=None if out is None else Path(out), resume=asked)
    with pytest.raises(TrainedError):
        runs.execute_run(run, observer=None)  # type: ignore[arg-type]
    assert started[:2] == ["ray", "algorithm"]
    assert len(started) == (2 if resume is None else 3)


def test_a_run_that_could_not_start_leaves_its_folder_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[str]
) -> None:
    def refuse(config: Any) -> None:
        raise ExperimentError("no memory")

    run = runs.prepare_run(EXPERIMENT, out=tmp_path / "run")
    monkeypatch.setattr(runs, "_built", refuse)
    with pytest.raises(ExperimentError, match="no memory"):
        runs.execute_run(run, observer=None)  # type: ignore[arg-type]
    runs.prepare_run(EXPERIMENT, out=tmp_path / "run")
