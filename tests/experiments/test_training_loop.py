"""The loop around train(), with an algorithm that only counts."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import RayTaskError

from rllib_reborn.checkpoints import CheckpointStore
from rllib_reborn.checkpoints.manifest import read
from rllib_reborn.experiments.interruption import Interruption
from rllib_reborn.experiments.metrics_log import MetricsLog
from rllib_reborn.experiments.schema import CheckpointSection, StopSection
from rllib_reborn.experiments.training_loop import RunPosition, TrainingError, TrainingLoop
from rllib_reborn.monitoring import RunListeners
from rllib_reborn.runtime.interruption import InterruptedIterationError
from rllib_reborn.runtime.remote_sampling import WaitGivenUpError


class Counter:
    """Makes 10 env steps and takes 2 seconds per iteration."""

    def __init__(self, fail_at: int | None = None, signal_at: int | None = None, give_up_at: int | None = None) -> None:
        self.iterations = 0
        self.fail_at = fail_at
        self.give_up_at = give_up_at
        self.signal_at = signal_at

    def train(self) -> dict[str, Any]:
        self.iterations += 1
        if self.iterations == self.fail_at:
            raise ValueError("first line\nsecond line")
        if self.iterations == self.give_up_at:
            raise WaitGivenUpError
        if self.iterations == self.signal_at:
            signal.raise_signal(signal.SIGTERM)
        return {"team": {"env_steps": 10 * self.iterations, "time/total_s": 2.0 * self.iterations}}

    def save_to_path(self, path: str) -> str:
        (Path(path) / "state").write_text(str(self.iterations))
        return path


class Recorder:
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.checkpoints: list[Path] = []

    def on_row(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def on_checkpoint(self, path: Path) -> None:
        self.checkpoints.append(path)


class Run:
    """A loop in a folder, with what it told."""

    def __init__(
        self,
        folder: Path,
        stop: StopSection,
        interval: int | None,
        algo: Counter,
        position: RunPosition = RunPosition(),  # noqa: B008 - frozen
    ) -> None:
        self.observer = Recorder()
        self.store = CheckpointStore(folder / "checkpoints", keep=99)
        self.log = MetricsLog(folder / "metrics.jsonl")
        self.events = MetricsLog(folder / "dormancy" / "events.jsonl")
        self.interruption = Interruption()
        self.loop = TrainingLoop(
            algo=algo,
            stop=stop,
            checkpointing=CheckpointSection(interval_env_steps=interval),
            events=self.events,
            store=self.store,
            log=self.log,
            config_hash="hash",
            observer=self.observer,
            position=position,
        )

    def train(self) -> RunPosition:
        self.loop.run(self.interruption)
        return self.loop.position

    def saved(self) -> list[int]:
        """Env steps of each checkpoint."""
        manifests = [json.loads((path / "manifest.json").read_text()) for path in self.store.paths()]
        return [manifest["env_steps"] for manifest in manifests]


@pytest.mark.parametrize(
    ("stop", "iterations"),
    [
        (StopSection(env_steps=30), 3),
        (StopSection(env_steps=31), 4),
        (StopSection(iterations=2), 2),
        (StopSection(time_s=7.0), 4),
        (StopSection(env_steps=1000, iterations=1000, time_s=2.0), 1),
    ],
)
def test_it_ends_at_the_first_limit_with_a_checkpoint(tmp_path: Path, stop: StopSection, iterations: int) -> None:
    run = Run(tmp_path, stop, None, Counter())
    progress = run.train()
    assert progress == RunPosition(iterations, 10 * iterations, 2.0 * iterations)
    assert run.saved() == [10 * iterations]
    assert run.log.rows() == run.observer.rows
    assert [row["iteration"] for row in run.log.rows()] == list(range(1, iterations + 1))


def test_listeners_hear_of_iterations_after_they_are_written(tmp_path: Path) -> None:
    run, heard = Run(tmp_path, StopSection(iterations=2), 10, Counter()), []

    class Listener:
        def on_iteration(self, row: dict[str, Any], events: Any) -> None:
            heard.append((row, run.log.rows()[-1] == row, list(events)))

        def on_checkpoint(self, path: Path) -> None:
            heard.append(path.name)

    run.loop.listeners = RunListeners([Listener()])  # type: ignore[list-item]
    run.train()
    first, second = run.log.rows()
    assert heard == [(first, True, []), "checkpoint_000001", (second, True, []), "checkpoint_000002"]


def test_checkpoints_come_by_env_steps_and_not_by_the_limit(tmp_path: Path) -> None:
    short = Run(tmp_path / "short", StopSection(env_steps=70), 25, Counter())
    (tmp_path / "short").mkdir()
    short.train()
    long = Run(tmp_path / "long", StopSection(env_steps=110), 25, Counter())
    (tmp_path / "long").mkdir()
    long.train()
    assert short.saved() == [30, 50, 70]
    assert long.saved() == [30, 50, 80, 100, 110]
    assert short.log.rows() == long.log.rows()[:7]


def test_plasticity_events_are_written_beside_the_rows(tmp_path: Path) -> None:
    class Telling(Counter):
        def train(self) -> dict[str, Any]:
            result = super().train()
            events = [{"event": "dormancy", "clock": {"env_steps": result["team"]["env_steps"]}}]
            return result | {"plasticity": events if self.iterations % 2 else []}

    run = Run(tmp_path, StopSection(iterations=4), None, Telling())
    run.train()
    assert [(event["iteration"], event["clock"]["env_steps"]) for event in run.events.rows()] == [(1, 10), (3, 30)]
    assert len(run.log.rows()) == 4


def test_the_last_iteration_is_not_saved_twice(tmp_path: Path) -> None:
    run = Run(tmp_path, StopSection(env_steps=50), 25, Counter())
    run.train()
    assert run.saved() == [30, 50]


def test_it_goes_on_from_where_it_was(tmp_path: Path) -> None:
    algo = Counter()
    algo.iterations = 4
    run = Run(tmp_path, StopSection(env_steps=60), 25, algo, RunPosition(4, 40, 8.0))
    assert run.train().iteration == 6
    assert [row["iteration"] for row in run.log.rows()] == [5, 6]
    assert run.saved() == [50, 60]


def test_a_manifest_tells_complete_iterations_from_the_interrupted_one(tmp_path: Path) -> None:
    class Interrupted(Counter):
        def train(self) -> dict[str, Any]:
            if self.iterations == 3 and not run.store.paths():
                error = InterruptedIterationError()
                error.env_steps = 7
                raise error
            return super().train()

    algo = Interrupted()
    run = Run(tmp_path, StopSection(env_steps=40), None, algo)
    run.train()
    run.train()
    parts = [json.loads((path / "manifest.json").read_text()) for path in run.store.paths()]
    assert [(part["env_steps"], part["interrupted_env_steps"]) for part in parts] == [(30, 7), (40, 0)]


def test_a_run_that_is_over_does_nothing_more(tmp_path: Path) -> None:
    algo = Counter()
    run = Run(tmp_path, StopSection(env_steps=40), 25, algo, RunPosition(4, 40, 8.0))
    assert run.train() == RunPosition(4, 40, 8.0)
    assert algo.iterations == 0
    assert run.store.paths() == []


def test_a_signal_ends_it_after_the_iteration_with_a_checkpoint(tmp_path: Path) -> None:
    run = Run(tmp_path, StopSection(env_steps=1000), None, Counter(signal_at=3))
    with run.interruption:
        progress = run.train()
    assert run.interruption.received == "SIGTERM"
    assert progress.iteration == 3
    assert run.saved() == [30]


def test_an_iteration_that_is_given_up_leaves_no_row_and_a_checkpoint(tmp_path: Path) -> None:
    run = Run(tmp_path, StopSection(env_steps=1000), None, Counter(give_up_at=3))
    assert run.train() == RunPosition(2, 20, 4.0)
    assert run.saved() == [20]
    assert [row["iteration"] for row in run.log.rows()] == [1, 2]


def test_the_part_of_an_iteration_that_is_given_up_is_saved_also_where_the_one_before_is(tmp_path: Path) -> None:
    run = Run(tmp_path, StopSection(env_steps=1000), 20, Counter(give_up_at=3))
    run.train()
    assert run.saved() == [20, 20]
    assert [(path / "state").read_text() for path in run.store.paths()] == ["2", "3"]


def test_a_failure_is_one_sentence_and_leaves_earlier_checkpoints(tmp_path: Path) -> None:
    run = Run(tmp_path, StopSection(env_steps=1000), 20, Counter(fail_at=4))
    with pytest.raises(TrainingError) as caught:
        run.train()
    assert str(caught.value) == "training broke off after 30 env steps: ValueError: first line"
    assert run.saved() == [20]
    assert len(run.log.rows()) == 3


def test_an_error_that_came_through_ray_is_told_by_its_origin(tmp_path: Path) -> None:
    class Travelled(Exception):  # noqa: N818
        cause = ValueError("the env returned NaN")

    algo = Counter()

    def train() -> dict[str, Any]:
        raise Travelled("a whole remote traceback\n" * 20)

    algo.train = train  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match="ValueError: the env returned NaN"):
        Run(tmp_path, StopSection(iterations=1), None, algo).train()


def test_checkpoints_come_by_the_clock_too(tmp_path: Path) -> None:
    seconds = iter(range(0, 1000, 2))
    run = Run(tmp_path, StopSection(iterations=10), None, Counter())
    run.loop.checkpointing = CheckpointSection(interval_env_steps=None, interval_s=6.0)
    run.loop.clock = lambda: float(next(seconds))
    run.loop.__post_init__()
    run.train()
    # Looking at the clock costs two seconds here, at each iteration and at each save.
    assert run.saved() == [30, 60, 90, 100]


class Disk:
    """A disk that is full while ``is_full``."""

    def __init__(self, run: Run, monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOSPC) -> None:
        self.is_full = False
        mkdir, write = Path.mkdir, MetricsLog._write

        def refuse_folder(path: Path, *args: Any, **kwargs: Any) -> None:
            if self.is_full and path.name.startswith(".unfinished"):
                raise OSError(number, os.strerror(number))
            mkdir(path, *args, **kwargs)

        def refuse_rows(log: MetricsLog, data: bytes) -> None:
            if self.is_full:
                raise OSError(number, os.strerror(number))
            write(log, data)

        monkeypatch.setattr(Path, "mkdir", refuse_folder)
        monkeypatch.setattr(MetricsLog, "_write", refuse_rows)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.ESTALE])
def test_training_goes_on_where_the_disk_fails_and_the_next_save_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    algo = Counter()
    run = Run(tmp_path, StopSection(iterations=10), 20, algo)
    disk = Disk(run, monkeypatch, number)
    train = algo.train

    def filling() -> dict[str, Any]:
        disk.is_full = 3 <= algo.iterations + 1 <= 6
        return train()

    algo.train = filling  # type: ignore[method-assign]
    assert run.train().iteration == 10
    assert run.saved() == [20, 80, 100]
    assert [row["iteration"] for row in run.log.rows()] == list(range(1, 11))
    assert run.loop.not_written == []
    assert f"the checkpoint after 40 env steps could not be written to {run.store.folder}" in caplog.text
    assert os.strerror(number) in caplog.text


def test_a_disk_that_stays_full_is_said_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    algo = Counter()
    run = Run(tmp_path, StopSection(iterations=5), 20, algo)
    disk = Disk(run, monkeypatch)
    train = algo.train

    def filling() -> dict[str, Any]:
        disk.is_full = algo.iterations >= 2
        return train()

    algo.train = filling  # type: ignore[method-assign]
    run.train()
    assert run.saved() == [20]
    checkpoint, rows = run.loop.not_written
    assert checkpoint.startswith("the checkpoint after 50 env steps could not be written")
    assert rows.startswith(f"3 rows could not be written to {run.log.path}: [Errno 28]")
    disk.is_full = False
    run.loop.save()
    assert run.loop.not_written == []
    assert run.saved() == [20, 50]


def test_a_disk_error_that_came_through_ray_is_one(tmp_path: Path) -> None:
    algo = Counter()

    def save(path: str) -> str:
        raise RayTaskError("save", "traceback", OSError(errno.ENOSPC, "No space left")).as_instanceof_cause()

    algo.save_to_path = save  # type: ignore[method-assign]
    run = Run(tmp_path, StopSection(iterations=2), None, algo)
    run.train()
    assert "No space left" in run.loop.not_written[0]


def test_no_checkpoint_is_made_of_a_broken_state_and_none_is_pruned_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    algo = Counter()
    run = Run(tmp_path, StopSection(iterations=9), 20, algo)
    run.store.keep = 1
    run.loop.why_unsound = lambda row: (
        "a weight is not finite" if 3 <= algo.iterations <= 6 or algo.iterations == 9 else None
    )
    run.train()
    # Tried again with the next iteration, not with the next interval.
    assert run.saved() == [80]
    assert [path.name for path in run.store.paths()] == ["checkpoint_000003"]
    (sentence,) = run.loop.not_written
    assert sentence == "no checkpoint is made after 90 env steps, because a weight is not finite"
    assert caplog.text.count("no checkpoint is made") == 2  # once for each time that it broke


@pytest.mark.parametrize("tasks", [{}, {"eval/task": 0}], ids=["one", "several"])
def test_the_manifest_knows_the_rows_and_the_evaluation_since_the_checkpoint_before(
    tmp_path: Path, tasks: dict[str, int]
) -> None:
    class Evaluated(Counter):
        def train(self) -> dict[str, Any]:
            result = super().train()
            evaluation = {1: 5.0, 2: None, 3: None, 5: math.nan}.get(self.iterations)
            result["team"] |= {"eval/return_mean": evaluation} | tasks
            return result

    run = Run(tmp_path, StopSection(iterations=5), 20, Evaluated())
    run.train()
    manifests = [read(path) for path in run.store.paths()]
    # Of several tasks the one with the largest rewards would always be the best.
    assert [manifest.eval_return for manifest in manifests] == [None if tasks else 5.0, None, None]
    assert [manifest.metrics.rows for manifest in manifests if manifest.metrics] == [2, 4, 5]
    assert manifests[-1].metrics == run.log.record


class TestInterruption:
    """Signals as a wish."""

    def test_the_first_is_noted_and_the_second_interrupts(self) -> None:
        before = signal.getsignal(signal.SIGINT)
        with Interruption() as interruption:
            assert interruption.received is None
            signal.raise_signal(signal.SIGINT)
            assert interruption.received == "SIGINT"
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGINT) is before
