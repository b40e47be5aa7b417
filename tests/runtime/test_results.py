"""What runners answer: errors as data, and the summary of an evaluation."""

from __future__ import annotations

import json
import pickle

import pytest

from rllib_reborn.envs.contract import EnvContractError
from rllib_reborn.envs.rollout import EpisodeOutcome
from rllib_reborn.runtime.results import Evaluated, RunnerError


def caught(failure: Exception) -> RunnerError:
    """As a runner makes it: inside of ``except``."""
    try:
        raise failure
    except Exception as error:
        return pickle.loads(pickle.dumps(RunnerError.of(error)))  # it travels


def test_a_broken_environment_is_told_in_its_own_sentence() -> None:
    error = caught(EnvContractError("game 3 allows agent 1 no action"))
    assert error == RunnerError("game 3 allows agent 1 no action", env_is_broken=True)
    with pytest.raises(EnvContractError, match=r"^game 3 allows agent 1 no action$"):
        error.raise_here()


def test_any_other_error_brings_its_type_and_where_it_happened() -> None:
    error = caught(KeyError("hidden"))
    assert not error.env_is_broken
    assert error.message.startswith("env runner failed with KeyError: 'hidden'\nTraceback")
    assert "in caught" in error.message
    with pytest.raises(RuntimeError, match="env runner failed with KeyError") as raised:
        error.raise_here()
    assert not isinstance(raised.value, EnvContractError)


def test_the_summary_by_hand() -> None:
    outcomes = [EpisodeOutcome(1.0, 4, True), EpisodeOutcome(3.0, 8, False), EpisodeOutcome(5.0, 6, False)]
    summary = Evaluated(2, outcomes, env_failures=7).summary()
    assert summary == {
        "episode_returns": [1.0, 3.0, 5.0],
        "episode_return_mean": 3.0,
        "episode_return_std": pytest.approx((8 / 3) ** 0.5),
        "episode_len_mean": 6.0,
        "win_rate": pytest.approx(1 / 3),
        "num_episodes": 3,
        "num_env_failures": 7,
    }
    json.dumps(summary, allow_nan=False)


def test_there_is_no_win_rate_where_nothing_is_won() -> None:
    assert Evaluated(0, [EpisodeOutcome(1.0, 4, None)]).summary()["win_rate"] is None


def test_a_mean_of_nothing_is_none_and_not_nan() -> None:
    summary = Evaluated(0, []).summary()
    assert summary["num_episodes"] == 0
    assert summary["episode_returns"] == []
    for name in ("episode_return_mean", "episode_return_std", "episode_len_mean", "win_rate"):
        assert summary[name] is None
