"""``env: [a, b, ...]`` from YAML and the command line to a run folder, its resumption, evaluations, studies and report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_reborn.cli import main as cli
from rllib_reborn.evaluation.groups import group_runs
from rllib_reborn.evaluation.runs import load_runs, read_run
from rllib_reborn.evaluation.task_switches import SWITCH, switch_rows, switches_of
from rllib_reborn.experiments.build import build_config, config_hash, first_difference, resolved_dict
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.fork import ForkRequest
from rllib_reborn.experiments.interruption import Interruption
from rllib_reborn.experiments.load import dump_experiment, experiment_from_dict, load_experiment
from rllib_reborn.experiments.metrics_log import MetricsLog
from rllib_reborn.experiments.preflight import check_driver_starts_no_program, check_env
from rllib_reborn.experiments.run import OpenRun, open_run, prepare_run
from rllib_reborn.experiments.run_folder import RunFolder, run_name_prefix
from rllib_reborn.parsing.yaml_text import parse_yaml
from rllib_reborn.runtime.task_schedule import TaskSequenceSettings
from rllib_reborn.studies.probe.episodes import study_episodes
from rllib_reborn.studies.trained_policy import load_team
from tests.algorithms.helpers import WALK, comparable
from tests.evaluation.synthetic import config as run_config
from tests.evaluation.synthetic import rows as run_rows
from tests.evaluation.synthetic import write_run

RISING, SHIFTED = "tests.fakes.task_games:rising", "tests.fakes.task_games:shifted"
TASKS = [RISING, SHIFTED]
NAME = f"{RISING} -> {SHIFTED}"
#: An iteration is 16 env steps, a task two of them.
BASE: dict[str, Any] = {
    "algorithm": "QMIX",
    "env": TASKS,
    "env_config": {"tasks": [{}, {"by": 100.0}]},
    "task_sequence": {"every_env_steps": 32, "replay": "clear"},
    "training": {"learning_starts_episodes": 8, "batch_episodes": 8},
    "evaluation": {"interval_env_steps": 16, "episodes": 4, "final_episodes": 3},
    "resources": {"num_envs_per_env_runner": 4},
    "checkpoint": {"interval_env_steps": 16},
    "logging": {"report_interval_env_steps": 16},
    "stop": {"iterations": 6},
}


class Silent:
    def on_row(self, row: dict[str, Any]) -> None: ...
    def on_checkpoint(self, path: Path) -> None: ...
    def on_wait(self, reason: str) -> None: ...


def experiment(**changes: Any) -> Any:
    return experiment_from_dict(BASE | changes)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [comparable(row) for row in MetricsLog(RunFolder(folder).metrics).rows()]


def open_one(folder: Path, *, resume: str | None = "auto", **changes: Any) -> Any:
    return open_run(prepare_run(experiment(**changes), out=folder, resume=resume), Silent())


def train(folder: Path, **changes: Any) -> dict[str, Any]:
    """Train to the end, or on to it; the final evaluation."""
    with open_one(folder, **changes) as run:
        run.loop.run(Interruption())
        final: dict[str, Any] = run.evaluate_final()
    return final


# ----------------------------------------------------------------------------------------------------------------- data


def test_a_list_is_written_in_every_way(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(
        "extends: predator_prey/small/qmix\nenv: [predator_prey/small, predator_prey/gradps_small]\n"
        "task_sequence:\n  every_env_steps: 100000\n"
    )
    name = "predator_prey/small -> predator_prey/gradps_small"
    given = ["env=[predator_prey/small,predator_prey/gradps_small]", "task_sequence.every_env_steps=100000"]
    for found in (
        load_experiment(tmp_path / "mine.yaml"),
        load_experiment("predator_prey/small/qmix", given),
        load_experiment("predator_prey/small/qmix", [f"env={name}", given[1]]),
        load_experiment(f"{name}/qmix", [given[1]]),
    ):
        assert found.env == name
        assert found.task_sequence == TaskSequenceSettings(every_env_steps=100_000)
        again = experiment_from_dict(parse_yaml(dump_experiment(found.to_dict())))
        assert again.to_dict() == found.to_dict()
        # The first task's, not GradPS's 20.
        assert found.evaluation.episodes == 32
    with pytest.raises(ExperimentError, match=r"unknown environment 'predator_prey/smal' .*Did you mean"):
        load_experiment("matrix/penalty -> predator_prey/smal/qmix")
    assert run_name_prefix(found) == "predator_prey-small----predator_prey-gradps_small_qmix_s0_"
    check_driver_starts_no_program(found)
    with pytest.raises(ExperimentError, match=r"resources.num_env_runners is 0.*'matrix/penalty -> smac/3m'"):
        check_driver_starts_no_program(experiment(env=["matrix/penalty", "smac/3m"], env_config={}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env": ["matrix/penalty"]}, r"env: env is \['matrix/penalty'\]; expected two or more"),
        ({"env": ["matrix/penalty", 3]}, "env: env holds 3; expected names"),
        ({"task_sequence": {}}, "'task_sequence.every_env_steps' is missing"),
        ({"task_sequence": {"every_env_steps": 10, "replay": "empty"}}, "task_sequence.replay is 'empty'"),
        ({"task_sequence": {"every_env_steps": 10, "again": True}}, "unknown key 'task_sequence.again'"),
        ({"task_sequence": {"every_env_steps": "10"}}, "task_sequence.every_env_steps is '10'"),
    ],
)
def test_a_wrong_value_is_one_sentence(changes, message):
    with pytest.raises(ExperimentError, match=message):
        experiment(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task_sequence": None}, "task_sequence is not set"),
        ({"env": RISING, "env_config": {}}, "task_sequence is set and env is"),
        ({"task_sequence": {"every_env_steps": 18}}, "one iteration may take 19 env steps"),
        (
            {"env": ["matrix/two_step", "matrix/penalty"], "env_config": {}},
            "'matrix/two_step' and 'matrix/penalty' cannot be tasks of one sequence: n_actions is 2 in the one and 3",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_training(changes, message):
    with pytest.raises(ExperimentError, match=message):
        build_config(experiment(**changes))


def test_settings_of_one_environment_are_as_they_were():
    plain = load_experiment("matrix/two_step/qmix")
    assert "task_sequence" not in plain.to_dict()
    assert "task_sequence" not in resolved_dict(plain, build_config(plain))


def test_another_length_of_tasks_is_another_run():
    one, other = experiment(), experiment(task_sequence={"every_env_steps": 64, "replay": "clear"})
    mine, theirs = (resolved_dict(each, build_config(each)) for each in (one, other))
    assert config_hash(mine) != config_hash(theirs)
    assert first_difference(mine, theirs) == "task_sequence.every_env_steps is 32 here and 64 there"


def test_every_task_is_played_before_training():
    team = check_env(experiment())
    assert (team.n_agents, team.episode_limit) == (2, 1)
    broken = experiment(env=[WALK, WALK], env_config={"tasks": [{}, {"fault": "nan_reward"}]})
    with pytest.raises(ExperimentError, match=r"MaskedWalk' cannot be trained on"):
        check_env(broken)
    with pytest.raises(ExperimentError, match="cannot be tasks of one sequence"):
        check_env(experiment(env=["matrix/two_step", "matrix/penalty"], env_config={}))


def test_the_shipped_experiments_are_sequences():
    for name, tasks in (
        ("predator_prey/small/qmix_switching", ["predator_prey/small", "predator_prey/gradps_small"]),
        ("matrix/monotonic/wqmix_switching", ["matrix/monotonic", "matrix/nonmonotonic"]),
    ):
        found = load_experiment(name)
        assert found.env.split(" -> ") == tasks
        assert found.stop.env_steps % (found.task_sequence.every_env_steps * len(tasks)) == 0
        build_config(found)


# ------------------------------------------------------------------------------------------------------------------ run


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_run_that_was_killed_anywhere_ends_as_one_that_was_not(tmp_path: Path):
    """What is lost is what no checkpoint holds: nothing is saved when the run is left."""
    final = train(tmp_path / "whole")
    expected = rows(tmp_path / "whole")
    assert [row["task/index"] for row in expected] == [0, 0, 1, 1, 0, 0]
    assert [row["eval/task"] for row in expected] == [0, 0, 1, 1, 0, 0]
    for every, killed_after in ((16, 1), (16, 2), (48, 2), (48, 5)):
        folder = tmp_path / f"killed_{every}_{killed_after}"
        checkpoint = {"interval_env_steps": every}
        with open_one(folder, checkpoint=checkpoint) as run:
            for _ in range(killed_after):
                run.loop.advance()
        assert train(folder, checkpoint=checkpoint) == final
        assert rows(folder) == expected


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    """A run that ends in its second task."""
    folder = tmp_path_factory.mktemp("runs") / "tasks"
    train(folder, stop={"iterations": 4})
    return folder


@pytest.mark.slow
def test_the_final_evaluation_is_of_every_task_by_its_name(run_folder: Path):
    final = json.loads(RunFolder(run_folder).final_evaluation.read_text())
    assert (final["env"], final["task"]) == (NAME, 1)
    assert [one["env"] for one in final["tasks"]] == TASKS
    for number, one in enumerate(final["tasks"]):
        for who in ("policy", "random"):
            returns = np.array(one[who]["returns"])
            assert len(returns) == 3
            assert ((returns >= 100) == bool(number)).all()
    assert {key: final[key] for key in ("policy", "random")} == {
        key: final["tasks"][1][key] for key in ("policy", "random")
    }
    means = [np.mean(one["policy"]["returns"]) for one in final["tasks"]]
    run = read_run(run_folder)
    (note,) = [note for note in run.notes if "tasks" in note]
    assert note.endswith(f"each: {RISING} {means[0]:.2f}, {SHIFTED} {means[1]:.2f}")
    # What a report compares does not depend on which task came last.
    assert run.final is not None
    assert run.final.random is not None
    assert run.final.policy.returns.tolist() == [r for one in final["tasks"] for r in one["policy"]["returns"]]
    assert run.final.random.returns.tolist() == [r for one in final["tasks"] for r in one["random"]["returns"]]


@pytest.mark.slow
def test_a_saved_team_plays_the_task_that_was_trained_last(run_folder: Path):
    newest = sorted(RunFolder(run_folder).checkpoints.glob("checkpoint_*"))[-1]
    team = load_team(newest)
    assert (team.env_name, team.played) == (NAME, SHIFTED)
    assert (team.evaluate(3, 0).returns >= 100).all()
    first, second = team.tasks()
    assert (first.env_name, first.env_config, second.env_config) == (RISING, {}, {"by": 100.0})
    assert (first.evaluate(3, 0).returns < 100).all()
    assert (second.evaluate(3, 0).returns == team.evaluate(3, 0).returns).all()
    assert team.portable().spec.env == NAME


@pytest.mark.slow
def test_evaluate_plays_every_task_or_the_one_that_is_named(run_folder: Path, capsys: pytest.CaptureFixture[str]):
    def asked(*argv: str) -> str:
        assert cli.main(["evaluate", str(run_folder), "--episodes", "3", *argv]) == 0
        return capsys.readouterr().out

    heads = [line for line in asked().splitlines() if "greedy episodes" in line]
    assert [head.split(",")[0] for head in heads] == TASKS
    both = json.loads(asked("--json"))
    assert [one["env"] for one in both["tasks"]] == TASKS
    assert both["tasks"][1]["return"]["mean"] >= 100 > both["tasks"][0]["return"]["mean"]
    alone = json.loads(asked("task=1", "--json"))
    assert {key: alone[key] for key in both["tasks"][1]} == both["tasks"][1]
    assert cli.main(["evaluate", str(run_folder), "task=2"]) == 2
    assert "expected the number of a task, 0..1" in capsys.readouterr().err


@pytest.mark.slow
def test_studies_and_exports_take_such_a_run(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["invariance", str(run_folder), "--pairs", "20", "--episodes", "2"]) == 0
    assert capsys.readouterr().out.startswith(f"{SHIFTED}, 2 episodes")
    newest = sorted(RunFolder(run_folder).checkpoints.glob("checkpoint_*"))[-1]
    team = load_team(newest)
    assert study_episodes(team, newest, 16, 0)[1] == "16 episodes of its replay, which may be of several tasks"
    found, data = study_episodes(team, newest, 60, 0)
    assert data.startswith(f"60 episodes of {SHIFTED}, played by it")
    assert all(episode["reward"].sum() >= 100 for episode in found)
    quick = ["--arms", "as_is,fresh", "--updates", "2", "--seeds", "1", "--episodes", "16"]
    assert cli.main(["probe", str(run_folder), *quick, "--task", RISING]) == 0
    assert NAME in capsys.readouterr().out
    assert cli.main(["export", str(run_folder), "--out", str(tmp_path / "policy")]) == 0
    assert cli.main(["envs", NAME]) == 0
    assert NAME in capsys.readouterr().out
    assert cli.main(["report", str(run_folder), "--out", str(tmp_path / "report")]) == 0
    assert "another task of the sequence begins" in (tmp_path / "report" / "report.md").read_text()


@pytest.mark.slow
def test_a_plain_run_can_go_on_with_a_sequence(run_folder: Path, tmp_path: Path):
    """By the clock that it brings along: the task is the one of those env steps."""
    source = {"env": SHIFTED, "env_config": {"by": 100.0}, "task_sequence": None, "stop": {"iterations": 3}}
    train(tmp_path / "plain", **source)
    fork = ForkRequest(tmp_path / "plain", ())
    forked: OpenRun
    with open_run(prepare_run(experiment(), out=tmp_path / "fork", fork=fork), Silent()) as forked:
        held = len(forked.algo.replay)
        assert held == 48
        forked.loop.advance()
        assert len(forked.algo.replay) == held + 16, "nothing was cleared: the source trained on the same task"
        assert rows(tmp_path / "fork")[-1]["task/index"] == 1
        forked.loop.advance()
        assert rows(tmp_path / "fork")[-1]["task/index"] == 0
        assert len(forked.algo.replay) == 16
    with open_run(
        prepare_run(
            experiment(env=TASKS[::-1], env_config={"tasks": [{"by": 100.0}, {}]}), out=tmp_path / "other", fork=fork
        ),
        Silent(),
    ) as forked:
        forked.loop.advance()
        assert rows(tmp_path / "other")[-1]["task/index"] == 1
        assert len(forked.algo.replay) == 16, "the source trained on another task"


# --------------------------------------------------------------------------------------------------------------- report


def write_switching(folder: Path, seed: int, periods: list[int]) -> None:
    lines = run_rows(seed=seed, iterations=len(periods), step=1_000)
    for at, (line, period) in enumerate(zip(lines, periods, strict=True)):
        line |= {"env_steps": 1_000 * (at + 1) + seed, "task/index": period % 2, "task/switches": period}
    write_run(folder, settings=run_config(seed=seed, env="a/b -> a/c"), lines=lines)


def test_switches_are_marks_where_the_rows_of_the_next_task_begin(tmp_path: Path):
    write_switching(tmp_path / "one", 1, [0, 0, 0, 1, 1, 2])
    write_switching(tmp_path / "two", 3, [0, 0, 0, 1, 1, 1])
    runs, _ = load_runs(tmp_path)
    assert switches_of(runs[0]) == {1: (3_001.0, 1), 2: (5_001.0, 0)}
    (group,), _ = group_runs(runs)
    table = switch_rows([group], ["label", "series", "env_steps", "value", "low", "runs"])
    assert list(table["series"].unique()) == [SWITCH]
    assert table[["env_steps", "value", "runs"]].to_numpy().tolist() == [[3_002.0, 1.0, 2.0], [5_001.0, 0.0, 1.0]]
    plain = tmp_path / "plain"
    write_run(plain, settings=run_config(seed=1), lines=run_rows())
    assert switches_of(read_run(plain)) == {}


def test_of_very_many_switches_some_are_drawn(tmp_path: Path):
    write_switching(tmp_path / "one", 1, list(range(100)))
    (group,), _ = group_runs(load_runs(tmp_path)[0])
    table = switch_rows([group], ["env_steps", "value"])
    assert len(table) == 24  # every fourth of 99
    assert table["env_steps"].iloc[0] == 4_001
