"""What is drawn for an episode."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from rllib_reborn.envs.smac import KIND, UNIT_TYPES, SmacOptions, agent_order, draw, scenario, smacv2_scenario
from rllib_reborn.envs.smac.generators import (
    AllTeams,
    AttackProbability,
    EnemyMask,
    FixedTeams,
    HealthLevel,
    ReflectPositions,
    SurroundedOrReflectedPositions,
    SurroundedPositions,
    WeightedTeams,
    positions_from_config,
    teams_from_config,
)

SKILLS = SmacOptions(
    attack=AttackProbability(low=0.2, high=0.6),
    health=HealthLevel(low=0.1, high=0.3),
    enemy_mask=EnemyMask(mask_probability=0.25),
)


def names(kinds: np.ndarray) -> list[str]:
    return [UNIT_TYPES[kind].name for kind in kinds]


def draws(made, count: int, options: SmacOptions | None = None) -> list:
    return [draw(made, options or SmacOptions(), seed) for seed in range(count)]


def test_a_draw_depends_on_its_seed_alone() -> None:
    made = scenario("terran_10_vs_11")
    one, two, other = (draw(made, SKILLS, seed) for seed in (5, 5, 6))
    for field in (
        "ally_kinds",
        "enemy_kinds",
        "ally_xy",
        "enemy_xy",
        "attack_probability",
        "health_level",
        "enemy_mask",
    ):
        assert np.array_equal(getattr(one, field), getattr(two, field)), field
    assert not np.array_equal(one.ally_xy, other.ally_xy)
    assert not np.array_equal(one.attack_probability, other.attack_probability)


def test_skills_do_not_change_teams_and_places() -> None:
    made = scenario("zerg_10_vs_10")
    plain, skilled = draw(made, SmacOptions(), 3), draw(made, SKILLS, 3)
    assert np.array_equal(plain.ally_xy, skilled.ally_xy)
    assert np.array_equal(plain.enemy_kinds, skilled.enemy_kinds)
    assert plain.attack_probability is plain.health_level is plain.enemy_mask is None


def test_weighted_teams_have_their_weights_and_the_enemy_is_the_same_team() -> None:
    counts: Counter[str] = Counter()
    for drawn in draws(scenario("protoss_10_vs_11"), 400):
        allies, enemies = names(drawn.ally_kinds), names(drawn.enemy_kinds)
        counts.update(allies)
        assert len(enemies) == 11
        assert Counter(enemies[:10]) == Counter(allies)
    # 4,000 units; three standard deviations are 0.024 and 0.014.
    assert counts["stalker"] / 4000 == pytest.approx(0.45, abs=0.024)
    assert counts["colossus"] / 4000 == pytest.approx(0.1, abs=0.015)


def test_no_team_and_no_reinforcement_is_medivacs_only() -> None:
    teams = WeightedTeams(unit_types=("marine", "medivac"), weights=(0.1, 0.9), exceptions=("medivac",))
    for drawn in draws(smacv2_scenario("terran", 2, 3, teams=teams), 100):
        assert "marine" in names(drawn.ally_kinds)
        assert names(drawn.enemy_kinds)[2] == "marine"


def test_a_smaller_enemy_team_is_cut_off() -> None:
    for drawn in draws(smacv2_scenario("zerg", 6, 4, positions=ReflectPositions()), 20):
        assert not Counter(names(drawn.enemy_kinds)) - Counter(names(drawn.ally_kinds))
        assert drawn.enemy_xy.shape == (4, 2)


def test_all_teams_are_equally_likely_and_never_exceptions_only() -> None:
    teams = AllTeams(unit_types=("zergling", "hydralisk", "baneling"), exceptions=("baneling",))
    counts: Counter[tuple] = Counter()
    for drawn in draws(smacv2_scenario("zerg", 2, 2, teams=teams), 1000):
        assert Counter(names(drawn.ally_kinds)) == Counter(names(drawn.enemy_kinds))
        counts[tuple(names(drawn.ally_kinds))] += 1
    # Of the 6 pairs, all but two banelings; each 200 times, standard deviation 12.6.
    assert len(counts) == 5
    assert ("baneling", "baneling") not in counts
    assert min(counts.values()) > 200 - 50


def test_fixed_teams_are_drawn_and_shuffled_and_the_callers_list_is_left_alone() -> None:
    team = ["marine", "marauder", "medivac"]
    settings = teams_from_config({"dist_type": "fixed", "items": [team, ["marine"] * 3]})
    made = smacv2_scenario("terran", 3, 3, teams=settings)
    enemy_orders = {tuple(names(drawn.enemy_kinds)) for drawn in draws(made, 100)}
    assert len(enemy_orders) == 6 + 1
    assert team == ["marine", "marauder", "medivac"]


def test_agents_come_sorted_by_type_number_then_place() -> None:
    # Alphabetical numbers: marauder, marine, medivac; the one-hot has another order.
    made = scenario("terran_10_vs_10")
    for drawn in draws(made, 20):
        keys = list(zip(names(drawn.ally_kinds), drawn.ally_xy[:, 0], drawn.ally_xy[:, 1]))
        assert keys == sorted(keys)
    kinds = np.array([KIND[name] for name in ("zealot", "stalker", "zealot", "stalker")])
    order = agent_order(scenario("2s3z"), kinds, [1, 9, 1, 9], [5, 2, 4, 1])
    assert order.tolist() == [3, 1, 2, 0]


def test_reflected_enemies_are_mirror_images_in_the_other_half() -> None:
    made = smacv2_scenario("zerg", 10, 13, positions=ReflectPositions())
    for drawn in draws(made, 50):
        allies = {(x, y) for x, y in drawn.ally_xy.tolist()}
        assert all(0 <= x <= 15 and 0 <= y <= 32 for x, y in allies)
        mirrored = np.stack([32 - drawn.enemy_xy[:10, 0], drawn.enemy_xy[:10, 1]], axis=1)
        assert np.allclose(sorted(map(tuple, mirrored.tolist())), sorted(allies), atol=1e-5)
        assert np.all((drawn.enemy_xy[10:, 0] >= 16) & (drawn.enemy_xy[10:, 0] <= 32))
        # Who stands opposite is of the same type; the mirror leaves y as it is.
        kind_at = dict(zip(drawn.ally_xy[:, 1].tolist(), drawn.ally_kinds.tolist(), strict=True))
        assert [kind_at[y] for y in drawn.enemy_xy[:10, 1].tolist()] == drawn.enemy_kinds[:10].tolist()


def test_surrounding_enemies_stand_in_groups_on_the_diagonals() -> None:
    made = smacv2_scenario("zerg", 5, 8, positions=SurroundedPositions())
    groups: Counter[int] = Counter()
    corners = set()
    for drawn in draws(made, 300):
        assert np.all(drawn.ally_xy == 16)
        offset = drawn.enemy_xy.astype(np.float64) - 16
        assert np.allclose(abs(offset[:, 0]), abs(offset[:, 1]), atol=1e-4), "off the diagonals"
        assert np.all((abs(offset) >= 2 - 1e-4) & (abs(offset) <= 16 + 1e-4))
        points = np.unique(drawn.enemy_xy, axis=0)
        groups[len(points)] += 1
        sides = np.sign(np.unique(offset, axis=0))
        assert len(np.unique(sides, axis=0)) == len(points), "two groups on one diagonal"
        corners.update(map(tuple, sides.tolist()))
    assert set(groups) == {1, 2, 3, 4}
    # One group with probability 1/4 (and a bit: a group can stay empty); standard deviation 7.5.
    assert 45 < groups[1] < 110
    assert len(corners) == 4


def test_both_kinds_of_places_are_mixed_by_p() -> None:
    made = smacv2_scenario("zerg", 5, 5, positions=SurroundedOrReflectedPositions(p=0.25))
    reflected = sum(bool(np.any(drawn.ally_xy != 16)) for drawn in draws(made, 400))
    assert 100 - 27 < reflected < 100 + 27  # three standard deviations


def test_without_places_all_start_at_smacv2s_points() -> None:
    drawn = draw(smacv2_scenario("zerg", 3, 4, positions=None), SmacOptions(), 0)
    assert np.all(drawn.ally_xy == (8, 16))
    assert np.all(drawn.enemy_xy == (24, 16))


def test_skills_are_within_their_bounds() -> None:
    drawn = draws(scenario("zerg_10_vs_10"), 40, SKILLS)
    attack = np.concatenate([one.attack_probability for one in drawn])
    level = np.concatenate([one.health_level for one in drawn])
    assert (attack.min() >= 0.2) & (attack.max() <= 0.6) & (attack.std() > 0.1)
    assert (level.min() >= 0.1) & (level.max() <= 0.3) & (level.std() > 0.05)


@pytest.mark.parametrize(("compat", "hidden"), [(None, 0.25), ("smacv2", 0.75)])
def test_the_mask_hides_with_its_probability_or_with_the_originals_shows(compat: str | None, hidden: float) -> None:
    options = SmacOptions(enemy_mask=EnemyMask(mask_probability=0.25), compat=compat)  # type: ignore[arg-type]
    masks = [one.enemy_mask for one in draws(scenario("zerg_10_vs_10"), 40, options)]
    assert np.mean(masks) == pytest.approx(hidden, abs=0.021)  # three standard deviations of 4,000


def test_smac_maps_have_nothing_to_draw_but_skills() -> None:
    drawn = draw(scenario("bane_vs_bane"), SKILLS, 1)
    assert tuple(names(drawn.ally_kinds)) == scenario("bane_vs_bane").allies
    assert tuple(map(tuple, drawn.enemy_xy.tolist())) == scenario("bane_vs_bane").enemy_spawn
    assert drawn.enemy_mask is not None
    assert drawn.enemy_mask.shape == (24, 24)


def test_settings_are_read_from_smacv2s_config() -> None:
    block = {
        "dist_type": "weighted_teams",
        "unit_types": ["marine", "marauder", "medivac"],
        "weights": [0.45, 0.45, 0.1],
        "exception_unit_types": ["medivac"],
        "observe": True,
    }
    assert teams_from_config(block) == scenario("terran_5_vs_5").generated.teams  # type: ignore[union-attr]
    places = {"dist_type": "surrounded_and_reflect", "p": 0.5, "map_x": 32, "map_y": 32, "n_enemies": 5}
    assert positions_from_config(places) == scenario("terran_5_vs_5").generated.positions  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: teams_from_config({"dist_type": "weighted"}), "Did you mean 'weighted_teams'"),
        (lambda: teams_from_config({"dist_type": "all_teams", "units": []}), "team_gen has no setting 'units'"),
        (
            lambda: teams_from_config({"dist_type": "fixed", "items": [["marine"]], "test_mode": True}),
            "test_mode is true",
        ),
        (lambda: positions_from_config({"dist_type": "reflect"}), "Did you mean 'reflect_position'"),
        (lambda: WeightedTeams(unit_types=("marin",), weights=(1.0,)), "no unit 'marin'. Did you mean 'marine'"),
        (lambda: WeightedTeams(unit_types=("marine",), weights=(0.5, 0.5)), "1 unit types and 2 weights"),
        (lambda: WeightedTeams(unit_types=("marine", "zealot"), weights=(0.5, 0.6)), "whose sum is 1"),
        (
            lambda: WeightedTeams(unit_types=("marine", "medivac"), weights=(0.0, 1.0), exceptions=("medivac",)),
            "no team could ever be drawn",
        ),
        (lambda: AllTeams(unit_types=("marine",), exceptions=("medivac",)), "exception 'medivac' is not among"),
        (lambda: FixedTeams(teams=()), "FixedTeams.teams is empty"),
        (lambda: SurroundedOrReflectedPositions(p=2), ".p is 2; expected a number in 0..1"),
    ],
)
def test_wrong_settings_are_refused(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
