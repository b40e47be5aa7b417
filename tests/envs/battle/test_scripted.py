"""Scripted teams act within the masks, and the maps are of different difficulty to them."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_reborn.envs.battle.battle_env import BattleTeamEnv
from rllib_reborn.envs.battle.scripted import POLICIES, focus_fire, nearest, play, random_policy
from rllib_reborn.envs.smac.unit_types import KIND


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", ["MMM2", "zerg_5_vs_5"])
def test_all_scripts_play_whole_episodes_within_the_masks(policy, name):
    env = BattleTeamEnv(name, 4, backend="numpy")
    outcome = play(env, policy, seed=3)  # the env refuses what the mask forbids
    assert outcome.won.shape == outcome.returns.shape == outcome.lengths.shape == (4,)
    assert (outcome.lengths > 5).all()
    assert (outcome.lengths <= env.spec.episode_limit).all()
    assert ((outcome.returns >= 10) | ~outcome.won).all()


def test_equal_seeds_give_equal_outcomes():
    first, second, third = (play(BattleTeamEnv("3m", 4, backend="numpy"), "random", seed) for seed in (1, 1, 2))
    assert np.array_equal(first.returns, second.returns)
    assert not np.array_equal(first.returns, third.returns)


def test_focus_fire_shoots_at_one_and_nearest_at_the_nearest():
    env = BattleTeamEnv("8m", 1, backend="numpy")
    env.reset(seed=0)
    for _ in range(40):
        focused = focus_fire(env)[0]
        if (focused >= 6).sum() >= 3:
            break
        env.step(nearest(env))
    assert len(set(focused[focused >= 6])) == 1
    units, chosen = env.field.units, nearest(env)[0]
    for agent in np.flatnonzero(chosen >= 6):
        distance = np.hypot(units.x[0, 8:] - units.x[0, agent], units.y[0, 8:] - units.y[0, agent])
        distance[units.health[0, 8:] <= 0] = np.inf
        assert chosen[agent] - 6 == distance.argmin()


def test_medivacs_heal_and_never_attack():
    env = BattleTeamEnv("MMM", 2, backend="numpy")
    env.reset(seed=0)
    medivac = env.field.units.kind[0, :10] == KIND["medivac"]
    healed = 0
    for _ in range(40):
        actions = focus_fire(env)
        before = env.field.units.energy[:, :10][:, medivac].copy()
        env.step(actions)
        healed += int((env.field.units.energy[:, :10][:, medivac] < before).sum())
    assert healed > 5


@pytest.mark.slow
def test_the_order_of_difficulty_is_sensible():
    """Not a promise of numbers: what any script wins, what needs more, and that chance alone wins nothing."""

    def wins(name: str, policy: str) -> float:
        return float(play(BattleTeamEnv(name, 16, backend="numpy"), policy).won.mean())

    for name in ("3m", "8m", "2s3z"):
        assert max(wins(name, policy) for policy in ("focus_fire", "nearest")) > 0.7, name
        assert wins(name, "random") < 0.05, name
    for name in ("5m_vs_6m", "3s_vs_5z", "27m_vs_30m", "6h_vs_8z", "corridor", "MMM2", "3s5z_vs_3s6z"):
        assert wins(name, "focus_fire") < 0.1, name
    # Skill pays where the scenario is about it: keeping away from Zealots, holding a choke.
    assert wins("3s_vs_3z", "kite") > 0.7
    assert wins("2m_vs_1z", "kite") > 0.7
    assert wins("corridor", "fall_back") > 0.7


def test_a_random_team_is_seeded():
    env = BattleTeamEnv("3m", 2, backend="numpy")
    env.reset(seed=0)
    one, same, other = random_policy(env, 1), random_policy(env, 1), random_policy(env, 2)
    ours, theirs, others = ([act(env) for _ in range(8)] for act in (one, same, other))
    assert np.array_equal(ours, theirs)
    assert not np.array_equal(ours, others)
