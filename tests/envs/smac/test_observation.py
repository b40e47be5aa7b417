"""Observations and states worked out by hand on tiny battles, and the deviations in them."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_reborn.envs.smac import SmacOptions, Units, scenario
from rllib_reborn.envs.smac.generators import AttackProbability, EnemyMask, HealthLevel
from rllib_reborn.envs.smac.layout import obs_feature_names, state_feature_names
from rllib_reborn.envs.smac.smac_rules import SmacRules
from tests.envs.smac.fields import at, begun, kill, line_up, rules


def features_of(judge: SmacRules, agent: int) -> dict[str, float]:
    """What one agent of battle 0 sees, by name, zeros left out."""
    names = obs_feature_names(judge.scenario, judge.options)
    return {name: float(x) for name, x in zip(names, judge.team_obs.obs[0, agent], strict=True) if x}


def state(judge: SmacRules) -> dict[str, float]:
    names = state_feature_names(judge.scenario, judge.options)
    return {name: float(x) for name, x in zip(names, judge.team_obs.state[0], strict=True) if x}


# 2m_vs_1z: two marines without shields against a zealot with; every number of it.


def test_every_number_of_an_observation() -> None:
    units = line_up("2m_vs_1z", {0: (10, 10), 1: (10, 16.75), 2: (13, 14)}, health={0: 9, 1: 36, 2: 50}, shield={2: 40})
    judge = begun("2m_vs_1z", units)
    expected = [1, 1, 1, 1]  # it can go anywhere
    expected += [1, 5 / 9, 3 / 9, 4 / 9, 0.5, 0.8]  # the zealot: in reach, 5 away
    expected += [1, 6.75 / 9, 0, 0.75, 0.8]  # the other marine
    expected += [0.2]  # own health
    assert judge.team_obs.obs[0, 0] == pytest.approx(expected, abs=1e-7)


def test_every_number_of_a_state() -> None:
    units = line_up("2m_vs_1z", {0: (10, 10), 1: (10, 16.75), 2: (13, 14)}, health={0: 9, 2: 50}, cooldown={0: 3})
    units.shield[0, 2] = 40
    judge = begun("2m_vs_1z", units)
    allies = [0.2, 3 / 15, -6 / 32, -6 / 32, 1, 0, -6 / 32, 0.75 / 32]
    enemy = [0.5, -3 / 32, -2 / 32, 0.8]
    assert judge.team_obs.state[0] == pytest.approx([*allies, *enemy, *[0] * 14], abs=1e-7)
    judge.orders(np.array([[1, 6]]))
    judge.score(units)
    last = np.zeros(14)
    last[[1, 7 + 6]] = 1
    assert judge.team_obs.state[0] == pytest.approx([*allies, *enemy, *last], abs=1e-7)


def test_sight_ends_before_9_and_reach_at_6() -> None:
    units = line_up("2m_vs_1z", {0: (10, 10), 1: (10, 19), 2: (16, 10)})
    judge = begun("2m_vs_1z", units)
    assert "other_0_flag" not in features_of(judge, 0), "exactly 9 away is out of sight"
    assert features_of(judge, 0)["enemy_0_flag"] == 1, "exactly 6 away is in reach"
    units.y[0, 1] = 18.999
    units.x[0, 2] = 16.001
    judge.score(units)
    assert features_of(judge, 0)["other_0_flag"] == 1
    assert "enemy_0_flag" not in features_of(judge, 0)
    assert features_of(judge, 0)["enemy_0_distance"] == pytest.approx(6.001 / 9, abs=1e-6)


def test_the_dead_see_nothing_and_are_not_seen() -> None:
    units = line_up("3m", {0: (10, 10), 1: (11, 10), 2: (12, 10), 3: (13, 10)})
    units.cooldown[0, 1] = 7
    judge = begun("3m", units)
    kill(units, 1)
    judge.orders(np.array([[1, 1, 1]]))
    judge.score(units)
    assert features_of(judge, 1) == {}
    assert not any(name.startswith("other_0") for name in features_of(judge, 0))
    assert features_of(judge, 0)["other_1_flag"] == 1, "the other's place in the list stays its own"
    assert not any(name.startswith("ally_1") and "last" not in name for name in state(judge))
    kill(units, 3)
    judge.score(units)
    assert not any("enemy_0" in name for name in (*features_of(judge, 0), *state(judge)))


def test_what_is_left_of_a_dead_units_shield_is_not_seen() -> None:
    units = line_up("2s3z", {0: (10, 10), 1: (11, 10), 5: (12, 10)})
    judge = begun("2s3z", units)
    units.health[0, [1, 5]] = 0
    judge.score(units)
    for name in (*state(judge), *features_of(judge, 0), *features_of(judge, 1)):
        assert "last" in name or not name.startswith(("ally_1_", "enemy_0_", "other_0_")), name


@pytest.mark.parametrize(("compat", "zealot"), [("smac", 0), ("fixed", 1)])
def test_types_of_stalkers_and_zealots(compat: str, zealot: int) -> None:
    # Agents: stalkers 0, 1, zealots 2..4; enemies: the same.
    units = line_up("2s3z", {0: (10, 10), 2: (11, 10), 5: (12, 10), 7: (13, 10)})
    judge = begun("2s3z", units, compat=compat)
    obs, all_of_it = features_of(judge, 0), state(judge)
    assert obs["own_type_0"] == 1, "a stalker is (1, 0) as an ally"
    assert obs["other_1_type_1"] == 1, "a zealot is (0, 1) as an ally"
    for told_of in (obs, all_of_it):
        assert told_of[f"enemy_2_type_{zealot}"] == 1
        assert told_of[f"enemy_0_type_{1 - zealot}"] == 1
    assert all_of_it["ally_0_type_0"] == all_of_it["ally_4_type_1"] == 1


def test_types_of_the_other_maps() -> None:
    mmm = begun("MMM", line_up("MMM", {i: (10 + 0.1 * i, 10) for i in range(20)}))
    assert [int(np.argmax(mmm.team_obs.obs[0, i, -3:])) for i in range(10)] == [0] * 2 + [1] * 7 + [2]
    enemies = state(mmm)
    assert enemies["enemy_0_type_1"] == enemies["enemy_7_type_0"] == enemies["enemy_9_type_2"] == 1
    bane = state(begun("bane_vs_bane", line_up("bane_vs_bane", {})))
    assert bane["ally_0_type_0"] == bane["ally_4_type_1"] == bane["enemy_0_type_1"] == bane["enemy_20_type_0"] == 1


def test_a_medivac_shows_its_energy_and_others_their_cooldown() -> None:
    units = line_up("MMM", {0: (10, 10), 9: (11, 10)}, energy={9: 150}, cooldown={0: 5, 9: 3})
    judge = begun("MMM", units)
    assert state(judge)["ally_9_cooldown"] == 0.75
    assert state(judge)["ally_0_cooldown"] == pytest.approx(5 / 25)


@pytest.mark.parametrize(("compat", "flags"), [("smac", [1, 0, 0]), ("fixed", [0, 0, 0])])
def test_a_medivacs_flag_of_enemy_j_is_its_heal_mask_of_ally_j(compat: str, flags: list[int]) -> None:
    # Ally 0 is near the Medivac (agent 9), allies 1 and 2 are not; all three enemies are in sight and in reach.
    units = line_up("MMM", {0: (10, 10), 9: (11, 10), 10: (12, 10), 11: (12, 11), 12: (12, 12)})
    judge = begun("MMM", units, compat=compat)
    assert [features_of(judge, 9).get(f"enemy_{j}_flag", 0) for j in range(3)] == flags
    assert features_of(judge, 9)["enemy_1_distance"] > 0
    assert [features_of(judge, 0)[f"enemy_{j}_flag"] for j in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(("compat", "tail"), [("smac", [0, 1 / 60]), ("fixed", [0])])
def test_the_step_and_the_dead(compat: str, tail: list[float]) -> None:
    units = line_up("3m", {0: (10, 10), 3: (12, 10)})
    judge = begun("3m", units, compat=compat, obs_timestep_number=True, state_timestep_number=True)
    kill(units, 1)
    judge.score(units)
    assert judge.team_obs.obs[0, 0, -1] == pytest.approx(1 / 60)
    assert judge.team_obs.obs[0, 1, -len(tail) :] == pytest.approx(tail)
    assert judge.team_obs.state[0, -1] == pytest.approx(1 / 60)


def test_the_state_may_be_all_observations() -> None:
    judge = begun("3m", line_up("3m", {0: (10, 10), 1: (11, 11), 3: (12, 10)}), obs_instead_of_state=True)
    assert np.array_equal(judge.team_obs.state[0], judge.team_obs.obs[0].reshape(-1))


def test_last_actions_of_allies_in_sight() -> None:
    units = line_up("3m", {0: (10, 10), 1: (11, 10), 2: (30, 30)})
    judge = begun("3m", units, obs_last_action=True)
    assert not any("last" in name for name in features_of(judge, 0))
    judge.orders(np.array([[1, 4, 2]]))
    judge.score(units)
    assert {name for name in features_of(judge, 0) if "last" in name} == {"other_0_last_action_4"}
    assert {name for name in features_of(judge, 1) if "last" in name} == {"other_0_last_action_1"}


# SMACv2


def protoss(*places: tuple[float, float], **options) -> tuple[SmacRules, Units]:
    """A stalker and a zealot (in the agents' order) against a colossus and a zealot."""
    from rllib_reborn.envs.smac import smacv2_scenario

    units = at(("stalker", "zealot", "colossus", "zealot"), places)
    return begun(smacv2_scenario("protoss", 2, 2), units, **options), units


def test_every_number_of_an_observation_of_smacv2() -> None:
    judge, _ = protoss((8, 16), (8, 22), (15, 16), (8, 26.5))
    # The stalker reaches 6 and sees 10: the colossus is 7 away, the zealot too far.
    colossus = [0, 0.7, 0.7, 0, 1, 1, 0, 0, 1]
    zealot = [0] * 9
    other = [1, 0.6, 0, 0.6, 1, 1, 0, 1, 0]
    own = [1, 1, 8 / 32, 16 / 32, 1, 0, 0]
    assert judge.team_obs.obs[0, 0] == pytest.approx([1, 1, 1, 1, *colossus, *zealot, *other, *own], abs=1e-6)
    # The zealot reaches 2 (raised from 0.1) and sees 9.
    obs = features_of(judge, 1)
    assert obs["enemy_1_distance"] == pytest.approx(0.5)
    assert "enemy_1_flag" not in obs
    assert "enemy_0_distance" not in obs


def test_unit_ranges_may_be_switched_off_and_the_least_reach_set() -> None:
    judge, _ = protoss((8, 16), (8, 22), (14, 16), (8, 25), use_unit_ranges=False)
    assert features_of(judge, 0)["enemy_0_distance"] == pytest.approx(6 / 9)
    assert features_of(judge, 1)["enemy_1_flag"] == 1
    judge, _ = protoss((8, 16), (8, 22), (14, 16), (8, 25), min_attack_range=3)
    assert features_of(judge, 1)["enemy_1_flag"] == 1
    judge, _ = protoss((8, 16), (8, 22), (14, 16), (8, 25), min_attack_range=2.9)
    assert "enemy_1_flag" not in features_of(judge, 1)


def test_everything_alive_is_seen_when_fully_observable() -> None:
    judge, units = protoss((1, 1), (31, 31), (1, 31), (31, 1), fully_observable=True)
    assert features_of(judge, 0)["enemy_0_distance"] == pytest.approx(3)
    assert features_of(judge, 0)["other_0_flag"] == 1
    kill(units, 1, 2)
    judge.score(units)
    assert not any(name.startswith(("other", "enemy_0")) for name in features_of(judge, 0))
    assert features_of(judge, 1) == {}


def test_what_team_mates_are_told_of_skills() -> None:
    attack, level = AttackProbability(low=0.5, high=0.5), HealthLevel(low=0.2, high=0.2)
    judge, units = protoss((8, 16), (8, 17), (12, 16), (12, 17), attack=attack, health=level)
    units.health[0, :2] = (48, 100)  # of 80 and 100
    judge.score(units)
    obs = features_of(judge, 0)
    assert (obs["own_health"], obs["own_attack"], obs["own_level"]) == pytest.approx((0.5, 0.5, 0.2))
    assert (obs["other_0_health"], obs["other_0_attack"], obs["other_0_level"]) == pytest.approx((1, 0.5, 0.2))
    assert state(judge)["ally_0_health"] == pytest.approx(0.5)
    assert state(judge)["ally_1_level"] == pytest.approx(0.2)
    hidden = {
        "attack": AttackProbability(low=0.5, high=0.5, observe=False),
        "health": HealthLevel(low=0.2, high=0.2, observe=False),
    }
    judge, _ = protoss((8, 16), (8, 17), (12, 16), (12, 17), **hidden)
    obs = features_of(judge, 0)
    assert not {"other_0_health", "other_0_attack", "other_0_level"} & set(obs)
    assert {"own_health", "own_attack", "own_level", "other_0_shield"} <= set(obs)


def test_masked_enemies_keep_their_place_but_lose_their_features() -> None:
    judge, _ = protoss((8, 16), (8, 17), (12, 16), (12, 17), enemy_mask=EnemyMask(mask_probability=1))
    names = {name for name in features_of(judge, 0) if name.startswith("enemy_0")}
    assert names == {"enemy_0_flag", "enemy_0_distance", "enemy_0_x"}
    assert state(judge)["enemy_0_health"] == 1, "the state is not masked"


def test_types_of_allies_may_be_hidden() -> None:
    from rllib_reborn.envs.smac import smacv2_scenario

    made = smacv2_scenario("protoss", 2, 2, observe_types=False)
    judge = begun(made, at(("stalker", "zealot", "colossus", "zealot"), [(8, 16), (8, 17), (12, 16), (12, 17)]))
    assert not any("other_0_type" in name for name in features_of(judge, 0))
    assert features_of(judge, 0)["own_type_0"] == features_of(judge, 0)["enemy_0_type_2"] == 1


def test_without_the_battle_only_the_step_is_seen() -> None:
    judge, units = protoss((8, 16), (8, 17), (12, 16), (12, 17), obs_starcraft=False, obs_timestep_number=True)
    judge.score(units)
    assert judge.team_obs.obs[0].tolist() == pytest.approx(np.full((2, 1), 1 / 200))


def test_looking_turns_the_cone_and_what_is_seen_and_hit() -> None:
    # The stalker's enemies: the colossus 4 to the east, the zealot 4 to the north.
    judge, units = protoss((8, 16), (1, 1), (12, 16), (8, 20), conic_fov=True)
    first = 6 + 12
    assert "enemy_0_flag" in features_of(judge, 0)
    assert "enemy_1_distance" not in features_of(judge, 0)
    assert judge.team_obs.action_mask[0, 0].tolist() == [False] + [True] * 17 + [True, False]
    assert (features_of(judge, 0)["own_cone_0"], features_of(judge, 0).get("own_cone_1", 0)) == (1, 0)
    orders = judge.orders(np.array([[6 + 3, 1]]))
    assert orders.kind.tolist() == [[0, 1]]
    judge.score(units)
    assert "enemy_0_flag" not in features_of(judge, 0)
    assert features_of(judge, 0)["enemy_1_flag"] == 1
    assert features_of(judge, 0)["own_cone_1"] == pytest.approx(1)
    assert state(judge)["ally_0_cone_1"] == pytest.approx(1)
    assert judge.team_obs.action_mask[0, 0, first:].tolist() == [False, True]
    assert features_of(judge, 1)["own_cone_0"] == 1, "the other agent still looks east"
    judge.begin([0], units, None, [1])
    assert features_of(judge, 0)["own_cone_0"] == 1


def test_one_agent_alone() -> None:
    from rllib_reborn.envs.smac import smacv2_scenario

    judge = begun(smacv2_scenario("zerg", 1, 1), at(("zergling", "baneling"), [(8, 16), (9, 16)]))
    assert features_of(judge, 0)["enemy_0_flag"] == 1
    assert judge.spec.obs_dim == 4 + 8 + 6


def test_there_is_no_step_before_all_have_begun() -> None:
    judge = rules("3m", 2)
    units = Units.zeros(2, 6)
    with pytest.raises(RuntimeError, match="battle 0 was never begun"):
        judge.score(units)


def test_own_health_alone() -> None:
    units = line_up("3m", {0: (10, 10), 1: (11, 10), 3: (12, 10)}, health={0: 9})
    judge = begun("3m", units, obs_all_health=False)
    names = set(features_of(judge, 0))
    assert {name for name in names if "health" in name} == {"own_health"}
    options = SmacOptions(obs_all_health=False, obs_own_health=False)
    assert not any("health" in name for name in obs_feature_names(scenario("3m"), options))
