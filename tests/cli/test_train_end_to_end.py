"""train, evaluate, report, resume and interrupt, for real, on the two-step game."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from rllib_reborn import load_team
from rllib_reborn.cli.main import main
from rllib_reborn.envs.contract import EnvContractError
from tests.fakes import teams_by_process

pytestmark = pytest.mark.slow

# Checkpoints every 200 env steps; 512 env steps in all, of which 64 fill the replay before the first update.
SETTINGS = [
    "training.learning_starts_episodes=16",
    "training.batch_episodes=16",
    "training.updates_per_episode=0.25",
    "evaluation.interval_env_steps=200",
    "checkpoint.interval_env_steps=200",
    "logging.report_interval_env_steps=64",
]
CONFIG = "matrix/two_step/qmix"
LIMIT = "stop.env_steps=512"


def rows(folder: Path) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl without what may differ between equal runs."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if not key.startswith(("time/", "memory/"))}
        for line in lines
    ]


def command(*argv: str) -> list[str]:
    return [sys.executable, "-m", "rllib_reborn", *argv]


BREAKS_LATER = """
import numpy as np
from rllib_reborn.envs.matrix_games import TwoStepGame


class BreaksLater(TwoStepGame):
    steps = 0

    def step(self, actions):
        step = super().step(actions)
        self.steps += 1
        if self.steps < 80 * 2:  # the check before training plays some 130
            return step
        return step._replace(reward=np.full_like(step.reward, np.nan))
"""


@pytest.fixture(scope="module", autouse=True)
def own_ray(no_shared_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Ray for all that runs in this process, and not the shared one: its workers need another path. What runs in
    processes of its own starts its own."""
    modules = tmp_path_factory.mktemp("modules")
    (modules / "breaking_env.py").write_text(BREAKS_LATER)
    with pytest.MonkeyPatch.context() as patch:
        # Workers take the path of the driver at the time when Ray starts.
        patch.syspath_prepend(modules)
        patch.setenv("PYTHONPATH", str(modules), prepend=os.pathsep)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init("local", num_cpus=2, include_dashboard=False, logging_level="ERROR")
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whole run that the other tests compare with."""
    folder = tmp_path_factory.mktemp("reference") / "run"
    assert main(["train", CONFIG, *SETTINGS, LIMIT, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def copy(reference: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(reference, tmp_path / "copy"))


def test_the_run_folder_has_what_the_architecture_promises(reference: Path) -> None:
    config = yaml.safe_load((reference / "config.yaml").read_text())
    assert config["algorithm"] == "QMIX"
    assert config["training"]["updates_per_episode"] == 0.25
    names = {path.name for path in reference.iterdir()}
    assert {"config.yaml", "metrics.jsonl", "checkpoints", "report", "final_evaluation.json"} <= names
    assert (reference / "report" / "report.md").is_file()
    assert list((reference / "report").glob("*.png"))
    assert list((reference / "report").glob("*.csv"))
    written = [json.loads(line) for line in (reference / "metrics.jsonl").read_text().splitlines()]
    documented = {
        *("iteration", "env_steps", "episodes", "updates", "train/return_mean", "train/win_rate"),
        *("train/loss", "train/td_error_abs", "train/grad_norm", "train/epsilon", "train/q_tot_mean"),
        *("eval/return_mean", "eval/return_std", "eval/win_rate", "eval/episodes", "eval/returns", "eval/env_failures"),
        *("time/env_steps_per_s", "time/updates_per_s", "time/total_s"),
        *("memory/replay_bytes", "memory/rss_bytes"),
    }
    assert all(documented <= set(row) for row in written)
    assert [row["iteration"] for row in written] == list(range(1, len(written) + 1))
    assert written[-1]["env_steps"] >= 512
    assert len(list((reference / "checkpoints").iterdir())) == 2
    final = json.loads((reference / "final_evaluation.json").read_text())
    assert len(final["policy"]["returns"]) == len(final["random"]["returns"]) == final["episodes"] == 32
    assert final["policy"]["won"] is None
    assert final["env_steps"] == written[-1]["env_steps"]
    assert final["env"] == "matrix/two_step"
    assert len(set(final["random"]["returns"])) > 1


def test_two_equal_runs_give_equal_rows_and_equal_evaluations(reference: Path, tmp_path: Path) -> None:
    # By the resolved config of the first, which must be the same experiment.
    again = tmp_path / "again"
    assert main(["train", str(reference / "config.yaml"), "--out", str(again), "--quiet"]) == 0
    assert rows(again) == rows(reference)
    names = ("final_evaluation.json",)
    assert all((again / name).read_text() == (reference / name).read_text() for name in names)


def test_another_seed_gives_other_rows(reference: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    argv = ["train", CONFIG, *SETTINGS, "stop.iterations=2", "--seed", "1", "--out", str(other), "--quiet"]
    assert main(argv) == 0
    assert rows(other) != rows(reference)[:2]


def test_a_run_in_two_parts_gives_the_rows_of_one(reference: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    first = ["train", CONFIG, *SETTINGS, "stop.env_steps=300", "--out", str(folder), "--quiet"]
    assert main(first) == 0
    assert len(rows(folder)) < len(rows(reference))
    assert main(["train", CONFIG, *SETTINGS, LIMIT, "--out", str(folder), "--resume", "auto", "--quiet"]) == 0
    assert rows(folder) == rows(reference)
    final = "final_evaluation.json"
    assert (folder / final).read_text() == (reference / final).read_text()


def test_rows_after_the_checkpoint_are_replaced(reference: Path, copy: Path) -> None:
    # As a crash long after the last checkpoint leaves it, in the middle of a line.
    newest = sorted((copy / "checkpoints").iterdir())[-1]
    shutil.rmtree(newest)
    with (copy / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 99, "env_st')
    argv = ["train", str(copy / "config.yaml"), "--resume", str(copy), "--quiet"]
    assert main(argv) == 0
    assert rows(copy) == rows(reference)


def test_evaluate_and_report(reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = tmp_path / "film.gif"
    argv = ["evaluate", str(reference), "--episodes", "5", "--seed", "3", "--video", str(video), "--json"]
    assert main(argv) == 0
    first = capsys.readouterr().out
    answer = json.loads(first)
    assert len(answer["returns"]) == answer["episodes"] == 5
    assert answer["return"]["mean"] == pytest.approx(sum(answer["returns"]) / 5)
    assert answer["return"]["low"] <= answer["return"]["mean"] <= answer["return"]["high"]
    assert answer["win_rate"] is None
    assert video.read_bytes().startswith(b"GIF8")
    assert main(argv) == 0
    assert capsys.readouterr().out == first
    newest = sorted((reference / "checkpoints").iterdir())[-1]
    assert main(["evaluate", str(newest), "--episodes", "2"]) == 0
    assert "return" in capsys.readouterr().out
    assert main(["report", str(reference), "--out", str(tmp_path / "report")]) == 0
    assert "report.md" in capsys.readouterr().out
    assert (tmp_path / "report" / "report.md").is_file()


def test_a_damaged_checkpoint_is_not_evaluated(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newest = sorted((copy / "checkpoints").iterdir())[-1]
    state = newest / "learner_group" / "learner" / "rl_module" / "default_policy" / "module_state.pkl"
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 1
    state.write_bytes(bytes(data))
    assert main(["evaluate", str(newest)]) == 2
    assert "module_state.pkl has the wrong checksum" in capsys.readouterr().err
    # The run as a whole still has the one before.
    assert main(["evaluate", str(copy), "--episodes", "2"]) == 0


@contextlib.contextmanager
def training(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A training process that would run for hours, in the middle of it."""
    argv = command("train", CONFIG, *SETTINGS, "stop.env_steps=1e8", "--out", str(folder))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            deadline = time.monotonic() + 120
            while not (folder / "checkpoints" / "checkpoint_000001").exists():
                assert process.poll() is None, process.stdout.read() if process.stdout else ""
                assert time.monotonic() < deadline, "no checkpoint after two minutes"
                time.sleep(0.2)
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.long), signal.SIGTERM])
def test_a_signal_saves_a_checkpoint_and_says_how_to_go_on(
    reference: Path, tmp_path: Path, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    with training(folder) as process:
        os.kill(process.pid, number)
        text, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"stopped by {number.name}" in text
    assert f"train {folder / 'config.yaml'} --resume {folder}" in text
    assert "Traceback" not in text
    newest = sorted((folder / "checkpoints").iterdir())[-1]
    manifest = json.loads((newest / "manifest.json").read_text())
    assert manifest["iteration"] == rows(folder)[-1]["iteration"]
    so_far = f"{manifest['env_steps'] + manifest['interrupted_env_steps']:,} env steps"
    assert f"stopped by {number.name} after {so_far};" in text
    assert not (folder / "final_evaluation.json").exists()
    one_more = f"stop.iterations={manifest['iteration'] + 1}"
    assert main(["train", CONFIG, *SETTINGS, one_more, "--out", str(folder), "--resume", "auto"]) == 0
    assert f"{newest}, {so_far}" in capsys.readouterr().out


def test_the_same_command_goes_on_after_sigkill(reference: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with training(folder) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=60)
    before = len(rows_if_whole(folder))
    target = f"stop.iterations={before + 2}"
    assert main(["train", CONFIG, *SETTINGS, target, "--out", str(folder), "--resume", "auto", "--quiet"]) == 0
    after = rows(folder)
    assert len(after) == before + 2
    shared = min(len(after), len(rows(reference)))
    assert after[:shared] == rows(reference)[:shared]


def rows_if_whole(folder: Path) -> list[str]:
    """Lines of metrics.jsonl that are whole."""
    return [line for line in (folder / "metrics.jsonl").read_text().split("\n")[:-1] if line]


def test_a_process_that_finds_the_agents_in_another_order_goes_on_with_the_saved_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, fork = tmp_path / "run", tmp_path / "fork"
    name, env = "tests.fakes.teams_by_process:reversed_elsewhere/qmix", "env_config={team: {state: observations}}"
    settings = ["train", name, *SETTINGS[:3], "logging.report_interval_env_steps=64", env, "--quiet"]
    assert main([*settings, "stop.iterations=1", "--out", str(folder)]) == 0
    monkeypatch.setenv(teams_by_process.FIRST, "0")  # from here on this process names them the other way round
    assert main([*settings, "stop.iterations=3", "--out", str(folder), "--resume", "auto"]) == 0
    assert len(rows(folder)) == 3
    assert main(["evaluate", str(folder), "--episodes", "2"]) == 0
    assert main([*settings, "stop.iterations=4", "--out", str(fork), "--from", str(folder)]) == 0
    for run in (folder, fork):
        newest = sorted((run / "checkpoints").iterdir())[-1]
        assert load_team(newest).spec.agent_ids == teams_by_process.NAMES


@pytest.mark.parametrize("runners", [0, 1])
def test_an_environment_that_breaks_in_the_middle_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], runners: int
) -> None:
    folder = tmp_path / "run"
    overrides = [*SETTINGS, LIMIT.replace("512", "1e7")]
    argv = [
        "train",
        "breaking_env:BreaksLater/vdn",
        *overrides,
        f"resources.num_env_runners={runners}",
        "--out",
        str(folder),
    ]
    assert main([*argv, "--quiet"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: training broke off after")
    assert "reward" in error
    assert "--resume" in error
    assert "Traceback" in (folder / "error.txt").read_text()
    assert list((folder / "checkpoints").iterdir())
    assert len(rows(folder)) >= 3


def test_games_that_fail_in_the_final_evaluation_alone_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise EnvContractError("the games failed")

    monkeypatch.setattr("rllib_reborn.studies.trained_policy.TrainedPolicy.evaluate", fail)
    folder = tmp_path / "run"
    assert main(["train", CONFIG, *SETTINGS, "stop.env_steps=64", "--out", str(folder), "--quiet"]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("error: training is done and its last checkpoint in ")
    assert message.endswith("could not be played: the games failed")
    assert list((folder / "checkpoints").iterdir()) != []


@pytest.mark.parametrize(
    ("algorithm", "overrides", "words"),
    [
        (
            "qmix",
            ["interventions=[{kind: reborn, every: 100, layers: full}]"],
            "mixer/mixing: cannot be edited: the weights",
        ),
        (
            "qmix",
            ["interventions=[{kind: redo, every: 100}]", "training.model.normalisation=layer"],
            "cannot be edited: layer normalisation stands behind its neurons",
        ),
        ("vdn", ["interventions=[{kind: knife, every: 100, scope: agent}]"], "KNIFE widens Linear layers only"),
    ],
)
def test_an_intervention_that_these_networks_refuse_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], algorithm: str, overrides: list[str], words: str
) -> None:
    folder = tmp_path / "run"
    argv = ["train", f"matrix/two_step/{algorithm}", *overrides, "stop.env_steps=64", "--out", str(folder), "--quiet"]
    assert main(argv) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("error: interventions")
    assert words in message
