"""Statistics against hand-computed numbers, SciPy, simulation, and what must hold for any data."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_reborn.evaluation import statistics as stats

samples = st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 3)), min_size=2, max_size=12)


class TestClosedForms:
    def test_iqm_cuts_a_quarter_from_either_end(self) -> None:
        # Of eight values two go on either side: (3 + 4 + 5 + 6) / 4.
        assert stats.iqm([100, 1, 3, 4, 5, 6, 2, 7]) == 4.5

    def test_iqm_of_fewer_than_four_is_the_mean(self) -> None:
        assert stats.iqm([0, 0, 9]) == 3

    def test_iqm_along_an_axis(self) -> None:
        table = np.array([[0.0, 10], [1, 20], [2, 30], [99, 1000]])
        np.testing.assert_array_equal(stats.iqm(table, axis=0), [1.5, 25.0])

    def test_t_interval(self) -> None:
        # s = 1, n = 3, t = 4.302653: half width 4.302653 / sqrt(3) = 2.484138.
        interval = stats.mean_interval([1, 2, 3])
        assert (interval.estimate, interval.n) == (2, 3)
        assert interval.low == pytest.approx(2 - 2.484138, abs=1e-6)
        assert interval.high == pytest.approx(2 + 2.484138, abs=1e-6)

    def test_welch_difference(self) -> None:
        # Variances 1 and 4 over 3 each: error sqrt(5/3); df = (5/3)^2 / ((1/9)/2 + (16/9)/2) = 50/17 = 2.94
        # -> 2.
        interval = stats.difference_interval([1, 2, 3], [2, 4, 6])
        half = 4.302653 * math.sqrt(5 / 3)
        assert interval.estimate == -2
        assert (interval.low, interval.high) == pytest.approx((-2 - half, -2 + half), abs=1e-5)

    def test_equal_values_give_a_point(self) -> None:
        interval = stats.mean_interval([0.1, 0.1, 0.1])
        assert interval.low == interval.high == interval.estimate
        difference = stats.difference_interval([3, 3], [1, 1])
        assert (difference.low, difference.high) == (2, 2)

    def test_wilson(self) -> None:
        # 8 of 10 at 95 %: the textbook's [0.490, 0.943].
        interval = stats.proportion_interval(8, 10)
        assert (interval.estimate, interval.n) == (0.8, 10)
        assert (interval.low, interval.high) == pytest.approx((0.49016, 0.94332), abs=1e-5)

    def test_wilson_does_not_collapse_at_the_ends(self) -> None:
        # At p = 0 the upper bound is z^2 / (n + z^2) = 3.8415 / 13.8415.
        none, all_ = stats.proportion_interval(0, 10), stats.proportion_interval(10, 10)
        assert (none.low, all_.high) == (0, 1)
        assert none.high == pytest.approx(0.277535, abs=1e-5)
        assert all_.low == pytest.approx(1 - 0.277535, abs=1e-5)

    def test_wins_of_runs_that_differ_count_as_fewer_episodes(self) -> None:
        # Two policies, 0 of 10 and 10 of 10: var = 2 * (25 + 25) / 400 = 0.25 = D * 0.25 / 20, so D = 20 and
        # m = 1.
        interval = stats.proportion_interval([0, 10], [10, 10])
        alone = stats.proportion_interval(0.5, 1)
        assert (interval.low, interval.high) == pytest.approx((alone.low, alone.high))
        # Runs that differ by less than chance are pooled as they are.
        pooled, apart = stats.proportion_interval(10, 20), stats.proportion_interval([5, 5], [10, 10])
        assert (apart.low, apart.high) == pytest.approx((pooled.low, pooled.high))

    def test_optimality_gap(self) -> None:
        assert stats.optimality_gap([0.5, 1.0, 3.0]) == pytest.approx(0.5 / 3)
        assert stats.optimality_gap([0.5, 1.0, 3.0], target=2) == pytest.approx((1.5 + 1 + 0) / 3)

    def test_probability_of_improvement(self) -> None:
        # Pairs of task a: 1>0, 1<2, 3>0, 3>2 = 3/4; of task b: 1 = 1 four times, half each = 1/2.
        x, y = {"a": [1, 3], "b": [1, 1]}, {"b": [1, 1], "a": [0, 2]}
        assert stats.probability_of_improvement(x, y).estimate == (0.75 + 0.5) / 2

    def test_performance_profile(self) -> None:
        np.testing.assert_array_equal(stats.performance_profile([[0, 1], [2, 3]], [-1, 0, 2, 3]), [1, 0.75, 0.25, 0])

    def test_paired_difference_uses_common_seeds_only(self) -> None:
        x, y = {1: 11.0, 2: 22.0, 3: 33.0, 9: 1e6}, {3: 30.0, 2: 20.0, 1: 10.0, 8: -1e6}
        interval = stats.paired_difference(x, y, method="t")
        assert (interval.estimate, interval.n) == (2, 3)
        assert interval.low == pytest.approx(2 - 2.484138, abs=1e-6)
        bootstrap = stats.paired_difference(x, y)
        assert (bootstrap.low, bootstrap.high) == (1, 3)

    def test_bootstrap_of_two_values_has_the_binomial_percentiles(self) -> None:
        # Means of two draws from {0, 1}: 0, 1/2, 1 with 1/4, 1/2, 1/4. At 40 % the middle one is all there
        # is.
        assert stats.mean_interval([0, 1], 0.4, method="bootstrap").low == 0.5
        wide = stats.mean_interval([0, 1], 0.8, method="bootstrap")
        assert (wide.low, wide.high) == (0, 1)


class TestAgainstSciPy:
    @given(samples)
    def test_iqm(self, x: list[float]) -> None:
        assert stats.iqm(x) == pytest.approx(scipy.stats.trim_mean(x, 0.25, axis=None), abs=1e-9)

    @pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
    def test_t_quantiles(self, level: float) -> None:
        for df in (1, 2, 3, 4, 7, 30, 199, 200, 201, 1000, 10**6):
            expected = scipy.stats.t.ppf((1 + level) / 2, df)
            assert stats.student_t_quantile(level, df) == pytest.approx(expected, rel=1e-7)

    def test_t_interval(self) -> None:
        x = np.random.default_rng(3).normal(size=11)
        expected = scipy.stats.t.interval(0.9, 10, x.mean(), scipy.stats.sem(x))
        interval = stats.mean_interval(x, 0.9)
        assert (interval.low, interval.high) == pytest.approx(expected)

    def test_wilson(self) -> None:
        for won, tried in ((0, 7), (3, 32), (31, 32), (320, 320)):
            expected = scipy.stats.binomtest(won, tried).proportion_ci(0.95, method="wilson")
            interval = stats.proportion_interval(won, tried)
            assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))

    def test_probability_of_improvement_is_mann_whitney(self) -> None:
        rng = np.random.default_rng(4)
        x, y = rng.integers(0, 9, 12), rng.integers(0, 9, 7)
        u = scipy.stats.mannwhitneyu(x, y).statistic
        assert stats.probability_of_improvement([x], [y]).estimate == pytest.approx(u / (12 * 7))


class TestCoverage:
    """How often a 95 % interval holds the truth, over simulated data."""

    def test_t_interval_of_five_runs(self) -> None:
        rng = np.random.default_rng(0)
        intervals = [stats.mean_interval(x) for x in rng.normal(7, 3, (600, 5))]
        assert 0.92 <= np.mean([i.low <= 7 <= i.high for i in intervals]) <= 0.98

    def test_welch_with_unlike_samples(self) -> None:
        rng = np.random.default_rng(1)
        hits = []
        for _ in range(500):
            interval = stats.difference_interval(rng.normal(2, 4, 5), rng.normal(1, 1, 40))
            hits.append(interval.low <= 1 <= interval.high)
        assert 0.92 <= np.mean(hits) <= 0.985

    def test_stratified_bootstrap_of_the_iqm(self) -> None:
        rng = np.random.default_rng(2)
        hits = []
        for k in range(200):
            # Both tasks have one mean, so that the IQM of all runs has a known value.
            interval = stats.stratified_bootstrap(list(rng.normal(1, 1, (2, 12))), reps=200, rng=k)
            hits.append(interval.low <= 1 <= interval.high)
        assert 0.88 <= np.mean(hits) <= 0.99

    def test_wilson_for_one_policy(self) -> None:
        wins = np.random.default_rng(3).binomial(32, 0.9, 1000)
        intervals = [stats.proportion_interval(w, 32) for w in wins]
        assert 0.92 <= np.mean([i.low <= 0.9 <= i.high for i in intervals]) <= 0.985

    def test_wilson_for_policies_that_differ(self) -> None:
        rng = np.random.default_rng(4)
        by_run, pooled = [], []
        for _ in range(500):
            wins = rng.binomial(32, rng.beta(0.6, 0.4, 10))
            interval = stats.proportion_interval(wins, np.full(10, 32))
            by_run.append(interval.low <= 0.6 <= interval.high)
            interval = stats.proportion_interval(wins.sum(), 320)
            pooled.append(interval.low <= 0.6 <= interval.high)
        assert np.mean(by_run) >= 0.88
        assert np.mean(pooled) < 0.6  # what ignoring the runs would have claimed to be 95 %


class TestStrata:
    def test_distance_between_tasks_does_not_widen_the_interval(self) -> None:
        x = np.random.default_rng(5).normal(size=10)
        near = stats.stratified_bootstrap({"a": x, "b": x[::-1]}, np.mean)
        far = stats.stratified_bootstrap({"a": x, "b": x[::-1] + 1000}, np.mean)
        one = stats.stratified_bootstrap([np.concatenate([x, x + 1000])], np.mean)
        assert far.high - far.low == pytest.approx(near.high - near.low)
        assert one.high - one.low > 100 * (far.high - far.low)

    def test_whole_rows_are_resampled(self) -> None:
        # The two columns of every run add up to 0; so must those of every replicate.
        x = np.random.default_rng(6).normal(size=6)
        rows = np.stack([x, -x], axis=1)
        band = stats.stratified_bootstrap_band([rows], lambda runs: runs.mean(axis=0).sum())
        assert band.low == pytest.approx(0, abs=1e-12)
        assert band.high == pytest.approx(0, abs=1e-12)
        assert stats.stratified_bootstrap_band([rows], lambda runs: runs.mean(axis=0)).low.shape == (2,)

    def test_a_seed_repeats_and_a_generator_moves_on(self) -> None:
        x = np.random.default_rng(7).normal(size=9)
        first, again, other = (stats.stratified_bootstrap([x], rng=seed) for seed in (1, 1, 2))
        assert first == again
        assert first.low != other.low
        rng = np.random.default_rng(1)
        assert stats.stratified_bootstrap([x], rng=rng) == first
        assert stats.stratified_bootstrap([x], rng=rng) != first

    def test_improvement_interval_narrows_with_runs(self) -> None:
        rng = np.random.default_rng(8)
        few = stats.probability_of_improvement([rng.normal(1, 1, 4)], [rng.normal(0, 1, 4)])
        many = stats.probability_of_improvement([rng.normal(1, 1, 60)], [rng.normal(0, 1, 60)])
        assert many.high - many.low < (few.high - few.low) / 2
        assert many.low < 0.76 < many.high  # P(N(1,1) > N(0,1)) = Phi(1/sqrt(2))


class TestOneRun:
    def test_every_interval_is_unknown_and_says_why(self) -> None:
        intervals = [
            stats.mean_interval([5]),
            stats.mean_interval([5], method="bootstrap"),
            stats.stratified_bootstrap([[5]]),
            stats.stratified_bootstrap([[5], [1, 2, 3]]),
            stats.difference_interval([5], [1, 2, 3]),
            stats.difference_interval([5, 6], [1]),
            stats.paired_difference({1: 5}, {1: 4}),
            stats.probability_of_improvement([[5]], [[1, 2]]),
        ]
        for interval in intervals:
            assert math.isfinite(interval.estimate)
            assert math.isnan(interval.low)
            assert math.isnan(interval.high)
            assert not interval.known
            assert "one run" in interval.reason

    def test_a_known_interval_gives_no_reason(self) -> None:
        interval = stats.mean_interval([1, 2])
        assert interval.known
        assert interval.reason == ""


class TestRefusals:
    @pytest.mark.parametrize(
        "call",
        [
            stats.iqm,
            stats.mean_interval,
            stats.optimality_gap,
            lambda x: stats.stratified_bootstrap([[1, 2], x]),
            lambda x: stats.difference_interval([1, 2], x),
            lambda x: stats.performance_profile(x, [0]),
            lambda x: stats.probability_of_improvement([[1, 2]], [x]),
        ],
    )
    def test_empty_and_not_finite(self, call) -> None:
        with pytest.raises(ValueError, match="is empty"):
            call([])
        for bad in (math.nan, math.inf):
            with pytest.raises(ValueError, match="1 of 2 values that are not finite"):
                call([1.0, bad])

    @pytest.mark.parametrize(
        ("call", "sentence"),
        [
            (lambda: stats.stratified_bootstrap([]), "No stratum"),
            (lambda: stats.stratified_bootstrap(np.ones((3, 2))), "list\\(matrix.T\\)"),
            (lambda: stats.stratified_bootstrap([[1, 2]], reps=0), "reps is 0"),
            (lambda: stats.mean_interval([1, 2], 95), "level is 95"),
            (lambda: stats.mean_interval([[1, 2]]), "one dimension"),
            (lambda: stats.mean_interval([1, 2], method="z"), "'z' is not known"),
            (lambda: stats.paired_difference({1: 0.0}, {2: 0.0}), "No seed is in both"),
            (lambda: stats.probability_of_improvement({"a": [1]}, {"b": [1]}), "same tasks"),
            (lambda: stats.proportion_interval(1, 0), "no trials"),
            (lambda: stats.proportion_interval(3, 2), "between 0 and"),
            (lambda: stats.proportion_interval([1, 1], [2]), "one entry per run"),
            (lambda: stats.student_t_quantile(0.95, 0), "df is 0"),
        ],
    )
    def test_other_mistakes_get_a_sentence(self, call, sentence: str) -> None:
        with pytest.raises(ValueError, match=sentence):
            call()


class TestProperties:
    @given(samples)
    def test_iqm_is_within_the_data(self, x: list[float]) -> None:
        assert min(x) <= stats.iqm(x) <= max(x)

    @given(samples, st.randoms(use_true_random=False))
    def test_order_of_runs_does_not_matter(self, x: list[float], random) -> None:
        shuffled = random.sample(x, len(x))
        assert stats.iqm(shuffled) == pytest.approx(stats.iqm(x))
        one, other = stats.mean_interval(x), stats.mean_interval(shuffled)
        assert (other.low, other.high) == pytest.approx((one.low, one.high), abs=1e-6)

    @given(samples, st.floats(-100, 100), st.floats(0.01, 100))
    def test_shift_and_scale(self, x: list[float], shift: float, scale: float) -> None:
        y = np.asarray(x) * scale + shift
        assert stats.iqm(y) == pytest.approx(stats.iqm(x) * scale + shift, abs=1e-6)
        for method in ("t", "bootstrap"):
            a = stats.mean_interval(x, method=method, reps=20)
            b = stats.mean_interval(y, method=method, reps=20)
            expected = (a.low * scale + shift, a.high * scale + shift)
            assert (b.low, b.high) == pytest.approx(expected, rel=1e-6, abs=1e-4)

    @given(samples, st.floats(0.5, 0.9))
    def test_interval_holds_the_mean_and_widens_with_the_level(self, x: list[float], level: float) -> None:
        narrow, wide = stats.mean_interval(x, level), stats.mean_interval(x, level + 0.09)
        assert wide.low <= narrow.low <= narrow.estimate <= narrow.high <= wide.high

    @settings(max_examples=40)
    @given(samples)
    def test_bootstrap_stays_within_the_data(self, x: list[float]) -> None:
        interval = stats.stratified_bootstrap([x], reps=30)
        assert min(x) <= interval.low <= interval.high <= max(x)

    @given(st.integers(0, 50), st.integers(1, 50), st.floats(0.5, 0.99))
    def test_wilson_bounds_and_symmetry(self, won: int, tried: int, level: float) -> None:
        won = min(won, tried)
        interval = stats.proportion_interval(won, tried, level)
        mirror = stats.proportion_interval(tried - won, tried, level)
        assert 0 <= interval.low <= interval.estimate <= interval.high <= 1
        assert (1 - mirror.high, 1 - mirror.low) == pytest.approx((interval.low, interval.high))

    @settings(max_examples=40)
    @given(samples, samples)
    def test_improvement_of_the_other_is_the_rest(self, x: list[float], y: list[float]) -> None:
        one = stats.probability_of_improvement([x], [y], reps=20)
        other = stats.probability_of_improvement([y], [x], reps=20)
        assert one.estimate + other.estimate == pytest.approx(1)
        assert 0 <= one.low <= one.high <= 1

    @given(samples)
    def test_profile_does_not_rise(self, x: list[float]) -> None:
        profile = stats.performance_profile(x, np.linspace(-1e3, 1e3, 9))
        assert (np.diff(profile) <= 0).all()
        assert ((profile >= 0) & (profile <= 1)).all()

    # Half of the smallest number above zero is zero: a mean of gaps that small is none.
    @given(samples, st.floats(-10, 10, allow_subnormal=False))
    def test_gap_is_never_negative(self, x: list[float], target: float) -> None:
        gap = stats.optimality_gap(x, target)
        assert gap >= 0
        assert (gap == 0) == (min(x) >= target)


def test_what_can_be_drawn_in_few_ways_is_computed_once_and_gives_the_same_band() -> None:
    rows, other = np.array([[1.0, 5.0], [2.0, 3.0], [9.0, 4.0]]), np.array([[0.0, 1.0], [7.0, 2.0]])
    calls = 0

    def statistic(x: stats.Array) -> stats.Array:
        nonlocal calls
        calls += 1
        return x.mean(axis=0)

    band = stats.stratified_bootstrap_band([rows, other], statistic, reps=500, rng=3)
    assert calls == 1 + 10 * 3  # the estimate; 10 ways to draw three of three with repetition, 3 to draw two of two
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 3, (500, 3)), rng.integers(0, 2, (500, 2))
    drawn = [np.concatenate([rows[a], other[b]]).mean(axis=0) for a, b in zip(first, second)]
    np.testing.assert_allclose(band.low, np.quantile(drawn, 0.025, axis=0))
    np.testing.assert_allclose(band.high, np.quantile(drawn, 0.975, axis=0))
