"""Parsing, exit statuses, and one sentence for each mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rllib_reborn import __main__ as entry
from rllib_reborn._version import __version__
from rllib_reborn.cli import main as cli
from rllib_reborn.cli.command import Command, CommandFailed

QMIX = "matrix/two_step/qmix"

NO_STATE = """
import dataclasses
import numpy as np
from rllib_reborn.envs.matrix_games import TwoStepGame


class NoState(TwoStepGame):
    def __init__(self, num_envs=1):
        super().__init__(num_envs)
        self.spec = dataclasses.replace(self.spec, state_dim=0)

    def reset(self, *, seed=None, mask=None):
        return self._cut(super().reset(seed=seed, mask=mask))

    def step(self, actions):
        step = super().step(actions)
        return step._replace(obs=self._cut(step.obs))

    def _cut(self, obs):
        return obs._replace(state=obs.state[:, :0])


class NanReward(TwoStepGame):
    def step(self, actions):
        step = super().step(actions)
        return step._replace(reward=np.full_like(step.reward, np.nan))
"""


def mistake(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The sentence of a command that must end as a user's mistake."""
    assert cli.main(argv) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.err
    return printed.err


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything runs in a folder of its own, and what is refused must leave it empty."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


class TestParsing:
    """What reaches a command, and what does not."""

    def test_no_command_unknown_command_unknown_option(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "no command given; one of train, tune, evaluate, invariance, invariance-table, probe, report" in mistake(
            capsys
        )
        assert "Did you mean 'train'?" in mistake(capsys, "trian")
        assert "--nope" in mistake(capsys, "configs", "--nope")
        assert "--nope" in mistake(capsys, "train", QMIX, "--nope")
        assert "'extra'" in mistake(capsys, "doctor", "extra")

    def test_missing_and_malformed_arguments(self, capsys: pytest.CaptureFixture[str]) -> None:
        message = mistake(capsys, "train")
        assert "expected NAME, such as battle/8m/vdn+redo" in message
        assert "key.path" not in message
        assert "'-1' is not a whole number" in mistake(capsys, "train", QMIX, "--seed=-1")
        assert "'0' is not a whole number of at least 1" in mistake(capsys, "evaluate", "x", "--episodes", "0")
        assert "'two'" in mistake(capsys, "evaluate", "x", "--episodes", "two")

    def test_overrides_may_stand_before_and_after_options(self) -> None:
        parsed = cli._parse(["train", QMIX, "a=1", "--seed", "3", "b=2", "--quiet", "c=3"])
        assert parsed.overrides == ["a=1", "b=2", "c=3"]
        assert (parsed.seed, parsed.quiet) == (3, True)
        assert cli._parse(["train", QMIX]).overrides == []

    def test_help_and_version_end_with_success(self, capsys: pytest.CaptureFixture[str]) -> None:
        for argv in (["--help"], ["train", "--help"], ["--version"]):
            with pytest.raises(SystemExit) as ended:
                cli.main(argv)
            assert ended.value.code == 0
        assert __version__ in capsys.readouterr().out

    def test_help_is_quick_because_it_imports_neither_ray_nor_torch(self) -> None:
        code = (
            "import sys\nfrom rllib_reborn.cli.main import build_parser, main\nbuild_parser().format_help()\n"
            "main(['configs'])\nmain(['train', 'nowhere'])\n"
            "sys.exit([m for m in ('ray', 'torch', 'pandas', 'matplotlib') if m in sys.modules] or 0)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert "matrix/two_step, climbing" in done.stdout

    def test_the_module_is_the_command_line(self) -> None:
        assert entry.main is cli.main


class TestStatuses:
    """How a command's end becomes a status."""

    def end_with(self, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
        def run(args: object) -> int:
            raise error

        monkeypatch.setattr(cli, "COMMANDS", (Command("fail", "Fails.", lambda parser: None, run),))

    def test_a_known_failure_is_a_sentence_and_1(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.end_with(monkeypatch, CommandFailed("it broke\noff."))
        assert cli.main(["fail"]) == 1
        assert capsys.readouterr().err == "error: it broke off.\n"

    def test_an_interrupt_is_1(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.end_with(monkeypatch, KeyboardInterrupt())
        assert cli.main(["fail"]) == 1
        assert capsys.readouterr().err == "error: interrupted.\n"

    def test_a_bug_keeps_its_traceback(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.end_with(monkeypatch, ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            cli.main(["fail"])

    def test_a_closed_pipe_is_no_traceback(self) -> None:
        command = f"{sys.executable} -m rllib_reborn configs | head -0"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
        assert done.stderr == ""


class TestBadInput:
    """What users write wrong: one sentence, status 2, and nothing made."""

    @pytest.mark.parametrize(
        ("argv", "words"),
        [
            (["train", "predator_prey/small/qmx"], ["Did you mean 'predator_prey/small/qmix'?"]),
            (["train", QMIX, "env=predator_prey/smal"], ["unknown environment", "predator_prey/small"]),
            (["train", QMIX, "algorithm=QMX"], ["unknown algorithm 'QMX'", "'QMIX'"]),
            (["train", QMIX, "training.lrate=1"], ["unknown key 'training.lrate'"]),
            (["train", QMIX, "env_config.size=1"], ["unknown option 'size'"]),
            (["train", QMIX, "training.lr=fast"], ["training.lr is 'fast'"]),
            (["train", QMIX, "training.batch_episodes=600"], ["batch_episodes is 600", "buffer_episodes"]),
            (["train", QMIX, "training.target_update.every=0"], ["training.target_update.every is 0"]),
            (["train", QMIX, "evaluation.interval_env_steps=0"], ["interval_env_steps is 0"]),
            (["train", QMIX, "not an override"], ["expected key.path=value"]),
            (["train", QMIX, "resources.num_gpus_per_learner=99"], ["need 99 GPUs"]),
            (
                ["train", "predator_prey/large/qmix", "training.buffer_episodes=1e8"],
                ["buffer_episodes to at most"],
            ),
            (["train", QMIX, "--resume", "nowhere"], ["nowhere does not exist"]),
            (["evaluate", "nowhere"], ["nowhere does not exist"]),
            (["evaluate", "."], ["holds no checkpoint"]),
            (["evaluate", "nowhere", "--video", "film.mp4"], [".gif"]),
            (["evaluate", "nowhere", "--video", "no/folder/film.gif"], ["no folder no/folder"]),
            (["report", "nowhere"], ["nowhere does not exist"]),
            (["report", "."], ["holds no run"]),
            (["envs", "predator_prey/smal"], ["predator_prey/small"]),
            (["configs", "predator_prey/small/qmx"], ["Did you mean 'predator_prey/small/qmix'?"]),
            (["train", "--env", "battle/8m"], ["--algorithm is missing"]),
            (["train", "--algorithm", "vdn", "seed=1"], ["--env is missing"]),
            (["train", QMIX, "--env", "battle/8m"], ["--env and the name", "both given"]),
            (["train", "seed=1"], ["no experiment is named"]),
            (["train", "--env", "battle/8mm", "--algorithm", "vdn"], ["'battle/8mm'", "Did you mean 'battle/8m'?"]),
            (["train", "--env", "battle/8m", "--algorithm", "vdm"], ["no algorithm 'vdm'", "'battle/8m/vdn'"]),
            (["train", QMIX, "--intervention", "reddo"], ["no intervention 'reddo'", "'redo'"]),
            (["train", QMIX, "--resources", "gpus"], ["no resources 'gpus'", "'gpu'"]),
            (["train", QMIX, "--dry-run", "training.lrate=1"], ["unknown key 'training.lrate'"]),
            (["train", QMIX, "--dry-run", "training.batch_episodes=600"], ["batch_episodes is 600"]),
            (["train", "matrix/two_step/no_such_module:Config"], ["there is no module 'no_such_module'"]),
            (["train", "matrix/two_step/json:JSONEncoder"], ["expected a subclass of ValueFactorizationConfig"]),
        ],
    )
    def test_it_is_one_sentence_and_nothing_is_made(
        self, capsys: pytest.CaptureFixture[str], empty_folder: Path, argv: list[str], words: list[str]
    ) -> None:
        message = mistake(capsys, *argv)
        for word in words:
            assert word in message
        assert list(empty_folder.iterdir()) == []

    def test_a_run_folder_that_exists(self, capsys: pytest.CaptureFixture[str], empty_folder: Path) -> None:
        (empty_folder / "mine").mkdir()
        (empty_folder / "mine" / "thesis.txt").write_text("years of work")
        assert "mine exists and is not empty" in mistake(capsys, "train", QMIX, "--out", "mine")
        assert [path.name for path in (empty_folder / "mine").iterdir()] == ["thesis.txt"]

    @pytest.mark.parametrize(
        ("env", "algorithm", "words"),
        [
            ("NoState", "QMIX", "needs a global state"),
            ("NanReward", "VDN", "cannot be trained on"),
            ("Missing", "VDN", "has no 'Missing'"),
        ],
    )
    def test_an_environment_that_does_not_fit(
        self,
        capsys: pytest.CaptureFixture[str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        empty_folder: Path,
        env: str,
        algorithm: str,
        words: str,
    ) -> None:
        (tmp_path / "cli_test_envs.py").write_text(NO_STATE)
        monkeypatch.syspath_prepend(tmp_path)
        config = tmp_path / "mine.yaml"
        config.write_text(f"algorithm: {algorithm}\nenv: cli_test_envs:{env}\nstop: {{iterations: 1}}\n")
        assert words in mistake(capsys, "train", str(config))
        assert list(empty_folder.iterdir()) == []

    def test_yaml_that_would_build_objects(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, empty_folder: Path
    ) -> None:
        evil = tmp_path / "evil.yaml"
        evil.write_text(f"env: !!python/object/apply:os.mkdir ['{empty_folder / 'owned'}']\n")
        assert "never objects" in mistake(capsys, "train", str(evil))
        assert list(empty_folder.iterdir()) == []
