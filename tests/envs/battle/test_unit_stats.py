"""The table of facts, against figures from other sources than its own: Liquipedia's, at "faster" speed."""

from __future__ import annotations

import pytest

from rllib_reborn.envs.battle.unit_stats import ALLY_STATS, STATS, TABLES
from rllib_reborn.envs.smac.unit_types import KIND, UNIT_TYPES

#: name -> health, shield, armour, damage x hits, cooldown and speed per second of "faster" (22.4 loops).
PUBLISHED = {
    "marine": (45, 0, 0, (6, 1), 0.61, 3.15),
    "marauder": (125, 0, 1, (10, 1), 1.07, 3.15),
    "medivac": (150, 0, 1, (0, 1), 0, 3.5),
    "stalker": (80, 80, 1, (13, 1), 1.34, 4.13),
    "zealot": (100, 50, 1, (8, 2), 0.86, 3.15),
    "colossus": (200, 150, 1, (10, 2), 1.07, 3.15),
    "zergling": (35, 0, 0, (5, 1), 0.497, 4.13),
    "hydralisk": (90, 0, 0, (12, 1), 0.59, 3.15),
    "baneling": (30, 0, 0, (16, 1), None, 3.5),
    "spine_crawler": (300, 0, 2, (25, 1), 1.32, 0),
}


@pytest.mark.parametrize("name", [unit_type.name for unit_type in UNIT_TYPES])
def test_facts_are_the_published_ones(name):
    health, shield, armour, damage, cooldown, speed = PUBLISHED[name]
    kind, stats = KIND[name], STATS[name]
    assert (stats.health, stats.shield, stats.armour, (stats.damage, stats.hits)) == (health, shield, armour, damage)
    assert TABLES.health[0, kind] == health
    assert TABLES.shield[kind] == shield
    assert TABLES.speed[0, kind] * 22.4 == pytest.approx(speed, abs=0.01)
    if cooldown is not None:
        assert TABLES.period[kind] / 22.4 == pytest.approx(cooldown, abs=0.006)


@pytest.mark.parametrize(
    ("attacker", "target", "damage"),
    [
        ("marauder", "stalker", 20),
        ("marauder", "marine", 10),
        ("stalker", "colossus", 18),
        ("colossus", "zergling", 15),
        ("colossus", "stalker", 10),
        ("baneling", "zealot", 35),
        ("baneling", "baneling", 16),
        ("spine_crawler", "stalker", 30),
        ("marine", "medivac", 6),
        ("marauder", "medivac", 0),
        ("zealot", "medivac", 0),
        ("zealot", "colossus", 8),
        ("medivac", "marine", 0),
    ],
)
def test_damage_has_its_bonus_and_reaches_the_air_or_not(attacker, target, damage):
    assert TABLES.damage[KIND[attacker], KIND[target]] == damage


def test_allied_units_differ_where_the_maps_own_do():
    differ = {name for name in STATS if STATS[name] != ALLY_STATS[name]}
    assert differ == {"hydralisk", "medivac"}
    assert TABLES.health[:, KIND["hydralisk"]].tolist() == [90, 80]
