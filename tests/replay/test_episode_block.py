"""Blocks of packed episodes: columns by name, and parts for several learners that are views."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_reborn.replay import EpisodeBlock
from rllib_reborn.replay.fields import OBSERVATION_FIELDS, STEP_FIELDS, field_layout

LAYOUT = field_layout(2, 3, 4, 5, "uint8", "float32")


def block(lengths: list[int]) -> EpisodeBlock:
    """Rewards count the steps, states the observations; both through all episodes."""
    rows = {name: sum(lengths) + (name in OBSERVATION_FIELDS) * len(lengths) for name in LAYOUT}
    fields = {name: np.zeros((rows[name], *shape), dtype) for name, (shape, dtype) in LAYOUT.items()}
    fields["reward"] += np.arange(rows["reward"])
    fields["state"] += np.arange(rows["state"])[:, np.newaxis]
    return EpisodeBlock(np.array(lengths, np.int32), fields)


def test_columns_are_the_fields_and_the_lengths() -> None:
    made = block([2, 1])
    columns = made.columns()
    assert columns.keys() == {"lengths", *OBSERVATION_FIELDS, *STEP_FIELDS}
    assert columns["lengths"] is made.lengths
    assert all(columns[name] is made.fields[name] for name in made.fields)
    columns["further"] = np.zeros(3)
    assert "further" not in made.fields


def test_parts_by_hand() -> None:
    first, second = block([3, 1, 2, 2]).parts(2)
    assert (first.episodes, first.steps) == (slice(0, 2), slice(0, 4))
    assert (second.episodes, second.steps) == (slice(2, 4), slice(4, 8))
    assert first.block.lengths.tolist() == [3, 1]
    assert first.block.fields["reward"].tolist() == [0, 1, 2, 3]
    assert first.block.fields["state"][:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert second.block.fields["reward"].tolist() == [4, 5, 6, 7]
    assert second.block.fields["state"][:, 0].tolist() == [6, 7, 8, 9, 10, 11]


@settings(deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(1, 4))
def test_parts_make_up_the_whole_and_copy_nothing(lengths: list[int], count: int) -> None:
    whole = block(lengths * count)
    parts = whole.parts(count)
    assert len(parts) == count
    for name, array in whole.columns().items():
        pieces = [part.block.columns()[name] for part in parts]
        np.testing.assert_array_equal(np.concatenate(pieces), array)
        assert all(np.shares_memory(piece, array) for piece in pieces)
    for part in parts:
        assert len(part.block) == len(lengths)
        np.testing.assert_array_equal(part.block.lengths, whole.lengths[part.episodes])
        np.testing.assert_array_equal(part.block.fields["reward"], whole.fields["reward"][part.steps])
        expected = list(whole.episodes())[part.episodes]
        for mine, theirs in zip(part.block.episodes(), expected, strict=True):
            for name in theirs:
                np.testing.assert_array_equal(mine[name], theirs[name])


@pytest.mark.parametrize("lengths", [[4], [1, 1, 1]])
def test_one_part_is_the_block(lengths: list[int]) -> None:
    (part,) = block(lengths).parts(1)
    assert part.block.lengths.tolist() == lengths
    assert part.steps == slice(0, sum(lengths))
