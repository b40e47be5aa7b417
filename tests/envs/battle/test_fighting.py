"""What happens when units hit each other."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rllib_reborn.envs.battle import attacks
from rllib_reborn.envs.battle.unit_stats import TABLES
from rllib_reborn.envs.smac.unit_types import KIND
from tests.envs.battle.fields import FOREVER, battle, give, tell

M, Z = ("marine", 0), ("zealot", 0)


def lost(field, unit: int) -> float:
    """Health and shield that a unit lacks."""
    u = field.units
    return float(u.health_max[0, unit] + u.shield_max[0, unit] - u.health[0, unit] - u.shield[0, unit])


def punching_bag(attackers: dict, target: str = "medivac", at=(14.0, 10.0), **options):
    """Allies that attack one enemy that does not defend itself."""
    field = battle(attackers, {(target, 0): at}, **options)
    n = len(attackers)
    give(field, n, health=FOREVER, health_max=FOREVER)
    field._state.speed[n] = 0
    tell(field, dict.fromkeys(range(n), ("attack", n)))
    return field


# ----------------------------------------------------------------------------------------------------------------------
# when


@pytest.mark.parametrize(("name", "damage"), [("marine", 5), ("stalker", 17), ("hydralisk", 11)])
def test_rates_of_fire_are_exact(name, damage):
    """Over many attacks: the period and, on average, half a loop of random delay; armour 1 is taken off each hit."""
    field, loops = punching_bag({(name, 0): (10, 10)}, num_battles=64), 1500
    field.advance(loops)
    attacks = (FOREVER - field.units.health[:, 1]) / damage
    # The first attack begins at once, so there is half a one more than the loops have room for.
    room = (loops - 1 - TABLES.wind_up[KIND[name]]) / (TABLES.period[KIND[name]] + 0.5)
    assert attacks.mean() == pytest.approx(room + 0.5, abs=0.3)
    assert attacks.std() > 0  # each battle has its own chance


def test_the_random_delay_is_between_minus_one_and_two_loops():
    field = punching_bag({M: (10, 10)}, num_battles=256)
    field.advance(1)
    delays = field.units.cooldown[:, 0] - TABLES.period[KIND["marine"]]
    assert -1 <= delays.min() < -0.9
    assert 1.9 < delays.max() <= 2


def test_an_attack_hits_after_its_wind_up():
    field = punching_bag({M: (10, 10)})
    field.advance(1)
    assert field.units.cooldown[0, 0] > 12  # it has begun
    assert lost(field, 1) == 0
    field.advance(1)
    assert lost(field, 1) == 5


def test_no_wind_up_hits_at_once():
    field = punching_bag({("stalker", 0): (10, 10)})
    field.advance(1)
    assert lost(field, 1) == 17


def test_who_is_ordered_away_calls_its_attack_off_at_no_cost():
    field = punching_bag({M: (10, 10)})
    field.advance(1)
    tell(field, {0: ("move", 10, 20)})
    assert field.units.cooldown[0, 0] > 0  # shown is what was there when time last passed
    field.advance(2)
    assert lost(field, 1) == 0
    assert field.units.cooldown[0, 0] == 0
    tell(field, {0: ("attack", 1)})
    field.advance(2)
    assert lost(field, 1) == 5


def test_the_same_order_again_does_not_call_an_attack_off():
    field = punching_bag({M: (10, 10)})
    field.advance(1)
    tell(field, {0: ("attack", 1)})
    field.advance(1)
    assert lost(field, 1) == 5


def test_an_attack_that_has_begun_hits_a_target_that_walks_away():
    field = battle(
        {("hydralisk", 0): (10, 10)}, {("medivac", 0): (16.3, 10)}, enemy_order="attack_move", enemy_target=(31, 10)
    )
    tell(field, {0: ("attack", 1)})
    field.advance(1)
    assert field.units.cooldown[0, 0] > 0
    field.advance(3)
    assert field.units.x[0, 1] - field.units.x[0, 0] > 5 + 0.625 + 0.75  # out of reach by now
    assert lost(field, 1) == 11


def test_a_ready_weapon_does_not_save_up_time():
    field = punching_bag({M: (10, 10)})
    tell(field, {0: ("stop",)})
    field.advance(100)
    tell(field, {0: ("attack", 1)})
    field.advance(1)
    assert field.units.cooldown[0, 0] >= TABLES.period[KIND["marine"]] - 1


# ----------------------------------------------------------------------------------------------------------------------
# how much


def test_armour_leaves_at_least_half_a_point(monkeypatch):
    armour = TABLES.armour.copy()
    armour[KIND["medivac"]] = 9
    monkeypatch.setattr(attacks, "TABLES", dataclasses.replace(TABLES, armour=armour))
    field = punching_bag({M: (10, 10)})
    field.advance(2)
    assert lost(field, 1) == 0.5


def test_each_hit_of_a_volley_meets_shield_and_armour_by_itself():
    """A Zealot's two hits of 8 on a Stalker with 4 points of shield: 4 + 3 and 7."""
    field = battle({Z: (10, 10)}, {("stalker", 0): (11.1, 10)})
    give(field, 1, shield=4, cooldown=50)
    tell(field, {0: ("attack", 1)})
    field.advance(1)
    assert field.units.shield[0, 1] == 0
    assert field.units.health[0, 1] == 80 - 3 - 7


def test_shields_have_no_armour():
    field = battle({Z: (10, 10)}, {("stalker", 0): (11.1, 10)})
    give(field, 1, cooldown=50)
    tell(field, {0: ("attack", 1)})
    field.advance(1)
    assert (field.units.shield[0, 1], field.units.health[0, 1]) == (64, 80)


def test_those_who_kill_each_other_in_one_loop_both_die():
    field = battle({("stalker", 0): (10, 10)}, {("stalker", 0): (14, 10)})
    for unit in (0, 1):
        give(field, unit, health=1, shield=0)
    tell(field, {0: ("attack", 1)})
    field.advance(1)
    assert field.units.health.tolist() == [[0, 0]]


def test_what_goes_beyond_a_targets_life_is_lost_and_attackers_have_spent_their_shot():
    field = battle({("stalker", i): (10, 8 + 2 * i) for i in range(3)}, {("marine", 0): (14, 10)})
    tell(field, dict.fromkeys(range(3), ("attack", 3)))
    give(field, 3, health=13, cooldown=50)
    field.advance(1)
    assert field.units.health[0, 3] == 0
    assert (field.units.cooldown[0, :3] > 20).all()


def test_who_loses_its_target_while_winding_up_keeps_its_shot():
    field = battle({("hydralisk", 0): (10, 10), ("stalker", 0): (10, 12)}, {M: (14, 10)})
    tell(field, {0: ("attack", 2), 1: ("attack", 2)})
    give(field, 2, health=1, cooldown=50)
    field.advance(1)
    assert field.units.health[0, 2] == 0
    assert field.units.cooldown[0, 1] > 20
    assert field.units.cooldown[0, 0] == 0


def test_the_dead_do_nothing():
    field = battle({M: (10, 10)}, {M: (14, 10)})
    tell(field, {0: ("attack", 1)})
    field.kill(0, [0])
    tell(field, {0: ("attack", 1)})
    field.advance(40)
    assert field.units.health[0].tolist() == [0, 45]
    assert field.units.x[0, 0] == 10


# ----------------------------------------------------------------------------------------------------------------------
# splash


def test_a_colossus_hits_a_line_across_its_fire():
    enemies = {
        ("zergling", i): place
        for i, place in enumerate([(15, 10), (15, 11.6), (15, 8.4), (15, 12.2), (15.9, 10), (14.1, 10)])
    }
    field = battle({("colossus", 0): (10, 10)}, enemies)
    give(field, 1, cooldown=50)
    field._state.speed[1:] = 0
    tell(field, {0: ("attack", 1)})
    field.advance(3)
    # Across the fire within 1.4 and a radius; along it hardly beyond the Zerglings' own size.
    hurt = field.units.health[0, 1:] < 30
    assert hurt.tolist() == [True, True, True, False, False, False]
    assert field.units.health[0, 1] == pytest.approx(35 - 2 * 15, abs=0.1)


def test_a_colossus_spares_friends_and_those_in_the_air():
    field = battle(
        {("colossus", 0): (10, 10), ("zergling", 0): (15, 11)}, {("zergling", 0): (15, 10), ("medivac", 0): (15, 9)}
    )
    field._state.speed[:] = 0
    tell(field, {0: ("attack", 2)})
    field.advance(3)
    assert field.units.health[0, 2] < 30
    assert field.units.health[0, 3] == 150
    assert field.units.health[0, 1] >= 35 - 5 * 3


def test_a_baneling_bursts_in_an_area_and_dies_of_it():
    enemies = {("zealot", 0): (11, 10), ("zealot", 1): (12.6, 10), ("zealot", 2): (10, 12.8)}
    field = battle({("baneling", 0): (10, 10), M: (9, 10)}, enemies)
    field._state.speed[:] = 0
    give(field, 2, cooldown=50)
    tell(field, {0: ("attack", 2)})
    field.advance(1)
    u = field.units
    assert u.health[0, 0] == 0
    # 16 + 19 against light; to the edge: 2.2 + 0.5 from centre to centre.
    assert u.shield[0, 2:].tolist() == [15, 15, 50]
    assert u.health[0, 1] == 45


def test_a_baneling_bursts_once_also_when_it_is_killed():
    field = battle({("baneling", 0): (10, 10)}, {("zealot", 0): (11, 10), ("stalker", 0): (14, 10)})
    field._state.speed[:] = 0
    give(field, 0, health=1)
    give(field, 1, cooldown=50)
    tell(field, {0: ("stop",)})
    field.advance(1)  # the Stalker kills it
    assert field.units.health[0, 0] == 0
    assert field.units.shield[0, 1] == 50
    field.advance(1)
    assert field.units.shield[0, 1] == 15
    field.advance(5)
    assert field.units.shield[0, 1] == 15


def test_a_baneling_that_is_killed_as_it_attacks_bursts_once():
    field = battle({("baneling", 0): (10, 10)}, {("zealot", 0): (11, 10), ("stalker", 0): (14, 10)})
    give(field, 0, health=1)
    give(field, 1, cooldown=50)
    tell(field, {0: ("attack", 1)})
    field.advance(3)
    assert field.units.health[0, 0] == 0
    assert field.units.shield[0, 1] == 15
    assert field.units.health[0, 1] == 100


def test_a_burst_does_not_reach_the_air():
    field = battle({("baneling", 0): (10, 10)}, {("zergling", 0): (11, 10), ("medivac", 0): (10, 11)})
    tell(field, {0: ("attack", 1)})
    field.advance(1)
    assert field.units.health[0].tolist() == [0, 0, 150]


# ----------------------------------------------------------------------------------------------------------------------
# healing and recovery


def medivac_and_marine(**marine):
    field = battle({M: (10, 10), ("medivac", 0): (12, 10)}, {("medivac", 0): (30, 30)})
    give(field, 0, **marine)
    return field


def test_a_medivac_heals_at_its_rate_and_price():
    field = medivac_and_marine(health=10)
    tell(field, {1: ("heal", 0)})
    field.advance(16)
    assert field.units.health[0, 0] == 10 + 9  # 9 points and 3 energy in 16 loops
    assert field.units.energy[0, 1] == pytest.approx(50 - 3 + 0.5625)


def test_a_medivac_heals_no_further_than_whole_and_not_without_energy():
    field = medivac_and_marine(health=44.9)
    tell(field, {1: ("heal", 0)})
    field.advance(3)
    assert field.units.health[0, 0] == 45
    assert field.units.energy[0, 1] > 49.8
    field = medivac_and_marine(health=10)
    give(field, 1, energy=0.1)
    tell(field, {1: ("heal", 0)})
    field.advance(1)
    assert field.units.health[0, 0] == 10


def test_a_medivac_flies_to_its_patient_but_heals_from_a_distance():
    field = battle({M: (10, 10), ("medivac", 0): (20, 10)}, {("medivac", 0): (30, 30)})
    give(field, 0, health=10)
    tell(field, {1: ("heal", 0)})
    field.advance(20)
    assert field.units.health[0, 0] == 10
    field.advance(30)
    assert field.units.health[0, 0] > 10
    assert field.units.x[0, 1] - field.units.x[0, 0] == pytest.approx(4 + 0.75 + 0.375, abs=0.01)


def test_only_biological_friends_can_be_healed():
    field = battle({("medivac", 0): (10, 10), ("stalker", 0): (12, 10)}, {M: (30, 30)})
    give(field, 1, health=10)
    tell(field, {0: ("heal", 1)})
    field.advance(5)
    assert field.units.health[0, 1] == 10
    tell(field, {0: ("heal", 0)})
    field.advance(5)
    assert field.units.energy[0, 0] > 50


def test_energy_comes_back_and_is_capped():
    field = medivac_and_marine(health=45)
    field.advance(16)
    assert field.units.energy[0, 1] == pytest.approx(50.5625)
    give(field, 1, energy=199.99)
    field.advance(16)
    assert field.units.energy[0, 1] == 200


def test_shields_come_back_ten_seconds_after_the_last_damage():
    field = battle({Z: (10, 10)}, {("stalker", 0): (16.5, 10)})
    give(field, 0, shield=50)
    field.advance(1)  # one shot of 13
    field._state.speed[:] = 0
    field.kill(0, [1])
    assert field.units.shield[0, 0] == 37
    field.advance(158)
    assert field.units.shield[0, 0] == 37
    field.advance(1)
    assert field.units.shield[0, 0] == 37.125  # 2 points in 16 loops
    field.advance(16)
    assert field.units.shield[0, 0] == 39.125
    field.advance(300)
    assert field.units.shield[0, 0] == 50
    assert field.units.health[0, 0] == 100


def test_zerg_heal_by_themselves_and_others_do_not():
    field = battle({("zergling", 0): (10, 10), M: (12, 10)}, {("medivac", 0): (30, 30)})
    give(field, 0, health=10)
    give(field, 1, health=10)
    field.advance(1600)
    assert field.units.health[0, 0] == 35
    assert field.units.health[0, 1] == 10
    give(field, 0, health=10)
    field.advance(160)
    assert field.units.health[0, 0] == pytest.approx(10 + 2.734, abs=1e-3)


def test_the_dead_do_not_recover():
    field = battle({("zergling", 0): (10, 10), Z: (14, 10)}, {M: (30, 30)})
    field.kill(0, [0, 1])
    field.advance(400)
    assert field.units.health[0].tolist() == [0, 0, 45]
    assert field.units.shield[0, 1] == 0


def test_an_order_that_cannot_be_carried_out_changes_nothing():
    """A Marauder cannot hit what flies: it goes on walking, as in the game."""
    field = battle({("marauder", 0): (10, 10)}, {("medivac", 0): (14, 10)})
    tell(field, {0: ("move", 10, 20)})
    field.advance(8)
    tell(field, {0: ("attack", 1)})
    field.advance(8)
    assert field.units.y[0, 0] == pytest.approx(10 + 16 * 0.140625)
    assert np.all(field.units.health[0, 1] == 150)
