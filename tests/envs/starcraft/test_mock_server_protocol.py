"""The mock server as a client of the game finds it: every request over a real websocket with the real messages."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rllib_reborn.envs.smac.scenarios import scenario
from rllib_reborn.envs.smac.terrain import Terrain
from rllib_reborn.envs.starcraft.mock_server import GAME_VERSION, NOTICE
from rllib_reborn.envs.starcraft.mock_server.install import make_mock_install, running_servers
from rllib_reborn.envs.starcraft.mock_server.terrain_images import grid_as_bits, heights_as_bytes
from tests.envs.starcraft.mock_server_client import (
    Client,
    connect,
    free_port,
    raw_pb2,
    running_server,
    sc_pb,
    websocket,
)

STOP, MOVE, ATTACK, HEAL = 4, 16, 23, 386
SUCCESS, NOT_SUPPORTED, ERROR = 1, 2, 3


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_mock_install(tmp_path_factory.mktemp("loop back"))


@pytest.fixture(scope="module")
def server(install: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """One server for all tests that do not end it."""
    port = free_port()
    with running_server(install, port) as process:
        connect(port).close()
        yield port, process


@pytest.fixture
def client(server: tuple[int, subprocess.Popen[bytes]]) -> Iterator[Client]:
    """A connection to it, with no game going on."""
    made = connect(server[0])
    if made.ask(ping=sc_pb.RequestPing()).status == sc_pb.in_game:
        made.ask(leave_game=sc_pb.RequestLeaveGame())
    yield made
    made.close()


class TestStates:
    """A game's states, and what is said to a request that does not fit."""

    def test_from_launched_to_in_game_and_back(self, client: Client) -> None:
        ping = client.ask(ping=sc_pb.RequestPing())
        assert (ping.status, ping.ping.game_version) == (sc_pb.launched, GAME_VERSION)
        assert (ping.ping.base_build, ping.ping.data_build) == (75689, 75689)
        created = client.create("3m")
        assert created.status == sc_pb.init_game
        assert not created.create_game.HasField("error")
        joined = client.join()
        assert (joined.status, joined.join_game.player_id) == (sc_pb.in_game, 1)
        assert client.ask(restart_game=sc_pb.RequestRestartGame()).status == sc_pb.in_game
        assert client.ask(leave_game=sc_pb.RequestLeaveGame()).status == sc_pb.launched

    @pytest.mark.parametrize(
        "name",
        ["join_game", "game_info", "observation", "action", "step", "data", "save_replay", "debug", "restart_game"],
    )
    def test_too_early(self, client: Client, name: str) -> None:
        response = client.ask(**{name: {}})
        assert f"{name} in status launched" in response.error[0]
        assert response.WhichOneof("response") is None
        assert response.status == sc_pb.launched

    def test_what_is_not_answered(self, client: Client) -> None:
        assert "asks for query" in client.ask(query={}).error[0]
        client.connection.send_binary(sc_pb.Request(id=3).SerializeToString())
        assert "holds no request" in sc_pb.Response.FromString(client.connection.recv()).error[0]
        client.connection.send_binary(b"\xff\xff\xff")
        unreadable = sc_pb.Response.FromString(client.connection.recv())
        assert "holds no request" in unreadable.error[0]
        assert unreadable.status == sc_pb.launched

    def test_a_new_game_on_another_map_in_the_middle_of_one(self, client: Client) -> None:
        client.start("3m")
        client.start("MMM2")
        assert (len(client.side(1)), len(client.side(2))) == (10, 12)

    def test_the_game_goes_on_when_its_client_comes_back(
        self, client: Client, server: tuple[int, subprocess.Popen[bytes]]
    ) -> None:
        client.start("3m")
        client.step(5)
        before = client.ask(observation=sc_pb.RequestObservation()).observation.observation
        client.close()
        again = connect(server[0])
        assert again.ask(observation=sc_pb.RequestObservation()).observation.observation == before
        again.close()

    def test_a_second_client_is_turned_away(self, client: Client, server: tuple[int, subprocess.Popen[bytes]]) -> None:
        with pytest.raises((ConnectionError, websocket.WebSocketConnectionClosedException)):
            connect(server[0], patience=1)
        assert client.ask(ping=sc_pb.RequestPing()).status == sc_pb.launched

    def test_quit_ends_the_process_and_a_hang_up_does_not(self, install: Path) -> None:
        port = free_port()
        with running_server(install, port) as process:
            connect(port).close()
            last = connect(port)
            assert running_servers(install).count(process.pid) == 1
            assert last.ask(quit=sc_pb.RequestQuit()).status == sc_pb.quit
            assert process.wait(10) == 0
            assert process.stderr is not None
            assert process.stderr.read().decode().splitlines()[0] == NOTICE
            assert process.pid not in running_servers(install)


class TestCreateAndJoin:
    """Errors with the game's own numbers."""

    def setup(self, *kinds: int) -> list[object]:
        return [sc_pb.PlayerSetup(type=kind) for kind in kinds]

    def error(self, client: Client, local_map: object = None, *kinds: int) -> int:
        setup = self.setup(*(kinds or (sc_pb.Participant, sc_pb.Computer)))
        response = client.ask(create_game=sc_pb.RequestCreateGame(local_map=local_map, player_setup=setup))
        assert response.status == sc_pb.launched
        assert response.create_game.error_details
        return int(response.create_game.error)

    def test_maps(self, client: Client, install: Path) -> None:
        errors = sc_pb.ResponseCreateGame
        assert self.error(client) == errors.MissingMap
        assert self.error(client, sc_pb.LocalMap()) == errors.MissingMap
        assert self.error(client, sc_pb.LocalMap(map_path="SMAC_Maps/4m.SC2Map")) == errors.InvalidMapPath
        assert self.error(client, sc_pb.LocalMap(map_data=b"no map")) == errors.InvalidMapData
        assert self.error(client, sc_pb.LocalMap(map_data=b"MPQ\x1a", map_path="4m.SC2Map")) == errors.InvalidMapData
        data = (install / "Maps" / "SMAC_Maps" / "2s3z.SC2Map").read_bytes()
        setup = self.setup(sc_pb.Participant, sc_pb.Computer)
        for local_map in (
            sc_pb.LocalMap(map_data=data),
            sc_pb.LocalMap(map_data=data, map_path="anywhere/x.SC2Map"),
            sc_pb.LocalMap(map_data=b"MPQ\x1b and so on", map_path="C:\\maps\\2s3z.SC2Map"),
        ):
            created = client.ask(create_game=sc_pb.RequestCreateGame(local_map=local_map, player_setup=setup))
            assert created.status == sc_pb.init_game
            client.join()
            assert client.ask(game_info=sc_pb.RequestGameInfo()).game_info.map_name == "2s3z"

    def test_players(self, client: Client) -> None:
        errors, here = sc_pb.ResponseCreateGame, sc_pb.LocalMap(map_path="SMAC_Maps/3m.SC2Map")
        assert self.error(client, here, sc_pb.Participant) == errors.InvalidPlayerSetup
        assert self.error(client, here, sc_pb.Participant, sc_pb.Participant) == errors.InvalidPlayerSetup
        response = client.ask(create_game=sc_pb.RequestCreateGame(local_map=here))
        assert response.create_game.error == errors.MissingPlayerSetup

    def test_a_refused_request_leaves_the_game_as_it_is(self, client: Client) -> None:
        client.start("3m")
        units = client.units()
        refused = client.ask(create_game=sc_pb.RequestCreateGame())
        assert (refused.status, refused.create_game.error) == (sc_pb.in_game, sc_pb.ResponseCreateGame.MissingMap)
        assert client.units() == units
        assert client.ask(restart_game={}).status == sc_pb.in_game

    def test_realtime_is_refused(self, client: Client) -> None:
        request = sc_pb.RequestCreateGame(
            local_map=sc_pb.LocalMap(map_path="SMAC_Maps/3m.SC2Map"),
            player_setup=self.setup(sc_pb.Participant, sc_pb.Computer),
            realtime=True,
        )
        assert "realtime" in client.ask(create_game=request).error[0]

    def test_joining(self, client: Client) -> None:
        errors, raw = sc_pb.ResponseJoinGame, sc_pb.InterfaceOptions(raw=True)
        client.create("3m")
        for request, expected in (
            (sc_pb.RequestJoinGame(options=raw), errors.MissingParticipation),
            (sc_pb.RequestJoinGame(observed_player_id=1, options=raw), errors.InvalidObservedPlayerId),
            (sc_pb.RequestJoinGame(race=1), errors.MissingOptions),
        ):
            response = client.ask(join_game=request)
            assert (response.status, response.join_game.error) == (sc_pb.init_game, expected)
        assert client.join().status == sc_pb.in_game

    def test_all_maps_are_listed_and_can_be_played(self, client: Client) -> None:
        paths = client.ask(available_maps=sc_pb.RequestAvailableMaps()).available_maps.local_map_paths
        names = [Path(path).stem for path in paths]
        assert len(names) == 24
        for name in names:
            client.start(name)
            client.step(1)
            if name != "32x32_flat":
                played = scenario(name)
                assert (len(client.side(1)), len(client.side(2))) == (played.n_agents, played.n_enemies)


class TestWhatIsSeen:
    """game_info, observation, data, replay."""

    def test_game_info(self, client: Client) -> None:
        client.start("3m")
        info = client.ask(game_info=sc_pb.RequestGameInfo()).game_info
        start = info.start_raw
        assert (start.map_size.x, start.map_size.y) == (32, 32)
        low, high = start.playable_area.p0, start.playable_area.p1
        assert (low.x, low.y, high.x, high.y) == (0, 0, 32, 32)
        assert (start.pathing_grid.bits_per_pixel, len(start.pathing_grid.data)) == (1, 128)
        assert (start.terrain_height.bits_per_pixel, len(start.terrain_height.data)) == (8, 1024)
        assert [player.type for player in info.player_info] == [sc_pb.Participant, sc_pb.Computer]
        assert info.options.raw

    def test_grids_are_rows_from_the_south(self) -> None:
        """As SMAC reads the pathing grid, and python-sc2 both."""
        terrain = Terrain.flat()
        terrain.pathing[3, 30] = False
        terrain.terrain_height[7, 2] = 0.5
        bits = np.unpackbits(np.frombuffer(grid_as_bits(terrain.pathing), np.uint8)).reshape(32, 32)
        assert list(zip(*np.nonzero(bits == 0))) == [(30, 3)]
        heights = np.frombuffer(heights_as_bytes(terrain.terrain_height), np.uint8).reshape(32, 32)
        assert list(zip(*np.nonzero(heights))) == [(2, 7)]
        assert heights[2, 7] == 128

    def test_units_are_as_the_game_gives_them(self, client: Client) -> None:
        client.start("MMM2")
        units = client.units()
        assert len({unit.tag for unit in units}) == 22
        allies, enemies = client.side(1), client.side(2)
        lowest = min(unit.unit_type for unit in allies)
        assert lowest >= 1970
        assert sorted(unit.unit_type - lowest for unit in allies) == [0] * 2 + [1] * 7 + [2]
        assert sorted(unit.unit_type for unit in enemies) == [48] * 8 + [51] * 3 + [54]
        medivac = next(unit for unit in enemies if unit.unit_type == 54)
        assert medivac.is_flying
        assert medivac.energy > 0
        for unit in units:
            assert unit.health == unit.health_max > 0
            assert unit.display_type == 1
            assert unit.alliance == (1 if unit.owner == 1 else 4)
            assert 0 < unit.pos.x < 32
            assert 0 < unit.pos.y < 32

    def test_protoss_units_have_shields(self, client: Client) -> None:
        client.start("2s3z")
        assert all(unit.shield == unit.shield_max > 0 for unit in client.units())

    def test_static_data_end_with_the_units_of_smacv2(self, client: Client) -> None:
        client.start("32x32_flat")
        data = client.ask(data=sc_pb.RequestData(unit_type_id=True)).data
        assert [unit.unit_id for unit in data.units] == list(range(len(data.units)))
        assert [unit.name.removesuffix("_RL").lower() for unit in data.units[-9:]] == [
            "baneling",
            "colossus",
            "hydralisk",
            "marauder",
            "marine",
            "medivac",
            "stalker",
            "zealot",
            "zergling",
        ]
        assert {4, 16, 23, 386} <= {ability.ability_id for ability in data.abilities}

    def test_a_replay_that_says_that_it_is_none(self, client: Client) -> None:
        client.start("3m")
        data = client.ask(save_replay=sc_pb.RequestSaveReplay()).save_replay.data
        assert data.startswith(NOTICE.encode())


class TestTime:
    """step."""

    def test_game_loops_are_counted(self, client: Client) -> None:
        client.start("3m")
        start = client.ask(observation=sc_pb.RequestObservation()).observation.observation.game_loop
        assert client.step(8).step.simulation_loop == start + 8
        assert client.ask(step={}).step.simulation_loop == start + 9
        assert client.step(0).step.simulation_loop == start + 9
        assert "at most" in client.step(10**6).error[0]
        assert client.ask(observation=sc_pb.RequestObservation()).observation.observation.game_loop == start + 9

    def test_equal_seeds_and_commands_give_equal_games(self, client: Client) -> None:
        def played(seed: int) -> list[object]:
            client.start("2s3z", seed)
            frames = []
            for _ in range(12):
                for unit in client.side(1):
                    client.command(MOVE, unit.tag, at=(unit.pos.x + 2, unit.pos.y))
                client.step(8)
                frames.append([unit.SerializeToString() for unit in client.units()])
            return frames

        assert played(3) == played(3)


class TestCommands:
    """action."""

    def test_a_move_and_a_stop(self, client: Client) -> None:
        client.start("3m")
        ally = max(client.side(1), key=lambda unit: unit.pos.x)
        goal = (ally.pos.x + 2, ally.pos.y)
        assert client.command(MOVE, ally.tag, at=goal) == [SUCCESS]
        client.step(8)
        on_the_way = next(unit for unit in client.units() if unit.tag == ally.tag)
        assert ally.pos.x + 0.5 < on_the_way.pos.x < ally.pos.x + 2
        assert client.command(STOP, ally.tag) == [SUCCESS]
        client.step(8)
        stopped = next(unit for unit in client.units() if unit.tag == ally.tag)
        assert (stopped.pos.x, stopped.pos.y) == (on_the_way.pos.x, on_the_way.pos.y)

    def test_allies_do_nothing_by_themselves_and_attack_when_told(self, client: Client) -> None:
        client.start("3m")
        client.step(60)
        hurt = [unit.health for unit in client.side(2)]
        assert hurt == [45.0] * 3
        client.start("3m")
        target = client.side(2)[0].tag
        for ally in client.side(1):
            assert client.command(ATTACK, ally.tag, target=target) == [SUCCESS]
        client.step(80)
        left = {unit.tag: unit.health for unit in client.side(2)}
        assert left.get(target, 0) < 45

    def test_several_actions_in_one_request_and_a_later_one_replaces(self, client: Client) -> None:
        client.start("3m")
        west, middle, east = sorted(client.side(1), key=lambda unit: unit.pos.x)
        actions = []
        for tags, x in (([west.tag, east.tag], 2.0), ([east.tag], 14.0)):
            command = raw_pb2.ActionRawUnitCommand(ability_id=MOVE, unit_tags=tags)
            command.target_world_space_pos.x, command.target_world_space_pos.y = x, 16.0
            actions.append(sc_pb.Action(action_raw=raw_pb2.ActionRaw(unit_command=command)))
        assert list(client.ask(action=sc_pb.RequestAction(actions=actions)).action.result) == [SUCCESS, SUCCESS]
        client.step(16)
        after = {unit.tag: unit.pos for unit in client.side(1)}
        assert after[west.tag].x < west.pos.x
        assert after[east.tag].x > east.pos.x
        assert after[middle.tag] == middle.pos

    def test_what_cannot_be_done(self, client: Client) -> None:
        client.start("MMM")
        allies, enemy = client.side(1), client.side(2)[0]
        marine = next(unit for unit in allies if unit.health_max == 45)
        medivac = next(unit for unit in allies if unit.is_flying)
        assert client.command(HEAL, medivac.tag, target=marine.tag) == [SUCCESS]
        for refused in (
            client.command(STOP, enemy.tag),
            client.command(STOP, 12345),
            client.command(STOP),
            client.command(MOVE, marine.tag),
            client.command(ATTACK, marine.tag, target=medivac.tag),
            client.command(ATTACK, marine.tag),
            client.command(HEAL, medivac.tag, target=enemy.tag),
            client.command(HEAL, marine.tag, target=medivac.tag),
            client.command(999, marine.tag),
        ):
            assert len(refused) == 1
            assert refused != [SUCCESS]
        chat = sc_pb.Action(action_chat=sc_pb.ActionChat(message="hello"))
        assert list(client.ask(action=sc_pb.RequestAction(actions=[chat])).action.result) == [NOT_SUPPORTED]


class TestMaps:
    """What the maps themselves do: come back, be filled."""

    def test_both_teams_come_back_when_nobody_is_left(self, client: Client) -> None:
        client.start("3m")
        first = client.units()
        assert client.kill(*[unit.tag for unit in first[:2]]).debug is not None
        client.step(1)
        assert {unit.tag for unit in client.units()} == {unit.tag for unit in first[2:]}
        client.kill(*[unit.tag for unit in first])
        assert client.units() == []
        client.step(2)
        second = client.units()
        assert len(second) == 6
        assert not {unit.tag for unit in first} & {unit.tag for unit in second}
        assert all(unit.health == unit.health_max for unit in second)

    def test_every_episode_begins_alike(self, client: Client) -> None:
        """One game loop after its units appeared: here the enemies have begun to march."""
        client.start("3m")
        for _ in range(3):
            units = client.units()
            assert sorted({unit.pos.x for unit in client.side(1)}) == sorted({unit.pos.x for unit in units[:3]})
            marched = [unit.pos.x for unit in units if unit.owner == 2]
            client.kill(*[unit.tag for unit in units])
            client.step(2)
            assert [unit.pos.x for unit in client.units() if unit.owner == 2] == marched

    def test_units_are_created_on_smacv2s_map(self, client: Client) -> None:
        client.start("32x32_flat")
        client.step(3)
        assert client.units() == []
        lowest = len(client.ask(data=sc_pb.RequestData()).data.units) - 9
        for type_id, x in ((lowest + 4, 8), (lowest + 4, 9), (lowest + 5, 7)):
            assert not client.create_unit(type_id, 1, x, 16).error
        assert not client.create_unit(51, 2, 24, 16, quantity=2).error
        assert client.units() == []
        client.step(1)
        allies, enemies = client.side(1), client.side(2)
        assert sorted(unit.unit_type - lowest for unit in allies) == [4, 4, 5]
        assert [unit.unit_type for unit in enemies] == [51, 51]
        np.testing.assert_allclose(sorted(unit.pos.x for unit in allies), [7, 8, 9], atol=0.3)
        client.step(100)
        assert all(unit.pos.x < 22 for unit in client.side(2))
        # The next episode, of another size.
        client.kill(*[unit.tag for unit in client.units()])
        client.step(2)
        assert client.units() == []
        client.create_unit(lowest, 1, 8, 16)
        client.create_unit(73, 2, 24, 16)
        client.step(1)
        assert [unit.unit_type for unit in client.units()] == [lowest, 73]

    def test_what_cannot_be_created(self, client: Client) -> None:
        client.start("32x32_flat")
        assert "no unit of type 5 " in client.create_unit(5, 2, 8, 8).error[0]
        assert "the last nine" in client.create_unit(48, 1, 8, 8).error[0]
        assert "owner is 3" in client.create_unit(48, 3, 8, 8).error[0]
        client.create_unit(1974, 1, 8, 8)
        client.create_unit(48, 2, 24, 8)
        client.step(1)
        assert "nobody is left" in client.create_unit(48, 2, 24, 8).error[0]
        client.start("3m")
        assert "SMACv2's map only" in client.create_unit(48, 2, 24, 8).error[0]

    def test_other_debug_commands(self, client: Client) -> None:
        from s2clientprotocol import debug_pb2

        client.start("3m")
        line = debug_pb2.DebugLine(line=debug_pb2.Line(p0={"x": 1}, p1={"x": 2}))
        assert not client.debug(debug_pb2.DebugCommand(draw=debug_pb2.DebugDraw(lines=[line]))).error
        assert "debug command game_state" in client.debug(debug_pb2.DebugCommand(game_state=1)).error[0]
