"""Where there is no game, or a broken one: one attempt, one sentence that says what to do, from every command."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

pytest.importorskip("s2clientprotocol", reason="not run: the extra 'starcraft' is not installed")

from rllib_reborn.cli import doctor
from rllib_reborn.cli.main import main
from rllib_reborn.envs import make_team_env
from rllib_reborn.envs.smac.scenarios import SMAC_SCENARIOS
from rllib_reborn.envs.starcraft import battle
from rllib_reborn.envs.starcraft.errors import InstallationError, LaunchError
from rllib_reborn.runtime.env_creator import create
from rllib_reborn.runtime.env_runner import TeamEnvRunner
from tests.algorithms.helpers import quick
from tests.envs.starcraft.programs import installation

ENDS = (
    "import sys; sys.exit(print('error while loading shared libraries: libx.so: no such file', file=sys.stderr) or 127)"
)


@pytest.fixture
def attempts(monkeypatch):
    """Every call of launch, and no waiting before a further one."""
    calls = []
    real = battle.launch
    monkeypatch.setattr(battle, "launch", lambda *a: (calls.append(a), real(*a))[1])
    monkeypatch.setattr("rllib_reborn.envs.starcraft.launch._JITTER_S", 0.0)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return calls


def test_no_game_is_not_even_tried(attempts, tmp_path):
    env = make_team_env("smac/3m", 4, sc2_path=str(tmp_path))
    with pytest.raises(InstallationError, match="holds no Versions/Base"):
        env.reset(seed=1)
    assert attempts == []


def test_a_game_that_can_never_start_is_tried_once(attempts, tmp_path):
    env = make_team_env("smac/3m", 1, sc2_path=str(installation(tmp_path, ENDS)))
    with pytest.raises(InstallationError, match="a library is missing; install it"):
        env.reset(seed=1)
    assert len(attempts) == 1


def test_one_that_may_start_yet_is_tried_five_times(attempts, tmp_path):
    env = make_team_env("smac/3m", 1, sc2_path=str(installation(tmp_path, "raise SystemExit(1)")))
    with pytest.raises(Exception, match="could not be reset 5 times") as caught:
        env.reset(seed=1)
    assert isinstance(caught.value.__cause__, LaunchError)
    assert len(attempts) == env.failed_resets == 5


def test_a_runner_says_it_and_does_not_make_its_games_anew(attempts, tmp_path):
    config = quick(env="smac/3m").environment(env_config={"sc2_path": str(installation(tmp_path, ENDS))})
    config.env_runners(num_envs_per_env_runner=1)
    runner = TeamEnvRunner(
        config=config,
        env_creator=lambda context, num_envs, spec: create("smac/3m", context, num_envs, spec),
        worker_index=0,
        num_workers=0,
    )
    answer = runner.collect(1)
    assert answer.error is not None
    assert answer.error.env_is_broken
    assert answer.error.message.startswith(
        "'smac/3m' cannot be played on this machine: StarCraft II ended before it answered"
    )
    assert "libx.so" in answer.error.message
    assert len(attempts) == 1


def test_train_says_it_before_anything_is_started(tmp_path, capsys):
    given = ["train", "smac/3m/qmix", f"env_config.sc2_path={tmp_path}", "--out", str(tmp_path / "run")]
    assert main(given) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: environment 'smac/3m' cannot be played here: ")
    assert "SC2PATH" in message
    assert len(message.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_train_refuses_a_driver_that_plays(tmp_path, capsys):
    given = ["train", "smac/3m/qmix", "resources.num_env_runners=0", "--out", str(tmp_path / "run")]
    assert main([*given, "evaluation.num_env_runners=1"]) == 2
    assert "resources.num_env_runners is 0, so that the driver would sample" in capsys.readouterr().err


class TestEnvs:
    """The command ``envs smac/3m``."""

    def output(self, capsys, root, *more):
        assert main(["envs", "smac/3m", f"sc2_path={root}", *more]) == 2
        out, err = capsys.readouterr()
        assert err.startswith("error: environment 'smac/3m' cannot be played here: ")
        assert len(err.splitlines()) == 1
        return out, err

    @pytest.mark.parametrize(("content", "launched"), [(None, 0), (ENDS, 1)])
    def test_it_says_once_why_nothing_was_checked(self, attempts, tmp_path, capsys, content, launched):
        root = tmp_path if content is None else installation(tmp_path, content)
        out, err = self.output(capsys, root)
        assert "FAILED" not in out
        assert out.count("not run") == 1
        reason = "SC2PATH" if content is None else "a library is missing"
        assert reason in err
        assert reason not in out
        # Its two games, in the first check.
        assert len(attempts) <= 2 * launched

    @pytest.mark.parametrize("content", [None, ENDS])
    def test_as_json_it_is_null(self, attempts, tmp_path, capsys, content):
        root = tmp_path if content is None else installation(tmp_path, content)
        answer = json.loads(self.output(capsys, root, "--json")[0])
        assert [(check["name"], check["ok"]) for check in answer["checks"]] == [("game", None)]
        assert answer["n_agents"] == 3


@pytest.mark.parametrize(
    "command",
    [["envs", "smac/3m"], ["envs", "smac/3m", "--json"], ["train", "smac/3m/qmix"], ["doctor"], ["envs"]],
    ids=" ".join,
)
def test_no_command_waits_for_a_game_that_is_not_there(attempts, tmp_path, monkeypatch, command):
    """It neither launches one nor sleeps before another attempt."""

    def sleep(seconds):
        raise AssertionError(f"waited {seconds} s")

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setenv("SC2PATH", str(tmp_path))
    began = time.process_time()
    assert main([*command, *(["--out", str(tmp_path / "run")] if command[0] == "train" else [])]) in (0, 1, 2)
    assert time.process_time() - began < 10
    assert attempts == []


class TestDoctor:
    def findings(self, monkeypatch, path: Path | None):
        monkeypatch.delenv("SC2PATH", raising=False)
        if path is not None:
            monkeypatch.setenv("SC2PATH", str(path))
        return {finding.name: finding for finding in doctor.check_starcraft()}

    def test_no_game_is_no_problem_unless_it_is_said_to_be_there(self, monkeypatch, tmp_path):
        monkeypatch.setenv("HOME", str(tmp_path))
        found = self.findings(monkeypatch, None)
        assert list(found) == ["sc2_game"]
        assert found["sc2_game"].ok is None
        assert "SC2PATH" in found["sc2_game"].remedy
        assert self.findings(monkeypatch, tmp_path / "nowhere")["sc2_game"].ok is False

    def test_a_whole_one_and_one_without_maps(self, monkeypatch, tmp_path):
        installation(tmp_path, "", maps=(*SMAC_SCENARIOS, "32x32_flat"))
        found = self.findings(monkeypatch, tmp_path)
        assert [finding.ok for finding in found.values()] == [True, True]
        (tmp_path / "Maps" / "SMAC_Maps" / "3m.SC2Map").unlink()
        found = self.findings(monkeypatch, tmp_path)
        assert found["sc2_maps"].ok is False
        assert found["sc2_maps"].sentence.startswith("1 of 24 maps are not in")
        assert found["sc2_maps"].sentence.endswith(": 3m")
        assert "SMAC_Maps.zip" in found["sc2_maps"].remedy

    def test_one_that_may_not_be_executed(self, monkeypatch, tmp_path):
        root = installation(tmp_path, "")
        (root / "Versions" / "Base75689" / "SC2_x64").chmod(0o644)
        finding = self.findings(monkeypatch, root)["sc2_game"]
        assert finding.ok is False
        assert finding.remedy.startswith("run: chmod +x")

    def test_packages(self, monkeypatch):
        assert doctor.check_starcraft_packages().ok is True
        for cause, ok in ((ModuleNotFoundError("x"), None), (TypeError("x"), False)):

            def broken(cause=cause):
                raise InstallationError("Hm", "fix it") from cause

            monkeypatch.setattr("rllib_reborn.envs.starcraft.packages.protocol", broken)
            finding = doctor.check_starcraft_packages()
            assert (finding.ok, finding.sentence, finding.remedy) == (ok, "Hm", "fix it")

    def test_enum34(self, monkeypatch):
        assert doctor.check_enum34().ok is None
        monkeypatch.setattr("importlib.metadata.version", lambda name: "1.1.10")
        assert doctor.check_enum34().ok is False
        assert doctor.check_enum34().remedy == "pip uninstall enum34"
