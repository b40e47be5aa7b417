"""A sweep asks its runs to stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.checkpoints import CheckpointStore
from rllib_reborn.tuning.points import SweepRun
from rllib_reborn.tuning.stop_request import StopRequest
from rllib_reborn.tuning.sweep import parse_sweep
from rllib_reborn.tuning.sweep_folder import SweepFolder
from rllib_reborn.tuning.trainable import SweepTrainable, flat_config
from tests.algorithms.helpers import comparable

ONE_LONG_ITERATION = {
    "base": "matrix/two_step/qmix",
    "set": {
        "training.buffer_episodes": 32,
        "training.learning_starts_episodes": 8,
        "training.batch_episodes": 8,
        "training.updates_per_episode": 2.0,
        "evaluation.final_episodes": 4,
        "logging.report_interval_env_steps": 1_000,
        "checkpoint.replay": "full",
        "checkpoint.interval_env_steps": None,
    },
    "seeds": [0],
    "objective": "train/return_mean",
    "budget": {"iterations": 2},
}


def test_a_request_is_looked_at_once_a_second_and_never_forgotten(tmp_path: Path) -> None:
    now = [0.0]
    asked, other = (StopRequest(tmp_path / ".stop", clock=lambda: now[0]) for _ in range(2))
    assert not asked.is_made()
    other.make()
    now[0] = 0.9
    assert not asked.is_made()
    now[0] = 1.0
    assert asked.is_made()
    other.take_back()
    other.take_back()
    now[0] = 5.0
    assert asked.is_made()
    assert not other.is_made()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_run_stops_in_the_middle_of_an_iteration_and_goes_on_to_the_bit(tmp_path: Path) -> None:
    whole, cut = started(tmp_path / "whole"), started(tmp_path / "cut")
    to_the_end(whole)

    (run,) = known_runs(cut)
    trainable = trainable_of(cut)
    algo = trainable._opened().algo
    algo.interrupt_when(StopRequest(cut.stop_request.path, every_s=0.0).is_made)
    receive = algo.receive

    def receive_and_ask(collected: list[Any]) -> None:
        receive(collected)
        if algo.counters.env_steps > 500:
            cut.stop_request.make()

    algo.receive = receive_and_ask
    result = trainable.step()
    assert (result["done"], result["failed"], result["objective"]) == (False, "", 0.0)
    assert algo.counters.updates_left > 0
    trainable.stop()
    assert cut.rows(run) == []
    assert not cut.has_unsaved_rows(run.name)
    cut.stop_request.take_back()

    to_the_end(cut)
    rows, expected = (list(map(comparable, folder.rows(run))) for folder in (cut, whole))
    assert len(expected) == 2
    assert rows == expected


def started(root: Path) -> SweepFolder:
    folder = SweepFolder(root)
    root.mkdir()
    folder.start(parse_sweep(ONE_LONG_ITERATION, "a.yaml"))
    return folder


def known_runs(folder: SweepFolder) -> list[SweepRun]:
    return folder.runs(folder.read())


def trainable_of(folder: SweepFolder) -> SweepTrainable:
    (run,) = known_runs(folder)
    return SweepTrainable(flat_config(folder, run))


def to_the_end(folder: SweepFolder) -> None:
    trainable = trainable_of(folder)
    while not trainable.step()["done"]:
        pass
    trainable.stop()


def test_rows_that_no_checkpoint_knows_of_are_known_to_the_sweep(tmp_path: Path) -> None:
    folder = started(tmp_path / "sweep")
    run = folder.root / "base" / "s0"
    run.mkdir(parents=True)
    assert not folder.has_unsaved_rows("base/s0")
    (run / "metrics.jsonl").write_text('{"iteration": 1, "env_steps": 64}\n{"iteration": 2, "env_steps": 128}\n')
    assert folder.has_unsaved_rows("base/s0")
    store = CheckpointStore(run / "checkpoints")
    for iteration, unsaved in ((1, True), (2, False)):
        store.save(lambda path: None, iteration=iteration, env_steps=64 * iteration, config_hash="hash")
        assert folder.has_unsaved_rows("base/s0") is unsaved
    (run / "metrics.jsonl").write_text('{"iteration": 9, "env_steps": 640}\n')
    (run / "final_evaluation.json").write_text("{}")
    assert not folder.has_unsaved_rows("base/s0")
