"""Training on the mock server through remote runners: whole runs, and runs in which the games keep failing."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("s2clientprotocol", reason="not run: the extra 'starcraft' is not installed")

from rllib_reborn import QMIXConfig
from rllib_reborn.cli.main import main
from rllib_reborn.envs.starcraft.mock_server.faults import Fault, FaultPlan, events
from rllib_reborn.envs.starcraft.mock_server.install import make_mock_install, running_servers
from tests.envs.starcraft.programs import eventually

pytestmark = pytest.mark.slow

GAMES = 4
#: What goes wrong, in which request, and its share of the faults; the last four at the start of a process or a game.
SHARES = {
    ("crash", "step"): 0.28,
    ("crash", "observation"): 0.15,
    ("close", "action"): 0.15,
    ("error", "step"): 0.17,
    ("garbage", "observation"): 0.08,
    ("hang", "observation"): 0.035,
    ("refuse_launch", None): 0.04,
    ("refuse_connection", None): 0.03,
    ("error", "create_game"): 0.0325,
    ("crash", "join_game"): 0.0325,
}


def config(root: Path, runners: int, **options):
    return (
        QMIXConfig()
        .environment("smac/3m", env_config={"sc2_path": str(root), **options})
        .env_runners(num_env_runners=runners, num_envs_per_env_runner=GAMES)
        .training(batch_episodes=8, learning_starts_episodes=8, buffer_episodes=2_000)
        .reporting(min_sample_timesteps_per_iteration=200)
        .debugging(seed=0)
    )


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("ray_session")
def test_faults_cost_their_episodes_and_nothing_else(tmp_path):
    """A sample of the long test below."""
    check_faults(tmp_path, 10, runners=1)


@pytest.mark.long
@pytest.mark.usefixtures("ray_session")
def test_hundreds_of_faults_cost_their_episodes_and_nothing_else(tmp_path, request):
    check_faults(tmp_path, request.config.getoption("--faults"), runners=2)


def check_faults(tmp_path, wanted, runners):
    """Crashes, hangs, refusals and nonsense at random moments of runners with four games each, ``wanted`` of them and
    each kind at least once."""
    log = tmp_path / "faults.jsonl"
    faults = [
        Fault(
            kind=kind,
            request=request,
            # Some may stay undone; a hanging game costs seconds.
            times=math.ceil(wanted * share) + (1 if kind == "hang" else 2),
            probability=0.008 if request in ("step", "observation", "action") else 0.15,
        )
        for (kind, request), share in SHARES.items()
    ]
    root = make_mock_install(tmp_path / "sc2", faults=FaultPlan(log=str(log), faults=tuple(faults)))
    algo = config(root, runners, timeouts={"request_s": 5, "join_s": 30, "launch_s": 60}).build_algo()
    try:
        rows = [algo.train()["team"]]
        kinds = {kind for kind, _ in SHARES}
        while injected(log) < wanted or not kinds <= set(events(log)):
            rows.append(algo.train()["team"])
            assert len(running_servers(root)) == runners * GAMES
            # Every failure has cost one process, and no other has ended. (More may fail than is made to: on a machine that
            # is busy enough anything is late.)
            assert events(log)["start"] == runners * GAMES + rows[-1]["faults/env_failures"]
            assert len(rows) < 5 * wanted
        after = algo.train()["team"]
        # Training goes on, and what is collected from now on is not dropped.
        assert after["updates"] > rows[-1]["updates"]
        assert after["episodes"] > rows[-1]["episodes"]
        # A turn's requests are sent together: a second fault may meet a game that has failed already, and costs nothing.
        assert after["faults/env_failures"] >= 0.75 * wanted
        assert wanted / 2 <= after["faults/episodes_dropped"] <= after["faults/env_failures"]
        assert after["faults/runner_restarts"] == 0
        assert after["env/game_version"] == "mock_server"
        episodes = algo.replay.get_state()["episodes"]
        assert len(episodes) == after["episodes"]
        assert len({b"".join(array.tobytes() for array in episode.values()) for episode in episodes}) == len(episodes)
        for episode in episodes:
            assert_whole(episode)
    finally:
        algo.stop()
    assert eventually(lambda: running_servers(root) == [])


def assert_whole(episode):
    """From a field on which all six marines stand, unhurt and without a last action, to an end or the limit."""
    length = len(episode["reward"])
    healths, last_actions = episode["state"][0, 0:21].copy(), episode["state"][0, 21:]
    assert healths[[0, 4, 8, 12, 15, 18]].tolist() == [1.0] * 6
    assert not last_actions.any()
    assert episode["state"][1:, 21:].reshape(length, 3, 9).argmax(2).tolist() == episode["actions"].tolist()
    assert not episode["terminated"][:-1].any()
    assert episode["terminated"][-1] or length == 60


def injected(log: Path) -> int:
    counted = events(log)
    return sum(counted.values()) - counted["start"]


def test_the_shipped_experiment_runs_from_the_command_line_and_is_never_reported(tmp_path, capsys):
    """smac/3m/qmix as it is, but small: a remote runner, an evaluation runner, tickets, replays."""
    root = make_mock_install(tmp_path / "sc2")
    run = tmp_path / "run"
    settings = [
        f"env_config.sc2_path={root}",
        f"env_config.replay_dir={tmp_path / 'replays'}",
        "env_config.save_replay_every=2",
        "resources.num_env_runners=1",
        "resources.num_envs_per_env_runner=2",
        "resources.custom_resources_per_env_runner.sc2=2",
        "training.learning_starts_episodes=4",
        "training.batch_episodes=4",
        "evaluation.episodes=2",
        "evaluation.final_episodes=2",
        "evaluation.interval_env_steps=100",
        "logging.report_interval_env_steps=100",
        "stop.env_steps=300",
    ]
    finished = subprocess.run(
        [sys.executable, "-m", "rllib_reborn", "train", "smac/3m/qmix", *settings, "--out", str(run), "--quiet"],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert finished.returncode == 0, finished.stderr
    assert "no report: " in finished.stdout
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["env_steps"] >= 300
    assert rows[-1]["updates"] > 0
    assert {row["env/game_version"] for row in rows} == {"mock_server"}
    assert rows[-1]["faults/env_failures"] == 0
    assert any(row["eval/episodes"] == 2 for row in rows)
    final = json.loads((run / "final_evaluation.json").read_text())
    assert len(final["policy"]["returns"]) == len(final["random"]["won"]) == 2
    assert list((tmp_path / "replays").glob("3m_*.SC2Replay"))
    assert eventually(lambda: running_servers(root) == [])
    assert main(["report", str(run), "--out", str(tmp_path / "report")]) == 2
    assert "was played on the mock server" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
