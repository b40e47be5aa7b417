"""What is worth a checkpoint: finite, not running away, no skipped updates under way."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from rllib_reborn import QMIXConfig
from rllib_reborn.algorithms.value_factorization.checkpointing import _require_complete
from rllib_reborn.algorithms.value_factorization.soundness import why_unsound
from tests.algorithms.helpers import WALK, quick, rows

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="module")
def trained():
    algorithm = quick(env=WALK).build_algo()
    row = rows(algorithm, 2)[-1]
    yield algorithm, row
    algorithm.stop()


def learner_of(algorithm: Any) -> Any:
    return algorithm.learner_group._learner


def weight_of(algorithm: Any) -> torch.Tensor:
    return next(learner_of(algorithm).module["default_policy"].unwrapped().agents.parameters())


def a_weight(value: float) -> Callable[[Any, dict[str, Any]], None]:
    def change(algorithm: Any, row: dict[str, Any]) -> None:
        with torch.no_grad():
            weight_of(algorithm).view(-1)[0] = value

    return change


def of_the_optimizer(algorithm: Any, row: dict[str, Any]) -> None:
    memory = learner_of(algorithm).get_optimizer("default_policy").state[weight_of(algorithm)]
    next(value for value in memory.values() if value.ndim).view(-1)[0] = math.inf


def of_a_target(algorithm: Any, row: dict[str, Any]) -> None:
    module = learner_of(algorithm).module["default_policy"].unwrapped()
    with torch.no_grad():
        next(p for p in module.parameters() if not p.requires_grad).view(-1)[0] = math.nan


def skipped(algorithm: Any, row: dict[str, Any]) -> None:
    learner_of(algorithm)._nonfinite_in_row.fill_(3)


BROKEN = {
    "NaN weight": (a_weight(math.nan), "is not finite"),
    "infinite weight": (a_weight(-math.inf), "is not finite"),
    "weight that ran away": (a_weight(9.9e6), "values run away: a weight"),
    "target": (of_a_target, "is not finite"),
    "optimizer": (of_the_optimizer, "the optimizer's"),
    "skipped updates": (skipped, r"the last 3 update\\(s\\) were skipped"),
    "TD error": (lambda algorithm, row: row.update({"train/td_error_abs": 1e9}), "the TD error is 1e\\+09"),
    "NaN TD error": (lambda algorithm, row: row.update({"train/td_error_abs": math.nan}), "the TD error is not finite"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_state_is_named(trained: Any, broken: str) -> None:
    algorithm, row = trained
    assert why_unsound(algorithm, row) is None
    assert why_unsound(algorithm, None) is None
    state, row = algorithm.get_state(), dict(row)
    do, words = BROKEN[broken]
    do(algorithm, row)
    try:
        reason = why_unsound(algorithm, row)
        assert reason is not None
        assert words.replace("\\", "") in reason
        assert why_unsound(algorithm, None) is not None or "TD" in broken
    finally:
        algorithm.set_state(state)


def test_large_rewards_allow_large_values(trained: Any) -> None:
    algorithm, row = trained
    assert why_unsound(algorithm, row | {"train/td_error_abs": 1e9}) is not None
    algorithm.reward_scaler.scale = 1e7
    try:
        assert why_unsound(algorithm, row | {"train/td_error_abs": 1e9}) is None
    finally:
        algorithm.reward_scaler.scale = 1.0


def test_before_the_first_update_there_is_nothing_to_find_fault_with() -> None:
    algorithm = quick(QMIXConfig, WALK, learning_starts_episodes=60).build_algo()
    try:
        row = algorithm.train()["team"]
        assert row["updates"] == 0
        assert why_unsound(algorithm, row) is None
    finally:
        algorithm.stop()


def test_what_a_learner_could_not_write_is_an_error(trained: Any, tmp_path: Any) -> None:
    """RLlib looks at no answer of a learner in another process."""
    algorithm, _ = trained
    folder = tmp_path / "checkpoint"
    algorithm.save_to_path(folder)
    learner = folder / "learner_group" / "learner"
    for path in (learner / "state.pkl", folder / "algorithm_state.pkl", learner / "class_and_ctor_args.pkl"):
        data = path.read_bytes()
        path.write_bytes(data[:-1])
        with pytest.raises(OSError, match=f"{path.name} is cut off"):
            _require_complete(folder)
        path.write_bytes(b"")
        with pytest.raises(OSError, match=f"{path.name} is cut off"):
            _require_complete(folder)
        path.write_bytes(data)
    _require_complete(folder)
    (learner / "state.pkl").unlink()
    with pytest.raises(OSError, match="has no state"):
        _require_complete(folder)
    learner.rename(tmp_path / "learner")
    with pytest.raises(OSError, match="has no state"):
        _require_complete(folder)
