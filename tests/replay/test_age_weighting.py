"""Draws that depend on age: the formula by hand, how often what is drawn, and that a saved replay draws on as it would."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_reborn.replay import EpisodeBlock, EpisodeReplay
from rllib_reborn.replay.age_weighting import DRAWN_AGE_MEAN, AgeWeightedReplay, ages, draw_probabilities, weighted_draw
from rllib_reborn.replay.replay_files import load_replay, save_replay
from tests.replay.test_episode_replay import LAYOUT, LIMIT, Files, episode

#: Of the three episodes of :func:`by_hand`.
BY_HAND = np.array([4, 5, 10]) / 19


def weighted(
    lengths: list[int], *, seed: int = 0, capacity: int = 50, decay: int = 6, least: float = 0.4
) -> AgeWeightedReplay:
    replay = AgeWeightedReplay(capacity, LAYOUT, LIMIT, decay_env_steps=decay, min_weight=least, seed=seed)
    for number, length in enumerate(lengths):
        replay.add(EpisodeBlock.of([episode(number, length)]))
    return replay


def by_hand() -> AgeWeightedReplay:
    """Ages 4, 3, 0; weights 1 - 4/6 < 0.4 -> 0.4, 1 - 3/6 = 0.5, 1."""
    return weighted([2, 1, 3])


def test_ages_by_hand() -> None:
    assert ages([2, 1, 3]).tolist() == [4, 3, 0]
    assert ages([7]).tolist() == [0]


def test_probabilities_by_hand() -> None:
    np.testing.assert_allclose(draw_probabilities([4, 3, 0], 6, 0.4), BY_HAND, rtol=1e-15)
    # Of one age all are alike, and beyond T there is the least weight alone.
    np.testing.assert_allclose(draw_probabilities([100, 50, 5], 5, 0.2), [1 / 3] * 3)
    np.testing.assert_allclose(draw_probabilities([10, 5, 0], 10, 1e-9), [0, 1 / 3, 2 / 3], atol=1e-8)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=50), st.integers(1, 10**9), st.floats(0, 1, exclude_min=True))
def test_probabilities_fall_with_age_and_no_episode_is_out_of_reach(lengths, decay, least) -> None:
    age = ages(lengths)
    assert age[-1] == 0
    assert (np.diff(age) < 0).all()
    found = draw_probabilities(age, decay, least)
    assert found.sum() == pytest.approx(1)
    assert (np.diff(found) >= 0).all()
    assert (found > 0).all()
    assert found[0] / found[-1] >= least * (1 - 1e-12)


def test_one_episode_is_drawn_by_its_probability() -> None:
    replay, draws = by_hand(), 3_000
    counts = Counter(int(replay.sample(1).indices[0]) for _ in range(draws))
    expected = draws * BY_HAND
    # Chi-square with 2 degrees of freedom, 99.9 % quantile 13.8; uniform draws come to 330 or so.
    assert sum((counts[i] - expected[i]) ** 2 / expected[i] for i in range(3)) < 13.8


def test_two_episodes_are_drawn_one_after_the_other() -> None:
    replay, draws = by_hand(), 3_000
    counts = Counter(frozenset(replay.sample(2).indices.tolist()) for _ in range(draws))
    # p_i p_j / (1 - p_i) + p_j p_i / (1 - p_j), by hand.
    expected = {frozenset({0, 1}): 580 / 3990, frozenset({0, 2}): 320 / 855, frozenset({1, 2}): 1150 / 2394}
    assert sum(expected.values()) == pytest.approx(1)
    assert counts.keys() == expected.keys()
    assert sum((counts[pair] - draws * p) ** 2 / (draws * p) for pair, p in expected.items()) < 13.8


def test_what_is_left_over_is_drawn_by_age_too() -> None:
    """Four of three: each once, and one of them again."""
    replay, draws = by_hand(), 3_000
    counts = Counter(int(np.bincount(replay.sample(4).indices, minlength=3).argmax()) for _ in range(draws))
    expected = draws * BY_HAND
    assert sum((counts[i] - expected[i]) ** 2 / expected[i] for i in range(3)) < 13.8


@settings(max_examples=50)
@given(st.lists(st.integers(1, LIMIT), min_size=1, max_size=12), st.integers(1, 30), st.integers(0, 100))
def test_no_episode_is_drawn_twice_while_there_are_others(lengths, size, seed) -> None:
    counts = np.bincount(weighted(lengths, seed=seed).sample(size).indices, minlength=len(lengths))
    assert counts.sum() == size
    assert counts.max() - counts.min() <= 1


def test_a_draw_moves_the_stream_and_is_the_same_for_the_same_stream() -> None:
    first, again = (np.random.default_rng(3) for _ in range(2))
    draws = [weighted_draw(first, BY_HAND, 2).tolist() for _ in range(20)]
    assert draws == [weighted_draw(again, BY_HAND, 2).tolist() for _ in range(20)]
    assert len({tuple(draw) for draw in draws}) > 1


def test_shards_do_not_change_what_is_drawn_and_share_the_steps() -> None:
    lengths = [1 + number % LIMIT for number in range(40)]
    one, four = weighted(lengths, seed=5).sample(16), weighted(lengths, seed=5).sample(16, shards=4)
    assert sorted(one.indices.tolist()) == sorted(four.indices.tolist())
    totals = four.lengths.reshape(4, 4).sum(1)
    assert totals.max() - totals.min() <= LIMIT


def test_ages_are_of_what_is_held_when_the_replay_is_full() -> None:
    replay = weighted([5, 2, 1, 3], capacity=3)
    assert replay.sample(3).indices.tolist() == [3, 1, 2]
    assert replay.batch_metrics[DRAWN_AGE_MEAN] == pytest.approx((4 + 3 + 0) / 3)


def test_the_mean_age_is_that_of_the_last_batch_to_learn_from() -> None:
    replay = by_hand()
    assert replay.batch_metrics[DRAWN_AGE_MEAN] is None
    replay.sample(3)
    assert replay.batch_metrics[DRAWN_AGE_MEAN] == pytest.approx(7 / 3)
    replay.sample(1, rng=np.random.default_rng(0))
    replay.latest(1)
    assert replay.batch_metrics[DRAWN_AGE_MEAN] == pytest.approx(7 / 3)
    [number] = replay.sample(1).indices
    assert replay.batch_metrics[DRAWN_AGE_MEAN] == [4, 3, 0][number]
    replay.clear()
    assert replay.batch_metrics[DRAWN_AGE_MEAN] is None


def test_what_is_drawn_to_measure_is_uniform_and_leaves_the_stream_alone() -> None:
    mine, plain = weighted([1] * 30, least=0.01), EpisodeReplay(50, LAYOUT, LIMIT, seed=0)
    plain.add(EpisodeBlock.of([episode(number, 1) for number in range(30)]))
    before = mine.get_state()["rng"]
    drawn = [replay.sample(8, rng=np.random.default_rng(4)).indices.tolist() for replay in (mine, plain)]
    assert drawn[0] == drawn[1]
    assert mine.get_state()["rng"] == before


@pytest.mark.parametrize("shards", [1, 2])
def test_uniform_draws_are_what_they_have_always_been(shards: int) -> None:
    """Two lines of numpy, from before there were weights."""
    replay = EpisodeReplay(50, LAYOUT, LIMIT, seed=9)
    lengths = np.array([1 + number * 7 % LIMIT for number in range(20)])
    replay.add(EpisodeBlock.of([episode(number, length) for number, length in enumerate(lengths)]))
    rng = np.random.default_rng(9)
    for _ in range(3):
        drawn = rng.choice(20, 8, replace=False)
        order = np.argsort(-lengths[drawn], kind="stable").reshape(-1, shards).T.reshape(-1)
        assert replay.sample(8, shards=shards).indices.tolist() == drawn[order].tolist()
    assert replay.get_state().keys() == {"episodes", "episodes_added", "rng"}
    assert replay.batch_metrics == {}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, LIMIT), max_size=12), st.integers(1, 6))
def test_state_through_files_continues_exactly(lengths, capacity) -> None:
    replay = weighted(lengths, seed=3, capacity=capacity)
    if lengths:
        replay.sample(2)
    files = Files()
    save_replay(replay.get_state(), files.writer)
    again = weighted([], seed=99, capacity=capacity)
    again.set_state(load_replay(files.reader))
    assert again.batch_metrics[DRAWN_AGE_MEAN] == replay.batch_metrics[DRAWN_AGE_MEAN]
    for _ in range(2):
        if lengths:
            assert replay.sample(3).indices.tolist() == again.sample(3).indices.tolist()
        for one in (replay, again):
            one.add(EpisodeBlock.of([episode(50, 4)]))
    assert replay.sample(4).indices.tolist() == again.sample(4).indices.tolist()
    assert again.batch_metrics[DRAWN_AGE_MEAN] == replay.batch_metrics[DRAWN_AGE_MEAN]


def test_a_uniform_replay_goes_on_by_age_and_the_other_way_round() -> None:
    lengths, files = [2, 1, 3], Files()
    plain = EpisodeReplay(50, LAYOUT, LIMIT, seed=1)
    plain.add(EpisodeBlock.of([episode(number, length) for number, length in enumerate(lengths)]))
    save_replay(plain.get_state(), files.writer)
    assert json.loads(files["replay.json"]).keys() == {"episodes_added", "rng", "lengths"}  # what it has always been
    aged = weighted([])
    aged.set_state(load_replay(files.reader))
    aged.sample(3)
    assert aged.batch_metrics[DRAWN_AGE_MEAN] == pytest.approx(7 / 3)
    save_replay(aged.get_state(), files.writer)
    again = EpisodeReplay(50, LAYOUT, LIMIT)
    again.set_state(load_replay(files.reader))
    assert (len(again), again.batch_metrics) == (3, {})


def test_what_is_restored_over_a_replay_takes_the_place_of_its_mean_age() -> None:
    """Of the time line that is left nothing is in the next row."""
    fresh, used = weighted([2, 1]).get_state(), by_hand()
    used.sample(2)
    used.set_state(fresh)
    assert used.batch_metrics[DRAWN_AGE_MEAN] is None
