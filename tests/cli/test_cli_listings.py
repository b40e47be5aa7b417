"""envs, configs and doctor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from rllib_reborn.cli import doctor
from rllib_reborn.cli import envs as envs_command
from rllib_reborn.cli.main import main
from rllib_reborn.envs import ENVS, CheckResult, env_names
from rllib_reborn.experiments.load import experiment_from_dict, load_experiment
from rllib_reborn.experiments.shipped_configs import configs_folder, experiment_names, part_names


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
        assert all(f"{family.prefix}..." in text and family.summary in text for family in ENVS.families)

    def test_one_is_checked(self, capsys: pytest.CaptureFixture[str]) -> None:
        answer = json.loads(output(capsys, "envs", "predator_prey/small", "--json"))
        assert set(answer) == {
            "name",
            "n_agents",
            "n_actions",
            "obs_dim",
            "obs_parts",
            "state_dim",
            "states",
            "episode_limit",
            "checks",
            "advice",
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
    """What experiments are composed of, and one of them."""

    def test_every_part_is_listed(self, capsys: pytest.CaptureFixture[str]) -> None:
        text = output(capsys, "configs")
        words = set(text.replace(",", " ").split())
        for kind in ("algorithm", "intervention", "protocol", "resources"):
            assert set(part_names(kind)) <= words, kind
        assert set(experiment_names()) <= words
        for env in env_names():
            assert env.split("/")[1] in words or env in words, env

    def test_one_is_printed_with_the_source_of_every_key(self, capsys: pytest.CaptureFixture[str]) -> None:
        text = output(capsys, "configs", "battle/8m/vdn+redo", "training.lr=0.002", "interventions.0.alpha=0.2")
        lines = [line for line in text.splitlines() if not line.endswith(":") and not line.startswith("#")]
        sources = {line.split(":")[0].strip(" -"): line.rpartition("# ")[2] for line in lines}
        assert all("# " in line for line in lines)
        assert sources["env"] == "the name"
        assert sources["lr"] == "command line"
        assert sources["gamma"] == "configs/algorithm/vdn.yaml"
        assert sources["kind"] == "configs/intervention/redo.yaml"
        assert sources["allow_inexact"] == "default"
        assert sources["env_steps"] == "configs/env/battle.yaml"
        changed = [line for line in lines if line.strip().startswith("alpha: 0.2 ")]
        assert len(changed) == 1
        assert changed[0].endswith("# command line")
        # What is printed is the experiment itself.
        assert experiment_from_dict(yaml.safe_load(text)) == load_experiment(
            "battle/8m/vdn+redo", ["training.lr=0.002", "interventions.0.alpha=0.2"]
        )

    def test_options_take_the_place_of_a_name(self, capsys: pytest.CaptureFixture[str]) -> None:
        named = output(capsys, "configs", "battle/8m/vdn+redo+reset", "seed=3")
        options = ["--env", "battle/8m", "--algorithm", "VDN", "--intervention", "redo", "--intervention", "reset"]
        given = output(capsys, "configs", *options, "seed=3")
        assert named.splitlines()[1:] == given.splitlines()[1:]

    def test_the_file_of_a_part_is_printed_as_it_is(self, capsys: pytest.CaptureFixture[str]) -> None:
        text = output(capsys, "configs", "intervention/redo")
        assert text == (configs_folder() / "intervention" / "redo.yaml").read_text()
        assert text == output(capsys, "configs", "configs/intervention/redo.yaml")


class TestDryRun:
    """``train --dry-run``."""

    @pytest.mark.parametrize("name", ["smacv2/zerg_5_vs_5/qmix", "predator_prey/large/rmix+redo+dormancy"])
    def test_it_prints_checks_and_makes_nothing(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("SC2PATH", str(tmp_path / "no_game_here"))
        assert output(capsys, "train", name, "--dry-run", "--seed", "5") == output(capsys, "configs", name, "seed=5")
        assert list(tmp_path.iterdir()) == []

    def test_a_gpu_need_not_be_here(self, capsys: pytest.CaptureFixture[str]) -> None:
        text = output(capsys, "train", "battle/3m/vdn", "--resources", "gpu", "--dry-run", "resources.num_learners=8")
        assert "configs/resources/gpu.yaml" in text
        assert "configs/resources/local.yaml" not in text


class TestDoctor:
    """Each finding, in health and in sickness."""

    def test_json(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        healthy = [doctor.Finding("a", True, "Fine."), doctor.Finding("b", None, "Not here.", "get it")]
        monkeypatch.setattr(doctor, "examine", lambda: healthy)
        answer = json.loads(output(capsys, "doctor", "--json"))
        assert answer["ok"] is True
        assert answer["checks"][1] == {"name": "b", "ok": None, "sentence": "Not here.", "remedy": "get it"}
        monkeypatch.setattr(doctor, "examine", lambda: [doctor.Finding("c", False, "Broken.", "fix it")])
        assert json.loads(output(capsys, "doctor", "--json", status=1))["ok"] is False
        text = output(capsys, "doctor", status=1)
        assert "PROBLEM" in text
        assert "Broken.; fix it" in text

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
        for name in ("ray", "torch", "cores"):
            assert findings[name].ok is True, findings[name]
        assert findings["python"].ok is not False  # these tests are how a Python becomes a tested one
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
        for version, fits in (
            ("2.58.0", False),
            ("2.58.1", True),
            ("2.60.3", True),
            ("2.61.0", False),
            ("3.0.0", False),
        ):
            versions["ray"] = version
            assert doctor.check_ray().ok is fits
        assert "pip install 'ray>=2.58.1,<2.61'" in doctor.check_ray().remedy
        assert doctor.check_package("torch", "2.6").ok is True
        assert doctor.check_package("torch", "2.14").ok is False

    def test_a_package_that_is_not_installed(self) -> None:
        finding = doctor.check_package("no-such-package-anywhere", "1.0")
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

    def test_smac_is_told_from_smac3(self) -> None:
        assert doctor.check_smac(["smac/facade/smac_ac_facade.py"]).ok is False
        assert "pip uninstall smac" in doctor.check_smac(["smac/main/smbo.py"]).remedy
        assert doctor.check_smac(["smac/env/starcraft2/starcraft2.py"]).ok is True
