"""Run folders: never overwritten, never shared, never named twice."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path

import pytest

from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.load import experiment_from_dict
from rllib_reborn.experiments.run_folder import RunFolder, new_run_folder, newest_run_folder

EXPERIMENT = experiment_from_dict(
    {"algorithm": "QMIX", "env": "predator_prey/small", "stop": {"iterations": 1}, "seed": 3}
)
NOON = datetime.datetime(2026, 1, 2, 12, 0, 0)


def test_new_folders_are_named_by_env_algorithm_seed_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = new_run_folder(EXPERIMENT, NOON)
    assert first.root == Path("runs/predator_prey-small_qmix_s3_20260102-120000")
    assert not first.root.exists()
    first.root.mkdir(parents=True)
    assert new_run_folder(EXPERIMENT, NOON).root.name.endswith("-120000-2")


def test_an_env_named_by_a_module_gives_one_plain_folder_name(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = EXPERIMENT.model_copy(update={"env": "../my.module:make env"})
    assert new_run_folder(experiment, NOON).root.name.startswith("..-my.module-make-env_qmix_s3_")
    assert new_run_folder(experiment, NOON).root.parent == Path("runs")


def test_a_sequence_of_many_tasks_gives_a_name_that_a_file_system_bears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"package.of_mine.module_{number}:Game" for number in range(12)]
    one, other = (EXPERIMENT.model_copy(update={"env": " -> ".join(order)}) for order in (names, names[::-1]))
    folder = new_run_folder(one, NOON)
    folder.root.mkdir(parents=True)
    assert len(folder.root.name) < 200
    assert newest_run_folder(one) == folder
    assert newest_run_folder(other) is None


def test_the_newest_run_of_the_same_kind_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert newest_run_folder(EXPERIMENT) is None
    for seed, hour in ((3, 10), (3, 11), (4, 12)):
        other = EXPERIMENT.model_copy(update={"seed": seed})
        new_run_folder(other, NOON.replace(hour=hour)).root.mkdir(parents=True)
    found = newest_run_folder(EXPERIMENT)
    assert found is not None
    assert found.root.name == "predator_prey-small_qmix_s3_20260102-110000"


def test_only_a_missing_or_empty_folder_is_free(tmp_path: Path) -> None:
    RunFolder(tmp_path / "new").require_free()
    (tmp_path / "empty").mkdir()
    RunFolder(tmp_path / "empty").require_free()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(ExperimentError, match="not empty; give another --out, or --resume auto"):
        RunFolder(tmp_path / "full").require_free()
    with pytest.raises(ExperimentError, match="is a file"):
        RunFolder(tmp_path / "full" / "x").require_free()


HOLD = """
import sys, pathlib
from rllib_reborn.experiments.run_folder import RunFolder
with RunFolder(pathlib.Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_processes_cannot_train_in_one_folder_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(ExperimentError, match="in use by another"),
            RunFolder(tmp_path / "run").locked(),
        ):
            pass
        holder.kill()
        holder.wait()
    with RunFolder(tmp_path / "run").locked():
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ExperimentError, match="cannot be written"),
        RunFolder(tmp_path / "file" / "run").locked(),
    ):
        pass
