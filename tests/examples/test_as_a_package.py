"""The four parts of docs/extending.md as a package of somebody else's: installed, named, trained with on a remote env runner
and a remote learner, and used afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
PARTS = ("own_mixer.py", "own_intervention.py", "own_encoder.py", "own_game.py")
GAME, MIXER = "their_team.own_game:Rendezvous", "their_team.own_mixer:WeightedSumConfig"
KIND, ENCODER = "their_team.own_intervention:ClipNorm", "their_team.own_encoder:Normalised"
#: Processes are started one after the other; a busy machine takes minutes.
pytestmark = pytest.mark.timeout(1200)

PROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "their-team"
version = "1.0"

[tool.setuptools]
packages = ["their_team"]
"""
#: 8 games of at most 12 steps on one runner; a few updates.
LENGTH = [
    "resources.num_env_runners=1",
    "resources.num_learners=1",
    "resources.num_envs_per_env_runner=8",
    "training.learning_starts_episodes=8",
    "training.batch_episodes=8",
    "evaluation.interval_env_steps=null",
    "evaluation.final_episodes=4",
    "logging.report_interval_env_steps=100",
    "stop.env_steps=300",
]
TREATED = ["interventions.0.every=4", "interventions.0.unit=updates", "interventions.0.limit=0.5"]
READ = [f"training.model.encoder={ENCODER}", "training.model.encoder_settings={width: 12}"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package was installed into by pip; nothing of it lies in this repository."""
    root = tmp_path_factory.mktemp("their_project")
    package = root / "source" / "their_team"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name in PARTS:
        (package / name).write_bytes((FOLDER / name).read_bytes())
    (root / "source" / "pyproject.toml").write_text(PROJECT)
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    done = subprocess.run(
        [*pip, "--target", str(root / "site"), str(root / "source")], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return root / "site"


def run(installed: Path, folder: Path, *command: str) -> str:
    """What a command prints, called as a user calls it: from another folder."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    return done.stdout


def train(installed: Path, folder: Path, name: str, *settings: str) -> list[dict[str, Any]]:
    """Rows of a run of the experiment ``name`` in ``folder / "run"``."""
    run(installed, folder, "-m", "rllib_reborn", "train", name, "--out", "run", *LENGTH, *settings)
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "run" / "dormancy" / "events.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_all_four_at_once_on_a_remote_runner_and_a_remote_learner(installed, tmp_path):
    rows = train(installed, tmp_path, f"{GAME}/{MIXER}+{KIND}", *TREATED, *READ)
    assert rows[-1]["updates"] > 8
    applied = events(tmp_path)
    assert {event["kind"] for event in applied} == {KIND}
    assert sum(event["neurons"] for event in applied) > 0
    assert "their_team.own_game" in run(installed, tmp_path, "-m", "rllib_reborn", "evaluate", "run", "--episodes", "4")
    run(installed, tmp_path, "-m", "rllib_reborn", "export", "run", "--out", "policy")
    settings = json.loads((tmp_path / "policy" / "policy.json").read_text())["policy"]
    assert (settings["encoder"], settings["algorithm"]) == (ENCODER, "WeightedSum")
    load = "from rllib_reborn import Policy; policy = Policy.load('policy', trust_encoder=True)"
    assert run(installed, tmp_path, "-c", f"{load}; print(policy.values([[0] * 7] * 3).shape)").strip() == "(3, 3)"
    elsewhere = subprocess.run([sys.executable, "-c", load], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert "there is no module 'their_team'" in elsewhere.stderr.splitlines()[-1]


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (f"matrix/two_step/{MIXER}", ()),
        (f"matrix/two_step/qmix+{KIND}", TREATED),
        ("matrix/two_step/qmix", READ),
        (f"{GAME}/qmix", ()),
    ],
    ids=["mixer", "intervention", "encoder", "environment"],
)
def test_each_alone_on_a_remote_runner_and_a_remote_learner(installed, tmp_path, name, settings):
    assert train(installed, tmp_path, name, *settings)[-1]["updates"] > 8
    assert not settings or settings is READ or sum(event["neurons"] for event in events(tmp_path)) > 0
    run(installed, tmp_path, "-m", "rllib_reborn", "evaluate", "run", "--episodes", "4")
    probed = run(
        installed,
        tmp_path,
        *("-m", "rllib_reborn", "probe", "run", "--seeds", "1", "--updates", "4", "--episodes", "16", "--json"),
        *("--arms", "as_is,fresh"),
    )
    assert len(probed.splitlines()) >= 2


@pytest.mark.long
def test_all_four_in_a_sweep(installed, tmp_path):
    settings = dict(entry.split("=", 1) for entry in [*LENGTH, *TREATED, *READ])
    budget = settings.pop("stop.env_steps")
    lines = [f"base: '{GAME}/{MIXER}+{KIND}'", "set:", *(f"  {key}: {value}" for key, value in settings.items())]
    lines += ["space: {training.model.encoder_settings.width: {grid: [6, 12]}}", "concurrency: 1"]
    lines += [f"budget: {{env_steps: {budget}}}"]
    (tmp_path / "sweep.yaml").write_text("\n".join(lines))
    run(installed, tmp_path, "-m", "rllib_reborn", "tune", "sweep.yaml", "--out", "sweep")
    finals = list((tmp_path / "sweep").glob("*/s0/final_evaluation.json"))
    assert len(finals) == 2
    configs = [(final.parent / "config.yaml").read_text() for final in finals]
    assert [f"width: {width}" in config for width in (6, 12) for config in sorted(configs)].count(True) == 2
