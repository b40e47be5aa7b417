"""A sweep as data: what is accepted, what is refused and why, and which runs come of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_reborn.experiments.build import build_config
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.tuning.find import sweep_names, sweep_path, sweeps_folder
from rllib_reborn.tuning.points import SweepRun, experiment_of, known_points, point_name, runs_of, short_keys
from rllib_reborn.tuning.sweep import Dimension, Sweep, dump_sweep, parse_sweep, read_sweep

BASE = "matrix/two_step/qmix+reborn"
BETA, LR = "interventions.0.beta", "training.lr"


def sweep(**data: Any) -> Sweep:
    return parse_sweep({"base": BASE, **data}, "a.yaml")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"sed": [1]}, "unknown key 'sed'. Did you mean 'seeds'?"),
        ({"seeds": []}, "seeds is"),
        ({"seeds": [1, 1]}, "a seed twice"),
        ({"seeds": ["1"]}, r"seeds\.0 is '1'"),
        ({"space": {BETA: {}}}, "nothing given; expected exactly one of grid, choice"),
        ({"space": {BETA: {"grid": [1], "choice": [1, 2]}}}, "grid and choice given"),
        ({"space": {BETA: {"grid": [1, 1]}}}, "a value twice"),
        ({"space": {BETA: {"uniform": [3, 2]}}, "samples": 1}, r"uniform is \[3.0, 2.0\]; expected \[low, high\]"),
        ({"space": {BETA: {"loguniform": [0, 2]}}, "samples": 1}, "begins at 0.0; expected more than 0"),
        ({"space": {BETA: {"integers": [1.5, 3]}}, "samples": 1}, "integers"),
        ({"space": {BETA: {"uniform": [2, 3]}}}, "interventions.0.beta is drawn; say how often: samples: 8"),
        ({"samples": 3}, "samples is 3, and nothing in space is drawn"),
        ({"space": {"seed": {"grid": [1, 2]}}}, r"seed cannot be set in a sweep; give seeds"),
        ({"set": {"stop.env_steps": 3}}, r"give budget: \{env_steps: 400\}"),
        ({"set": {LR: 1e-3}, "space": {LR: {"grid": [1e-3]}}}, "is in set and in space"),
        ({"arms": [{"name": "a"}, {"name": "a"}]}, "two arms have the same name"),
        ({"arms": [{"name": "../a"}]}, r"arms\.0\.name"),
        ({"budget": {}}, "at least one of env_steps, iterations, time_s"),
        ({"scheduler": {"kind": "asha"}}, "asha needs grace_period"),
        ({"scheduler": {"kind": "fifo", "grace_period": 3}}, "has no effect with fifo"),
        ({"scheduler": {"kind": "asha", "grace_period": 3}}, r"give budget\.env_steps"),
        ({"scheduler": {"kind": "asha", "grace_period": 9}, "budget": {"env_steps": 9}}, "ends after 9 env steps"),
        ({"searcher": {"kind": "optuna"}}, "optuna chooses values"),
        ({"searcher": {"kind": "optuna"}, "space": {BETA: {"grid": [1, 2]}}}, "write interventions.0.beta as choice"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        sweep(**data)


def test_grids_are_combined_and_every_seed_is_run_for_all_points_before_the_next() -> None:
    found = sweep(space={BETA: {"grid": [2.0, 3.0]}, LR: {"grid": [1e-3, 2e-3]}}, seeds=[4, 7], arms=[{"name": "none"}])
    names = [run.name for run in runs_of(found, known_points(found))]
    points = ["beta=2,lr=0.001", "beta=2,lr=0.002", "beta=3,lr=0.001", "beta=3,lr=0.002", "none"]
    assert names == [f"{point}/s{seed}" for seed in (4, 7) for point in points]


def test_draws_are_the_same_each_time_and_the_same_for_every_seed() -> None:
    data = {"space": {BETA: {"uniform": [2, 3]}, LR: {"loguniform": [1e-4, 1e-2]}}, "samples": 5, "seeds": [0, 1]}
    first, again = known_points(sweep(**data)), known_points(sweep(**data))
    assert [point.values for point in first] == [point.values for point in again]
    assert len({point.name for point in first}) == 5
    other = known_points(sweep(**data, searcher={"seed": 1}))
    assert [point.values for point in other] != [point.values for point in first]


def test_points_of_one_value_get_names_of_their_own() -> None:
    found = known_points(sweep(space={BETA: {"choice": [2.0, 3.0]}}, samples=6))
    assert len({point.name for point in found}) == 6


@given(st.floats(0, 1))
def test_a_draw_lies_in_its_range(share: float) -> None:
    assert 2 <= Dimension(uniform=(2, 3)).at(share) <= 3
    assert 1e-4 * (1 - 1e-9) <= Dimension(loguniform=(1e-4, 1e-2)).at(share) <= 1e-2 * (1 + 1e-9)
    assert Dimension(integers=(3, 5)).at(share) in (3, 4, 5)
    assert Dimension(choice=["a", "b"]).at(share) in ("a", "b")


def test_integers_are_drawn_with_equal_chances_and_both_ends() -> None:
    found = [Dimension(integers=(3, 5)).at(share / 300) for share in range(300)]
    assert [found.count(number) for number in (3, 4, 5)] == [100, 100, 100]


def test_a_run_is_the_base_with_its_values_its_seed_and_small_checkpoints() -> None:
    found = sweep(space={BETA: {"grid": [2.5]}}, set={LR: 0.25}, budget={"env_steps": 400}, seeds=[9])
    [run] = runs_of(found, known_points(found))
    experiment = experiment_of(found, run)
    assert experiment.interventions[0]["beta"] == 2.5
    assert experiment.training.lr == 0.25
    assert experiment.seed == 9
    assert (experiment.checkpoint.replay, experiment.checkpoint.keep) == ("none", 3)
    assert (experiment.stop.env_steps, experiment.stop.iterations, experiment.stop.time_s) == (400, None, None)
    kept = sweep(set={"checkpoint.replay": "full"})
    assert experiment_of(kept, SweepRun(known_points(kept)[0], 0)).checkpoint.replay == "full"


def test_arms_have_no_searched_values() -> None:
    arms = [
        {"name": "none", "set": {"interventions": []}},
        {"name": "redo", "base": "matrix/two_step/qmix", "add": "redo"},
        {"name": "vdn", "base": "matrix/two_step/vdn"},
    ]
    found = sweep(space={BETA: {"grid": [2.5]}}, arms=arms)
    by_name = {run.point.name: experiment_of(found, run) for run in runs_of(found, known_points(found))}
    assert by_name["none"].interventions == []
    assert [one["kind"] for one in by_name["redo"].interventions] == ["redo"]
    assert by_name["vdn"].algorithm == "VDN"


def test_a_value_that_the_experiment_does_not_take_is_named() -> None:
    found = sweep(space={"interventions.1.beta": {"grid": [2.5]}})
    with pytest.raises(ExperimentError, match=r"'1' is no place in it"):
        experiment_of(found, SweepRun(known_points(found)[0], 0))


def test_short_keys_are_as_short_as_they_can_be() -> None:
    assert short_keys([BETA, "interventions.1.beta", LR]) == {
        BETA: "0.beta",
        "interventions.1.beta": "1.beta",
        LR: "lr",
    }


def test_long_names_are_cut_and_stay_apart() -> None:
    keys = [f"training.some_setting_with_a_long_name_{i}" for i in range(6)]
    found = sweep(space={key: {"grid": [0, 1]} for key in keys})
    names = [point.name for point in known_points(found)]
    assert len(set(names)) == 64
    assert max(map(len, names)) <= 100


def test_names_are_fit_for_folders() -> None:
    found = sweep(space={"env_config.map": {"grid": ["a/b c", "..", None, True]}})
    for point in known_points(found):
        assert "/" not in point.name
        assert " " not in point.name
    assert point_name(found, {"env_config.map": None}) == "map=None"


def test_a_file_is_read_back_as_it_was_written_and_overrides_change_it(tmp_path: Path) -> None:
    found = sweep(space={BETA: {"grid": [2.0, 3.0]}}, budget={"env_steps": 400}, seeds=[0, 1])
    file = tmp_path / "sweep.yaml"
    file.write_text(dump_sweep(found))
    assert read_sweep(file) == found
    changed = read_sweep(file, ["seeds=[5]", "budget.env_steps=7", "concurrency=2"])
    assert (changed.seeds, changed.budget.env_steps if changed.budget else None, changed.concurrency) == ([5], 7, 2)
    with pytest.raises(ExperimentError, match="unknown key 'sed'"):
        read_sweep(file, ["sed=3"])


def test_a_base_beside_the_sweeps_file_is_found_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"extends: {BASE}\ntraining: {{lr: 0.25}}\n")
    (tmp_path / "sweep.yaml").write_text("base: mine.yaml\n")
    found = read_sweep(tmp_path / "sweep.yaml")
    assert experiment_of(found, SweepRun(known_points(found)[0], 0)).training.lr == 0.25


@pytest.mark.parametrize("name", sweep_names())
def test_every_shipped_sweep_composes_and_is_valid(name: str) -> None:
    found = read_sweep(sweep_path(name))
    for point in known_points(found):
        build_config(experiment_of(found, SweepRun(point, found.seeds[0])))


def test_the_readme_of_the_shipped_sweeps_lists_every_one() -> None:
    text = (sweeps_folder() / "README.md").read_text()
    assert [name for name in sweep_names() if f"`{name}`" not in text] == []


def test_an_unknown_sweep_is_said_with_the_nearest() -> None:
    with pytest.raises(ExperimentError, match="Did you mean 'optuna_asha'"):
        sweep_path("optuna_ash")
