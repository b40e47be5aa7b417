"""pysc2 4.0.0, installed with ``--no-deps``, finds a mock installation, starts the server and plays on it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from rllib_reborn.envs.starcraft.mock_server.install import make_mock_install, running_servers

pytest.importorskip("pysc2", reason="pysc2 is not installed; pip install --no-deps pysc2==4.0.0")
pytest.importorskip("portpicker", reason="portpicker, which pysc2 needs, is not installed")

# In a process of its own: absl's flags are global, and pysc2 takes the port and the environment as it finds them.
PLAY = """
from absl import flags
flags.FLAGS(["test"])
from pysc2 import maps, run_configs
from pysc2.lib import actions, protocol
from s2clientprotocol import common_pb2, debug_pb2, raw_pb2, sc2api_pb2 as sc_pb

config = run_configs.get()
assert config.version.build_version == 75689, config.version

class MockServerMap(maps.lib.Map):
    directory = "SMAC_Maps"
    players = 2
    filename = "2s3z"

with config.start(want_rgb=False, timeout_seconds=60) as controller:
    assert controller.ping().game_version == "mock_server"
    assert len(controller.available_maps().local_map_paths) == 24
    request = sc_pb.RequestCreateGame(
        local_map=sc_pb.LocalMap(map_path=MockServerMap().path, map_data=MockServerMap().data(config)), random_seed=3
    )
    request.player_setup.add(type=sc_pb.Participant)
    request.player_setup.add(type=sc_pb.Computer, race=common_pb2.Protoss, difficulty=sc_pb.VeryHard)
    controller.create_game(request)
    controller.join_game(
        sc_pb.RequestJoinGame(race=common_pb2.Protoss, options=sc_pb.InterfaceOptions(raw=True, score=False))
    )
    assert controller.status == protocol.Status.in_game
    assert controller.game_info().map_name == "2s3z"
    assert len(controller.data().units) > 1970
    units = controller.observe().observation.raw_data.units
    allies = [unit for unit in units if unit.owner == 1]
    assert len(allies) == 5 and len(units) == 10
    move = raw_pb2.ActionRawUnitCommand(
        ability_id=16,
        unit_tags=[allies[0].tag],
        target_world_space_pos=common_pb2.Point2D(x=allies[0].pos.x, y=allies[0].pos.y + 3),
    )
    answer = controller.act(sc_pb.Action(action_raw=raw_pb2.ActionRaw(unit_command=move)))
    assert list(answer.result) == [1], answer
    controller.step(16)
    seen = controller.observe()
    moved = next(unit for unit in seen.observation.raw_data.units if unit.tag == allies[0].tag)
    assert moved.pos.y > allies[0].pos.y + 1
    controller.debug(debug_pb2.DebugCommand(kill_unit=debug_pb2.DebugKillUnit(tag=[unit.tag for unit in units])))
    controller.step(2)
    again = controller.observe().observation.raw_data.units
    assert len(again) == 10 and not {unit.tag for unit in again} & {unit.tag for unit in units}
    assert b"no StarCraft" in controller.save_replay()
    try:
        controller.create_game(sc_pb.RequestCreateGame())
        raise SystemExit("an empty request was taken")
    except Exception as error:
        assert "ResponseCreateGame.Error.MissingMap" in str(error), error
    controller.restart()
    assert controller.status == protocol.Status.in_game
    controller.quit()
print("played")
"""


def test_pysc2_starts_and_drives_the_mock_server(tmp_path: Path) -> None:
    install = make_mock_install(tmp_path / "StarCraftII")
    environment = {**os.environ, "SC2PATH": str(install)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PLAY)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("played\n")
    assert running_servers(install) == []
