"""Where the numbers stand."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_reborn.envs.smac import SMAC_SCENARIOS, SmacOptions, layout_of, scenario, team_spec
from rllib_reborn.envs.smac.generators import AttackProbability, HealthLevel
from rllib_reborn.envs.smac.layout import obs_feature_names, state_feature_names


def test_an_observation_of_2s3z_by_name() -> None:
    names = obs_feature_names(scenario("2s3z"), SmacOptions())
    assert names[:4] == ("move_0", "move_1", "move_2", "move_3")
    enemy = ("flag", "distance", "x", "y", "health", "shield", "type_0", "type_1")
    assert names[4:12] == tuple(f"enemy_0_{feature}" for feature in enemy)
    assert names[44:52] == tuple(f"other_0_{feature}" for feature in enemy)
    assert names[-4:] == ("own_health", "own_shield", "own_type_0", "own_type_1")
    assert len(names) == len(set(names)) == 80


def test_a_state_of_2s3z_by_name() -> None:
    names = state_feature_names(scenario("2s3z"), SmacOptions())
    ally = ("health", "cooldown", "x", "y", "shield", "type_0", "type_1")
    assert names[:7] == tuple(f"ally_0_{feature}" for feature in ally)
    enemy = ("health", "x", "y", "shield", "type_0", "type_1")
    assert names[35:41] == tuple(f"enemy_0_{feature}" for feature in enemy)
    assert names[65:76] == tuple(f"ally_0_last_action_{a}" for a in range(11))
    assert len(names) == len(set(names)) == 120


def test_smacv2s_additions_stand_where_the_original_has_them() -> None:
    made = scenario("protoss_5_vs_5")
    skills = {"attack": AttackProbability(low=0, high=1), "health": HealthLevel(low=0, high=0.5)}
    options = SmacOptions.for_scenario(made, conic_fov=True, obs_last_action=True, **skills)
    names = obs_feature_names(made, options)
    own = ["health", "shield", "attack", "level", "position_0", "position_1", "cone_0", "cone_1"]
    assert names[-11:] == tuple(f"own_{feature}" for feature in [*own, "type_0", "type_1", "type_2"])
    other = names.index("other_0_health")
    expected = ["health", "shield", "attack", "level", "type_0", "type_1", "type_2", "last_action_0"]
    assert names[other : other + 8] == tuple(f"other_0_{feature}" for feature in expected)
    state = state_feature_names(made, options)
    ally = [
        "health",
        "cooldown",
        "x",
        "y",
        "shield",
        "attack",
        "level",
        "cone_0",
        "cone_1",
        "type_0",
        "type_1",
        "type_2",
    ]
    assert state[:12] == tuple(f"ally_0_{feature}" for feature in ally)
    assert layout_of(made, options).n_actions == 6 + 12 + 5
    assert layout_of(made, options).first_target == 18


def test_the_step_is_last_and_smac_has_a_spare_number_before_it() -> None:
    made = scenario("3m")
    kept, fixed = (SmacOptions(obs_timestep_number=True, compat=compat) for compat in ("smac", "fixed"))
    assert obs_feature_names(made, kept)[-3:] == ("own_health", "spare", "time")
    assert obs_feature_names(made, fixed)[-2:] == ("own_health", "time")
    assert (team_spec(made, kept).obs_dim, team_spec(made, fixed).obs_dim) == (32, 31)
    v2 = scenario("terran_5_vs_5")
    assert team_spec(v2, SmacOptions.for_scenario(v2, obs_timestep_number=True, compat="smacv2")).obs_dim == 83
    assert state_feature_names(made, SmacOptions(state_timestep_number=True))[-1] == "time"


@pytest.mark.parametrize(
    ("changes", "obs", "state"),
    [
        ({"obs_all_health": False, "obs_own_health": False}, 30 - 3 - 2 - 1, 48),
        ({"obs_all_health": False, "obs_own_health": True}, 30 - 3 - 2, 48),
        ({"obs_all_health": True, "obs_own_health": False}, 30, 48),
        ({"obs_last_action": True}, 30 + 2 * 9, 48),
        ({"obs_pathing_grid": True, "obs_terrain_height": True}, 30 + 8 + 9, 48),
        ({"obs_instead_of_state": True}, 30, 90),
        ({"state_last_action": False}, 30, 21),
        ({"obs_starcraft": False, "obs_timestep_number": True}, 1, 48),
    ],
)
def test_sizes_by_option_on_3m(changes: dict, obs: int, state: int) -> None:
    spec = team_spec(scenario("3m"), SmacOptions(**changes))
    assert (spec.obs_dim, spec.state_dim) == (obs, state)
    assert len(state_feature_names(scenario("3m"), SmacOptions(**changes))) == state


@pytest.mark.parametrize("made", SMAC_SCENARIOS.values(), ids=lambda made: made.name)
def test_blocks_are_windows_on_the_array_itself(made) -> None:
    layout = layout_of(made, SmacOptions())
    array = np.zeros((2, made.n_agents, layout.obs_dim), np.float32)
    for block in (layout.move, layout.enemies, layout.others, layout.own):
        view = block.view(array)
        assert view.shape == (2, made.n_agents, block.count, block.size)
        view += 1
    assert np.all(array == 1), "blocks must cover an observation, each number once"
