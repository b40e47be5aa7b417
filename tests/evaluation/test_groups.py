"""Which runs count as seeds of one experiment."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.evaluation.groups import baseline_of, config_differences, differences_within, group_runs, split_env
from rllib_reborn.evaluation.runs import RunRecord, read_run

from .synthetic import DORMANCY, REBORN, REDO, config, rows, write_run, write_sweep


@pytest.fixture
def make(tmp_path: Path):
    def make_run(*, iterations: int = 2, **settings: Any) -> RunRecord:
        folder = tmp_path / f"run_{len(list(tmp_path.iterdir()))}"
        return read_run(write_run(folder, settings=config(**settings), lines=rows(iterations=iterations)))

    return make_run


def labels(records: list[RunRecord]) -> list[tuple[str, str, list[int | None]]]:
    groups, _ = group_runs(records)
    return [(group.task, group.label, group.seeds) for group in groups]


def test_seeds_of_one_experiment_are_one_group(make) -> None:
    assert labels([make(seed=3), make(seed=1), make(seed=2)]) == [("predator_prey/small", "qmix", [1, 2, 3])]


def test_where_and_how_long_a_run_was_does_not_set_it_apart_and_is_named(make) -> None:
    records = [make(seed=1), make(seed=2, stop={"env_steps": 5}, resources={"num_env_runners": 4})]
    (group,), _ = group_runs(records)
    assert differences_within(group) == ["resources.num_env_runners", "stop.env_steps"]


def test_another_learning_rate_is_another_experiment(make) -> None:
    records = [make(seed=1), make(seed=2, training={"lr": 0.001, "gamma": 0.99, "epsilon": [1.0, 0.05]})]
    assert [label for _, label, _ in labels(records)] == ["qmix (lr=0.0005)", "qmix (lr=0.001)"]


def test_interventions_are_in_the_label_and_come_last(make) -> None:
    records = [make(interventions=[{"kind": "reborn", "alpha": 0.1}]), make(algorithm="vdn"), make()]
    assert [label for _, label, _ in labels(records)] == ["qmix", "vdn", "qmix + ReBorn"]


def test_interventions_that_differ_in_a_setting(make) -> None:
    records = [make(interventions=[{"kind": "reborn", "alpha": alpha}]) for alpha in (0.1, 0.2)]
    assert [label for _, label, _ in labels(records)] == [
        "qmix + ReBorn (alpha=0.1)",
        "qmix + ReBorn (alpha=0.2)",
    ]


def test_a_treated_group_is_compared_with_the_same_untreated_and_others_with_the_first(make) -> None:
    other_lr = {"lr": 0.001, "gamma": 0.99, "epsilon": [1.0, 0.05]}
    treated = [{"kind": "reborn", "alpha": 0.1}]
    records = [
        make(),
        make(training=other_lr),
        make(algorithm="vdn", interventions=[]),
        make(interventions=treated, training=other_lr),
        make(algorithm="vdn", interventions=treated),
        make(algorithm="iql", interventions=treated),  # never run without
    ]
    groups, _ = group_runs(records)
    baselines = {group.label: baseline_of(group, groups) for group in groups}
    assert {label: baseline and baseline.label for label, baseline in baselines.items()} == {
        "qmix (lr=0.0005)": None,
        "qmix (lr=0.001)": "qmix (lr=0.0005)",
        "vdn": "qmix (lr=0.0005)",
        "qmix + ReBorn": "qmix (lr=0.001)",
        "vdn + ReBorn": "vdn",
        "iql + ReBorn": "qmix (lr=0.0005)",
    }


def test_treated_groups_alone_are_compared_with_the_first(make) -> None:
    groups, _ = group_runs([make(interventions=[{"kind": "reborn", "alpha": alpha}]) for alpha in (0.1, 0.2)])
    assert [baseline_of(group, groups) for group in groups] == [None, groups[0]]


def test_no_interventions_and_an_empty_list_are_the_same(make) -> None:
    assert labels([make(seed=1, interventions=[]), make(seed=2)])[0][2] == [1, 2]


def test_only_as_many_settings_as_are_needed_are_in_a_label_and_others_are_hinted_at(make) -> None:
    records = [make(training={"a": 1, "b": 1, "c": c}) for c in (1, 2)]
    records.append(make(training={"a": 2, "b": 2, "c": 1}))
    # a tells the third from the others, b tells no more, c tells the first two apart.
    names = [label for _, label, _ in labels(records)]
    assert names == ["qmix (a=1, c=1, ...)", "qmix (a=1, c=2, ...)", "qmix (a=2, c=1, ...)"]


def test_a_label_holds_every_setting_that_a_grid_varies(make) -> None:
    bits = itertools.product((0, 1), repeat=3)
    names = [label for _, label, _ in labels([make(training=dict(zip("abc", abc))) for abc in bits])]
    assert len(set(names)) == 8
    assert names[:2] == ["qmix (a=0, b=0, c=0)", "qmix (a=0, b=0, c=1)"]


def test_where_six_settings_are_not_enough_labels_are_numbered(make) -> None:
    bits = itertools.product((0, 1), repeat=7)
    names = [label for _, label, _ in labels([make(training=dict(zip("abcdefg", values))) for values in bits])]
    assert len(set(names)) == 128
    shown = "a=0, b=0, c=0, d=0, e=0, f=0, ..."
    assert names[:2] == [f"qmix ({shown}) #1", f"qmix ({shown}) #2"]


def test_interventions_are_told_apart_by_kind_and_rule(make) -> None:
    official_code, reset = REBORN | {"rule": "official_code"}, REDO | {"kind": "reset"}
    kinds = ([REBORN], [official_code], [REDO], [reset], [REBORN, REDO], [])
    records = [make(algorithm="QMIX", interventions=listed) for listed in kinds]
    assert [label for _, label, _ in labels(records)] == [
        "QMIX",
        "QMIX + ReBorn (official code)",
        "QMIX + ReBorn (paper)",
        "QMIX + ReBorn (paper) + ReDo",
        "QMIX + ReDo",
        "QMIX + ReSet",
    ]


def test_settings_stand_with_the_intervention_or_algorithm_that_they_belong_to(make) -> None:
    often, rarely = ([REBORN | {"every": every}, REDO] for every in (20_000, 200_000))
    names = [label for _, label, _ in labels([make(interventions=often), make(interventions=rarely)])]
    assert names == ["qmix + ReBorn (paper, every=200k) + ReDo", "qmix + ReBorn (paper, every=20k) + ReDo"]
    records = [make(interventions=[REDO], training={"lr": lr}) for lr in (0.001, 0.002)]
    assert [label for _, label, _ in labels(records)] == ["qmix (lr=0.001) + ReDo", "qmix (lr=0.002) + ReDo"]


def test_a_dry_run_is_named(make) -> None:
    records = [make(interventions=[REBORN]), make(interventions=[REBORN | {"dry_run": True}])]
    names = [label for _, label, _ in labels(records)]
    assert names == ["qmix + ReBorn (paper)", "qmix + ReBorn (paper, dry run)"]


def test_values_of_settings_with_like_names_are_not_mixed_up(make) -> None:
    records = [make(training={"model": {"dim": 1}, "mixer": {"dim": dim}}) for dim in (32, 64)]
    assert [label for _, label, _ in labels(records)] == ["qmix (dim=32)", "qmix (dim=64)"]
    records = [make(training={"epsilon": [1.0, low]}) for low in (0.05, 0.1)]
    assert [label for _, label, _ in labels(records)] == ["qmix (epsilon.1=0.05)", "qmix (epsilon.1=0.1)"]


def test_measuring_dormancy_does_not_set_a_run_apart_and_is_named(make) -> None:
    records = [make(seed=1, training={"lr": 1}), make(seed=2, training={"lr": 1, "dormancy": DORMANCY})]
    (group,), _ = group_runs(records)
    assert group.label == "qmix"
    assert "training.dormancy.alpha" in differences_within(group)


def test_another_env_config_is_another_task(make) -> None:
    records = [make(env_config={"n": 3}), make(env_config={"n": 4}), make(env="matrix/two_step")]
    tasks = [task for task, _, _ in labels(records)]
    assert tasks == ["matrix/two_step", "predator_prey/small (n=3)", "predator_prey/small (n=4)"]


def test_of_two_runs_with_one_seed_the_further_one_is_kept(make) -> None:
    short, long = make(seed=1, iterations=2), make(seed=1, iterations=4)
    groups, left_out = group_runs([long, short])
    assert groups[0].runs == (long,)
    assert [entry.path for entry in left_out] == [short.path]
    assert "seed 1" in left_out[0].reason


def test_unseeded_runs_are_all_kept(make) -> None:
    groups, left_out = group_runs([make(seed=None), make(seed=None)])
    assert (groups[0].seeds, left_out) == ([None, None], [])


def test_differences_between_groups_are_exact(make) -> None:
    first = [make(seed=1), make(seed=2, resources={"num_env_runners": 4})]
    groups, _ = group_runs([*first, make(seed=1, interventions=[{"kind": "redo", "on": True}])])
    assert config_differences(groups) == {
        "interventions.0.kind": ["(not set)", "redo"],
        "interventions.0.on": ["(not set)", "true"],
        "resources.num_env_runners": ["varies: 0, 4", "0"],
    }


@pytest.mark.parametrize(
    ("env", "parts"),
    [
        ("predator_prey/small", ("predator_prey", "small")),
        ("pettingzoo:mpe2/spread", ("pettingzoo", "mpe2/spread")),
        ("plain", ("plain", "plain")),
    ],
)
def test_split_env(env: str, parts: tuple[str, str]) -> None:
    assert split_env(env) == parts


def swept(top: Path, space: list[str], points: list[dict[str, Any]], arms: list[str] | None = None) -> list[RunRecord]:
    """Runs of a sweep at points that are given by settings of its intervention."""
    write_sweep(top, {f"interventions.0.{name}": {} for name in space}, arms)
    folders = []
    for number, point in enumerate(points):
        settings = config(algorithm="QMIX", seed=0, interventions=[REBORN | point])
        folders.append(write_run(top / f"point_{number}" / "s0", settings=settings, lines=rows(iterations=2)))
    return [read_run(folder) for folder in folders]


def test_labels_hold_all_of_three_searched_keys_although_the_first_tells_all_drawn_points_apart(tmp_path: Path) -> None:
    points = [{"alpha": 0.01 * i, "beta": 2.0 + i % 2, "every": 10_000 * (1 + i % 3)} for i in (1, 2, 3, 4)]
    names = [label for _, label, _ in labels(swept(tmp_path, ["alpha", "beta", "every"], points))]
    assert names[:2] == [
        "QMIX + ReBorn (paper, alpha=0.01, beta=3.0, every=20k)",
        "QMIX + ReBorn (paper, alpha=0.02, beta=2.0, every=30k)",
    ]
    assert all(name.count("=") == 3 for name in names)


def test_labels_hold_all_of_eight_searched_keys_and_no_other_that_follows_them(tmp_path: Path) -> None:
    keys = ["every", "start", "scoring_episodes", "alpha", "beta", "optimizer", "target_networks", "unpaired"]
    points = [dict.fromkeys([*keys, "layers"], i) for i in (1, 2)]  # layers differs with them, and is not searched
    names = [label for _, label, _ in labels(swept(tmp_path, keys, points))]
    assert all(f"{key}=1" in names[0] for key in keys)
    assert "layers=" not in names[0]
    assert names[0].endswith(", ...)")


def test_labels_hold_six_searched_keys(tmp_path: Path) -> None:
    keys = ["every", "alpha", "beta", "optimizer", "unpaired", "start"]
    names = [label for _, label, _ in labels(swept(tmp_path, keys, [dict.fromkeys(keys, i) for i in (1, 2, 3)]))]
    assert names[0] == "QMIX + ReBorn (paper, every=1, alpha=1, beta=1, optimizer=1, unpaired=1, start=1)"


def test_points_that_differ_in_a_searched_setting_that_shapes_no_learning_are_kept_apart(tmp_path: Path) -> None:
    write_sweep(tmp_path, {"resources.num_env_runners": {}})
    records = []
    for runners in (0, 1, 2):
        settings = config(resources={"num_env_runners": runners, "num_learners": runners})
        records.append(
            read_run(write_run(tmp_path / f"p{runners}" / "s1", settings=settings, lines=rows(iterations=2)))
        )
    groups, left_out = group_runs(records)
    assert [group.label for group in groups] == [f"qmix (num_env_runners={n})" for n in (0, 1, 2)]
    assert left_out == []


def test_where_nothing_is_untreated_groups_are_compared_with_the_arm_of_the_sweep(tmp_path: Path) -> None:
    points = [{"alpha": alpha} for alpha in (0.1, 0.2)]
    swept(tmp_path, ["alpha"], points, arms=["reset"])
    arm = config(algorithm="QMIX", seed=0, interventions=[REDO | {"kind": "reset"}])
    write_run(tmp_path / "reset" / "s0", settings=arm, lines=rows(iterations=2))
    groups, _ = group_runs([read_run(folder) for folder in sorted(tmp_path.glob("*/s0"))])
    against = {group.label: (found := baseline_of(group, groups)) and found.label for group in groups}
    point = "QMIX + ReBorn (paper, alpha={})"
    assert against == {point.format(0.1): "QMIX + ReSet", point.format(0.2): "QMIX + ReSet", "QMIX + ReSet": None}


@pytest.mark.parametrize("text", ["[", "[]", "space: 3", "arms: 3", "arms: [{}]", "null"])
def test_a_damaged_file_of_a_sweep_does_not_hinder_its_report(tmp_path: Path, text: str) -> None:
    folder = write_run(tmp_path / "p" / "s1", lines=rows(iterations=2))
    (tmp_path / "sweep.yaml").write_text(text)
    assert read_run(folder).place.is_arm is False
