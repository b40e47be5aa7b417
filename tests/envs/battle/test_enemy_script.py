"""Whom the enemy attacks, and that allies do nothing by themselves."""

from __future__ import annotations

import numpy as np
import pytest

from tests.envs.battle.fields import FOREVER, battle, give, tell

M, Z = ("marine", 0), ("zealot", 0)
GOES = {"enemy_order": "attack_move", "enemy_target": (2, 16)}


def test_allies_are_passive():
    field = battle({M: (10, 10)}, {("spine_crawler", 0): (14, 10)})
    field.advance(100)
    assert field.units.health[0].tolist() == [0, 300]
    field = battle({M: (10, 10), ("medivac", 0): (11, 10)}, {("medivac", 0): (13, 10)})
    give(field, 0, health=10)
    field.advance(50)
    assert field.units.health[0].tolist() == [10, 150, 150]
    assert field.units.x[0, 0] == 10


def test_an_attack_move_goes_to_its_point_and_stays_there():
    field = battle({M: (30, 2)}, {Z: (12, 16)}, **GOES)
    field.advance(200)
    assert np.hypot(field.units.x[0, 1] - 2, field.units.y[0, 1] - 16) < 1.01


def test_an_attack_move_turns_to_what_comes_in_range():
    field = battle({M: (10, 16), ("marine", 1): (10, 25)}, {Z: (20, 16)}, **GOES)
    field.advance(8)
    assert field.targets(0)[2] == -1
    field.advance(60)
    assert field.targets(0)[2] == 0
    field.advance(200)
    assert field.units.health[0].tolist() == [0, 45, 100]


def test_out_of_range_nobody_is_noticed():
    field = battle({M: (10, 25)}, {Z: (20, 16)}, **GOES)
    field.advance(150)
    assert field.units.health[0, 0] == 45


def test_attackers_come_first_whatever_their_distance():
    """A Zealot on its way, with a Marine in range: a Stalker that shoots at it from farther off is more important."""
    field = battle({M: (12, 16), ("stalker", 0): (16, 9.2)}, {Z: (16, 16)}, **GOES)
    tell(field, {1: ("attack", 2)})
    field.advance(1)
    assert field.targets(0)[2] == 0
    field.advance(4)
    assert field.targets(0)[2] == 1


def test_a_target_in_reach_is_kept():
    field = battle({M: (12, 16), ("stalker", 0): (16, 9.2)}, {("marine", 0): (16, 16)}, **GOES)
    field.advance(1)
    assert field.targets(0)[2] == 0
    tell(field, {1: ("attack", 2)})
    field.advance(8)
    assert field.targets(0)[2] == 0
    assert field.units.health[0, 0] < 45


def test_after_a_kill_the_next_one_is_chosen():
    field = battle({M: (12, 16), ("marine", 1): (12, 17.5)}, {("stalker", 0): (16, 16)}, **GOES)
    give(field, 0, health=1)
    field.advance(1)
    assert field.units.health[0, 0] == 0
    field.advance(8)
    assert field.targets(0)[2] == 1


def test_the_armed_are_attacked_before_medivacs():
    field = battle({M: (11, 16), ("medivac", 0): (14, 16)}, {("marine", 0): (16, 16)}, **GOES)
    field.advance(1)
    assert field.targets(0)[2] == 0
    field.kill(0, [0])
    field.advance(8)
    assert field.targets(0)[2] == 1


def test_nobody_attacks_what_its_weapon_does_not_reach():
    field = battle({("medivac", 0): (14, 16)}, {("marauder", 0): (16, 16), Z: (16, 18)}, **GOES)
    field.advance(40)
    assert (field.targets(0)[1:] == -1).all()
    assert field.units.health[0, 0] == 150


def test_hunters_chase_the_closest_ally_until_it_dies():
    """SMACv2: the one that was closest when the order was given, every 8 loops for those without one."""
    field = battle({M: (4, 16), ("marine", 1): (25, 4)}, {Z: (28, 28)}, enemy_order="attack_nearest")
    field.advance(1)
    assert field.targets(0)[2] == 1
    give(field, 0, x=27, y=26)  # another one is closer now
    field.advance(16)
    assert field.targets(0)[2] == 1
    field.kill(0, [1])
    field.advance(7)
    assert field.targets(0)[2] in (-1, 0)
    field.advance(8)
    assert field.targets(0)[2] == 0


def test_hunters_look_around_every_eighth_loop_others_every_fourth():
    def loops_until_noticed(**order) -> int:
        field = battle({M: (16, 16), ("marine", 1): (15, 17)}, {("marine", 0): (19, 16)}, **order)
        give(field, 1, health=FOREVER)
        field.advance(1)
        field.kill(0, [0])
        for loop in range(1, 20):
            if field.targets(0)[2] == 1:
                return loop
            field.advance(1)
        return 0

    assert loops_until_noticed(**GOES) == 5
    assert loops_until_noticed(enemy_order="attack_nearest") == 9


def test_who_holds_defends_itself():
    field = battle({("stalker", 0): (10, 10)}, {("spine_crawler", 0): (16, 10)})
    field.advance(20)
    assert field.units.shield[0, 0] < 80
    assert field.units.x[0, 1] == 16


def test_a_point_between_two_is_drawn_anew_for_each_battle():
    field = battle(
        {M: (30, 30)}, {Z: (16, 19)}, num_battles=200, enemy_order="attack_move", enemy_target=((13, 12), (19, 12))
    )
    x, y = field._state.goal_x[1], field._state.goal_y[1]
    assert (y == 12).all()
    assert 13 <= x.min() < 13.3
    assert 18.7 < x.max() <= 19
    assert x.mean() == pytest.approx(16, abs=0.5)


def test_an_enemy_medivac_heals_the_nearest_that_needs_it():
    enemies = {("marine", 0): (20, 16), ("marine", 1): (20, 19), ("medivac", 0): (20, 15)}
    field = battle({("zealot", 0): (3, 3)}, enemies)
    give(field, 2, health=10)
    field.advance(1)
    assert field.targets(0)[3] == 2
    field.advance(40)
    assert field.units.health[0, 2] > 20
    give(field, 1, health=1)
    field.advance(8)
    assert field.targets(0)[3] == 2  # it keeps its patient until that one is whole
    field.advance(200)
    assert (field.units.health[0, 1:3] == 45).all()


def test_an_enemy_medivac_without_a_place_to_go_follows_the_armed():
    field = battle(
        {("stalker", 0): (3, 16)}, {("marine", 0): (20, 16), ("medivac", 0): (28, 16)}, enemy_order="attack_nearest"
    )
    field.advance(24)
    assert field.targets(0)[2] == 1
    assert field.units.x[0, 2] < 26
    field.advance(100)
    distance = np.hypot(field.units.x[0, 2] - field.units.x[0, 1], field.units.y[0, 2] - field.units.y[0, 1])
    assert distance == pytest.approx(2, abs=0.3)


def test_an_enemy_medivac_goes_on_with_the_others():
    field = battle({M: (30, 2)}, {Z: (20, 16), ("medivac", 0): (20, 18)}, **GOES)
    field.advance(40)
    assert field.units.x[0, 2] < 20 - 40 * 0.15
