"""envs, configs and doctor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rllib_reborn.cli import doctor
from rllib_reborn.cli import envs as envs_command
from rllib_reborn.cli.main import main
from rllib_reborn.envs import CheckResult, env_names
from rllib_reborn.experiments.library import config_names


def output(capsys: pytest.CaptureFixture[str], *argv: str, status: int = 0) -> str:
    assert main(argv) == status
    return capsys.readouterr().out


class TestEnvs:
    """The environments, and a check of one."""

    def test_all_are_listed(self, capsys: pytest.CaptureFixture[str]) -> None:
        text = output(capsys, "envs")
        rows = json.loads(output(capsys, "envs", "--json"))
        assert [row["name"] for row in rows] == env_names()
        assert all(name in text for name in env_names())

    def test_one_is_checked(self, capsys: pytest.CaptureFixture[str]) -> None:
        answer = json.loads(output(capsys, "envs", "predator_prey/small", "--json"))
        assert set(answer) == {
            "name",
            "n_agents",
            "n_actions",
            "obs_dim",
            "state_dim",
            "episode_limit",
            "checks",
        }
        assert (answer["n_agents"], answer["obs_dim"], answer["state_dim"]) == (6, 147, 1200)
        assert all(set(check) == {"name", "ok", "sentence"} for check in answer["checks"])
        assert all(check["ok"] is True for check in answer["checks"])
        assert "FAILED" not in output(capsys, "envs", "matrix/two_step")

    def test_the_status_is_1_only_when_a_check_is_false(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for ok, status in ((None, 0), (True, 0), (False, 1)):
            results = [CheckResult("one", True, "Fine."), CheckResult("two", ok, "Hm.")]
            monkeypatch.setattr("rllib_reborn.envs.checker.check_team_env", lambda *a, r=results, **k: r)
            text = output(capsys, "envs", "matrix/two_step", status=status)
            assert envs_command.MARKS[ok] in text


class TestConfigs:
    """The shipped experiments."""

    def test_all_are_listed_with_their_first_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        lines = output(capsys, "configs").splitlines()
        assert [line.split()[0] for line in lines] == config_names()
        assert all(len(line.split()) > 4 for line in lines)

    def test_one_is_printed_as_it_is(self, capsys: pytest.CaptureFixture[str]) -> None:
        text = output(capsys, "configs", "predator_prey/small/qmix")
        assert text.startswith("# QMIX on")
        assert text == output(capsys, "configs", "configs/predator_prey/small/qmix.yaml")


class TestDoctor:
    """Each finding, in health and in sickness."""

    def test_json(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        healthy = [doctor.Finding("a", True, "Fine."), doctor.Finding("b", None, "Not here.", "get it")]
        monkeypatch.setattr(doctor, "examine", lambda: healthy)
        answer = json.loads(output(capsys, "doctor", "--json"))
        assert answer["ok"] is True
        assert answer["checks"][1] == {"name": "b", "ok": None, "sentence": "Not here.", "remedy": "get it"}
        monkeypatch.setattr(doctor, "examine", lambda: [doctor.Finding("c", False, "Broken.", "mend it")])
        assert json.loads(output(capsys, "doctor", "--json", status=1))["ok"] is False
        text = output(capsys, "doctor", status=1)
        assert "PROBLEM" in text
        assert "Broken.; mend it" in text

    def test_everything_that_the_issue_names_is_examined(self) -> None:
        findings = {finding.name: finding for finding in doctor.examine()}
        assert {
            "python",
            "ray",
            "torch",
            "cuda",
            "memory",
            "cores",
            "shared_memory",
            "ray_auth_token",
            "pettingzoo",
            "wandb",
            "smac",
        } <= set(findings)
        for name in ("python", "ray", "torch", "cores"):
            assert findings[name].ok is True, findings[name]
        assert all(finding.sentence for finding in findings.values())
        assert all(finding.remedy for finding in findings.values() if finding.ok is False)

    def test_packages_that_only_tune_uses_are_named_as_such(self) -> None:
        findings = {finding.name: finding for finding in doctor.examine()}
        for name, user in (("wandb", "WandbLogger"), ("mlflow", "MLflowLogger"), ("optuna", "OptunaSearch")):
            assert f"for Ray Tune's {user}" in findings[name].sentence

    def test_versions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert doctor.check_python((3, 10)).ok is False
        assert doctor.check_python((3, 11)).ok is True
        versions = {"ray": "2.61.0", "torch": "2.13.0+cpu"}
        monkeypatch.setattr("importlib.metadata.version", versions.__getitem__)
        assert doctor.check_package("ray", "2.60", exact=True).ok is False
        assert "pip install 'ray==2.60.*'" in doctor.check_package("ray", "2.60", exact=True).remedy
        assert doctor.check_package("torch", "2.6", exact=False).ok is True
        assert doctor.check_package("torch", "2.14", exact=False).ok is False

    def test_a_package_that_is_not_installed(self) -> None:
        finding = doctor.check_package("no-such-package-anywhere", "1.0", exact=False)
        assert finding.ok is False
        assert "not installed" in finding.sentence
        assert doctor.check_extra("no-such-package-anywhere", "nothing").ok is None

    def test_memory_cores_and_shared_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert doctor.check_memory(8e9).ok is True
        assert doctor.check_memory(1e9).ok is False
        assert "num_env_runners" in doctor.check_cores(1).remedy
        assert doctor.check_shared_memory(tmp_path / "nowhere").ok is None

        class Usage:
            total = 64e6

        monkeypatch.setattr("shutil.disk_usage", lambda path: Usage)
        assert doctor.check_shared_memory(tmp_path).ok is False
        assert "--shm-size" in doctor.check_shared_memory(tmp_path).remedy

    def test_the_token_must_be_private(self, tmp_path: Path) -> None:
        token = tmp_path / "auth_token"
        assert doctor.check_auth_token(token).ok is None
        token.write_text("secret")
        for mode, ok in ((0o644, False), (0o640, False), (0o604, False), (0o600, True), (0o400, True)):
            token.chmod(mode)
            finding = doctor.check_auth_token(token)
            assert finding.ok is ok
            assert "secret" not in finding.sentence + finding.remedy
        token.chmod(0o644)
        assert doctor.check_auth_token(token).remedy == f"chmod 600 {token}"

    def test_smac_is_told_from_smac3(self) -> None:
        assert doctor.check_smac(["smac/facade/smac_ac_facade.py"]).ok is False
        assert "pip uninstall smac" in doctor.check_smac(["smac/main/smbo.py"]).remedy
        assert doctor.check_smac(["smac/env/starcraft2/starcraft2.py"]).ok is True
