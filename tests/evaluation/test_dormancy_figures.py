"""The paper's figures from events, on sets of neurons that can be counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rllib_reborn.evaluation.dormancy_figures import (
    dormancy_by_layer,
    event_figures,
    nas_ranking,
    overlap,
    redormancy,
)
from rllib_reborn.evaluation.groups import RunGroup, group_runs
from rllib_reborn.evaluation.runs import read_run
from rllib_reborn.evaluation.style import REFERENCE_COLOUR, line_style, save_figure

from .synthetic import DORMANCY, REBORN, application, check, config, plasticity, rows, write_run

V, W, AGENT = "mixer/V", "mixer/hyper_w_final", "agent/fc1"
OPTIONS: dict[str, Any] = {"reps": 20}


def scores(dormant: set[int], overactive: set[int] = frozenset(), width: int = 8) -> list[float]:
    """Scores that make just these neurons dormant and over-active."""
    return [0.0 if i in dormant else 4.0 if i in overactive else 1.0 for i in range(width)]


def groups_of(folder: Path, *runs: list[dict[str, Any]], **settings: Any) -> list[RunGroup]:
    settings = {"training": {"dormancy": DORMANCY}} | settings
    lines = [{"env_steps": 1, "eval/return_mean": 0.0}, {"env_steps": 400, "eval/return_mean": 1.0}]
    records = [
        read_run(write_run(folder / str(i), settings=config(seed=i, **settings), lines=lines, events=events))
        for i, events in enumerate(runs)
    ]
    return group_runs(records)[0]


def points(table: pd.DataFrame, series: str) -> list[tuple[float, float]]:
    own = table[table["series"] == series]
    return list(zip(own["env_steps"].tolist(), own["value"].round(6).tolist()))


class TestRanking:
    def test_shares_are_ranked_within_a_layer_at_the_last_check(self, tmp_path: Path) -> None:
        first = check(100, {V: [4.0, 0.0, 0.0, 0.0]}, iteration=1)
        last = check(200, {V: [0.5, 2.0, 0.0, 1.5]}, iteration=2)
        table = nas_ranking(groups_of(tmp_path, [first, last]), top=3, **OPTIONS).table
        assert table["rank"].tolist() == [1, 2, 3]
        assert table["share"].tolist() == [0.5, 0.375, 0.125]
        assert table["width"].unique().tolist() == [4]
        assert table["low"].isna().all()

    def test_seeds_are_averaged_rank_by_rank(self, tmp_path: Path) -> None:
        one, two = [check(1, {V: [3.0, 1.0]})], [check(1, {V: [1.0, 1.0]})]
        table = nas_ranking(groups_of(tmp_path, one, two), **OPTIONS).table
        assert table["share"].tolist() == [0.625, 0.375]
        assert (table["low"].iloc[0], table["high"].iloc[0]) == (0.5, 0.75)
        assert table["runs"].tolist() == [2, 2]

    def test_the_mixers_layers_are_shown_unless_others_are_asked_for(self, tmp_path: Path) -> None:
        groups = groups_of(tmp_path, [check(1, {W: [1.0, 1.0], V: [1.0, 1.0], AGENT: [1.0, 1.0]})])
        assert nas_ranking(groups, **OPTIONS).table["layer"].unique().tolist() == [W, V]
        assert nas_ranking(groups, layers=[AGENT], **OPTIONS).table["layer"].unique().tolist() == [AGENT]

    def test_a_team_without_neurons_in_its_mixer_shows_its_agents(self, tmp_path: Path) -> None:
        groups = groups_of(tmp_path, [check(1, {AGENT: [1.0, 1.0]}), check(2, {AGENT: [0.0, 2.0]})])
        assert nas_ranking(groups, **OPTIONS).table["layer"].unique().tolist() == [AGENT]
        assert "layers of the agent" in overlap(groups, **OPTIONS).caption

    def test_a_layer_in_which_nothing_happens(self, tmp_path: Path) -> None:
        table = nas_ranking(groups_of(tmp_path, [check(1, {V: [0.0, 0.0]})]), **OPTIONS).table
        assert table["share"].tolist() == [0, 0]

    def test_lines_are_the_rows_and_references_are_equal_shares_and_beta(self, tmp_path: Path) -> None:
        spec = nas_ranking(groups_of(tmp_path, [check(1, {V: [5.0, 2.0, 1.0, 0.0, *[0.0] * 4]})]), **OPTIONS)
        (axes,) = spec.draw(spec).axes
        lines = {(line.get_color(), line.get_linestyle()): line for line in axes.lines}
        own = lines[line_style(0)["color"], "-"]
        np.testing.assert_array_equal(own.get_ydata(), spec.table["share"])
        assert set(lines[REFERENCE_COLOUR, "--"].get_ydata()) == {1 / 8}
        assert set(lines[REFERENCE_COLOUR, ":"].get_ydata()) == {3 / 8}


class TestOverlap:
    def test_earlier_checks_are_compared_with_the_last_and_with_chance(self, tmp_path: Path) -> None:
        # Last: {0, 1, 2, 3}. First: {0, 1}, all within: 2 / min(2, 4) = 1; by chance 2 * 4 / 8 = 1 neuron, so 0.5.
        # Second: {2, 3, 4, 5, 6, 7}: 2 / min(6, 4) = 0.5; by chance 6 * 4 / 8 = 3 of 4.
        sets = [{0, 1}, {2, 3, 4, 5, 6, 7}, {0, 1, 2, 3}]
        events = [check(100 * (i + 1), {V: scores(found)}, iteration=i + 1) for i, found in enumerate(sets)]
        table = overlap(groups_of(tmp_path, events), **OPTIONS).table
        assert points(table, "dormant") == [(100, 1.0), (200, 0.5)]
        assert points(table, "dormant, by chance") == [(100, 0.5), (200, 0.75)]

    def test_layers_are_pooled_and_the_agents_are_none_of_them(self, tmp_path: Path) -> None:
        # V: 1 of min(2, 1); W: 0 of min(1, 2); together 1 of 2. The agents' 8 of 8 do not count.
        everyone = set(range(8))
        first = {V: scores({0, 1}), W: scores({0}), AGENT: scores(everyone)}
        last = {V: scores({1}), W: scores({6, 7}), AGENT: scores(everyone)}
        table = overlap(groups_of(tmp_path, [check(1, first), check(2, last, iteration=2)]), **OPTIONS).table
        assert points(table, "dormant") == [(1, 0.5)]

    def test_overactive_neurons_and_empty_sets(self, tmp_path: Path) -> None:
        events = [
            check(100, {V: scores(set(), {0})}, iteration=1),
            check(200, {V: scores({5}, set())}, iteration=2),
            check(300, {V: scores({5}, {0})}, iteration=3),
        ]
        table = overlap(groups_of(tmp_path, events), **OPTIONS).table
        assert points(table, "overactive") == [(100, 1.0)]
        assert points(table, "dormant") == [(200, 1.0)]

    def test_chance_is_dotted_beside_the_line(self, tmp_path: Path) -> None:
        events = [check(100 * i, {V: scores({0, 1, i})}, iteration=i) for i in (1, 2, 3, 4)]
        spec = overlap(groups_of(tmp_path, events), **OPTIONS)
        (axes,) = spec.draw(spec).axes  # nothing is over-active: one panel
        solid, dotted = axes.lines
        assert (solid.get_linestyle(), dotted.get_linestyle()) == ("-", ":")
        np.testing.assert_allclose(dotted.get_ydata(), [x for _, x in points(spec.table, "dormant, by chance")])

    def test_one_check_has_nothing_to_be_compared_with(self, tmp_path: Path) -> None:
        assert overlap(groups_of(tmp_path, [check(1, {V: scores({0})})]), **OPTIONS).table.empty


class TestRedormancy:
    def events(self) -> list[dict[str, Any]]:
        """Neurons 0..3 are recycled at 100, 200, 300 and 400 (and donor 7), with a check between each two."""
        after = {1: {0, 7}, 2: {0, 1}, 3: {2}}
        found = []
        for i in (1, 2, 3, 4):
            found.append(application(100 * i, {V: ([0, 1, 2, 3], [7])}, updates=10 * i))
            if i in after:
                found.append(check(100 * i + 50, {V: scores(after[i])}, updates=10 * i + 5))
        return found

    def test_share_of_the_recycled_neurons_that_a_check_in_the_window_finds_dormant(self, tmp_path: Path) -> None:
        table = redormancy(groups_of(tmp_path, self.events()), **OPTIONS).table
        assert points(table, "before the next application") == [(100, 0.25), (200, 0.5), (300, 0.25)]
        # {0} or {0, 1} or {2}: three of four neurons; for later applications the window is not over.
        assert points(table, "before the third next application") == [(100, 0.75)]

    def test_the_check_at_the_update_of_the_next_application_is_in_the_window(self, tmp_path: Path) -> None:
        events = [
            application(100, {V: ([0, 1], [])}, updates=1),
            application(200, {V: ([0, 1], [])}, updates=2),
            check(200, {V: scores({0})}, updates=2),
        ]
        table = redormancy(groups_of(tmp_path, events), **OPTIONS).table
        assert points(table, "before the next application") == [(100, 0.5)]

    @pytest.mark.parametrize("change", [{"kind": "reset"}, {"dry_run": True}])
    def test_what_recycles_no_dormant_unit_is_left_out(self, tmp_path: Path, change: dict[str, Any]) -> None:
        events = [event | change if event["event"] == "intervention" else event for event in self.events()]
        assert redormancy(groups_of(tmp_path, events), **OPTIONS).table.empty


def test_dormancy_by_layer(tmp_path: Path) -> None:
    events = [
        check(100, {AGENT: scores(set()), V: scores({0})}, iteration=1),
        check(200, {AGENT: scores({3}), V: scores({0, 1})}, iteration=2),
    ]
    spec = dormancy_by_layer(groups_of(tmp_path, events), **OPTIONS)
    assert points(spec.table, V) == [(100, 0.125), (200, 0.25)]
    assert points(spec.table, AGENT) == [(100, 0.0), (200, 0.125)]
    titles = [axes.get_title(loc="left") for axes in spec.draw(spec).axes]
    assert titles == ["mixer/V, 8 neurons", "agent/fc1, 8 neurons"]


def test_groups_without_events_have_no_figure_and_take_none_from_others(tmp_path: Path) -> None:
    old = read_run(write_run(tmp_path / "old", settings=config(seed=1), lines=rows(iterations=2)))
    assert event_figures(group_runs([old])[0], **OPTIONS) == []
    lines, events = plasticity(lines=rows(), treated=True)
    settings = config(seed=1, interventions=[REBORN], training={"dormancy": DORMANCY})
    new = read_run(write_run(tmp_path / "new", settings=settings, lines=lines, events=events))
    specs = event_figures(group_runs([old, new])[0], **OPTIONS)
    names = ["nas_ranking", "overlap", "redormancy", "dormancy_layers"]
    assert [spec.stem for spec in specs] == [f"predator_prey_small_{name}" for name in names]
    for spec in specs:
        assert spec.table["label"].unique().tolist() == ["qmix + ReBorn (paper)"]
        drawn = {line.get_color() for axes in spec.draw(spec).axes for line in axes.lines}
        # Its place among all groups decides its colour, as in the other figures.
        assert line_style(1)["color"] in drawn
        assert line_style(0)["color"] not in drawn
        assert "alpha (0.1)" in spec.caption
        files = save_figure(spec, tmp_path / "out", None)
        pd.testing.assert_frame_equal(pd.read_csv(files.csv), spec.table, check_dtype=False, rtol=1e-12)
