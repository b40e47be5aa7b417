"""Our games beside lbforaging's own, step by step: same situations, same actions, whole episodes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rllib_reborn.envs.lbf.foraging import Foraging
from rllib_reborn.envs.lbf.names import rules_of
from tests.envs.lbf.package import compare, copy_situation, needs_package, package_game

LEVELS = {"max_food_level": [1, 2, 4], "min_player_level": [1, 1, 2], "max_player_level": [1, 2, 5]}
#: id -> options.
CASES = {
    "8x8-2p-3f": {},
    "8x8-2p-3f-coop": {"mask_invalid_actions": True},
    "5x5-2p-1f": {"reward": "mean", "state": "board"},
    "2s-8x8-2p-2f-coop": {"compat": True},
    "2s-10x10-3p-3f": {},
    "2s-7x7-4p-3f": {"observe_agent_levels": False, "reward": "mean", "mask_invalid_actions": True},
    "6x6-9p-4f-coop": {"penalty": 0.1},
    "5x5-4p-2f": {"normalize_reward": False, "penalty": 0.5, "compat": True},
    "15x15-4p-5f": {"min_food_level": 2, "observe_agent_levels": False},
    "8x8-3p-3f": {"field_size": (6, 9), "sight": 3, "max_episode_steps": 30, **LEVELS},
    "grid-8x8-2p-3f": {},
    "grid-2s-8x8-3p-3f": {},
    "grid-3s-7x7-6p-4f": {"observe_agent_levels": False, "field_size": (7, 5)},
}


def rules_by(case):
    return dataclasses.replace(rules_of(case), **CASES[case])


@pytest.mark.parametrize("case", CASES)
def test_a_few_episodes_are_equal(case):
    needs_package()
    counts = compare(rules_by(case), episodes=8, num_envs=4)
    assert counts["episodes"] >= 8


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_200_episodes_are_equal(case):
    needs_package()
    counts = compare(rules_by(case), episodes=200, seed=1)
    assert counts["episodes"] >= 200
    assert counts["paid"] > 10


def test_a_crowd_shares_cells_loads_together_and_fails_together():
    """What must happen for the comparison to mean something."""
    needs_package()
    counts = compare(rules_by("6x6-9p-4f-coop"), episodes=12, num_envs=4)
    assert min(counts.values()) > 0, counts


@pytest.mark.long
def test_every_id_that_is_registered_plays_alike():
    """One episode each, of those of full sight and of 2 cells with up to 5 players."""
    needs_package()
    for size in range(5, 20, 2):
        for players in range(2, 6):
            for foods in range(1, 5):
                for sight in ("", "2s-"):
                    for coop in ("", "-coop"):
                        compare(rules_of(f"{sight}{size}x{size}-{players}p-{foods}f{coop}"), 1, size, num_envs=1)


def test_a_difference_is_found():
    """The comparison itself: one food of another level in the package's game."""
    needs_package()
    rules = rules_by("8x8-2p-3f")
    env, game = Foraging(rules), package_game(rules)
    obs = env.reset(seed=0)
    copy_situation(env, 0, game)
    assert np.array_equal(obs.obs[0], game._make_gym_obs())
    game.field[game.field > 0] += 1
    assert not np.array_equal(obs.obs[0], game._make_gym_obs())
