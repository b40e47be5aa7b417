"""Where units stand at the start, and the ground they stand on."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_reborn.envs.battle.battlefield import Battlefield
from rllib_reborn.envs.battle.formations import place
from rllib_reborn.envs.battle.pathfinding import find_paths
from rllib_reborn.envs.battle.terrains import terrain_of
from rllib_reborn.envs.smac.capabilities import agent_order, draw
from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.scenarios import SCENARIOS, SMAC_SCENARIOS, scenario
from rllib_reborn.envs.smac.terrain import Terrain
from rllib_reborn.envs.smac.unit_types import KIND
from tests.envs.battle.fields import overlaps

MARINE = KIND["marine"]


def spawned(name: str, seeds: range) -> Battlefield:
    played = scenario(name)
    drawn = None
    if played.generated is not None:
        drawn = [draw(played, SmacOptions.for_scenario(played), seed) for seed in seeds]
    field = Battlefield(played, len(seeds), backend="numpy")
    field.spawn(np.arange(len(seeds)), list(seeds), drawn)
    return field


@pytest.mark.parametrize("name", [*SMAC_SCENARIOS, "terran_20_vs_23", "protoss_10_vs_11", "zerg_20_vs_20"])
def test_nobody_overlaps_and_the_order_of_agents_outlasts_the_first_loop(name):
    field = spawned(name, range(1 if name in SMAC_SCENARIOS else 6))
    n = field.scenario.n_agents
    assert overlaps(field).max() <= 0
    assert field.terrain.pathing[field.units.x.astype(int), field.units.y.astype(int)].all()
    before = field.units.copy()
    field.advance(1)
    for row in range(field.num_battles):
        order = agent_order(field.scenario, *(getattr(field.units, a)[row, :n] for a in ("kind", "x", "y")))
        assert order.tolist() == list(range(n))
    assert np.array_equal(field.units.x[:, :n], before.x[:, :n])
    assert np.array_equal(field.units.y[:, :n], before.y[:, :n])


@pytest.mark.parametrize("name", list(SMAC_SCENARIOS))
def test_teams_stand_around_their_points(name):
    field, played = spawned(name, range(1)), SMAC_SCENARIOS[name]
    points = np.array([*played.ally_spawn, *played.enemy_spawn])
    centre = [np.mean(field.units.x[0]), np.mean(field.units.y[0])]
    assert np.abs(np.mean(points, axis=0) - centre).max() < 0.5
    far = np.hypot(field.units.x[0] - points[:, 0], field.units.y[0] - points[:, 1])
    assert far.max() < 0.75 * np.sqrt(len(points))
    names = [unit.name for unit in (*map(_type, field.units.kind[0]),)]
    assert names[: played.n_agents] == list(played.allies)
    assert names[played.n_agents :] == list(played.enemies)


def _type(kind):
    from rllib_reborn.envs.smac.unit_types import UNIT_TYPES

    return UNIT_TYPES[kind]


def test_a_free_point_is_kept_and_the_next_free_one_found():
    points = np.array([[10.0, 10.0], [20.0, 10.0], [10.0, 10.0]])
    places = place(points, np.full(3, MARINE), np.ones(3, bool), Terrain.flat())
    assert places[:2].tolist() == points[:2].tolist()
    assert 0.75 <= np.hypot(*(places[2] - places[0])) < 0.8


def test_points_off_the_map_and_in_walls_are_moved_to_the_ground():
    pathing = np.ones((32, 32), bool)
    pathing[8:12, 8:12] = False
    ground = Terrain(map_x=32, map_y=32, width=32, height=32, pathing=pathing, terrain_height=np.zeros((32, 32)))
    points = np.array([[-3.0, 40.0], [10.0, 10.0], [10.0, 10.0]])
    places = place(points, np.array([MARINE, MARINE, KIND["medivac"]]), np.ones(3, bool), ground)
    assert places[0].tolist() == [0.5, 31.5]
    assert pathing[tuple(places[1].astype(int))]
    assert np.hypot(*(places[1] - 10)) < 3.5
    assert places[2].tolist() == [10, 10]  # flies


def test_opponents_keep_a_little_apart():
    points = np.array([[10.0, 10.0], [10.8, 10.0]])
    friends = place(points, np.full(2, MARINE), np.array([True, True]), Terrain.flat())
    opponents = place(points, np.full(2, MARINE), np.array([True, False]), Terrain.flat())
    assert friends[1, 0] - friends[0, 0] == pytest.approx(0.8)
    assert np.hypot(*(opponents[1] - opponents[0])) >= 1.25


def test_no_room_is_said_plainly():
    pathing = np.zeros((32, 32), bool)
    pathing[10, 10] = True
    ground = Terrain(map_x=32, map_y=32, width=32, height=32, pathing=pathing, terrain_height=np.zeros((32, 32)))
    with pytest.raises(ValueError, match="no free place within 14 cells of"):
        place(np.full((9, 2), 10.5), np.full(9, MARINE), np.ones(9, bool), ground)


# ----------------------------------------------------------------------------------------------------------------------
# ground


#: Scenario -> centre and half the size of a square that covers the only way through its wall.
WAYS = {"corridor": ((21, 21), 3.5), "so_many_baneling": ((17, 17), 4.0), "2c_vs_64zg": ((4, 12), 5.0)}


@pytest.mark.parametrize("name", list(WAYS))
def test_invented_walls_part_the_teams_and_leave_one_way(name):
    played, ground = scenario(name), terrain_of(scenario(name)).pathing.copy()
    start, end = played.enemy_spawn[0], played.ally_spawn[0]
    assert _connected(ground, start, end)
    (x, y), half = WAYS[name]
    ground[max(0, int(x - half)) : int(x + half), max(0, int(y - half)) : int(y + half)] = False
    assert not _connected(ground, start, end)


def _connected(ground, start, end) -> bool:
    reached = np.zeros_like(ground)
    reached[int(start[0]), int(start[1])] = True
    for _ in range(ground.size):
        grown = reached.copy()
        grown[1:] |= reached[:-1]
        grown[:-1] |= reached[1:]
        grown[:, 1:] |= reached[:, :-1]
        grown[:, :-1] |= reached[:, 1:]
        grown &= ground
        if (grown == reached).all():
            return bool(reached[int(end[0]), int(end[1])])
        reached = grown
    raise AssertionError("does not end")


def _length(paths, start, end) -> float:
    """Length of the way along the corners."""
    where, length = np.array(start), 0.0
    for _ in range(20):
        corner = paths.waypoint[int(where[0]) * 32 + int(where[1]), int(end[0]) * 32 + int(end[1])]
        there = np.array(end) if corner < 0 else np.array([paths.corner_x[corner], paths.corner_y[corner]])
        length += np.hypot(*(there - where))
        where = there
        if corner < 0:
            return length
    raise AssertionError("the corners lead nowhere")


def test_all_other_scenarios_are_on_open_ground():
    for each in SCENARIOS.values():
        walls = not terrain_of(each).pathing.all()
        assert walls == (each.name in ("corridor", "so_many_baneling", "2c_vs_64zg"))
        assert (terrain_of(each).map_x, terrain_of(each).map_y) == (32, 32)


def test_ways_around_walls_are_the_shortest():
    """Around the southern end of a bar; a search over cells, which goes in 8 directions only, would be longer."""
    pathing = np.ones((32, 32), bool)
    pathing[10, 5:26] = False
    ground = Terrain(map_x=32, map_y=32, width=32, height=32, pathing=pathing, terrain_height=np.zeros((32, 32)))
    paths = find_paths(ground)
    start, end = (4.5, 9.5), (16.5, 9.5)
    by_hand = np.hypot(9.5 - 4.5, 9.5 - 4.5) + 2 + np.hypot(16.5 - 11.5, 9.5 - 4.5)
    assert _length(paths, start, end) == pytest.approx(by_hand, abs=0.3)
    assert find_paths(Terrain.flat()) is None


def test_no_way_means_straight_on():
    pathing = np.ones((32, 32), bool)
    pathing[16] = False
    pathing[8:10, 8:10] = False  # so that there are corners
    ground = Terrain(map_x=32, map_y=32, width=32, height=32, pathing=pathing, terrain_height=np.zeros((32, 32)))
    paths = find_paths(ground)
    assert len(paths.corner_x)
    assert (paths.waypoint[: 16 * 32, 17 * 32 :] == -1).all()
