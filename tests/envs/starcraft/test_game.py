"""One game on the mock server: started when it is needed, one process at a time, none left behind."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("s2clientprotocol", reason="not run: the extra 'starcraft' is not installed")

from rllib_reborn.envs.random_policy import random_legal_actions
from rllib_reborn.envs.random_streams import RandomStreams
from rllib_reborn.envs.smac.capabilities import draw
from rllib_reborn.envs.smac.options import SmacOptions
from rllib_reborn.envs.smac.scenarios import scenario
from rllib_reborn.envs.starcraft.connection import Connection
from rllib_reborn.envs.starcraft.errors import (
    GameCrashedError,
    InstallationError,
    LaunchError,
    RequestRefusedError,
    RequestTimeoutError,
    StarCraftError,
)
from rllib_reborn.envs.starcraft.game import StarCraftGame
from rllib_reborn.envs.starcraft.mock_server.faults import Fault, FaultPlan
from rllib_reborn.envs.starcraft.mock_server.install import make_mock_install, running_servers
from rllib_reborn.envs.starcraft.settings import GameSettings


@pytest.fixture
def make(tmp_path, monkeypatch):
    """``make("3m", faults=..., rules={...}, **settings)`` is a game; afterwards there is no process and no file of any."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr("rllib_reborn.envs.starcraft.launch._JITTER_S", 0.0)
    made = []

    def build(name="3m", faults=None, rules=None, **settings):
        root = make_mock_install(tmp_path / "sc2", faults=faults)
        which = scenario(name)
        options = SmacOptions.for_scenario(which, **(rules or {}))
        made.append(StarCraftGame(which, options, GameSettings(sc2_path=str(root), **settings)))
        return made[-1]

    build.servers = lambda: running_servers(tmp_path / "sc2")
    build.temporary = temporary
    yield build
    for game in made:
        game.close()
        game.close()
    assert running_servers(tmp_path / "sc2") == []
    assert list(temporary.iterdir()) == []


def play(game, seed=1, steps=None):
    """An episode (or ``steps`` of one) at random: the last step, the return, the number of steps."""
    policy = RandomStreams(1, seed)
    obs = game.reset(seed)
    total, count = 0.0, 0
    while True:
        assert obs.obs.shape == (game.spec.n_agents, game.spec.obs_dim)
        actions = random_legal_actions(obs.action_mask[None], policy.uniform(game.spec.n_agents))[0]
        step = game.step(actions)
        total, count, obs = total + step.reward, count + 1, step.obs
        if step.terminated or step.truncated or count == steps:
            return step, total, count


@pytest.mark.parametrize(
    ("version", "caption"),
    [(None, "mock server, not StarCraft II: 3m"), ("4.10.0.75689", "StarCraft II 4.10.0.75689: 3m")],
)
def test_a_picture_says_what_was_played_on(make, monkeypatch, version, caption):
    written = []
    monkeypatch.setattr("rllib_reborn.envs.battle.drawing.draw_battle", lambda *given: written.append(given[-1]))
    game = make()
    game.reset(1)
    if version is not None:
        game._battle.version = version
    game.render()
    assert written == [caption]


def test_a_whole_episode_and_nothing_before_it(make):
    game = make()
    assert make.servers() == []
    assert game.spec.n_agents == 3
    assert game.provenance() == {}
    with pytest.raises(ValueError, match="nothing to draw before the first reset"):
        game.render()
    step, total, count = play(game)
    assert game.render().shape == (508, 480, 3)
    assert step.terminated
    assert not step.truncated
    assert 0 <= total <= 21
    assert 1 < count <= 60
    assert len(make.servers()) == 1
    assert game.provenance() == {"game_version": "mock_server"}
    server = make.servers()
    play(game)
    assert make.servers() == server
    game.close()
    assert make.servers() == []


def test_a_reset_before_the_first_episode_has_ended_leaves_one_process(make):
    """SMAC's own code starts another one each time, and counts the enemies' health again."""
    game = make()
    first = game.reset(1)
    states = [first.state.copy()]
    servers = make.servers()
    assert len(servers) == 1
    for seed in (2, 3):
        play(game, seed, steps=9)
        states.append(game.reset(seed).state.copy())
    assert make.servers() == servers
    for state in states[1:]:  # all six stand there again, whole
        np.testing.assert_array_equal(state[0:12:4], states[0][0:12:4])
    _, total, _ = play(game)
    assert total <= 21


def test_the_episode_limit_is_a_truncation(make):
    """Nobody comes near: all agents stop, and the enemies' way is long."""
    game = make("2s_vs_1sc")
    obs = game.reset(1)
    for count in range(1, 301):
        step = game.step(np.ones(2, np.int64))
        assert not step.terminated
        assert step.truncated == (count == 300)
    assert obs is not None
    assert not step.won


@pytest.mark.parametrize(
    ("kind", "request_name", "error", "message"),
    [
        (
            "crash",
            "step",
            GameCrashedError,
            "the connection was lost during step; its process has ended with exit code 139",
        ),
        (
            "hang",
            "observation",
            RequestTimeoutError,
            "observation was not answered within 1.5 s; its process is running",
        ),
        ("error", "action", RequestRefusedError, "action was refused: an error that the plan"),
        (
            "refuse_launch",
            None,
            LaunchError,
            "StarCraft II ended before it answered; its process has ended with exit code 1",
        ),
        ("hang", "join_game", RequestTimeoutError, "join_game was not answered within 1.5 s"),
    ],
)
def test_what_goes_wrong_leaves_no_process_and_says_its_last_words(make, kind, request_name, error, message):
    """After a crash in the first episode SMAC's own code has two processes."""
    fault = Fault(kind=kind, request=request_name, at=None if request_name is None else 1, times=1)
    plan = FaultPlan(log=str(make.temporary.parent / "log"), faults=(fault,))
    game = make(faults=plan, timeouts={"request_s": 1.5, "join_s": 1.5} if kind == "hang" else None)
    with pytest.raises(error, match=message) as caught:
        play(game)
    assert "Its last words:" in str(caught.value)
    assert "This is no StarCraft II" in str(caught.value)
    assert make.servers() == []
    assert list(make.temporary.iterdir()) == []
    if kind == "crash":  # VectorizedTeamEnv builds a new game then; this one can be used again, too
        game.reset(1)
        assert len(make.servers()) == 1


def test_no_installation_is_one_attempt(make, tmp_path):
    game = StarCraftGame(
        scenario("3m"), SmacOptions(), GameSettings(sc2_path=str(tmp_path / "nowhere"), timeouts={"launch_s": 600})
    )
    with pytest.raises(InstallationError, match="does not exist; "):
        game.reset(1)
    game.close()


def test_smacv2_has_the_units_that_were_drawn_in_every_episode(make):
    game = make("terran_5_vs_5")
    which, options = scenario("terran_5_vs_5"), SmacOptions.for_scenario(scenario("terran_5_vs_5"))
    for seed in (3, 4, 5):
        game.reset(seed)
        units, drawn = game._units, draw(which, options, seed)
        assert units.kind[0].tolist() == [*drawn.ally_kinds, *drawn.enemy_kinds]
        places = np.stack([units.x[0], units.y[0]], axis=1)
        far = np.abs(places - np.concatenate([drawn.ally_xy, drawn.enemy_xy])).max()
        assert far < 2  # but for one game loop and those that were put side by side
        for _ in range(3):
            game.step(np.ones(5, np.int64))
    assert len(make.servers()) == 1


def test_units_below_their_level_of_health_are_killed_before_the_end_of_a_step(make, monkeypatch):
    """SMACv2's health levels: here a unit that is hurt dies in the next step."""
    asked = []
    real = Connection._send

    def watched(self, requests):
        asked.extend(name for name, _ in requests)
        return real(self, requests)

    monkeypatch.setattr(Connection, "_send", watched)
    game = make("protoss_5_vs_5", rules={"health": {"low": 0.99, "high": 0.99}})
    obs = game.reset(2)
    killed = 0
    for _ in range(60):
        units = game._units
        hurt = (units.health[0, :5] > 0) & (units.health[0, :5] < 0.99 * units.health_max[0, :5])
        asked.clear()
        step = game.step(np.where(obs.action_mask[:, 1], 1, 0))
        turn = ["action", "step", *(["debug"] if hurt.any() else []), "step", "observation"]
        assert asked == turn
        assert not game._units.health[0, :5][hurt].any()
        killed += int(hurt.sum())
        obs = step.obs
        if step.terminated:
            break
    assert killed


def test_it_is_started_anew_every_so_many_episodes_and_when_it_has_grown(make, caplog):
    game = make(restart_every=2)
    pids = []
    for seed in range(3):
        game.reset(seed)
        pids += make.servers()
    assert pids[0] == pids[1] != pids[2]
    game._battle._settings = dataclasses.replace(game._battle._settings, max_rss_mb=1)
    game.reset(3)
    assert len(make.servers()) == 1
    assert make.servers() != pids[2:]
    assert "more than max_rss_mb=1" in caplog.text


def test_replays_are_saved_on_request(make, tmp_path):
    folder = tmp_path / "replays"
    game = make(replay_dir=str(folder), save_replay_every=2)
    for seed in range(3):
        play(game, seed)
    files = sorted(folder.iterdir())
    assert len(files) == 1
    assert all(file.name.startswith("3m_") and file.suffix == ".SC2Replay" for file in files)
    assert all(file.stat().st_size for file in files)


def test_a_replay_that_cannot_be_saved_costs_no_episode(make, tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("")
    plan = FaultPlan(faults=(Fault(kind="crash", request="save_replay", at=2),))
    game = make(faults=plan, replay_dir=str(blocked / "replays"))
    step, _, _ = play(game)
    assert step.terminated
    assert "Not a directory" in caplog.text
    assert len(make.servers()) == 1
    step, _, _ = play(game)
    assert step.terminated
    assert "the connection was lost during save_replay" in caplog.text
    assert make.servers() == []


def test_an_interruption_ends_its_process_too(make, monkeypatch):
    """Nobody knows then what the game is doing."""
    game = make()
    game.reset(1)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Connection, "end_turn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        game.step(np.ones(3, np.int64))
    assert make.servers() == []


def test_one_that_was_closed_begins_anew(make):
    game = make(timeouts={"quit_s": 0.1})
    play(game, steps=1)
    game._battle.begin_turn(
        game._rules.orders(np.ones((1, 3), np.int64)), None
    )  # and is closed in the middle of a step
    game.close()
    for seed in (1, 2):
        game.reset(seed)
    assert len(make.servers()) == 1


def test_units_that_never_appear_are_not_waited_for_for_ever(make, monkeypatch):
    monkeypatch.setattr("rllib_reborn.envs.starcraft.field.UnitReader.everyone_is_there", lambda *a: False)
    monkeypatch.setattr("rllib_reborn.envs.starcraft.battle._SPAWN_PATIENCE", 5)
    with pytest.raises(
        StarCraftError, match=r"waited 5 game loops for the 3 \+ 3 units of 3m to be there; there are 6 units"
    ):
        make().reset(1)


def test_the_map_is_sent_so_that_the_game_need_not_find_it(make, monkeypatch):
    sent = []
    real = Connection.create_game

    def watched(self, *arguments):
        sent.append(arguments)
        return real(self, *arguments)

    monkeypatch.setattr(Connection, "create_game", watched)
    game = make("3s_vs_3z", difficulty="3", seed=11)
    game.reset(5)
    name, data, enemy_race, difficulty, seed = sent[0]
    assert (name, enemy_race, difficulty, seed) == ("SMAC_Maps/3s_vs_3z.SC2Map", "P", "3", 11)
    assert data == (Path(game._battle._settings.sc2_path) / "Maps" / name).read_bytes()
    game.close()
    monkeypatch.setattr(Connection, "join_game", lambda *a: 2)
    with pytest.raises(LaunchError, match="made us player 2"):
        make().reset(5)
    assert sent[1][-1] == 5  # without one of its own, the first episode's
