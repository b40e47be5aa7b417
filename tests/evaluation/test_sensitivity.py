"""What a sweep's report shows: what varies, the means by hand, and no figure with more lines than can be told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.evaluation.groups import RunGroup, group_runs
from rllib_reborn.evaluation.runs import read_run
from rllib_reborn.evaluation.sensitivity import MOST_LINES, find_swept, lines_to_draw, sensitivity_figures

from .synthetic import config, rows, write_run, write_sweep


@pytest.fixture
def groups(tmp_path: Path):
    def make(points: list[dict[str, Any]], seeds: tuple[int, ...] = (0, 1), control: bool = True) -> list[RunGroup]:
        listed = [[{"kind": "reborn", **point}] for point in points] + ([[]] if control else [])
        records = []
        for interventions in listed:
            for seed in seeds:
                folder = tmp_path / f"run_{len(records)}"
                settings = config(interventions=interventions, seed=seed)
                records.append(read_run(write_run(folder, settings=settings, lines=rows(iterations=2))))
        return group_runs(records)[0]

    return make


GRID = [
    {"alpha": alpha, "beta": beta, "every": every} for alpha in (0.1, 0.2) for beta in (2.0, 3.0) for every in (5, 7)
]


def point(group: RunGroup) -> tuple[float, float, int]:
    [one] = group.runs[0].config["interventions"]
    return one["alpha"], one["beta"], one["every"]


def means_of(groups: list[RunGroup]) -> dict[str, dict[int, float]]:
    """10 for alpha 0.2, 1 for beta 3, 100 for the second seed; the control 3."""
    return {
        group.label: {
            seed: 100.0 * seed
            + (
                10.0 * (point(group)[0] == 0.2) + (point(group)[1] == 3.0)
                if group.runs[0].config["interventions"]
                else 3.0
            )
            for seed in (0, 1)
        }
        for group in groups
    }


def test_what_varies_is_found_without_the_control(groups) -> None:
    found = find_swept(groups(GRID))
    assert found is not None
    assert len(found.groups) == 8
    names = {name.rpartition(".")[2]: found.values(name) for name in found.settings}
    assert names == {"alpha": [0.1, 0.2], "beta": [2.0, 3.0], "every": [5, 7]}


def test_two_experiments_are_no_sweep(groups) -> None:
    assert find_swept(groups(GRID[:2])) is None
    assert sensitivity_figures("task", groups(GRID[:2]), {}) == []


def test_a_settings_mean_is_over_all_points_with_its_value_seed_by_seed(groups) -> None:
    made = groups(GRID)
    by_setting, chart = sensitivity_figures("task", made, means_of(made))
    table = by_setting.table
    alpha = table[table["setting"].str.endswith("alpha") & (table["value"] == "0.2")]
    assert alpha[alpha["kind"] == "seed"]["return"].tolist() == [10.5, 110.5]
    [mean] = alpha[alpha["kind"] == "mean"].to_dict("records")
    assert (mean["return"], mean["groups"]) == (60.5, 4)
    assert mean["low"] < 10.5
    every = table[table["setting"].str.endswith("every") & (table["kind"] == "mean")]
    assert every["return"].tolist() == [55.5, 55.5]
    [control] = table[(table["setting"] == "") & (table["kind"] == "mean")].to_dict("records")
    assert (control["value"], control["return"]) == ("qmix", 53.0)
    assert set(chart.table["panel"]) == {"every=5", "every=7"}
    cells = {row[1:3]: row[3] for row in chart.table.itertuples(index=False, name=None) if row[0] == "every=5"}
    assert cells == {("0.1", "2.0"): 50.0, ("0.1", "3.0"): 51.0, ("0.2", "2.0"): 60.0, ("0.2", "3.0"): 61.0}
    for spec in (by_setting, chart):
        spec.draw(spec)


def test_where_no_value_has_a_seed_that_all_its_points_share_there_is_no_figure(groups) -> None:
    """A sweep that is not over: a mean over other settings would be of other seeds at each of them."""
    made = groups(GRID)
    apart = {
        group.label: {place: 1.0} if group.runs[0].config["interventions"] else {0: 1.0}
        for place, group in enumerate(made)
    }
    assert [spec.stem for spec in sensitivity_figures("task", made, apart)] == ["task_map"]


def test_at_most_eight_lines_of_which_the_control_is_one(groups) -> None:
    made = groups([{"alpha": 0.01 * i} for i in range(1, 21)], seeds=(0,))
    scores = {group.label: {0: float(number)} for number, group in enumerate(made)}
    drawn = lines_to_draw(made, scores)
    assert len(drawn) == MOST_LINES
    labels = [group.label for group in drawn]
    assert "qmix" in labels
    treated = [group.label for group in made if group.label != "qmix"]
    best, worst = max(treated, key=lambda label: scores[label][0]), min(treated, key=lambda label: scores[label][0])
    assert {best, worst} <= set(labels)
    few = groups(GRID[:2])
    assert lines_to_draw(few, {}) == few


def figures_of(made: list[RunGroup], means: dict[str, dict[int, float]] | None = None):
    found = {group.label: {0: float(number)} for number, group in enumerate(made)} if means is None else means
    return {spec.stem.removeprefix("task_"): spec for spec in sensitivity_figures("task", made, found)}


def test_the_controls_are_named_beside_the_map_and_the_panels(groups) -> None:
    made = groups(GRID)
    specs = figures_of(made, means_of(made))
    assert "qmix: 53.0" in specs["map"].note
    axes = specs["sensitivity"].draw(specs["sensitivity"]).axes
    assert [len([line for line in a.lines if line.get_linestyle() == "--"]) for a in axes] == [1, 1, 1]
    assert [text.get_text() for a in axes for text in a.texts if text.get_text() == "qmix"] == ["qmix"]
    assert len({a.get_ylim() for a in axes}) == 1


def test_panels_of_the_map_that_would_be_too_many_are_averaged_over(groups) -> None:
    # Of every (3), start (2) and stop (2), 12 panels, the last is averaged over: 6.
    points = [
        {"alpha": alpha, "beta": beta, "every": every, "start": start, "stop": stop}
        for alpha in (1, 2)
        for beta in (1, 2)
        for every in (1, 2, 3)
        for start in (0, 1)
        for stop in (8, 9)
    ]
    made = groups(points, seeds=(0,), control=False)
    means = {group.label: {0: float(group.runs[0].config["interventions"][0]["stop"])} for group in made}
    chart = figures_of(made, means)["map"]
    assert set(chart.table["panel"]) == {f"every={every}, start={start}" for every in (1, 2, 3) for start in (0, 1)}
    assert chart.table["return"].unique().tolist() == [8.5]
    assert chart.table["runs"].unique().tolist() == [2]
    assert "averaged over stop" in chart.caption
    assert "over seeds and stop;" in chart.note


def test_drawn_values_lie_along_an_axis_of_numbers_without_a_line_and_without_a_map(groups) -> None:
    made = groups([{"alpha": 0.5**i, "beta": 1.0 * i} for i in range(12)], seeds=(0,))
    specs = figures_of(made)
    assert list(specs) == ["sensitivity"]
    spec = specs["sensitivity"]
    alpha, beta = spec.draw(spec).axes[:2]
    drawn = [line for line in beta.lines if line.get_marker() == "o" and line.get_markerfacecolor() != "none"]
    assert [line.get_linestyle() for line in drawn] == ["None"]
    assert list(drawn[0].get_xdata()) == [float(i) for i in range(12)]
    assert (alpha.get_xscale(), beta.get_xscale()) == ("log", "linear")


def test_an_arm_of_the_same_kind_is_no_point_and_what_is_not_searched_has_no_panel(tmp_path: Path) -> None:
    write_sweep(tmp_path, {"interventions.0.alpha": {}}, ["often"])
    settings = {f"p{i}": {"alpha": 0.1 * i, "every": 5 + i} for i in range(3)} | {"often": {"alpha": 0.0, "every": 1}}
    for name, point in settings.items():
        full = config(interventions=[{"kind": "reborn", **point}], seed=0)
        write_run(tmp_path / name / "s0", settings=full, lines=rows(iterations=2))
    made, _ = group_runs([read_run(folder) for folder in sorted(tmp_path.glob("*/s0"))])
    found = find_swept(made)
    assert found is not None
    assert [group.runs[0].name for group in found.groups] == ["p0/s0", "p1/s0", "p2/s0"]
    assert list(found.settings) == ["interventions.0.alpha"]


def test_the_arm_is_always_drawn(tmp_path: Path) -> None:
    write_sweep(tmp_path, {"interventions.0.alpha": {}}, ["often"])
    for number in range(12):
        folder = tmp_path / ("often" if number == 5 else f"p{number}") / "s0"
        full = config(interventions=[{"kind": "reborn", "alpha": number}], seed=0)
        write_run(folder, settings=full, lines=rows(iterations=2))
    made, _ = group_runs([read_run(folder) for folder in sorted(tmp_path.glob("*/s0"))])
    means = {group.label: {0: float(group.runs[0].config["interventions"][0]["alpha"])} for group in made}
    drawn = [group.runs[0].config["interventions"][0]["alpha"] for group in lines_to_draw(made, means)]
    assert len(drawn) == MOST_LINES
    assert {0, 5, 11} <= set(drawn)
