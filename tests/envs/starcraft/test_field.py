"""From the game's reports to arrays: the ground in both depths, and units by their tags."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("s2clientprotocol", reason="not run: the extra 'starcraft' is not installed")

from s2clientprotocol import raw_pb2, sc2api_pb2

from rllib_reborn.envs.smac import SmacOptions, SmacRules, Terrain
from rllib_reborn.envs.smac.scenarios import scenario
from rllib_reborn.envs.smac.smac_rules import ORDER_ATTACK, ORDER_HEAL, ORDER_MOVE, ORDER_NONE, ORDER_STOP, Orders
from rllib_reborn.envs.smac.unit_types import KIND
from rllib_reborn.envs.smac.units import FIELDS, Units
from rllib_reborn.envs.starcraft.commands import commands_of
from rllib_reborn.envs.starcraft.errors import InstallationError
from rllib_reborn.envs.starcraft.field import UnitReader, terrain_of

FIRST_OWN = 1970


def game_info(pathing: bytes, bits: int, heights: bytes, size: tuple[int, int]) -> sc2api_pb2.ResponseGameInfo:
    info = sc2api_pb2.ResponseGameInfo()
    start = info.start_raw
    start.map_size.x, start.map_size.y = size
    start.playable_area.p0.x, start.playable_area.p0.y = 1, 2
    start.playable_area.p1.x, start.playable_area.p1.y = 15, 7
    for image, data, depth in ((start.pathing_grid, pathing, bits), (start.terrain_height, heights, 8)):
        image.size.x, image.size.y = size
        image.bits_per_pixel, image.data = depth, data
    return info


class TestArena:
    """On a map of 16 x 8 cells, of which (3, 1) alone can be walked on."""

    HEIGHTS = bytes(range(128))

    def test_one_bit_a_cell(self):
        grid = np.zeros((8, 16), np.uint8)
        grid[1, 3] = 1
        terrain = terrain_of(game_info(np.packbits(grid).tobytes(), 1, self.HEIGHTS, (16, 8)))
        assert (terrain.map_x, terrain.map_y, terrain.width, terrain.height) == (16, 8, 14.0, 5.0)
        assert np.argwhere(terrain.pathing).tolist() == [[3, 1]]
        assert terrain.terrain_height[3, 1] == np.float32(19 / 255)

    @pytest.mark.parametrize("size", [(-1, -1), (0, 0), (16, -8), (2**30, 2**30), (1_025, 1)])
    def test_a_map_without_a_size(self, size):
        with pytest.raises(InstallationError, match="reports a map of"):
            terrain_of(game_info(self.HEIGHTS, 8, self.HEIGHTS, size))

    @pytest.mark.parametrize("end", [(1, 7), (15, 2), (17, 7), (15, 9), (-3, 7)])
    def test_a_playable_area_that_is_not_on_the_map(self, end):
        info = game_info(self.HEIGHTS, 8, self.HEIGHTS, (16, 8))
        info.start_raw.playable_area.p1.x, info.start_raw.playable_area.p1.y = end
        with pytest.raises(InstallationError, match="playable area"):
            terrain_of(info)

    def test_one_byte_a_cell_is_upside_down_and_says_what_cannot_be_walked_on(self):
        grid = np.full((8, 16), 255, np.uint8)
        grid[8 - 1 - 1, 3] = 0
        terrain = terrain_of(game_info(grid.tobytes(), 8, self.HEIGHTS, (16, 8)))
        assert np.argwhere(terrain.pathing).tolist() == [[3, 1]]

    def test_as_smac_reads_it_on_its_square_maps(self):
        """The reference: SMAC's reading of both depths (of a map of 32 x 32), written down independently."""
        rng = np.random.default_rng(0)
        data, heights = rng.integers(0, 256, 128, np.uint8), rng.integers(0, 256, 1024, np.uint8)
        rows = data.reshape(32, 4)
        smac = np.array([[(byte >> i) & 1 for byte in row for i in range(7, -1, -1)] for row in rows], bool).T
        terrain = terrain_of(game_info(data.tobytes(), 1, heights.tobytes(), (32, 32)))
        np.testing.assert_array_equal(terrain.pathing, smac)
        old = rng.choice(np.array([0, 255], np.uint8), 1024)
        smac = ~np.flip(old.astype(bool).reshape(32, 32).T, axis=1)
        terrain = terrain_of(game_info(old.tobytes(), 8, heights.tobytes(), (32, 32)))
        np.testing.assert_array_equal(terrain.pathing, smac)

    @pytest.mark.parametrize(("data", "bits"), [(bytes(15), 1), (bytes(128), 4), (bytes(127), 8)])
    def test_another_depth_or_size_is_refused(self, data, bits):
        with pytest.raises(InstallationError, match=f"pathing_grid of {len(data)} bytes with {bits} bits a cell"):
            terrain_of(game_info(data, bits, self.HEIGHTS, (16, 8)))


def unit(tag: int, owner: int, unit_type: int, x: float = 1.0, y: float = 2.0, **more: float) -> raw_pb2.Unit:
    made = raw_pb2.Unit(tag=tag, owner=owner, unit_type=unit_type, health=45, health_max=45, **more)
    made.pos.x, made.pos.y = x, y
    return made


def two_stalkers_three_zealots() -> list[raw_pb2.Unit]:
    """Allies in another order than the agents', enemies, and somebody who has no part in it."""
    return [
        unit(11, 1, FIRST_OWN + 1, x=5),
        unit(50, 16, 341),
        unit(21, 2, 74),
        unit(12, 1, FIRST_OWN, x=9, y=1),
        unit(13, 1, FIRST_OWN + 1, x=4, y=8),
        unit(22, 2, 73),
        unit(14, 1, FIRST_OWN + 1, x=4, y=7),
        unit(15, 1, FIRST_OWN, x=9, y=0, shield=3, shield_max=80, energy=7, weapon_cooldown=2.5),
        unit(23, 2, 74),
        unit(24, 2, 73),
        unit(25, 2, 73),
    ]


def reader_of(name: str, first_ally_id: int | None = None) -> tuple[UnitReader, Units]:
    """A reader of the second of three battles, and the units of all."""
    which = scenario(name)
    units = Units.zeros(3, which.n_units)
    return UnitReader(which, units, 1, first_ally_id), units


class TestUnitReader:
    def test_a_new_battle(self):
        reader, units = reader_of("2s3z")
        reported = two_stalkers_three_zealots()
        assert reader.everyone_is_there(reported)
        assert not reader.everyone_is_there(reported[1:])
        assert not reader.everyone_is_there(reported[:-1])
        reader.begin(reported)
        assert reader.tags == (15, 12, 14, 13, 11, 21, 22, 23, 24, 25)
        stalker, zealot = KIND["stalker"], KIND["zealot"]
        assert units.kind[1].tolist() == [
            *(stalker, stalker, zealot, zealot, zealot),
            *(stalker, zealot, stalker, zealot, zealot),
        ]
        assert (units.x[1, 0], units.y[1, 0], units.health[1, 0], units.health_max[1, 0]) == (9, 0, 45, 45)
        assert (units.shield[1, 0], units.shield_max[1, 0], units.energy[1, 0], units.cooldown[1, 0]) == (3, 80, 7, 2.5)

    def test_the_rules_take_enemies_in_the_games_order(self):
        reader, units = reader_of("2s3z")
        reader.begin(two_stalkers_three_zealots())
        made = scenario("2s3z")
        rules = SmacRules(made, SmacOptions.for_scenario(made), 3, Terrain.flat())
        obs = rules.begin(np.array([1]), units, None, [0])
        # Of each enemy: is it a zealot, is it a stalker? (SMAC has the bits of enemies the other way round.)
        types = obs.obs[1, 0, 4 : 4 + 5 * 8].reshape(5, 8)[:, 6:]
        np.testing.assert_array_equal(types, [[0, 1], [1, 0], [0, 1], [1, 0], [1, 0]])

    def test_other_battles_are_left_alone(self):
        reader, units = reader_of("2s3z")
        before = units.copy()
        reader.begin(two_stalkers_three_zealots())
        for field in FIELDS:
            np.testing.assert_array_equal(getattr(units, field)[[0, 2]], getattr(before, field)[[0, 2]])

    def test_who_is_not_reported_is_dead_and_strangers_are_none_of_ours(self):
        reader, units = reader_of("2s3z")
        reader.begin(two_stalkers_three_zealots())
        reader.update([unit(12, 1, FIRST_OWN, x=7, shield=4), unit(99, 2, 73), unit(25, 2, 73, x=3)])
        assert np.flatnonzero(units.health[1] > 0).tolist() == [1, 9]
        assert (units.x[1, 1], units.shield[1, 1], units.x[1, 9]) == (7, 4, 3)
        assert (units.x[1, 0], units.shield[1, 0], units.health_max[1, 0]) == (9, 0, 45)  # where it fell
        reader.update([])
        assert not (units.health > 0).any()

    def test_own_types_are_numbered_from_the_smallest_of_the_first_battle(self):
        """In a later battle the first type may be missing (SMAC looks once, too)."""
        reader, _ = reader_of("2s3z")
        reader.begin(two_stalkers_three_zealots())
        assert reader.first_ally_id == FIRST_OWN
        zealots = [u for u in two_stalkers_three_zealots() if (u.owner, u.unit_type) == (1, FIRST_OWN + 1)]
        assert {reader._ally_kinds(zealots)[u.unit_type] for u in zealots} == {KIND["zealot"]}

    def test_another_map_is_told(self):
        strangers = two_stalkers_three_zealots()
        strangers[-1] = unit(25, 2, 48)
        with pytest.raises(
            InstallationError, match=r"2s3z.SC2Map has an enemy unit of type 48, which is none of zealot, st"
        ):
            reader_of("2s3z")[0].begin(strangers)
        strangers = two_stalkers_three_zealots()
        strangers[0] = unit(11, 1, FIRST_OWN + 7)
        with pytest.raises(InstallationError, match="has an allied unit of type 1977"):
            reader_of("2s3z")[0].begin(strangers)

    def test_smacv2s_own_types_are_the_last_nine(self):
        reader, units = reader_of("zerg_5_vs_5", first_ally_id=2000)
        allies = [unit(1 + i, 1, 2008, x=i) for i in range(4)] + [unit(5, 1, 2000)]
        enemies = [unit(11 + i, 2, 107) for i in range(5)]
        reader.begin([*enemies, *allies])
        assert reader.tags[:5] == (5, 1, 2, 3, 4)
        assert units.kind[1, :5].tolist() == [KIND["baneling"]] + [KIND["zergling"]] * 4


def test_orders_become_commands():
    kinds = [ORDER_NONE, ORDER_STOP, ORDER_MOVE, ORDER_ATTACK, ORDER_HEAL]
    orders = Orders(
        np.array([[ORDER_STOP] * 5, kinds], np.int8),
        np.array([[-1] * 5, [-1, -1, -1, 7, 0]]),
        np.array([[9] * 5, [0, 0, 3.5, 0, 0]], np.float32),
        np.array([[9] * 5, [0, 0, 4.5, 0, 0]], np.float32),
    )
    stop, move, attack, heal = commands_of(orders, 1, tuple(range(100, 110)))
    assert [list(command.unit_tags) for command in (stop, move, attack, heal)] == [[101], [102], [103], [104]]
    assert [command.ability_id for command in (stop, move, attack, heal)] == [4, 16, 23, 386]
    assert (move.target_world_space_pos.x, move.target_world_space_pos.y) == (3.5, 4.5)
    assert (attack.target_unit_tag, heal.target_unit_tag) == (107, 100)
    assert not any(command.queue_command for command in (stop, move, attack, heal))
    assert stop.WhichOneof("target") is None
