"""The tables around a unit, and the cone that it sees in."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_reborn.envs.smac import Terrain
from rllib_reborn.envs.smac.field_of_view import FieldOfView
from rllib_reborn.envs.smac.terrain_tables import TerrainTables


def may_move(tables: TerrainTables, x: float, y: float) -> list[bool]:
    px, py = np.array([x], np.float32), np.array([y], np.float32)
    return tables.may_move(px, py, tables.cells(px, py))[0].tolist()


def walled(*walls: tuple[int, int]) -> Terrain:
    pathing = np.ones((8, 6), np.bool_)
    for wall in walls:
        pathing[wall] = False
    heights = np.arange(48).reshape(8, 6) / 48
    return Terrain(map_x=8, map_y=6, width=8, height=6, pathing=pathing, terrain_height=heights)


def test_moves_are_looked_up_half_a_move_ahead() -> None:
    tables = TerrainTables(walled((3, 4), (5, 2)), move_amount=2, mirrored_heights=False)
    assert may_move(tables, 3.5, 2.5) == [True, True, True, True]
    assert may_move(tables, 3.5, 3.0) == [False, True, True, True]  # (3, 4) to the north
    assert may_move(tables, 4.9, 2.1) == [True, True, False, True]  # (5, 2) to the east
    assert may_move(tables, 6.0, 2.0) == [True, True, True, False]  # and to the west


def test_moves_off_the_map_are_not_allowed_but_decimals_are_cut_off() -> None:
    tables = TerrainTables(walled(), move_amount=2, mirrored_heights=False)
    assert may_move(tables, 7.5, 5.5) == [False, True, False, True]
    # 0.5 - 1 = -0.5 is cut to cell 0, as in the original.
    assert may_move(tables, 0.5, 0.5) == [True, True, True, True]
    assert may_move(TerrainTables(walled((0, 2)), 2, False), 0.5, 2.5) == [True, True, True, False]


@pytest.mark.parametrize("amount", [2, 3, 4, 1.5])
def test_the_table_equals_looking_each_point_up(amount: float) -> None:
    rng = np.random.default_rng(0)
    pathing = rng.random((8, 6)) < 0.6
    terrain = Terrain(map_x=8, map_y=6, width=8, height=6, pathing=pathing, terrain_height=np.zeros((8, 6)))
    tables, half = TerrainTables(terrain, amount, False), amount / 2
    for x, y in rng.uniform(0.01, (7.99, 5.99), (300, 2)).astype(np.float32).tolist():
        expected = []
        for dx, dy in ((0, half), (0, -half), (half, 0), (-half, 0)):
            px, py = int(x + dx), int(y + dy)
            expected.append(0 <= px < 8 and 0 <= py < 6 and bool(pathing[px, py]))
        assert may_move(tables, x, y) == expected, (x, y)


def test_points_around_and_their_heights() -> None:
    tables = TerrainTables(walled((3, 4), (2, 2)), move_amount=1, mirrored_heights=False)
    cell = tables.cells(np.array([3.7], np.float32), np.array([2.2], np.float32))[0]
    # N, S, E, W two moves away; then the diagonals NE, SW, SE, NW one move away.
    assert tables.around[cell].tolist() == [0, 1, 1, 1, 1, 1, 1, 1]
    assert np.allclose(tables.heights[cell] * 48, [22, 18, 32, 8, 27, 13, 25, 15, 20])
    edge = tables.cells(np.array([0.0], np.float32), np.array([5.0], np.float32))[0]
    assert tables.heights[edge, 0] == tables.around[edge, 0] == 1, "off the map"


def test_mirrored_heights_are_those_of_the_other_end_but_pathing_is_not() -> None:
    plain, mirrored = (TerrainTables(walled((3, 4)), 1, flip) for flip in (False, True))
    cell = plain.cells(np.array([3.0], np.float32), np.array([1.0], np.float32))[0]
    assert plain.heights[cell, -1] * 48 == pytest.approx(19)
    assert mirrored.heights[cell, -1] * 48 == pytest.approx(22)
    assert np.array_equal(plain.around, mirrored.around)


@pytest.mark.parametrize(("field", "value"), [("map_x", 0), ("width", -1), ("pathing", np.ones((3, 3), np.bool_))])
def test_a_terrain_that_does_not_fit_is_refused(field: str, value) -> None:
    terrain = walled()
    settings = {
        name: getattr(terrain, name) for name in ("map_x", "map_y", "width", "height", "pathing", "terrain_height")
    }
    with pytest.raises(ValueError, match=f"Terrain.{field}"):
        Terrain(**{**settings, field: value})


def holds(field: FieldOfView, look: int, degrees: float) -> bool:
    angle = np.radians(degrees)
    dx, dy = np.float32([3 * np.cos(angle)]), np.float32([3 * np.sin(angle)])
    return bool(field.holds(dx, dy, field.directions[look])[0])


def test_a_cone_is_as_wide_as_its_share_of_the_circle() -> None:
    field = FieldOfView(12, double=False)
    for look in range(12):
        middle = 30 * look
        assert [holds(field, look, middle + turn) for turn in (-16, -14, 0, 14, 16)] == [False, True, True, True, False]
        assert not holds(field, look, middle + 180)
    every_degree = np.array([[holds(field, look, degree + 0.5) for look in range(12)] for degree in range(360)])
    assert np.all(every_degree.sum(axis=1) == 1), "the cones must tile the circle"
    assert field.holds(np.zeros(1, np.float32), np.zeros(1, np.float32), field.directions[3])[0]


def test_the_original_cone_also_sees_behind() -> None:
    field = FieldOfView(12, double=True)
    assert holds(field, 0, 0)
    assert holds(field, 0, 180), "looking east, it sees west"
    assert holds(field, 6, 0), "looking west, it sees east"
    assert not holds(field, 0, 90)
    assert holds(field, 1, 95), "looking at 30 degrees, it sees what is just beyond the vertical"
    assert not holds(FieldOfView(12, double=False), 1, 95)
