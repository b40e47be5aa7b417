"""How units move, and how they get in each other's way."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_reborn.envs.battle.unit_stats import TABLES
from rllib_reborn.envs.smac.terrain import Terrain
from rllib_reborn.envs.smac.unit_types import KIND, UNIT_TYPES
from tests.envs.battle.fields import attack_nearest, battle, overlaps, tell

M = ("marine", 0)
FAR_AWAY = {("medivac", 0): (30, 30)}
MOVING = [unit_type.name for unit_type in UNIT_TYPES if unit_type.name != "spine_crawler"]


def at(field, unit: int) -> tuple[float, float]:
    return float(field.units.x[0, unit]), float(field.units.y[0, unit])


@pytest.mark.parametrize("name", MOVING)
def test_every_unit_that_can_move_does_at_its_speed(name):
    """Also those without a weapon or a cooldown, the Medivac and the Baneling."""
    field = battle({(name, 0): (10, 10)}, FAR_AWAY)
    tell(field, {0: ("move", 14, 10)})
    field.advance(8)
    assert at(field, 0) == (pytest.approx(10 + 8 * TABLES.speed[1, KIND[name]], abs=1e-4), 10)


@pytest.mark.parametrize("name", MOVING)
def test_enemies_of_every_kind_attack_move(name):
    field = battle(
        {("spine_crawler", 0): (3, 3)}, {(name, 0): (25, 25)}, enemy_order="attack_move", enemy_target=(3, 3)
    )
    field.advance(16)
    assert np.hypot(25 - field.units.x[0, 1], 25 - field.units.y[0, 1]) == pytest.approx(
        16 * TABLES.speed[0, KIND[name]], abs=1e-3
    )


def test_a_move_ends_exactly_and_there_is_no_turning():
    field = battle({M: (10, 10)}, FAR_AWAY)
    tell(field, {0: ("move", 10.2, 10)})
    field.advance(8)
    assert at(field, 0) == (pytest.approx(10.2), 10)
    tell(field, {0: ("move", 8, 10)})
    field.advance(1)
    assert at(field, 0)[0] == pytest.approx(10.2 - 0.140625)


def test_a_stop_order_stops():
    field = battle({M: (10, 10)}, FAR_AWAY)
    tell(field, {0: ("move", 14, 10)})
    field.advance(4)
    tell(field, {0: ("stop",)})
    where = at(field, 0)
    field.advance(4)
    assert at(field, 0) == where


def test_an_order_holds_until_another_comes():
    field = battle({M: (10, 10)}, FAR_AWAY)
    tell(field, {0: ("move", 14, 10)})
    for _ in range(4):
        tell(field, {})
        field.advance(8)
    assert at(field, 0) == (pytest.approx(14), 10)


def test_who_attacks_chases_its_target():
    field = battle(
        {("stalker", 0): (5, 10)}, {("medivac", 0): (15, 10)}, enemy_order="attack_move", enemy_target=(31, 10)
    )
    tell(field, {0: ("attack", 1)})
    field.advance(99)
    assert field.units.health[0, 1] < 150
    assert at(field, 0)[0] > 20


def test_who_attacks_stops_at_its_range():
    field = battle({M: (5, 10)}, {("medivac", 0): (15, 10)})
    tell(field, {0: ("attack", 1)})
    field.advance(60)
    assert 15 - at(field, 0)[0] == pytest.approx(5 + 0.375 + 0.75, abs=2e-3)


def test_nobody_leaves_the_map():
    field = battle({M: (31, 31)}, {("medivac", 0): (3, 3)})
    for _ in range(3):
        tell(field, {0: ("move", 35, 34)})
        field.advance(8)
    assert at(field, 0) == (31.5, 31.5)


# ----------------------------------------------------------------------------------------------------------------------
# each other


def test_overlapping_units_that_stand_are_pushed_apart_alike():
    field = battle({("marine", 0): (10, 10), ("marine", 1): (10.4, 10)}, FAR_AWAY)
    field.advance(1)
    assert at(field, 0) == (pytest.approx(10.2 - 0.375), 10)
    assert at(field, 1) == (pytest.approx(10.2 + 0.375), 10)


def test_units_on_one_point_come_apart():
    field = battle({("marine", 0): (10, 10), ("marine", 1): (10, 10)}, FAR_AWAY)
    field.advance(8)
    assert overlaps(field).max() <= 1e-5


def test_who_stands_is_not_pushed_by_who_walks():
    field = battle({("marine", 0): (10, 10), ("marine", 1): (11, 10)}, FAR_AWAY)
    tell(field, {0: ("move", 20, 10)})
    field.advance(10)
    assert at(field, 1) == (11, 10)


def test_walking_units_go_around_those_that_stand():
    standing = {("marine", i): (12, 8.5 + 0.75 * i) for i in range(1, 5)}
    field = battle({("marine", 0): (10, 10), **standing}, FAR_AWAY)
    tell(field, {0: ("move", 14, 10)})
    field.advance(80)
    assert at(field, 0) == (pytest.approx(14, abs=0.1), pytest.approx(10, abs=0.1))


def test_the_one_closer_to_its_goal_has_the_right_of_way():
    field = battle({("marine", 0): (10, 10), ("marine", 1): (10.5, 10)}, FAR_AWAY)
    tell(field, {0: ("move", 20, 10), 1: ("move", 20, 10)})
    field.advance(1)
    assert at(field, 1)[0] == pytest.approx(10.5 + 0.140625)


def test_planes_do_not_meet():
    """What flies, what strides and what walks may stand on one point; two of a plane may not."""
    units = {("colossus", 0): (10, 10), ("colossus", 1): (10, 10), M: (10, 10), ("medivac", 0): (10, 10)}
    field = battle(units, FAR_AWAY)
    field.advance(20)
    assert at(field, 2) == at(field, 3) == (10, 10)
    assert np.hypot(*np.subtract(at(field, 0), at(field, 1))) == pytest.approx(1.5, abs=1e-3)


def test_without_collisions_units_pass_through_each_other():
    field = battle({("marine", 0): (10, 10), ("marine", 1): (11, 10)}, FAR_AWAY, collisions=False)
    tell(field, {0: ("move", 14, 10)})
    field.advance(40)
    assert at(field, 0) == (pytest.approx(14), 10)


def test_crowds_do_not_pile_up():
    """40 Zerglings against 4 Zealots: while they press, few overlap; once the fight is over nobody does."""
    zerglings = {("zergling", i): (20 + i % 8, 6 + i // 8) for i in range(40)}
    field = battle(
        {("zealot", i): (8 + i, 8) for i in range(4)}, zerglings, num_battles=4, enemy_order="attack_nearest"
    )
    share, deep = [], []
    for _ in range(25):
        attack_nearest(field)
        field.advance(8)
        living = (field.units.health > 0).sum()
        overlap = overlaps(field)
        share.append((overlap > 0.1).sum() / 2 / living)
        deep.append((overlap > 0.5).sum() / 2 / living)
    assert max(share[8:]) < 0.8
    assert np.mean(deep[8:]) < 0.05
    assert np.mean(share[-8:]) <= np.mean(share[4:12]) + 0.1
    for unit in range(4):
        field.kill(0, [unit])
    field.advance(80)
    assert overlaps(field)[0].max() < 0.1


def test_nobody_is_pushed_off_the_map():
    corner = {("marine", i): (31.3 + 0.01 * i, 0.6 + 0.01 * i) for i in range(8)}
    field = battle(corner, {("medivac", 0): (3, 30)})
    for _ in range(20):
        field.advance(1)
        assert (field.units.x <= 31.5).all()
        assert (field.units.y >= 0.5).all()


# ----------------------------------------------------------------------------------------------------------------------
# walls


def walled(*, gap: bool) -> Terrain:
    """A wall from south to north at x = 15, with a gap at y = 26..29 or without."""
    pathing = np.ones((32, 32), bool)
    pathing[15] = False
    if gap:
        pathing[15, 26:30] = True
    return Terrain(map_x=32, map_y=32, width=32, height=32, pathing=pathing, terrain_height=np.zeros((32, 32)))


def test_units_walk_around_walls():
    field = battle({M: (12, 10)}, FAR_AWAY, terrain=walled(gap=True))
    tell(field, {0: ("move", 18, 10)})
    trace = []
    for _ in range(60):
        field.advance(8)
        trace.append(at(field, 0))
        assert field.terrain.pathing[int(trace[-1][0]), int(trace[-1][1])]
    assert trace[-1] == (pytest.approx(18), pytest.approx(10))
    assert max(y for _, y in trace) > 25


def test_walls_hold_those_on_the_ground_only():
    units = {("colossus", 0): (12, 20), M: (12, 10), ("medivac", 0): (12, 15)}
    field = battle(units, FAR_AWAY, terrain=walled(gap=False))
    tell(field, {0: ("move", 18, 20), 1: ("move", 18, 10), 2: ("move", 18, 15)})
    field.advance(80)
    assert at(field, 0)[0] == pytest.approx(18)
    assert at(field, 2)[0] == pytest.approx(18)
    assert at(field, 1)[0] < 15


def test_units_are_not_pushed_into_walls():
    crowd = {("marine", i): (12.6 + 0.5 * (i % 5), 10 + 0.5 * (i // 5)) for i in range(20)}
    field = battle(crowd, FAR_AWAY, terrain=walled(gap=False))
    tell(field, dict.fromkeys(range(20), ("move", 20, 11)))
    for _ in range(10):
        field.advance(4)
        assert (field.units.x[0, :20] < 15).all()


def test_a_choke_lets_few_through_at_a_time():
    """Four Zealots that hold the way through a wall meet fewer Zerglings at once than in the open."""

    def most_attackers(terrain) -> int:
        zealots = {("zealot", i): (14.5, 26.4 + 0.8 * i) for i in range(4)}
        zerglings = {("zergling", i): (20 + i % 6, 25 + i // 6) for i in range(24)}
        field = battle(zealots, zerglings, enemy_order="attack_nearest", terrain=terrain)
        attacking = []
        for _ in range(30):
            field.advance(4)
            attacking.append(int((field.units.cooldown[0, 4:] > 0).sum()))
        return max(attacking)

    assert most_attackers(walled(gap=True)) < most_attackers(Terrain.flat())
