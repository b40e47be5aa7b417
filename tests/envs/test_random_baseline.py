"""What random play earns: games whose answer is known, seeds, and games that fail."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_reborn.envs import random_baseline
from rllib_reborn.envs.contract import EnvContractError
from rllib_reborn.envs.random_baseline import random_policy_returns
from tests.fakes.envs import MaskedWalk


def test_returns_of_known_games():
    assert random_policy_returns("matrix/monotonic", 3000, seed=1).mean() == pytest.approx(3.0, abs=0.15)
    returns = random_policy_returns("matrix/two_step", 3000, seed=1, num_envs=7)
    assert len(returns) == 3000
    assert set(returns) == {0.0, 1.0, 7.0, 8.0}
    assert returns.mean() == pytest.approx(0.5 * 7 + 0.5 * 2.5, abs=0.25)


def test_returns_are_a_function_of_the_seed():
    options = {"episodes": 5, "num_envs": 2, "episode_limit": 30}
    first = random_policy_returns("predator_prey/stag_hunt", seed=3, **options)
    np.testing.assert_array_equal(first, random_policy_returns("predator_prey/stag_hunt", seed=3, **options))
    assert set(first) != set(random_policy_returns("predator_prey/stag_hunt", seed=4, **options))
    with pytest.raises(ValueError, match="episodes is 0"):
        random_policy_returns("matrix/climbing", 0)


def test_failed_games_are_not_counted_and_those_that_always_fail_are_given_up(monkeypatch):
    def walk(fault):
        monkeypatch.setattr(random_baseline, "make_team_env", lambda name, num_envs: MaskedWalk(num_envs, fault=fault))

    walk("game_failed")
    assert len(random_policy_returns("walk", 6, num_envs=2)) == 6
    walk("games_always_fail")
    with pytest.raises(
        EnvContractError, match="games of 'walk' failed 20 times in 20 env steps without a finished episode"
    ):
        random_policy_returns("walk", 6, num_envs=2)
