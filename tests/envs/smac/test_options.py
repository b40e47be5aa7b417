"""Options: standard values, what is refused, which deviations are in force."""

from __future__ import annotations

import dataclasses

import pytest

from rllib_reborn.envs.registry import make_team_env
from rllib_reborn.envs.registry import team_spec as spec_of
from rllib_reborn.envs.smac import SmacOptions, scenario, team_spec
from rllib_reborn.envs.smac.capability_config import with_draws
from rllib_reborn.envs.smac.compat import FIXED, SMAC, SMACV2
from rllib_reborn.envs.smac.generators import (
    AllTeams,
    AttackProbability,
    EnemyMask,
    FixedTeams,
    HealthLevel,
    ReflectPositions,
)
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.load import experiment_from_dict
from rllib_reborn.experiments.preflight import check_env_name


def test_each_family_has_its_standard_options() -> None:
    old = SmacOptions.for_scenario(scenario("3m"))
    assert old == SmacOptions()
    assert (old.obs_own_pos, old.use_unit_ranges) == (False, False)
    new = SmacOptions.for_scenario(scenario("zerg_5_vs_5"))
    assert (new.obs_own_pos, new.use_unit_ranges, new.min_attack_range) == (True, True, 2)
    assert (new.num_fov_actions, new.conic_fov, new.prob_obs_enemy, new.action_mask) == (12, False, 1.0, True)
    assert SmacOptions.for_scenario(scenario("zerg_5_vs_5"), use_unit_ranges=False).use_unit_ranges is False


def test_compat_flags_by_compat_and_family() -> None:
    old, new = scenario("2s3z"), scenario("protoss_5_vs_5")
    assert SmacOptions().compat_flags(old) == SMAC
    assert SmacOptions(compat="smac").compat_flags(old) == SMAC
    assert SmacOptions(compat="fixed").compat_flags(old) == FIXED
    assert SmacOptions().compat_flags(new) == FIXED
    assert SmacOptions(compat="smacv2").compat_flags(new) == SMACV2
    assert not any(dataclasses.astuple(FIXED))
    kept = [dataclasses.asdict(compat) for compat in (SMAC, SMACV2)]
    assert all(any(compat[name] for compat in kept) for name in kept[0]), "a deviation that no original has"


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
        ({"compat": "fixed_all"}, "compat is 'fixed_all'; expected one of"),
        ({"obs_starcraft": False}, "nothing is observed; set obs_timestep_number"),
        ({"health": HealthLevel(low=0, high=0.5), "reward_only_positive": False}, "positive rewards only"),
        ({"attack": 0.5}, "attack is 0.5; expected a AttackProbability, or None"),
        ({"obs_all_heath": True}, "no option 'obs_all_heath'. Did you mean 'obs_all_health'"),
        ({"continuing_episode": True}, "always reported as a truncation"),
        ({"capability_config": {}}, "give its blocks one by one"),
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


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("smac/3m", "continuing_episode", "an episode limit is always reported as a truncation"),
        ("smacv2/terran_5_vs_5", "capability_config", "give its blocks one by one: attack, .* team_gen and start_pos"),
        ("battle/3m", "map_name", "the scenario has its own name"),
        ("battle/3m", "difficulty", "it is an option of smac/"),
        ("smac/3m", "start_positions", "fixed teams and places; take a scenario of SMACv2"),
        ("battle/3m", "team_gen", "fixed teams and places; take a scenario of SMACv2"),
    ],
)
def test_options_of_oxwhirls_are_met_with_what_to_do_instead(name: str, option: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"'{option}' is not an option of '{name}': .*{message}"):
        spec_of(name, **{option: {}})


class TestDraws:
    """``team_gen`` and ``start_positions``: SMACv2's blocks as options."""

    TERRAN = scenario("terran_5_vs_5")

    def test_nothing_given_is_the_scenario_itself(self) -> None:
        assert with_draws(self.TERRAN, {"step_mul": 4}) == (self.TERRAN, {"step_mul": 4})

    def test_what_smacv2s_own_configs_say_is_the_scenario_too(self) -> None:
        block = {
            "n_units": 5,
            "n_enemies": 5,
            "dist_type": "weighted_teams",
            "unit_types": ["marine", "marauder", "medivac"],
            "weights": [0.45, 0.45, 0.1],
            "exception_unit_types": ["medivac"],
            "observe": True,
        }
        places = {"dist_type": "surrounded_and_reflect", "p": 0.5, "n_enemies": 5, "map_x": 32, "map_y": 32}
        assert with_draws(self.TERRAN, {"team_gen": block, "start_positions": places})[0] == self.TERRAN

    def test_each_kind(self) -> None:
        marines = {"dist_type": "fixed", "items": [["marine"] * 5], "observe": False}
        played, _ = with_draws(self.TERRAN, {"team_gen": marines, "start_positions": {"dist_type": "reflect_position"}})
        drawn = played.generated
        assert drawn is not None
        assert drawn.teams == FixedTeams(teams=(("marine",) * 5,))
        assert (drawn.positions, drawn.observe_types) == (ReflectPositions(), False)
        played, _ = with_draws(self.TERRAN, {"team_gen": {"dist_type": "all_teams", "unit_types": ["marine"]}})
        assert played.generated is not None
        assert played.generated.teams == AllTeams(unit_types=("marine",))
        assert played.generated.positions == self.TERRAN.generated.positions  # type: ignore[union-attr]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"team_gen": "fixed"}, "team_gen is 'fixed'; expected a mapping as in SMACv2's"),
            ({"team_gen": {"dist_type": "weigthed_teams"}}, "Did you mean 'weighted_teams'"),
            ({"team_gen": {"dist_type": "weighted_teams", "unit_types": "marine"}}, "'marine'; expected a list"),
            ({"team_gen": {"dist_type": "weighted_teams", "unit_types": ["marine"]}}, "team_gen lacks weights"),
            (
                {"team_gen": {"dist_type": "weighted_teams", "unit_types": ["marine"], "weights": ["1"]}},
                "expected numbers",
            ),
            ({"team_gen": {"dist_type": "all_teams", "unit_types": ["zealot"]}}, "no unit of SMACv2's terran teams"),
            ({"team_gen": {"dist_type": "fixed", "items": [["marine"] * 4]}}, "have .4. units; expected 5"),
            ({"team_gen": {"dist_type": "fixed", "items": ["marine"]}}, "is 'marine'; expected a list"),
            (
                {"team_gen": {"dist_type": "all_teams", "unit_types": ["marine"], "observe": 1}},
                "observe is 1; expected",
            ),
            (
                {"team_gen": {"dist_type": "all_teams", "n_units": 10}},
                "n_units is 10, but terran_5_vs_5 has 5; leave it",
            ),
            ({"start_positions": []}, "start_positions is ..; expected a mapping"),
            ({"start_positions": {"dist_type": "surround"}}, "Did you mean 'surrounded'"),
            ({"start_positions": {"dist_type": "surrounded_and_reflect", "p": "half"}}, "p is 'half'; expected"),
            ({"start_positions": {"dist_type": "surrounded", "map_x": 64}}, "map_x is 64; expected a number in 4..32"),
            ({"start_positions": {"dist_type": "surrounded", "n_enemies": 6}}, "n_enemies is 6, but"),
        ],
    )
    @pytest.mark.parametrize("name", ["smacv2/terran_5_vs_5", "battle/terran_5_vs_5"])
    def test_wrong_ones_are_refused_at_once(self, name: str, options: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            spec_of(name, **options)
        with pytest.raises(ValueError, match=message):
            make_team_env(name, 1, **options)

    def test_they_reach_the_battles(self) -> None:
        env = make_team_env(
            "battle/terran_5_vs_5",
            2,
            team_gen={"dist_type": "fixed", "items": [["marauder"] * 5]},
            start_positions={"dist_type": "surrounded"},
        )
        env.reset(seed=3)
        units = env.field.units  # type: ignore[attr-defined]
        assert set(units.health_max[:, :5].ravel().tolist()) == {125}
        assert env.spec == spec_of("battle/terran_5_vs_5")

    def test_an_experiment_takes_them(self) -> None:
        data = {
            "algorithm": "QMIX",
            "env": "smacv2/terran_5_vs_5",
            "env_config": {"team_gen": {"dist_type": "all_teams", "unit_types": ["marine"]}},
            "stop": {"iterations": 1},
        }
        check_env_name(experiment_from_dict(data))
        data["env_config"] = {"team_gen": {"dist_type": "all_teams", "unit_types": ["zealot"]}}
        with pytest.raises(ExperimentError, match="no unit of SMACv2's terran"):
            check_env_name(experiment_from_dict(data))
