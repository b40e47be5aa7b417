"""Where a job may write."""

from __future__ import annotations

from pathlib import Path

import pytest

from rllib_reborn.cli.main import main
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.ray_job import inside_job, require_lasting_out

PACKAGE = "session_1/runtime_resources/working_dir_files/_ray_pkg_1"


def test_outside_a_job_anything_goes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    monkeypatch.chdir(tmp_path)
    assert not inside_job()
    for out in (None, Path("a"), tmp_path / "a"):
        require_lasting_out(out)


@pytest.mark.parametrize("by", ["variable", "folder"])
def test_inside_one_the_folder_must_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by: str) -> None:
    folder = tmp_path / (PACKAGE if by == "folder" else "")
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    if by == "variable":
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert inside_job()
    for out in (None, Path("a"), tmp_path / PACKAGE / "runs"):
        with pytest.raises(ExperimentError, match=r"--out (is missing|is .*), and the working folder.*absolute path"):
            require_lasting_out(out)
    require_lasting_out(tmp_path / "runs")


def test_train_and_tune_say_so_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.chdir(tmp_path)
    for command in (["train", "matrix/two_step/qmix"], ["tune", "quick", "--out", "sweep"]):
        assert main(command) == 2
        assert "give an absolute path on a disk that lasts" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_of_a_file_that_ray_wipes_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each change of the working directory is another folder, and its sweep another one."""
    folder = tmp_path / PACKAGE
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    (folder / "b.yaml").write_text("extends: matrix/two_step/qmix\n")
    (folder / "s.yaml").write_text("base: b.yaml\nbudget: {env_steps: 64}\n")
    assert main(["tune", "s.yaml", "--out", str(tmp_path / "out"), "--resume"]) == 2
    assert "b.yaml, which is in the working folder of a Ray job" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["tune", "s.yaml", "--dry-run"]) == 0
