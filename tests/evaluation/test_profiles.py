"""Performance profiles: the share of runs above a score, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_reborn.evaluation.profiles import THRESHOLDS, profile_figure, profile_rows
from rllib_reborn.evaluation.style import FigureSpec, line_style

RETURNS = {"a": [2.0, 4.0, 4.0, 8.0], "b": [6.0, 10.0], "one": [7.0]}


def spec(random: float | None = 0.0, labels: tuple[str, ...] = ("a", "b", "one")) -> FigureSpec:
    return profile_figure("task", labels, RETURNS, random, reps=50)


def share(found: FigureSpec, label: str, tau: float) -> float:
    """The share at the last threshold that is not above ``tau``."""
    own = found.table[found.table["label"] == label]
    return float(own[own["tau"] <= tau]["share"].iloc[-1])


def test_rows_are_the_share_of_runs_strictly_above_each_threshold() -> None:
    rows = profile_rows("a", np.array([0.2, 0.4, 0.4, 0.8]), np.array([0.1, 0.2, 0.3, 0.4, 0.8]), reps=50)
    assert rows["share"].tolist() == [1.0, 0.75, 0.75, 0.25, 0.0]
    assert rows["runs"].unique().tolist() == [4]


def test_bands_are_percentiles_of_the_shares_of_runs_drawn_again() -> None:
    # Of two runs at 0 and 1, between them: 1/4 of the draws have share 0, 1/2 have 1/2 and 1/4 have 1.
    rows = profile_rows("b", np.array([0.0, 1.0]), np.array([-1.0, 0.5, 2.0]), level=0.6, reps=4000)
    assert rows["low"].tolist() == [1.0, 0.0, 0.0]
    assert rows["high"].tolist() == [1.0, 1.0, 0.0]
    narrow = profile_rows("b", np.array([0.0, 1.0]), np.array([0.5]), level=0.4, reps=4000)
    assert (narrow["low"].item(), narrow["high"].item()) == (0.5, 0.5)


def test_the_random_policy_has_0_and_the_best_run_of_all_groups_1() -> None:
    found = spec(random=-10.0, labels=("a", "one"))  # the best run, 10, is of b, which is not drawn: a has 0.6 to 0.9
    assert found.table["label"].unique().tolist() == ["a"]
    assert found.table["tau"].min() == pytest.approx(0.6 - 0.04 * 0.3)
    assert found.table["tau"].max() == pytest.approx(0.9 + 0.04 * 0.3)
    assert [share(found, "a", tau) for tau in (0.59, 0.65, 0.75, 0.91)] == [1, 0.75, 0.25, 0]
    assert "the random policy has 0 (-10.0)" in found.caption
    assert "1 (10.0)" in found.caption


@pytest.mark.parametrize("random", [None, 10.0, 99.0])
def test_without_a_random_policy_that_is_beaten_the_worst_run_has_0(random: float | None) -> None:
    found = spec(random=random)  # 2 is 0, 10 is 1
    assert "the worst run has 0 (2.00)" in found.caption
    assert [share(found, "a", tau) for tau in (-0.01, 0.1, 0.5, 0.8)] == [1, 0.75, 0.25, 0]
    assert [share(found, "b", tau) for tau in (0.1, 0.7, 1.01)] == [1, 0.5, 0]


def test_a_group_of_one_run_has_no_line_and_others_keep_their_colours() -> None:
    found = profile_figure("task", ["one", "a", "b"], RETURNS, 0.0, reps=50)
    assert found.table["label"].unique().tolist() == ["a", "b"]
    assert len(found.table) == 2 * THRESHOLDS
    axes = found.draw(found).axes[0]
    assert [line.get_color() for line in axes.lines] == [line_style(1)["color"], line_style(2)["color"]]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), found.table[found.table["label"] == "a"]["share"])
    assert axes.lines[0].get_drawstyle() == "steps-post"
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["a, 4 seeds", "b, 2 seeds"]


@pytest.mark.parametrize("returns", [{}, {"a": [1.0]}, {"a": [3.0, 3.0], "b": [3.0]}])
def test_nothing_to_tell_apart_is_no_figure(returns: dict[str, list[float]]) -> None:
    assert profile_figure("task", ["a", "b"], returns, None, reps=5).table.empty
