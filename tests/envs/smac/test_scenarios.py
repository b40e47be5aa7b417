"""Who fights whom: the scenarios against SMAC's and SMACv2's tables, typed in."""

from __future__ import annotations

from collections import Counter

import pytest

from rllib_reborn.envs.smac import (
    KIND,
    SCENARIOS,
    SMAC_SCENARIOS,
    SMACV2_SCENARIOS,
    UNIT_TYPES,
    SmacOptions,
    scenario,
    smacv2_scenario,
    team_spec,
)
from rllib_reborn.envs.smac.generators import AllTeams, FixedTeams, WeightedTeams
from rllib_reborn.envs.smac.unit_types import KIND_OF_TYPE_ID

# name: agents, enemies, limit, races, type bits, map type, actions, obs, state, allies, enemies
SMAC_TABLE = """
3m               |  3 |  3 |  60 | TT | 0 | marines | 9 | 30 | 48 | 3 marine | 3 marine
8m               |  8 |  8 | 120 | TT | 0 | marines | 14 | 80 | 168 | 8 marine | 8 marine
25m              | 25 | 25 | 150 | TT | 0 | marines | 31 | 250 | 950 | 25 marine | 25 marine
5m_vs_6m         |  5 |  6 |  70 | TT | 0 | marines | 12 | 55 | 98 | 5 marine | 6 marine
8m_vs_9m         |  8 |  9 | 120 | TT | 0 | marines | 15 | 85 | 179 | 8 marine | 9 marine
10m_vs_11m       | 10 | 11 | 150 | TT | 0 | marines | 17 | 105 | 243 | 10 marine | 11 marine
27m_vs_30m       | 27 | 30 | 180 | TT | 0 | marines | 36 | 285 | 1170 | 27 marine | 30 marine
MMM              | 10 | 10 | 150 | TT | 3 | MMM | 16 | 160 | 290 | 2 marauder 7 marine 1 medivac | 2 marauder 7 marine 1 medivac
MMM2             | 10 | 12 | 180 | TT | 3 | MMM | 18 | 176 | 322 | 2 marauder 7 marine 1 medivac | 3 marauder 8 marine 1 medivac
2s3z             |  5 |  5 | 120 | PP | 2 | stalkers_and_zealots | 11 | 80 | 120 | 2 stalker 3 zealot | 2 stalker 3 zealot
3s5z             |  8 |  8 | 150 | PP | 2 | stalkers_and_zealots | 14 | 128 | 216 | 3 stalker 5 zealot | 3 stalker 5 zealot
3s5z_vs_3s6z     |  8 |  9 | 170 | PP | 2 | stalkers_and_zealots | 15 | 136 | 230 | 3 stalker 5 zealot | 3 stalker 6 zealot
3s_vs_3z         |  3 |  3 | 150 | PP | 0 | stalkers | 9 | 36 | 54 | 3 stalker | 3 zealot
3s_vs_4z         |  3 |  4 | 200 | PP | 0 | stalkers | 10 | 42 | 61 | 3 stalker | 4 zealot
3s_vs_5z         |  3 |  5 | 250 | PP | 0 | stalkers | 11 | 48 | 68 | 3 stalker | 5 zealot
1c3s5z           |  9 |  9 | 180 | PP | 3 | colossi_stalkers_zealots | 15 | 162 | 270 | 1 colossus 3 stalker 5 zealot | 1 colossus 3 stalker 5 zealot
2m_vs_1z         |  2 |  1 | 150 | TP | 0 | marines | 7 | 16 | 26 | 2 marine | 1 zealot
corridor         |  6 | 24 | 400 | PZ | 0 | zealots | 30 | 156 | 282 | 6 zealot | 24 zergling
6h_vs_8z         |  6 |  8 | 150 | ZP | 0 | hydralisks | 14 | 78 | 140 | 6 hydralisk | 8 zealot
2s_vs_1sc        |  2 |  1 | 300 | PZ | 0 | stalkers | 7 | 17 | 27 | 2 stalker | 1 spine_crawler
so_many_baneling |  7 | 32 | 100 | PZ | 0 | zealots | 38 | 202 | 397 | 7 zealot | 32 baneling
bane_vs_bane     | 24 | 24 | 200 | ZZ | 2 | bane | 30 | 336 | 984 | 4 baneling 20 zergling | 4 baneling 20 zergling
2c_vs_64zg       |  2 | 64 | 400 | PZ | 0 | colossus | 70 | 332 | 342 | 2 colossus | 64 zergling
"""  # noqa: E501
ROWS = [[cell.strip() for cell in line.split("|")] for line in SMAC_TABLE.strip().splitlines()]

#: race, agents, enemies -> obs, state, actions, as measured on the original.
SMACV2_SIZES = {
    ("terran", 5, 5): (82, 120, 11),
    ("zerg", 5, 5): (82, 120, 11),
    ("protoss", 5, 5): (92, 130, 11),
    ("terran", 10, 11): (170, 306, 17),
    ("zerg", 10, 11): (170, 306, 17),
    ("protoss", 10, 11): (191, 327, 17),
}


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_smac_map_has_the_sizes_of_the_reference(row: list[str]) -> None:
    name, n, m, limit, races, bits, map_type, actions, obs, state, allies, enemies = row
    made = scenario(name)
    spec = team_spec(made, SmacOptions.for_scenario(made))
    assert (spec.n_agents, made.n_enemies, spec.episode_limit) == (int(n), int(m), int(limit))
    assert (spec.n_actions, spec.obs_dim, spec.state_dim) == (int(actions), int(obs), int(state))
    assert made.ally_race + made.enemy_race == races
    assert (made.type_bits, made.map_type) == (int(bits), map_type)
    assert _counts(made.allies) == allies.split()
    assert Counter(made.enemies) == {name: int(k) for k, name in zip(enemies.split()[::2], enemies.split()[1::2])}
    assert (len(made.ally_spawn), len(made.enemy_spawn)) == (int(n), int(m))
    assert spec.has_win
    assert spec.agent_groups == made.allies


def _counts(names: tuple[str, ...]) -> list[str]:
    return [word for name in dict.fromkeys(names) for word in (str(names.count(name)), name)]


def test_there_are_23_and_15() -> None:
    assert set(SMAC_SCENARIOS) == {row[0] for row in ROWS}
    sizes = {(5, 5), (10, 10), (10, 11), (20, 20), (20, 23)}
    expected = {f"{race}_{n}_vs_{m}" for race in ("terran", "protoss", "zerg") for n, m in sizes}
    assert set(SMACV2_SCENARIOS) == expected


@pytest.mark.parametrize(("key", "sizes"), SMACV2_SIZES.items())
def test_a_smacv2_scenario_has_the_measured_sizes(key: tuple, sizes: tuple) -> None:
    race, n, m = key
    made = scenario(f"{race}_{n}_vs_{m}")
    spec = team_spec(made, SmacOptions.for_scenario(made))
    assert (spec.obs_dim, spec.state_dim, spec.n_actions) == sizes
    assert (spec.n_agents, made.n_enemies, spec.episode_limit, made.type_bits) == (n, m, 200, 3)
    assert set(spec.agent_groups) == {"team"}, "types are drawn, so no agent has a kind of its own"
    assert made.map_file == "32x32_flat"


@pytest.mark.parametrize("made", SCENARIOS.values(), ids=lambda made: made.name)
def test_every_unit_belongs_to_its_race(made) -> None:
    for names, race in ((made.ally_types, made.ally_race), (made.enemy_types, made.enemy_race)):
        assert {UNIT_TYPES[KIND[name]].race for name in names} == {race}
    assert list(made.allies) == sorted(made.allies, key=made.ally_ids.index), "agents are sorted by their type numbers"


def test_points_and_orders_of_the_maps_scripts() -> None:
    for name in ("3m", "MMM2", "3s5z_vs_3s6z"):
        made = scenario(name)
        assert set(made.ally_spawn) == {(9, 16)}
        assert set(made.enemy_spawn) == {(23, 16)}
        assert (made.enemy_order, made.enemy_target) == ("attack_move", (9, 16))
    assert scenario("2m_vs_1z").ally_spawn == ((13, 12), (19, 12))
    assert scenario("2m_vs_1z").enemy_target == ((13, 12), (19, 12))
    banes = scenario("bane_vs_bane")
    assert list(zip(banes.enemies, banes.enemy_spawn))[19:21] == [("zergling", (16, 21)), ("baneling", (16, 24))]
    assert list(zip(banes.allies, banes.ally_spawn))[3:5] == [("baneling", (16, 8)), ("zergling", (16, 11))]
    assert scenario("2s_vs_1sc").enemy_order == "hold"
    assert scenario("2c_vs_64zg").enemy_order == "attack_allies"
    assert scenario("MMM").enemies[-1] == "medivac"
    assert scenario("MMM").enemies[0] == "marine"
    assert scenario("zerg_5_vs_5").enemy_order == "attack_nearest"


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no scenario '10m_vs_12m'. Did you mean '10m_vs_11m'\?"):
        scenario("10m_vs_12m")
    with pytest.raises(ValueError, match=r"no scenario '\?'. Known: 10m_vs_11m, .*zerg_5_vs_5\."):
        scenario("?")


def test_smacv2_scenarios_of_other_sizes() -> None:
    made = smacv2_scenario("terran", 7, 4)
    assert made.name == "terran_7_vs_4"
    # A Medivac can be told to heal any of 7 allies, though there are 4 enemies.
    assert team_spec(made, SmacOptions.for_scenario(made)).n_actions == 6 + 7
    assert team_spec(smacv2_scenario("zerg", 7, 4), SmacOptions()).n_actions == 6 + 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"race": "teran"}, r"race is 'teran'; .*Did you mean 'terran'"),
        ({"n_agents": 0}, r"n_agents is 0; expected a whole number >= 1"),
        ({"n_enemies": 2.5}, r"n_enemies is 2.5"),
        ({"teams": AllTeams(unit_types=("marine",))}, r"5 agents and 6 enemies; use WeightedTeams"),
        ({"n_enemies": 5, "teams": FixedTeams(teams=(("marine",) * 4,))}, r"have \[4\] units; expected 5"),
        ({"teams": WeightedTeams(unit_types=("zealot",), weights=(1.0,))}, r"'zealot' is no unit of SMACv2's terran"),
    ],
)
def test_wrong_smacv2_scenarios_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        smacv2_scenario(**{"race": "terran", "n_agents": 5, "n_enemies": 6, **arguments})


def test_unit_types_are_those_of_the_reference() -> None:
    assert {unit.name: unit.type_id for unit in UNIT_TYPES} == {
        "marine": 48,
        "marauder": 51,
        "medivac": 54,
        "zealot": 73,
        "stalker": 74,
        "colossus": 4,
        "zergling": 105,
        "baneling": 9,
        "hydralisk": 107,
        "spine_crawler": 98,
    }
    cooldowns = {unit.name: unit.max_cooldown for unit in UNIT_TYPES if unit.name != "spine_crawler"}
    assert cooldowns == {
        "marine": 15,
        "marauder": 25,
        "medivac": 200,
        "stalker": 35,
        "zealot": 22,
        "colossus": 24,
        "hydralisk": 10,
        "zergling": 11,
        "baneling": 1,
    }
    shields = {unit.name: unit.max_shield for unit in UNIT_TYPES if unit.max_shield}
    assert shields == {"stalker": 80, "zealot": 50, "colossus": 150}
    order = ("stalker", "zealot", "zergling", "colossus", "hydralisk", "marine", "marauder", "medivac", "baneling")
    types = [UNIT_TYPES[KIND[name]] for name in order]
    assert [unit.smacv2_range for unit in types] == [6, 0.1, 0.1, 7, 5, 5, 6, 4, 0.25]
    assert [unit.smacv2_sight for unit in types] == [10, 9, 8, 10, 9, 9, 10, 11, 8]
    assert all(UNIT_TYPES[kind].type_id == number for number, kind in KIND_OF_TYPE_ID.items())
