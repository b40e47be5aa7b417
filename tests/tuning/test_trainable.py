"""One process plays many runs of a sweep one after another: what it keeps of those that are over."""

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from rllib_reborn.tuning.points import known_points, runs_of
from rllib_reborn.tuning.sweep import parse_sweep
from rllib_reborn.tuning.sweep_folder import RunState, SweepFolder
from rllib_reborn.tuning.trainable import SweepTrainable, flat_config

pytestmark = pytest.mark.slow

SWEEP = {
    "base": "matrix/two_step/qmix",
    "set": {
        "training.buffer_episodes": 32,
        "training.learning_starts_episodes": 8,
        "training.batch_episodes": 8,
        "training.updates_per_episode": 0.1,
        "evaluation.final_episodes": 4,
        "logging.report_interval_env_steps": 64,
    },
    "seeds": [0, 1],
    "budget": {"iterations": 1},
}


@pytest.fixture
def only_explicit_collection() -> Iterator[None]:
    """Python's collector never comes by itself, as good as in a process with all of RLlib."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("ray_session", "only_explicit_collection")
def test_a_run_that_is_over_is_gone_before_the_next_begins(tmp_path: Path) -> None:
    sweep, folder = parse_sweep(SWEEP, "a.yaml"), SweepFolder(tmp_path)
    folder.start(sweep)
    first, second = runs_of(sweep, known_points(sweep))
    trainable = SweepTrainable(flat_config(folder, first))
    result = trainable.train()
    assert result["done"]
    replay = weakref.ref(trainable._run.algo.replay)
    assert trainable.reset_config(flat_config(folder, second))
    assert replay() is None
    trainable.train()
    trainable.stop()
    assert [folder.state(run) for run in (first, second)] == [RunState.DONE, RunState.DONE]


@pytest.mark.usefixtures("ray_session")
def test_a_result_is_small_however_many_metrics_a_run_has(tmp_path: Path) -> None:
    sweep, folder = parse_sweep(SWEEP | {"seeds": [0]}, "a.yaml"), SweepFolder(tmp_path)
    folder.start(sweep)
    (run,) = runs_of(sweep, known_points(sweep))
    trainable = SweepTrainable(flat_config(folder, run))
    result = trainable.step()
    trainable.stop()
    assert set(result) == {"objective", "objective_env_steps", "env_steps", "failed", "done"}
