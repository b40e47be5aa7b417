"""The report of a sweep, end to end, on runs of known numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from rllib_reborn.evaluation import figures
from rllib_reborn.evaluation.groups import group_runs
from rllib_reborn.evaluation.report import Report, print_summary, write_report
from rllib_reborn.evaluation.runs import load_runs
from rllib_reborn.evaluation.sensitivity import sensitivity_figures
from rllib_reborn.evaluation.style import REFERENCE_COLOUR

from .synthetic import config, rows, write_run, write_sweep


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Nine points (two searched keys) and a control, four seeds each; ``beta`` 3 is worse by 2 with every seed."""
    top = write_sweep(
        tmp_path_factory.mktemp("sweep"), {f"interventions.0.{key}": {} for key in ("alpha", "beta")}, ["none"]
    )
    points = {f"alpha={a},beta={b}": [{"kind": "reborn", "alpha": a, "beta": b}] for a in (1, 2, 3) for b in (2, 3, 4)}
    for name, interventions in {**points, "none": []}.items():
        for seed in range(4):
            shift = -2.0 if "beta=3" in name else 0.0
            returns = [seed + shift, seed + shift + 2]
            end = {"policy": {"returns": returns, "won": None}, "random": {"returns": [-9.0, -8.5], "won": None}}
            settings = config(seed=seed, interventions=interventions)
            write_run(top / name / f"s{seed}", settings=settings, lines=rows(seed=seed, iterations=4), end=end)
    return write_report(top, top / "report", reps=50, curves=())


def test_every_kind_of_figure_is_there_and_none_has_more_than_eight_lines(sweep: Report) -> None:
    stems = [files.png.stem.removeprefix("predator_prey_small_") for files in sweep.figures]
    assert stems == ["final", "sensitivity", "map", "profile", "return", "win_rate"]
    for files in sweep.figures:
        table = pd.read_csv(files.csv)
        if "label" in table and not files.png.stem.endswith("final"):
            groups = set(table["label"]) - {"random policy"}
            assert len(groups) == 8
            assert "qmix" in groups
            assert "Of 10 groups 8 are drawn: controls" in files.caption


def test_the_control_is_what_all_points_are_paired_with(sweep: Report) -> None:
    [task] = sweep.tasks
    assert {one.baseline for one in task.comparisons} == {"qmix"}
    assert all((one.paired, one.seeds) == (True, [0, 1, 2, 3]) for one in task.comparisons)
    assert sorted(one.difference.estimate for one in task.comparisons) == [-2, -2, -2, 0, 0, 0, 0, 0, 0]
    text = sweep.markdown.read_text()
    assert "9 groups against qmix: 0 better, 3 worse, 6 not shown to differ." in text
    # Of 16 pairs of runs of {0,1,2,3} - 2 and {0,1,2,3}, one is won (1 against 0) and two are equal.
    assert "| qmix + ReBorn (alpha=1, beta=3) | qmix | -2.00 [-2.00, -2.00] | by 4 seeds | 0.12 [" in text
    assert "9 groups against qmix" in print_summary(sweep)


def test_iqm(sweep: Report) -> None:
    groups = {group.label: group for group in sweep.tasks[0].groups}
    found = groups["qmix"].policy_iqm  # of the means 1, 2, 3, 4 the middle two
    assert found is not None
    assert (found.estimate, found.n) == (2.5, 4)
    assert 1 <= found.low < 2.5 < found.high <= 4
    assert "| group | policy | policy, IQM | random policy |" in sweep.markdown.read_text()
    assert r"Seeds & Return & IQM & Random policy \\" in sweep.latex_table.read_text()


def test_settings_of_many_groups_are_a_row_each(sweep: Report) -> None:
    text = sweep.markdown.read_text()
    head = "| group | `interventions` | `interventions.0.alpha` | `interventions.0.beta` | `interventions.0.kind` |"
    assert head in text
    assert "| qmix + ReBorn (alpha=3, beta=4) | (not set) | 3 | 4 | reborn |" in text


def test_exports_hold_every_point(sweep: Report) -> None:
    algorithms = json.loads(sweep.marl_eval_json.read_text())["predator_prey"]["small"]
    labels = [group.label for group in sweep.tasks[0].groups]
    assert list(algorithms) == labels
    assert all(sorted(runs) == [f"seed_{seed}" for seed in range(4)] for runs in algorithms.values())
    assert all(f" & {label} & 4 & " in sweep.latex_table.read_text() for label in labels)


def test_what_is_said_of_every_group_is_said_once(sweep: Report) -> None:
    text = sweep.markdown.read_text()
    assert "- All 10 groups are better than the random policy by more than the interval." in text
    assert "**qmix**" not in text


def test_in_the_figure_of_final_returns_groups_that_are_not_drawn_are_grey(sweep: Report) -> None:
    rows = pd.read_csv(next(files.csv for files in sweep.figures if files.csv.stem.endswith("final")))
    spec = figures.final_figure("task", rows, 0.95, "final evaluation", ["qmix", "qmix + ReBorn (alpha=1, beta=2)"])
    texts = {
        text.get_position()[1]: text.get_color() for text in spec.draw(spec).axes[0].texts if "[" in text.get_text()
    }
    grey = [colour for colour in texts.values() if colour == REFERENCE_COLOUR]
    assert len(texts) == 11
    assert len(grey) == 9  # eight groups and the random policy
    assert "in colour" in spec.note


def test_a_point_that_is_not_over_is_not_set_beside_final_returns(tmp_path: Path) -> None:
    write_sweep(tmp_path, {"interventions.0.alpha": {}, "interventions.0.beta": {}})
    for number, (alpha, beta) in enumerate([(1, 1), (1, 2), (2, 1), (2, 2)]):
        settings = config(seed=0, interventions=[{"kind": "reborn", "alpha": alpha, "beta": beta}])
        end = None if number == 3 else {"policy": {"returns": [number, number + 2.0], "won": None}, "random": None}
        write_run(tmp_path / f"p{number}" / "s0", settings=settings, lines=rows(iterations=4), end=end)
    report = write_report(tmp_path, tmp_path / "report", reps=5, curves=())
    files = {files.png.stem.removeprefix("predator_prey_small_"): files for files in report.figures}
    chart = pd.read_csv(files["map"].csv)
    assert chart["return"].tolist() == [1, 2, 3]
    assert files["map"].caption.endswith("1 group without a final evaluation left out.")
    sensitivity = pd.read_csv(files["sensitivity"].csv)
    means = sensitivity[(sensitivity["kind"] == "mean") & (sensitivity["setting"] == "interventions.0.alpha")]
    assert means["return"].tolist() == [1.5, 3]
    texts = pd.read_csv(files["final"].csv).set_index("label")["text"].fillna("")
    assert [text.endswith("(not over)") for text in texts] == [False, False, False, True]


def test_values_of_different_numbers_of_points_are_named(tmp_path: Path) -> None:
    for number, (alpha, beta) in enumerate([(1, 1), (1, 2), (2, 1)]):
        settings = config(seed=0, interventions=[{"kind": "reborn", "alpha": alpha, "beta": beta}])
        end = {"policy": {"returns": [number, number + 2.0], "won": None}, "random": None}
        write_run(tmp_path / f"p{number}", settings=settings, lines=rows(iterations=4), end=end)
    groups, _ = group_runs(load_runs(tmp_path)[0])
    means = {group.label: {0: 1.0} for group in groups}
    assert sensitivity_figures("task", groups, means)[0].note.endswith("different numbers of points: alpha, beta")
    even = {label: score for label, score in means.items() if label != groups[0].label}
    assert "different numbers" not in sensitivity_figures("task", groups, even)[0].note
