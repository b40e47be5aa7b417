"""Runs on one grid, and the bands over them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_reborn.evaluation.curves import MAX_MARKS, align, intervention_marks, metric_curve, win_rate_curve
from rllib_reborn.evaluation.groups import RunGroup, group_runs
from rllib_reborn.evaluation.runs import read_run
from rllib_reborn.evaluation.statistics import proportion_interval

from .synthetic import config, write_run

OPTIONS: dict[str, Any] = {"level": 0.95, "reps": 50}


def series(*points: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(points, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def group_of(folder: Path, runs: list[list[dict[str, Any]]]) -> RunGroup:
    records = [
        read_run(write_run(folder / str(i), settings=config(seed=i), lines=lines)) for i, lines in enumerate(runs)
    ]
    return group_runs(records)[0][0]


def evaluation(steps: int, value: float, **more: Any) -> dict[str, Any]:
    return {"env_steps": steps, "eval/return_mean": value} | more


class TestAlign:
    def test_equal_steps_are_kept(self) -> None:
        steps, values = align([series((1, 5), (2, 6)), series((1, 7), (2, 8))])
        np.testing.assert_array_equal(steps, [1, 2])
        np.testing.assert_array_equal(values, [[5, 6], [7, 8]])

    def test_steps_in_between_are_interpolated_and_ends_held(self) -> None:
        _, values = align([series((10, 0), (20, 10), (30, 20)), series((12, 1), (22, 3), (28, 9))])
        np.testing.assert_allclose(values[1], [1, 1 + 2 * 8 / 10, 9])

    def test_a_run_is_absent_far_beyond_its_end(self) -> None:
        long = series(*((10 * i, i) for i in range(1, 9)))
        _, values = align([long, series((10, 1), (20, 2), (30, 3))])
        np.testing.assert_array_equal(np.isfinite(values[1]), [1, 1, 1, 1, 0, 0, 0, 0])

    def test_a_run_without_points_is_absent(self) -> None:
        steps, values = align([series(), series((1, 5))])
        assert steps.tolist() == [1]
        assert np.isnan(values[0]).all()
        assert align([series()])[0].size == 0

    def test_one_point_per_run(self) -> None:
        steps, values = align([series((100, 1)), series((101, 3))])
        assert steps.tolist() == [101]
        assert values.ravel().tolist() == [1, 3]

    def test_many_points_are_chosen_not_averaged(self) -> None:
        points = [(i, (-1) ** i) for i in range(1000)]
        steps, values = align([series(*points)], max_points=11)
        assert (steps[0], steps[-1], steps.size) == (0, 999, 11)
        assert set(np.abs(values).ravel()) == {1}


class TestMetricCurve:
    def test_hand_computed(self, tmp_path: Path) -> None:
        runs = [[evaluation(10, v), evaluation(20, 10 * v)] for v in (1, 2, 3, 100)]
        table = metric_curve(group_of(tmp_path, runs), "eval/return_mean", "evaluation", **OPTIONS)
        assert table["env_steps"].tolist() == [10, 20]
        assert table["value"].tolist() == [2.5, 25]  # of four, the middle two
        assert table["runs"].tolist() == [4, 4]
        assert (table["low"] < table["value"]).all()
        assert (table["value"] < table["high"]).all()
        assert table["label"].unique().tolist() == ["qmix"]

    def test_one_seed_has_a_line_and_no_band(self, tmp_path: Path) -> None:
        group = group_of(tmp_path, [[evaluation(10, 4), evaluation(20, 5)]])
        table = metric_curve(group, "eval/return_mean", "evaluation", **OPTIONS)
        assert table["value"].tolist() == [4, 5]
        assert table[["low", "high"]].isna().all(axis=None)

    def test_an_early_end_shows_in_runs_and_in_the_band(self, tmp_path: Path) -> None:
        long = [evaluation(10 * i, i) for i in range(1, 7)]
        table = metric_curve(group_of(tmp_path, [long, long[:2]]), "eval/return_mean", "evaluation", **OPTIONS)
        assert table["runs"].tolist() == [2, 2, 2, 1, 1, 1]
        assert table["low"].isna().tolist() == [False, False, False, True, True, True]

    def test_runs_with_different_intervals_between_evaluations(self, tmp_path: Path) -> None:
        fine = [evaluation(10 * i, i) for i in range(1, 9)]
        coarse = [evaluation(40 * i, 4 * i) for i in range(1, 3)]
        table = metric_curve(group_of(tmp_path, [fine, coarse]), "eval/return_mean", "evaluation", **OPTIONS)
        both = table[table["runs"] == 2]
        # Both runs lie on one straight line, so wherever both are present so does their mean.
        assert both["env_steps"].min() <= 40
        inside = both[both["env_steps"] >= 40]
        assert inside["value"].tolist() == [4, 5, 6, 7, 8]

    def test_a_metric_that_no_run_has_is_empty(self, tmp_path: Path) -> None:
        assert metric_curve(group_of(tmp_path, [[evaluation(1, 1)]]), "train/loss", "x", **OPTIONS).empty


class TestWinRate:
    def test_wilson_of_one_seed(self, tmp_path: Path) -> None:
        line = evaluation(10, 0, **{"eval/win_rate": 0.8, "eval/episodes": 10})
        table = win_rate_curve(group_of(tmp_path, [[line]]), level=0.95)
        expected = proportion_interval(8, 10)
        assert table["value"].tolist() == [0.8]
        assert (table["low"][0], table["high"][0]) == pytest.approx((expected.low, expected.high))
        assert table["episodes"].tolist() == [10]

    def test_seeds_are_taken_together_by_their_episodes(self, tmp_path: Path) -> None:
        runs = [
            [evaluation(10, 0, **{"eval/win_rate": 1.0, "eval/episodes": 30})],
            [evaluation(10, 0, **{"eval/win_rate": 0.0, "eval/episodes": 10})],
        ]
        table = win_rate_curve(group_of(tmp_path, runs), level=0.95)
        assert (table["value"][0], table["episodes"][0], table["runs"][0]) == (0.75, 40, 2)

    def test_no_number_of_episodes_no_interval_no_point(self, tmp_path: Path) -> None:
        line = evaluation(10, 0, **{"eval/win_rate": 0.8})
        assert win_rate_curve(group_of(tmp_path, [[line]]), level=0.95).empty
        assert win_rate_curve(group_of(tmp_path / "none", [[evaluation(10, math.pi)]]), level=0.95).empty


class TestInterventionMarks:
    def test_a_mark_is_where_the_count_rose_at_the_mean_step_of_the_seeds(self, tmp_path: Path) -> None:
        first = [applied(10, 0), applied(20, 1), applied(30, 1), applied(40, 2)]
        second = [applied(12, 0), applied(24, 1), applied(36, 2), applied(48, 3)]
        marks = intervention_marks(group_of(tmp_path, [first, second]))
        assert marks["series"].unique().tolist() == ["intervention"]
        assert marks["value"].tolist() == [1, 2, 3]
        assert marks["env_steps"].tolist() == [22, 38, 48]
        assert marks["runs"].tolist() == [2, 2, 1]

    def test_several_applications_in_one_row_are_several(self, tmp_path: Path) -> None:
        marks = intervention_marks(group_of(tmp_path, [[applied(10, 2), applied(20, 2)]]))
        assert marks[["env_steps", "value"]].to_numpy().tolist() == [[10, 1], [10, 2]]

    def test_many_are_thinned_out_evenly(self, tmp_path: Path) -> None:
        marks = intervention_marks(group_of(tmp_path, [[applied(10 * i, i) for i in range(1, 101)]]))
        assert marks["value"].tolist() == list(range(4, 101, 4))  # 100 / 30, rounded up: every fourth
        assert marks["env_steps"].tolist() == list(range(40, 1001, 40))
        assert len(marks) <= MAX_MARKS

    def test_what_was_applied_before_the_first_row_of_a_resumed_run_has_no_place(self, tmp_path: Path) -> None:
        lines = [applied(10, 5, iteration=7), applied(20, 6, iteration=8)]
        assert intervention_marks(group_of(tmp_path, [lines]))["value"].tolist() == [6]

    def test_old_runs_and_runs_without_interventions_have_none(self, tmp_path: Path) -> None:
        assert intervention_marks(group_of(tmp_path / "a", [[evaluation(1, 2.0)]])).empty
        assert intervention_marks(group_of(tmp_path / "b", [[applied(10, 0)]])).empty


def applied(steps: int, count: int, iteration: int = 1) -> dict[str, Any]:
    return {"iteration": iteration, "env_steps": steps, "intervention/count": count}
