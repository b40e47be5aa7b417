"""Options: standard values, what is refused, which quirks are in force."""

from __future__ import annotations

import dataclasses

import pytest

from rllib_reborn.envs.smac import SmacOptions, scenario, team_spec
from rllib_reborn.envs.smac.generators import AttackProbability, EnemyMask, HealthLevel
from rllib_reborn.envs.smac.quirks import FIXED, SMAC, SMACV2


def test_each_family_has_its_standard_options() -> None:
    old = SmacOptions.for_scenario(scenario("3m"))
    assert old == SmacOptions()
    assert (old.obs_own_pos, old.use_unit_ranges) == (False, False)
    new = SmacOptions.for_scenario(scenario("zerg_5_vs_5"))
    assert (new.obs_own_pos, new.use_unit_ranges, new.min_attack_range) == (True, True, 2)
    assert (new.num_fov_actions, new.conic_fov, new.prob_obs_enemy, new.action_mask) == (12, False, 1.0, True)
    assert SmacOptions.for_scenario(scenario("zerg_5_vs_5"), use_unit_ranges=False).use_unit_ranges is False


def test_quirks_by_compat_and_family() -> None:
    old, new = scenario("2s3z"), scenario("protoss_5_vs_5")
    assert SmacOptions().quirks(old) == SMAC
    assert SmacOptions(compat="smac").quirks(old) == SMAC
    assert SmacOptions(compat="fixed").quirks(old) == FIXED
    assert SmacOptions().quirks(new) == FIXED
    assert SmacOptions(compat="smacv2").quirks(new) == SMACV2
    assert not any(dataclasses.astuple(FIXED))
    kept = [dataclasses.asdict(quirks) for quirks in (SMAC, SMACV2)]
    assert all(any(quirks[name] for quirks in kept) for name in kept[0]), "a quirk that no original has"


@pytest.mark.parametrize(("compat", "name"), [("smac", "zerg_5_vs_5"), ("smacv2", "3m")])
def test_compat_of_the_other_family_is_refused(compat: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"compat is '{compat}', but {name} is a scenario of"):
        SmacOptions.for_scenario(scenario(name), compat=compat)
    with pytest.raises(ValueError, match="compat is"):
        team_spec(scenario(name), SmacOptions(compat=compat))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"obs_all_health": 1}, "obs_all_health is 1; expected true or false"),
        ({"move_amount": 0}, "move_amount is 0; expected a number > 0"),
        ({"move_amount": float("nan")}, "move_amount is nan; expected a number"),
        ({"reward_win": "200"}, "reward_win is '200'; expected a number"),
        ({"reward_scale_rate": 0}, "reward_scale_rate is 0"),
        ({"step_mul": 0}, "step_mul is 0; expected a whole number >= 1"),
        ({"step_mul": 8.0}, "step_mul is 8.0; expected a whole number"),
        ({"num_fov_actions": 0}, "num_fov_actions is 0"),
        ({"kill_unit_step_mul": 9}, "kill_unit_step_mul is 9; expected 0..step_mul, which is 8"),
        ({"min_attack_range": -1}, "min_attack_range is -1"),
        ({"prob_obs_enemy": 1.5}, r"prob_obs_enemy is 1.5; expected a number in 0..1"),
        ({"reward_scale": "smac"}, "reward_scale is 'smac'; expected true, false or 'smacv2'"),
        ({"compat": "mended"}, "compat is 'mended'; expected one of"),
        ({"obs_starcraft": False}, "nothing is observed; set obs_timestep_number"),
        ({"health": HealthLevel(low=0, high=0.5), "reward_only_positive": False}, "positive rewards only"),
        ({"attack": 0.5}, "attack is 0.5; expected a AttackProbability, or None"),
        ({"obs_all_heath": True}, "no option 'obs_all_heath'. Did you mean 'obs_all_health'"),
        ({"continuing_episode": True}, "always reported as a truncation"),
        ({"capability_config": {}}, "teams and places belong to the scenario"),
        ({"attack": {"dist_type": "mask"}}, "attack.dist_type is 'mask'; expected 'per_agent_uniform'"),
        ({"attack": {"lower_bound": [0, 0], "upper_bound": [1]}}, "attack.lower_bound is .0, 0.; expected one number"),
        ({"attack": {"lower_bound": 0.5}}, "attack lacks high"),
        ({"health": {"low": 0, "heigh": 1}}, "health has no setting 'heigh'. Did you mean 'high'"),
        ({"health": {"low": 0, "high": 1.0}}, "HealthLevel.high is 1.0; expected less than 1"),
        ({"attack": {"low": 0.6, "high": 0.5}}, "AttackProbability has low=0.6, high=0.5"),
        ({"enemy_mask": {"mask_probability": 2}}, "EnemyMask.mask_probability is 2"),
    ],
)
def test_wrong_options_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SmacOptions.for_scenario(scenario("3m"), **changes)


def test_skills_may_be_given_as_in_smacv2s_capability_config() -> None:
    options = SmacOptions.for_scenario(
        scenario("terran_5_vs_5"),
        attack={"dist_type": "per_agent_uniform", "lower_bound": [0.5], "upper_bound": [1.0], "observe": False},
        health={"low": 0.0, "high": 0.3},
        enemy_mask={"dist_type": "mask", "mask_probability": 0.5, "n_enemies": 5},
    )
    assert options.attack == AttackProbability(low=0.5, high=1.0, observe=False)
    assert options.health == HealthLevel(low=0.0, high=0.3)
    assert options.enemy_mask == EnemyMask(mask_probability=0.5)
