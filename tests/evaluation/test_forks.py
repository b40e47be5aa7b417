"""Runs that go on from another one: kept apart from runs that began anew, and drawn from the root."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.evaluation.figures import task_figures
from rllib_reborn.evaluation.forks import forks_text
from rllib_reborn.evaluation.groups import RunGroup, baseline_of, group_runs
from rllib_reborn.evaluation.origin import ForkNote, beginnings, run_name
from rllib_reborn.evaluation.report import write_report
from rllib_reborn.evaluation.runs import RunError, load_runs, read_run
from rllib_reborn.evaluation.sensitivity import find_swept
from rllib_reborn.evaluation.style import REFERENCE_COLOUR

from .synthetic import config, final, rows, write_run

TREATED = [{"kind": "reborn", "alpha": 0.1}]


def write_fork(
    folder: Path,
    source: Path,
    *,
    steps: int = 20_032,
    seed: int = 1,
    fresh: tuple[str, ...] = (),
    changes: tuple[str, ...] = (),
    **settings: Any,
) -> Path:
    """A run of 20 rows whose first ten are those of ``source``, as ``train --from`` writes it."""
    beginning = [json.loads(line) for line in (source / "metrics.jsonl").read_text().splitlines()[:10]]
    beginning[-1]["env_steps"] = steps
    own = [row | {"env_steps": row["env_steps"] + steps} for row in rows(seed=seed + 100, iterations=10, top=20)]
    lines = own if "counters" in fresh else [*beginning, *own]
    write_run(folder, settings=config(seed=seed, **settings), lines=lines, end=final(seed=seed, top=12))
    note = {
        "source": str(source / "checkpoints" / "checkpoint_000010"),
        "iteration": 0 if "counters" in fresh else 10,
        "source_env_steps": steps,
        "fresh": list(fresh),
        "parts": {},
        "changes": list(changes),
    }
    (folder / "fork.json").write_text(json.dumps(note))
    return folder


@pytest.fixture
def roots(tmp_path: Path) -> list[Path]:
    """Two unforked runs, seeds 1 and 2, of 20 rows, 2,000 env steps each."""
    folders = [tmp_path / f"qmix_{seed}" for seed in (1, 2)]
    for seed, folder in zip((1, 2), folders):
        write_run(folder, settings=config(seed=seed), lines=rows(seed=seed, step=2000), end=final(seed=seed))
    return folders


def groups_of(top: Path) -> list[RunGroup]:
    return group_runs(load_runs(top)[0])[0]


def test_a_fork_is_no_further_seed_of_a_run_that_began_anew(tmp_path: Path, roots: list[Path]) -> None:
    write_fork(tmp_path / "forked_3", roots[0], seed=3)
    groups, left_out = group_runs(load_runs(tmp_path)[0])
    assert [(group.label, group.seeds) for group in groups] == [("qmix", [1, 2]), ("qmix (forked at 20,032)", [3])]
    assert left_out == []


def test_a_fork_with_the_seed_of_its_source_does_not_take_its_place(tmp_path: Path, roots: list[Path]) -> None:
    write_fork(tmp_path / "forked_1", roots[0], seed=1)
    groups, left_out = group_runs(load_runs(tmp_path)[0])
    assert [group.seeds for group in groups] == [[1, 2], [1]]
    assert left_out == []


def test_where_all_are_forked_alike_labels_are_short(tmp_path: Path, roots: list[Path]) -> None:
    for seed, root in zip((1, 2), roots):
        write_fork(tmp_path / "runs" / f"none_{seed}", root, seed=seed)
        write_fork(tmp_path / "runs" / f"treated_{seed}", root, seed=seed, interventions=TREATED)
    groups = groups_of(tmp_path / "runs")
    assert [(group.label, group.seeds) for group in groups] == [("qmix", [1, 2]), ("qmix + ReBorn", [1, 2])]
    assert {group.beginning for group in groups} == {"forked at 20,032"}


def test_seeds_that_fork_within_an_iteration_of_each_other_are_one_experiment(
    tmp_path: Path, roots: list[Path]
) -> None:
    write_fork(tmp_path / "forked_1", roots[0], seed=1, steps=20_032)
    write_fork(tmp_path / "forked_2", roots[1], seed=2, steps=20_480)
    write_fork(tmp_path / "later_1", roots[0], seed=1, steps=30_000)
    labels = [(group.label, group.seeds) for group in groups_of(tmp_path)]
    forked = [("qmix (forked at 20,032 to 20,480)", [1, 2]), ("qmix (forked at 30,000)", [1])]
    assert labels == [("qmix", [1, 2]), *forked]


def test_forks_of_sources_with_other_settings_are_not_pooled(tmp_path: Path, roots: list[Path]) -> None:
    write_fork(tmp_path / "a_1", roots[0], seed=1, changes=("seed: 0 -> 1", "stop.env_steps: 1 -> 2"))
    write_fork(tmp_path / "b_2", roots[1], seed=2)
    write_fork(tmp_path / "c_3", roots[1], seed=3, changes=("training.lr: 0.1 -> 0.0005",))
    assert [group.seeds for group in groups_of(tmp_path)][1:] == [[1, 2], [3]]


def test_beginnings() -> None:
    notes = [
        None,
        *(ForkNote("a", n, n, fresh, ()) for n, fresh in ((100, ()), (110, ()), (111, ()), (100, ("replay",)))),
    ]
    apart = ["forked at 100 to 110", "forked at 100 to 110", "forked at 111", "forked at 100, fresh replay"]
    assert beginnings(notes) == ["", *apart]


def test_a_treated_fork_is_compared_with_the_untreated_fork_before_the_untreated_run(
    tmp_path: Path, roots: list[Path]
) -> None:
    write_fork(tmp_path / "treated_1", roots[0], seed=1, interventions=TREATED)
    groups = groups_of(tmp_path)
    baseline = baseline_of(groups[-1], groups)
    assert baseline is not None
    assert baseline.label == "qmix"
    write_fork(tmp_path / "none_1", roots[0], seed=1)
    groups = groups_of(tmp_path)
    baseline = baseline_of(groups[-1], groups)
    assert baseline is not None
    assert baseline.label == "qmix (forked at 20,032)"


def test_forked_points_are_no_points_of_an_unforked_sweep(tmp_path: Path, roots: list[Path]) -> None:
    for alpha in (0.1, 0.2, 0.3):
        point = [{"kind": "reborn", "alpha": alpha}]
        write_run(tmp_path / f"anew_{alpha}", settings=config(interventions=point), lines=rows(iterations=2))
    write_fork(tmp_path / "forked", roots[0], interventions=[{"kind": "reborn", "alpha": 0.4}])
    swept = find_swept(groups_of(tmp_path))
    assert swept is not None
    assert [group.beginning for group in swept.groups] == ["", "", ""]


def test_the_figure_of_returns_begins_at_the_root_and_marks_the_fork(tmp_path: Path, roots: list[Path]) -> None:
    write_fork(tmp_path / "forked_1", roots[0], seed=1, steps=20_000)
    write_fork(tmp_path / "forked_2", roots[1], seed=2, steps=20_100)
    spec = task_figures(groups_of(tmp_path), None, reps=5, curves=())[0]
    [fork] = spec.table[spec.table["series"] == "fork"].to_dict("records")
    assert (fork["env_steps"], fork["runs"]) == (20_050, 2)
    own = spec.table[
        (spec.table["label"] == "qmix (forked at 20,000 to 20,100)") & (spec.table["series"] == "training")
    ]
    assert own["env_steps"].min() < 2500
    [axes] = spec.draw(spec).axes
    [line] = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert list(line.get_xdata()) == [20_050, 20_050]
    assert (line.get_color(), line.get_linewidth()) == (REFERENCE_COLOUR, 1.0)
    assert [text.get_text() for text in axes.texts].count("fork") == 1
    assert "20,050" in spec.caption
    assert "fork" in spec.note


def test_without_forks_or_where_counters_began_anew_there_is_no_line(tmp_path: Path, roots: list[Path]) -> None:
    spec = task_figures(groups_of(tmp_path), None, reps=5, curves=())[0]
    assert "fork" not in spec.note + spec.caption
    write_fork(tmp_path / "forked_1", roots[0], fresh=("counters",))
    groups = groups_of(tmp_path)
    assert groups[1].label == "qmix (forked at 20,032, fresh counters)"
    spec = task_figures(groups, None, reps=5, curves=())[0]
    assert "fork" not in set(spec.table["series"])
    assert "their own alone: `forked_1` from `qmix_1` at 20,032 env steps (fresh counters)." in forks_text(groups)


def test_the_report_says_what_was_forked_from_what(tmp_path: Path, roots: list[Path]) -> None:
    for seed, root in zip((1, 2), roots):
        write_fork(tmp_path / "treated" / f"s{seed}", root, seed=seed, interventions=TREATED)
    report = write_report(tmp_path, tmp_path / "report", reps=5, curves=())
    text = report.markdown.read_text()
    assert (
        "run that they go on from: `treated/s1` from `qmix_1` at 20,032 env steps; `treated/s2` from `qmix_2` at 20,032 "
        "env steps.\n"
    ) in text
    assert "| `treated/s1` | qmix + ReBorn (forked at 20,032) | 1 |" in text
    assert "forked from qmix_1 at 20,032 env steps" in text
    summary = json.loads(report.summary_json.read_text())
    assert summary["tasks"][0]["forks"][0] == {
        "source": "qmix_1",
        "source_env_steps": 20_032,
        "fresh": [],
        "runs": ["treated/s1"],
    }
    assert not any(str(tmp_path) in path.read_text() for path in (report.markdown, report.summary_json))


def test_many_forks_of_one_run_are_counted_and_seeds_that_share_it_are_named(tmp_path: Path, roots: list[Path]) -> None:
    for seed in range(3, 9):
        write_fork(tmp_path / f"f_{seed}", roots[0], seed=seed)
    text = forks_text(groups_of(tmp_path))
    assert "6 runs (`f_3`, `f_4`, `f_5`, `f_6` and 2 more) from `qmix_1` at 20,032 env steps." in text
    assert text.endswith("Runs of qmix (forked at 20,032) share a source: their seeds differ from there on alone.")


@pytest.mark.parametrize("note", ["{", "[]", '{"source": "a"}', '{"source": "a", "source_env_steps": "far"}'])
def test_a_damaged_note_leaves_the_run_out(tmp_path: Path, roots: list[Path], note: str) -> None:
    (roots[0] / "fork.json").write_text(note)
    with pytest.raises(RunError, match=r"fork\.json is damaged"):
        read_run(roots[0])


def test_names_of_runs(tmp_path: Path) -> None:
    names = [run_name(tmp_path / name) for name in ("runs/qmix", "sweep/beta=2/s11", "sweep/s")]
    assert names == ["qmix", "beta=2/s11", "s"]
