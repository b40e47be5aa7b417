"""The bridge to oxwhirl's packages, with packages of their form in their place, and the start of the game through pysc2."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import types

import numpy as np
import pytest

pytest.importorskip("s2clientprotocol", reason="not run: the extra 'starcraft' is not installed")

from rllib_reborn.envs import make_team_env, team_spec
from rllib_reborn.envs.smac.capability_config import with_draws
from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.scenarios import scenario
from rllib_reborn.envs.starcraft import battle, bridge, packages, pysc2_launcher
from rllib_reborn.envs.starcraft.bridge import OxwhirlGame
from rllib_reborn.envs.starcraft.errors import GameCrashedError, InstallationError
from rllib_reborn.envs.starcraft.launch import launch
from rllib_reborn.envs.starcraft.mock_server.install import make_mock_install, running_servers
from rllib_reborn.envs.starcraft.settings import GameSettings
from rllib_reborn.envs.team_game import GameUnavailableError
from tests.envs.starcraft.programs import eventually, installation

PACKAGE = '''
import numpy as np
made = []


class StarCraft2Env:
    """Has the methods of the original and plays by a script: ``plan`` gives what the steps return."""

    def __init__(self, map_name="8m", step_mul=8, difficulty="7", game_version=None, seed=None, continuing_episode=False,
                 obs_all_health=True, obs_timestep_number=False, state_last_action=True, reward_scale=True, replay_dir="",
                 **rest):
        assert not rest, rest
        self.given = {name: value for name, value in locals().items() if name not in ("self", "rest")}
        self._begin()

    def _begin(self):
        made.append(self)
        self.plan, self.resets, self.closed, self.replays, self.actions = [], 0, 0, 0, []
        self._controller = self

    def ping(self):
        self.game_version = "4.10.0.75689"
        return self

    def get_env_info(self):
        return {"n_agents": 3, "n_actions": 9, "obs_shape": 30, "state_shape": 48, "episode_limit": 60}

    def reset(self):
        self.resets += 1

    def step(self, actions):
        self.actions.append(actions)
        return self.plan.pop(0)

    def get_obs(self):
        return [np.full(30, self.resets, np.float64)] * 3

    def get_state(self):
        return np.zeros(48)

    def get_avail_actions(self):
        return [[1] * 9] * 3

    def save_replay(self):
        self.replays += 1

    def close(self):
        self.closed += 1
'''
WRAPPER = """
from smacv2.env.starcraft2.starcraft2 import StarCraft2Env


class StarCraftCapabilityEnvWrapper(StarCraft2Env):
    def __init__(self, **given):
        self.given = given
        self._begin()

    def get_env_info(self):
        return {"n_agents": 5, "n_actions": 11, "obs_shape": 82, "state_shape": 120, "episode_limit": 200}
"""


@pytest.fixture
def packages_of(tmp_path, monkeypatch):
    """``packages_of("smac")`` installs a package of this name and returns its module."""

    def forget():
        for name in [name for name in sys.modules if name.split(".")[0] in ("smac", "smacv2")]:
            del sys.modules[name]

    def install(family):
        folder = tmp_path / family / "env" / "starcraft2"
        folder.mkdir(parents=True)
        for parent in (folder, folder.parent, folder.parent.parent):
            (parent / "__init__.py").write_text("")
        more = "obs_own_pos=False, use_unit_ranges=False, **rest" if family == "smacv2" else "**rest"
        (folder / "starcraft2.py").write_text(PACKAGE.replace("**rest", more, 1))
        (folder / "wrapper.py").write_text(WRAPPER)
        importlib.invalidate_caches()
        return importlib.import_module(f"{family}.env.starcraft2.starcraft2")

    forget()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(bridge, "_family", None)
    monkeypatch.setattr(bridge, "run_config", lambda version: None)
    yield install
    forget()


def game(name="3m", settings=None, **options):
    which = scenario(name)
    return OxwhirlGame(
        which, SmacOptions.for_scenario(which, **options), GameSettings(backend="oxwhirl", **(settings or {}))
    )


class TestOxwhirl:
    def test_it_plays_through_the_public_methods(self, packages_of):
        module = packages_of("smac")
        made = game(settings={"difficulty": "3", "game_version": "4.10"}, step_mul=4)
        assert made.spec == team_spec("smac/3m")
        assert module.made == []
        assert made.provenance() == {}
        game_obs = made.reset(7)
        (env,) = module.made
        expected = {"map_name": "3m", "step_mul": 4, "difficulty": "3", "game_version": "4.10", "seed": 7}
        assert expected.items() <= env.given.items()
        assert env.given["continuing_episode"] is True
        assert made.provenance() == {"game_version": "4.10.0.75689"}
        assert (game_obs.obs.shape, game_obs.obs.dtype, game_obs.state.shape) == ((3, 30), np.float32, (48,))
        assert (game_obs.action_mask.shape, game_obs.action_mask.dtype) == ((3, 9), np.bool_)
        won = {"battle_won": True, "dead_allies": 0}
        limit = {"battle_won": False, "episode_limit": True}
        env.plan = [(0.5, False, {"battle_won": False}), (2.0, True, won), (0.0, True, limit)]
        steps = [made.step(np.array([1, 2, 3])) for _ in range(3)]
        assert [(s.reward, s.terminated, s.truncated, s.won) for s in steps] == [
            (0.5, False, False, False),
            (2.0, True, False, True),
            (0.0, False, True, False),
        ]
        assert env.actions == [[1, 2, 3]] * 3
        made.reset(8)
        assert len(module.made) == 1
        made.close()
        made.close()
        assert env.closed == 1

    def test_a_reset_before_the_first_episode_has_ended_makes_a_new_one(self, packages_of):
        """The original would start a second process of the game."""
        module = packages_of("smac")
        made = game()
        made.reset(1)
        made.reset(2)
        first, second = module.made
        assert (first.closed, second.closed, first.resets, second.resets) == (1, 0, 1, 1)

    def test_a_crash_is_no_end_of_an_episode(self, packages_of):
        module = packages_of("smac")
        made = game()
        made.reset(1)
        module.made[0].plan = [(0, True, {})]
        with pytest.raises(GameCrashedError, match="the game crashed"):
            made.step(np.array([1, 1, 1]))

    def test_replays_on_request(self, packages_of, tmp_path):
        module = packages_of("smac")
        made = game(settings={"replay_dir": str(tmp_path / "r"), "save_replay_every": 2})
        made.reset(1)
        module.made[0].plan = [(0, True, {"battle_won": False})] * 4
        for _ in range(4):
            made.step(np.array([1, 1, 1]))
        assert module.made[0].replays == 2
        assert module.made[0].given["replay_dir"] == str(tmp_path / "r")

    def test_smacv2_is_given_its_capabilities(self, packages_of):
        module = packages_of("smacv2")
        made = game("terran_5_vs_5")
        made.reset(1)
        given = module.made[0].given
        assert given["map_name"] == "10gen_terran"
        assert given["capability_config"] == {
            "n_units": 5,
            "n_enemies": 5,
            "team_gen": {
                "dist_type": "weighted_teams",
                "unit_types": ["marine", "marauder", "medivac"],
                "weights": [0.45, 0.45, 0.1],
                "exception_unit_types": ["medivac"],
                "observe": True,
            },
            "start_positions": {"dist_type": "surrounded_and_reflect", "p": 0.5, "map_x": 32, "map_y": 32},
        }

    @pytest.mark.parametrize(
        "blocks",
        [
            {
                "team_gen": {"dist_type": "fixed", "items": [["marine"] * 5], "test_mode": False, "observe": True},
                "start_positions": {"dist_type": "surrounded", "map_x": 32, "map_y": 32},
            },
            {
                "team_gen": {
                    "dist_type": "all_teams",
                    "unit_types": ["marine", "medivac"],
                    "exception_unit_types": ["medivac"],
                    "observe": False,
                },
                "start_positions": {"dist_type": "surrounded_and_reflect", "p": 0.25, "map_x": 32, "map_y": 32},
            },
        ],
    )
    def test_what_is_drawn_is_passed_on_as_it_was_given(self, blocks):
        played, _ = with_draws(scenario("terran_5_vs_5"), blocks)
        assert bridge._capabilities(played)["capability_config"] == {"n_units": 5, "n_enemies": 5, **blocks}

    def test_the_two_families_cannot_share_a_process(self, packages_of):
        packages_of("smac")
        packages_of("smacv2")
        game().reset(1)
        with pytest.raises(GameUnavailableError, match="smac already runs in this process, and smacv2 cannot join it"):
            game("terran_5_vs_5").reset(1)
        game().reset(1)

    def test_other_sizes_are_refused(self, packages_of):
        packages_of("smac").StarCraft2Env.get_env_info = lambda self: {
            "n_agents": 3,
            "n_actions": 9,
            "obs_shape": 33,
            "state_shape": 48,
            "episode_limit": 60,
        }
        with pytest.raises(InstallationError, match=r"has other sizes .*'obs_shape': \(33, 30\)"):
            game().reset(1)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"compat": "fixed"}, "is the original of 'smac' itself; leave compat out"),
            ({"attack": {"low": 0.5, "high": 1.0}}, "attack is not passed on"),
            ({"reward_scale": "smacv2"}, "say true with backend 'oxwhirl'"),
        ],
    )
    def test_options_that_it_does_not_have(self, packages_of, options, message):
        with pytest.raises(ValueError, match=message):
            game(**options)
        packages_of("smac")
        with pytest.raises(ValueError, match="no option 'use_unit_ranges'"):
            game(use_unit_ranges=True).reset(1)

    def test_the_wrong_smac_and_none_at_all(self, packages_of, tmp_path):
        with pytest.raises(
            InstallationError, match=r"needs the package smac, .*; run: pip install --no-deps git\+https"
        ):
            game().reset(1)
        (tmp_path / "smac").mkdir()
        (tmp_path / "smac" / "__init__.py").write_text("raise AssertionError('SMAC3 must not be imported')")
        importlib.invalidate_caches()
        with pytest.raises(InstallationError, match=r"PyPI's is SMAC3, an optimiser.; run: pip uninstall smac"):
            game().reset(1)

    def test_its_games_have_processes_of_their_own(self):
        env = make_team_env("smac/3m", 2, backend="oxwhirl")
        assert type(env._executor).__name__ == "ProcessExecutor"
        env.close()


class TestPackages:
    """What is said of packages that are missing or of the wrong kind."""

    @pytest.fixture(autouse=True)
    def _forgotten(self):
        yield
        packages.protocol.cache_clear()
        packages.websocket_client.cache_clear()

    def raising(self, monkeypatch, name, error):
        packages.protocol.cache_clear()
        packages.websocket_client.cache_clear()
        real = importlib.import_module

        def fake(asked, *arguments):
            if asked.startswith(name):
                raise error
            return real(asked, *arguments)

        monkeypatch.setattr(importlib, "import_module", fake)

    def test_missing(self, monkeypatch):
        self.raising(monkeypatch, "s2clientprotocol", ModuleNotFoundError("no", name="s2clientprotocol"))
        with pytest.raises(
            InstallationError, match=r"needs 's2clientprotocol', .*; run: pip install 'rllib-reborn\[star"
        ):
            packages.protocol()
        self.raising(monkeypatch, "websocket", ModuleNotFoundError("no", name="websocket"))
        with pytest.raises(InstallationError, match="needs websocket-client, which is not installed"):
            packages.websocket_client()

    def test_stale(self, monkeypatch):
        self.raising(monkeypatch, "s2clientprotocol", TypeError("Descriptors cannot be created directly."))
        with pytest.raises(
            InstallationError, match=r"carries code for protobuf 3.*; run: pip install --force-reinstall --no"
        ):
            packages.protocol()

    def test_another_websocket(self, monkeypatch):
        packages.websocket_client.cache_clear()
        monkeypatch.setitem(sys.modules, "websocket", types.ModuleType("websocket"))
        with pytest.raises(
            InstallationError, match="'websocket' is not websocket-client; run: pip uninstall websocket"
        ):
            packages.websocket_client()

    def test_no_pysc2(self, monkeypatch):
        self.raising(monkeypatch, "pysc2", ModuleNotFoundError("no", name="pysc2"))
        with pytest.raises(InstallationError, match=r"needs 'pysc2', .*pip install --no-deps pysc2==4\.0\.0"):
            pysc2_launcher.run_config(None)


HAS_PYSC2 = importlib.util.find_spec("pysc2") is not None
PARENT = """
import time
from rllib_reborn.envs import make_team_env
env = make_team_env("smac/3m", 1, launcher="pysc2")
env.reset(seed=1)
print("up", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(not HAS_PYSC2, reason="not run: pysc2 is not installed (pip install --no-deps pysc2==4.0.0)")
class TestPysc2:
    def test_it_starts_the_game_and_leaves_none(self, tmp_path, monkeypatch):
        root = make_mock_install(tmp_path / "sc2")
        monkeypatch.setenv("SC2PATH", str(root))
        env = make_team_env("smac/3m", 1, launcher="pysc2")
        env.reset(seed=1)
        assert not env.step(np.ones((1, 3), np.int64)).info["failed"].any()
        assert len(running_servers(root)) == 1
        assert env.provenance() == {"game_version": "mock_server"}
        env.close()
        assert running_servers(root) == []

    def test_one_that_can_never_start_is_tried_once_and_told_with_its_last_words(self, tmp_path, monkeypatch):
        calls = []
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        monkeypatch.setattr(battle, "launch", lambda *given: (calls.append(given), launch(*given))[1])
        words = "error while loading shared libraries: libx.so: no such file"
        code = f"import sys; print('{words}', file=sys.stderr); sys.exit(127)"
        monkeypatch.setenv("SC2PATH", str(installation(tmp_path / "sc2", code)))
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        monkeypatch.setattr("tempfile.tempdir", None)
        env = make_team_env("smac/3m", 1, launcher="pysc2")
        with pytest.raises(InstallationError, match="a library is missing") as caught:
            env.reset(seed=1)
        assert f"exit code 127. Its last words:\n{words}" in str(caught.value)
        assert len(calls) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["sc2"]

    def test_what_is_not_started_by_us_starts_as_ever(self, tmp_path, monkeypatch):
        root = make_mock_install(tmp_path / "sc2")
        monkeypatch.setenv("SC2PATH", str(root))
        config = pysc2_launcher.run_config(None)
        pysc2_launcher._let_others_begin()
        pysc2_launcher._let_others_begin()
        started = config.start(want_rgb=False, connect=False)
        assert started.running
        started.close()
        assert running_servers(root) == []

    def test_its_games_end_when_we_are_killed(self, tmp_path, monkeypatch):
        root = make_mock_install(tmp_path / "sc2")
        monkeypatch.setenv("SC2PATH", str(root))
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
        assert parent.stdout is not None
        assert parent.stdout.readline() == "up\n"
        assert len(running_servers(root)) == 1
        parent.kill()
        parent.wait()
        assert eventually(lambda: running_servers(root) == [])

    def test_no_game(self, tmp_path, monkeypatch):
        monkeypatch.setenv("SC2PATH", str(tmp_path))
        with pytest.raises(InstallationError, match=r"pysc2 finds no StarCraft II: .*; Blizzard's Linux packages"):
            make_team_env("smac/3m", 1, launcher="pysc2").reset(seed=1)
