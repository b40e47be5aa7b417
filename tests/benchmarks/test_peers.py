"""The benchmark beside EPyMARL, without EPyMARL: what it counts and prints, and what it says when something is wrong."""

import json
import sys
import tempfile
from pathlib import Path

import pytest

from benchmarks.peers.__main__ import main
from benchmarks.peers.measure import EPYMARL, OURS, ROOT, Amounts, Peer, measured, row_of, starting, table
from benchmarks.peers.side import PeerError, Side
from benchmarks.peers.tasks import SETTINGS, TASKS, Task
from rllib_reborn.experiments.load import load_experiment

#: A program with the names that EPyMARL has: episodes of 10 env steps, batches of 2 episodes, an update for each episode.
STAND_IN = {
    "config/algs/qmix.yaml": "",
    "config/envs/gymma.yaml": "",
    "runners.py": """
class Runner:
    t_env = 0
    def run(self, test_mode=False):
        self.t_env += 0 if test_mode else 10
        return "episode"
    def close_env(self):
        print("closed")
REGISTRY = {"episode": Runner}
""",
    "learners.py": """
import types
class Learner:
    args = types.SimpleNamespace(batch_size=2)
    def train(self, batch, t_env, episode):
        assert batch == (slice(None), slice(None, 7))
REGISTRY = {"q_learner": Learner}
""",
    "run.py": """
import learners, runners
class Batch:
    def max_t_filled(self):
        return 7
    def __getitem__(self, index):
        return index
class ReplayBuffer:
    episodes = 0
    def can_sample(self, batch_size):
        return self.episodes >= batch_size
    def sample(self, batch_size):
        return Batch()
def run(t_max):
    runner, learner, replay = runners.REGISTRY["episode"](), learners.REGISTRY["q_learner"](), ReplayBuffer()
    runner.run(test_mode=True)
    while runner.t_env <= t_max:
        runner.run(test_mode=False)
        replay.episodes += 1
        if replay.can_sample(2):
            learner.train(replay.sample(2)[:, :7], runner.t_env, replay.episodes)
    runner.close_env()
""",
    "main.py": """
import sys
from run import run
import smaclite
settings = dict(given.split("=") for given in sys.argv[sys.argv.index("with") + 1 :])
print("What EPyMARL prints is no answer", settings)
assert settings["env_args.key"] == "game" and settings["use_rnn"] == "True"
run(int(settings["t_max"]))
""",
}


@pytest.fixture(autouse=True)
def own_logs(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    for name, text in STAND_IN.items():
        file = tmp_path / "epymarl/src" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "sacred.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(packages))
    return tmp_path / "epymarl"


def a_task(**packages):
    return Task("lbf/8x8-2p-3f", "game", 10, first=30, last=100, packages=packages)


def said_by(code, patience_s=60.0):
    """Starts a side that runs this code."""
    return Side("EPyMARL", [sys.executable, "-S", "-c", code], ROOT, patience_s)


def pair(ours, theirs, **counted):
    return {OURS: {"cpu_s": ours, **counted}, EPYMARL: {"cpu_s": theirs, **counted}}


def test_a_ratio_is_the_median_of_the_pairs_ratios():
    row = row_of("update", [pair(1.0, 4.0, updates=10), pair(3.0, 4.0, updates=10), pair(1.0, 2.0, updates=10)])
    assert row["ours_ms"] == pytest.approx(100)
    assert row["epymarl_ms"] == pytest.approx(400)
    assert row["ratio"] == pytest.approx([0.5, 0.25, 0.75])


def test_env_steps_of_both_sides_may_differ():
    sides = {
        OURS: {"cpu_s": 1.0, "env_steps": 2_000, "episodes": 40, "updates": 40},
        EPYMARL: {"cpu_s": 1.0, "env_steps": 1_000, "episodes": 20, "updates": 19},
    }
    row = row_of("end_to_end", [sides])
    assert (row["ours_us"], row["epymarl_us"], row["ratio"][0]) == pytest.approx((500, 1_000, 0.5))
    assert (row["ours_updates_per_episode"], row["epymarl_updates_per_episode"]) == (1, 0.95)
    assert row["epymarl_env_steps_per_episode"] == 50


def test_nothing_done_is_no_ratio():
    with pytest.raises(PeerError, match="ours did no updates in row 'update', expected at least 1; measure more"):
        row_of("update", [pair(1.0, 1.0, updates=0)])


def test_the_table_has_a_line_for_each_row():
    rows = [
        {"name": "lbf/update", **row_of("update", [pair(1.0, 4.0, updates=10)])},
        {"name": "lbf/sampling", **row_of("sampling", [pair(1.0, 2.0, env_steps=1_000)])},
    ]
    head, *lines = table(rows).splitlines()
    assert "ours / EPyMARL" in head
    assert [line.split()[0] for line in lines] == ["lbf/update", "lbf/sampling"]
    assert "ms an update" in lines[0]
    assert "0.250 (0.250 to 0.250)" in lines[0]
    assert "us an env step" in lines[1]
    assert "0.500" in lines[1]


@pytest.mark.parametrize("name", TASKS)
def test_a_task_begins_behind_the_first_update_and_its_settings_are_ours(name):
    task = TASKS[name]
    assert 32 * task.time_limit < task.first < task.last
    experiment = load_experiment(f"{task.env}/qmix", SETTINGS)
    given = experiment.training.given(full=False)
    assert given["td_lambda"] is None
    assert not given["model"]["last_action"]


def test_epymarls_side_counts_between_the_two_readings_and_then_works_on(stand_in):
    with starting(a_task(), Peer(stand_in, Path(sys.executable)), 60.0)(EPYMARL, 0) as side:
        trained = side.answer()
        updated, sampled = side.work("update", 3), side.work("sampling", 25)
    assert (trained["env_steps"], trained["episodes"], trained["updates"]) == (70, 7, 7)
    assert (updated["env_steps"], updated["updates"]) == (0, 3)
    assert (sampled["env_steps"], sampled["updates"]) == (30, 0)
    assert not (stand_in / "src/__pycache__").exists()  # it ran from a copy


def test_both_sides_take_turns(stand_in):
    start = starting(a_task(), Peer(stand_in, Path(sys.executable)), 60.0)
    started = []

    def noted(which, seed):
        started.append((which, seed))
        return start(EPYMARL, seed)

    pairs, versions = measured(noted, Amounts(repeats=2, turns=3, updates=4, env_steps=20))
    assert started == [(EPYMARL, 0), (OURS, 0), (OURS, 1), (EPYMARL, 1)]
    assert {name: len(found) for name, found in pairs.items()} == {"update": 6, "sampling": 6, "end_to_end": 2}
    assert pairs["update"][0][OURS]["updates"] == 4
    assert versions[EPYMARL]["python"] == sys.version.split()[0]


def test_a_game_that_is_not_installed_is_said_with_the_remedy(stand_in):
    start = starting(a_task(no_such_game="the-game==1.0"), Peer(stand_in, Path(sys.executable)), 60.0)
    with pytest.raises(PeerError, match=r"has no no_such_game; install it with `.* -m pip install the-game==1\.0`\.$"):
        start(EPYMARL, 0).__enter__()


def test_what_is_no_epymarl_is_said(tmp_path, capsys):
    assert main(["--epymarl", str(tmp_path), "--python", sys.executable]) == 1
    replies = capsys.readouterr().err
    assert replies.count("\n") == 1
    assert f"--epymarl {tmp_path} is no EPyMARL: it has no src/main.py; clone https://github.com/" in replies


def test_a_python_that_does_not_run_is_said(tmp_path):
    with pytest.raises(PeerError, match=r"nowhere cannot be run .*; give the path of a Python with --python"):
        Side("EPyMARL", [str(tmp_path / "nowhere")], ROOT, 60.0)


def test_a_program_that_fails_says_why():
    with pytest.raises(PeerError, match=r"EPyMARL ended with status 1: KeyError: 'lr'; see .*peers_.*log"):
        said_by("raise KeyError('lr')")


def test_a_program_that_ends_in_the_middle_says_its_status():
    side = said_by(f"print({json.dumps({'versions': {}})!r}, flush=True); input(); raise SystemExit(5)")
    with side, pytest.raises(PeerError, match="ended with status 5"):
        side.work("update", 1)


def test_a_program_that_says_something_else_is_shown():
    with pytest.raises(PeerError, match="EPyMARL says 'hello', expected JSON"):
        said_by("print('hello', flush=True)")


def test_a_program_that_is_silent_is_ended():
    with pytest.raises(PeerError, match=r"answered nothing for 0\.5 s and was ended; allow more with --patience"):
        said_by("import time; time.sleep(300)", patience_s=0.5)


@pytest.mark.parametrize("given", [["--repeats", "0"], ["--first", "100", "--last", "100"], ["--patience", "0"]])
def test_amounts_that_measure_nothing_are_refused(given, capsys):
    with pytest.raises(SystemExit):
        main(["--epymarl", ".", "--python", sys.executable, *given])
    assert given[0] in capsys.readouterr().err


@pytest.mark.long
def test_our_side_trains_updates_and_samples():
    request = {"env": "matrix/two_step", "settings": [], "first": 100, "last": 200}
    command = [sys.executable, "-m", "benchmarks.peers.our_side", json.dumps(request)]
    with Side(OURS, command, ROOT, 300.0) as side:
        trained = side.answer()
        assert trained["env_steps"] >= 100
        assert trained["updates"] == trained["episodes"]
        assert side.work("update", 3)["updates"] == 3
        assert side.work("sampling", 50)["env_steps"] >= 50
