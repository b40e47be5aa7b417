"""The rules against rules written one number at a time, over made-up wars."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rllib_reborn.envs.smac import SmacOptions, SmacRules, Terrain, scenario
from rllib_reborn.envs.smac.generators import AttackProbability, EnemyMask, HealthLevel
from rllib_reborn.envs.smac.layout import obs_feature_names, state_feature_names
from tests.envs.smac.fields import any_actions, begin_all, go_on, kill, scattered
from tests.envs.smac.scalar_rules import Judge

EVERYTHING = {
    "obs_last_action": True,
    "obs_pathing_grid": True,
    "obs_terrain_height": True,
    "obs_timestep_number": True,
    "state_timestep_number": True,
}
LITTLE = {"obs_all_health": False, "obs_own_health": False, "state_last_action": False, "move_amount": 3}
SKILLS = {
    "attack": AttackProbability(low=0.3, high=1),
    "health": HealthLevel(low=0.1, high=0.4),
    "enemy_mask": EnemyMask(mask_probability=0.4),
}
BLIND_SKILLS = {
    "attack": AttackProbability(low=0.3, high=1, observe=False),
    "health": HealthLevel(low=0.1, high=0.4, observe=False),
}

CASES = [
    ("3m", {}),
    ("2s3z", {}),
    ("2s3z", EVERYTHING),
    ("MMM2", {}),
    ("MMM2", {**EVERYTHING, "compat": "fixed"}),
    ("2s3z", {**LITTLE, "compat": "fixed"}),
    ("1c3s5z", {}),
    ("bane_vs_bane", {}),
    ("2s_vs_1sc", EVERYTHING),
    ("6h_vs_8z", {"obs_all_health": False}),
    ("corridor", {}),
    ("2m_vs_1z", LITTLE),
    ("terran_5_vs_5", {}),
    ("terran_5_vs_5", {**EVERYTHING, **SKILLS, "action_mask": False}),
    ("terran_10_vs_11", {"conic_fov": True, **EVERYTHING}),
    ("protoss_5_vs_5", {**SKILLS, "use_unit_ranges": False}),
    ("protoss_10_vs_10", {"conic_fov": True, "num_fov_actions": 5, **BLIND_SKILLS, "action_mask": False}),
    ("zerg_10_vs_11", {"fully_observable": True}),
    ("zerg_5_vs_5", {"obs_starcraft": False, "obs_timestep_number": True}),
]


def rough_ground() -> Terrain:
    rng = np.random.default_rng(7)
    pathing, heights = rng.random((32, 32)) < 0.8, rng.random((32, 32))
    return Terrain(map_x=32, map_y=32, width=30.0, height=27.0, pathing=pathing, terrain_height=heights)


def named(names: tuple[str, ...], features: dict[str, float]) -> np.ndarray:
    assert set(features) <= set(names), set(features) - set(names)
    return np.array([features.get(name, 0.0) for name in names])


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_what_is_seen_is_what_the_rules_say(name: str, changes: dict) -> None:
    made, terrain, battles = scenario(name), rough_ground(), 2
    options = SmacOptions.for_scenario(made, **changes)
    fixed = made.family == "smacv2" or options.compat == "fixed"
    rules = SmacRules(made, options, battles, terrain)
    obs_names, state_names = obs_feature_names(made, options), state_feature_names(made, options)
    assert (len(obs_names), len(state_names)) == (rules.spec.obs_dim, rules.spec.state_dim)
    units = scattered(made, options, battles, seed=3)
    drawn = begin_all(rules, units)
    looks = [[(1.0, 0.0)] * made.n_agents for _ in range(battles)]
    actions = None
    for step in range(9):
        for b in range(battles):
            judge = Judge(
                made,
                options,
                terrain,
                units,
                b,
                fixed=fixed,
                drawn=drawn[b],
                actions=None if actions is None else actions[b],
                looks=looks[b],
                step=step,
            )
            for i in range(made.n_agents):
                assert rules.team_obs.action_mask[b, i].tolist() == judge.mask(i), (step, b, i)
                np.testing.assert_allclose(rules.team_obs.obs[b, i], named(obs_names, judge.obs(i)), atol=1e-6)
            np.testing.assert_allclose(rules.team_obs.state[b], named(state_names, judge.state()), atol=1e-6)
        actions = any_actions(rules.team_obs.action_mask, 3, step)
        rules.orders(actions)
        for b, i in np.ndindex(actions.shape):
            if options.conic_fov and 0 <= (look := int(actions[b, i]) - 6) < options.num_fov_actions:
                turn = 2 * math.pi * look / options.num_fov_actions
                looks[b][i] = (math.cos(turn), math.sin(turn))
        go_on(units, 3, step, deadly=0.3)
        if step == 3:
            kill(units, 0)
        if step == 5 and made.n_enemies > 1:  # (a battle that is over stands still)
            kill(units, made.n_units - 1)
        rules.score(units)
