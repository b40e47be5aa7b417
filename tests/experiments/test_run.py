"""A run is planned before it starts: what another process did to its folder in between is never overwritten."""

from __future__ import annotations

import contextlib
import copy
import errno
import gc
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import RayActorError

from rllib_reborn.checkpoints import CheckpointStore
from rllib_reborn.checkpoints.manifest import read
from rllib_reborn.checkpoints.run_record import run_id
from rllib_reborn.experiments import run as runs
from rllib_reborn.experiments.build import config_hash
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.load import dump_experiment, experiment_from_dict
from rllib_reborn.experiments.metrics_log import MetricsLog
from rllib_reborn.experiments.own_config import read_config, require_own_config
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
        metrics=log.record,
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


def test_a_run_that_was_begun_before_a_setting_existed_keeps_its_earlier_checkpoints(
    tmp_path: Path, started: list[str]
) -> None:
    folder = RunFolder(tmp_path / "run")
    older = copy.deepcopy(runs.prepare_run(EXPERIMENT, out=tmp_path / "other").resolved)
    del older["training"]["replay_weighting"], older["training"]["model"]["activation"]
    a_run(folder, older, 1, 2)
    (checkpoint,) = CheckpointStore(folder.checkpoints).paths()
    longer = EXPERIMENT.model_copy(update={"stop": EXPERIMENT.stop.model_copy(update={"iterations": 12})})
    for _ in range(2):  # killed before its next checkpoint
        with pytest.raises(TrainedError):
            runs.execute_run(runs.prepare_run(longer, out=folder.root, resume="auto"), observer=None)  # type: ignore[arg-type]
        require_own_config(checkpoint)
        written = read_config(folder)
        assert written.pop("stop")["iterations"] == 12
        assert written == {key: value for key, value in older.items() if key != "stop"}


@pytest.mark.parametrize("asked", ["auto", "run", "checkpoint"])
def test_a_checkpoint_that_cannot_be_restored_is_refused_where_it_is_named_and_passed_over_else(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    started: list[str],
    caplog: pytest.LogCaptureFixture,
    asked: str,
) -> None:
    """Its files are those that were saved, and still nothing can be made of them."""
    folder = RunFolder(tmp_path / "run")
    resolved = runs.prepare_run(EXPERIMENT, out=tmp_path / "other").resolved
    a_run(folder, resolved, 1, 2)
    a_run(folder, resolved, 3, 5)

    def restore(plan: Any, algo: Any) -> None:
        started.append(plan.checkpoint.name)
        if plan.checkpoint.name == "checkpoint_000002":
            raise pickle.UnpicklingError("pickle data was truncated")

    monkeypatch.setattr(runs, "_restore", restore)
    out, resume = {
        "auto": (folder.root, "auto"),
        "run": (None, str(folder.root)),
        "checkpoint": (None, str(folder.checkpoints / "checkpoint_000002")),
    }[asked]
    run = runs.prepare_run(EXPERIMENT, out=out, resume=resume)
    before = contents(folder)
    with pytest.raises(ExperimentError if asked == "checkpoint" else TrainedError) as caught:
        runs.execute_run(run, observer=None)  # type: ignore[arg-type]
    reason = "checkpoint_000002 cannot be restored (UnpicklingError: pickle data was truncated)."
    if asked == "checkpoint":
        assert str(caught.value).endswith(reason)
        assert contents(folder) == before
    else:
        assert f"{reason} Trying the checkpoint before it." in caplog.text
        assert started == ["ray", "algorithm", "checkpoint_000002", "algorithm", "checkpoint_000001"]
        assert [row["iteration"] for row in MetricsLog(folder.metrics).rows()] == [1, 2]
        kept = MetricsLog(folder.root / "metrics.jsonl.before-1").rows()
        assert [row["iteration"] for row in kept] == [1, 2, 3, 4, 5]


def test_garbage_is_sought_among_what_training_makes(
    tmp_path: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    left_out: list[int] = []

    def train(loop: Any, interruption: Any) -> None:
        left_out.append(gc.get_freeze_count())
        raise TrainedError

    monkeypatch.setattr(runs.TrainingLoop, "run", train)
    with pytest.raises(TrainedError):
        runs.execute_run(runs.prepare_run(EXPERIMENT, out=tmp_path / "run"), observer=None)  # type: ignore[arg-type]
    assert left_out[0] > 10_000
    assert gc.get_freeze_count() == 0


def test_where_no_checkpoint_can_be_restored_nothing_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[str]
) -> None:
    folder = RunFolder(tmp_path / "run")
    resolved = runs.prepare_run(EXPERIMENT, out=tmp_path / "other").resolved
    a_run(folder, resolved, 1, 2)
    a_run(folder, resolved, 3, 5)

    def restore(plan: Any, algo: Any) -> None:
        raise KeyError("value_factorization")

    monkeypatch.setattr(runs, "_restore", restore)
    run = runs.prepare_run(EXPERIMENT, out=folder.root, resume="auto")
    before = contents(folder)
    with pytest.raises(ExperimentError, match=r"checkpoint_000001 cannot be restored .* No checkpoint before it"):
        runs.execute_run(run, observer=None)  # type: ignore[arg-type]
    assert contents(folder) == before


def test_a_process_that_is_lost_while_restoring_says_nothing_of_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[str]
) -> None:
    folder = RunFolder(tmp_path / "run")
    a_run(folder, runs.prepare_run(EXPERIMENT, out=tmp_path / "other").resolved, 1, 2)

    def restore(plan: Any, algo: Any) -> None:
        raise RayActorError

    monkeypatch.setattr(runs, "_restore", restore)
    with pytest.raises(RayActorError):
        runs.execute_run(runs.prepare_run(EXPERIMENT, out=folder.root, resume="auto"), observer=None)  # type: ignore[arg-type]


def test_checkpoints_deleted_and_metrics_kept_begins_anew_and_keeps_them_beside(
    tmp_path: Path, started: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(tmp_path / "run")
    a_run(folder, runs.prepare_run(EXPERIMENT, out=tmp_path / "other").resolved, 1, 3)
    before = folder.metrics.read_bytes()
    shutil.rmtree(folder.checkpoints)
    run = runs.prepare_run(EXPERIMENT, out=folder.root, resume="auto")
    with pytest.raises(TrainedError):
        runs.execute_run(run, observer=None)  # type: ignore[arg-type]
    assert folder.metrics.read_bytes() == b""
    assert (folder.root / "metrics.jsonl.before-1").read_bytes() == before
    assert "has 3 rows and" in caplog.text
    assert "metrics.jsonl.before-1" in caplog.text


def test_a_folder_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[str]
) -> None:
    def refuse(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run = runs.prepare_run(EXPERIMENT, out=tmp_path / "run")
    monkeypatch.setattr(runs, "write_text_atomically", refuse)
    with pytest.raises(ExperimentError, match=r"cannot be written .*No space left.* free the disk"):
        runs.execute_run(run, observer=None)  # type: ignore[arg-type]


def test_a_run_and_its_checkpoints_have_one_id_and_a_branch_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[str]
) -> None:
    source, target = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "branch")
    with pytest.raises(TrainedError):
        runs.execute_run(runs.prepare_run(EXPERIMENT, out=source.root), observer=None)  # type: ignore[arg-type]
    first = run_id(source.root)
    assert first
    a_run(source, runs.prepare_run(EXPERIMENT, out=target.root).resolved, 1, 2)
    assert read(source.checkpoints / "checkpoint_000001").run_id == first
    for out in (source.root, target.root):
        run = runs.prepare_run(EXPERIMENT, out=out, resume=str(source.root))
        with pytest.raises(TrainedError):
            runs.execute_run(run, observer=None)  # type: ignore[arg-type]
    assert run_id(source.root) == first
    assert run_id(target.root) not in (first, None)


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


def test_listeners_are_started_with_what_the_run_goes_on_from_and_closed_whichever_way_it_ends(
    tmp_path: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Listener:
        def on_start(self, run: Any) -> None:
            calls.append(("start", run))

        def close(self) -> None:
            calls.append(("close", None))

    calls: list[tuple[str, Any]] = []
    monkeypatch.setattr(runs, "listeners_of", lambda experiment, folder: [Listener()])
    folder = RunFolder(tmp_path / "run")
    prepared = runs.prepare_run(EXPERIMENT, out=folder.root)
    a_run(folder, prepared.resolved, 1, 2)
    with pytest.raises(TrainedError):
        runs.execute_run(runs.prepare_run(EXPERIMENT, out=folder.root, resume="auto"), observer=None)  # type: ignore[arg-type]
    assert [name for name, _ in calls] == ["start", "close"]
    facts = calls[0][1]
    assert (facts.algorithm, facts.env, facts.seed, facts.folder) == ("QMIX", "matrix/two_step", 0, folder.root)
    assert [row["iteration"] for row in facts.rows] == [1, 2]
    assert facts.config["training"]["lr"] == prepared.resolved["training"]["lr"]

    # Ray is not there: nothing was started, and what was made is closed.
    calls.clear()
    monkeypatch.setattr(runs, "ray_session", lambda experiment: (_ for _ in ()).throw(ConnectionError()))
    with pytest.raises(ConnectionError):
        runs.execute_run(runs.prepare_run(EXPERIMENT, out=folder.root, resume="auto"), observer=None)  # type: ignore[arg-type]
    assert [name for name, _ in calls] == ["close"]
