"""Replay: what goes in comes out, memory is counted, state survives."""

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_reborn.replay import EpisodeBlock, EpisodeReplay, ReplayMemoryError
from rllib_reborn.replay.episode_replay import blocks_of
from rllib_reborn.replay.fields import OBSERVATION_FIELDS, STEP_FIELDS, field_layout
from rllib_reborn.replay.memory import available_memory, bytes_per_step, format_bytes, largest_size
from rllib_reborn.replay.replay_files import load_replay, save_replay

LAYOUT = field_layout(2, 3, 4, 5, "uint8", "float16")
LIMIT = 6


def episode(number: int, length: int) -> dict[str, np.ndarray]:
    """An episode whose every number tells whose it is."""
    out = {}
    for name, (shape, dtype) in LAYOUT.items():
        rows = length + (name in OBSERVATION_FIELDS)
        out[name] = np.full((rows, *shape), number % 2 if dtype == np.bool_ else number % 100, dtype)
    return out


def filled(count: int, capacity: int, seed: int = 0) -> EpisodeReplay:
    replay = EpisodeReplay(capacity, LAYOUT, LIMIT, seed=seed)
    for number in range(count):
        replay.add(EpisodeBlock.of([episode(number, 1 + number % LIMIT)]))
    return replay


class Files(dict):
    """Files in memory, opened as the replay asks for them."""

    def writer(self, name):
        files = self

        class File(io.BytesIO):
            def close(self):
                files[name] = self.getvalue()
                super().close()

        return File()

    def reader(self, name):
        if name not in self:
            raise FileNotFoundError(name)
        return io.BytesIO(self[name])


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 25), st.integers(1, 8), st.integers(1, 9), st.integers(0, 1000))
def test_samples_are_whole_episodes_without_padding(count, capacity, size, seed):
    replay = filled(count, capacity, seed)
    assert len(replay) == min(count, capacity)
    sample = replay.sample(size)
    lengths, block = sample.lengths, sample.block
    assert len(lengths) == len(block) == size
    assert sample.env_steps == lengths.sum() == len(sample.batch["reward"])
    assert sample.batch["lengths"] is lengths
    for name, array in sample.batch.items():
        assert name == "lengths" or len(array) == lengths.sum() + size * (name in OBSERVATION_FIELDS)
    for number, length, stored in zip(sample.indices, lengths, block.episodes(), strict=True):
        assert max(0, count - capacity) <= number < count
        assert length == 1 + number % LIMIT
        for name, array in episode(int(number), int(length)).items():
            np.testing.assert_array_equal(stored[name], array)


def test_shards_are_contiguous_and_balanced_by_length():
    replay = filled(60, 60)
    lengths = replay.sample(32, shards=4).batch["lengths"].reshape(4, 8)
    totals = lengths.sum(1)
    assert totals.max() - totals.min() <= LIMIT
    assert (np.diff(lengths, axis=1) <= 0).all()


def test_shards_do_not_change_what_is_drawn():
    one, four = filled(40, 40, seed=5).sample(16), filled(40, 40, seed=5).sample(16, shards=4)
    assert sorted(one.indices.tolist()) == sorted(four.indices.tolist())


def test_sampling_is_uniform():
    replay = filled(4, 4)
    pairs = [frozenset(replay.sample(2).indices.tolist()) for _ in range(3_000)]
    counts = np.array([pairs.count(pair) for pair in set(pairs)])
    # Six equally likely pairs, 3000 draws: chi-square with 5 degrees of freedom, 99.9 % quantile 20.5.
    assert len(counts) == 6
    assert ((counts - 500) ** 2 / 500).sum() < 20.5


@given(st.integers(1, 12), st.integers(1, 30), st.integers(0, 100))
def test_no_episode_is_drawn_twice_while_there_are_others(held, size, seed):
    counts = np.bincount(filled(held, held, seed).sample(size).indices, minlength=held)
    assert counts.sum() == size
    assert counts.max() - counts.min() <= 1


def test_what_is_left_over_is_drawn_uniformly():
    replay = filled(4, 4)
    extra = [int(np.bincount(replay.sample(5).indices, minlength=4).argmax()) for _ in range(2_000)]
    counts = np.bincount(extra, minlength=4)
    # Four equally likely outcomes, 2000 draws: chi-square with 3 degrees of freedom, 99.9 % quantile 16.3.
    assert ((counts - 500) ** 2 / 500).sum() < 16.3


def test_bytes_follow_the_real_lengths():
    replay = filled(9, 4)
    stored = [episode(n, 1 + n % LIMIT) for n in range(5, 9)]
    assert replay.nbytes == sum(a.nbytes for e in stored for a in e.values())
    assert replay.env_steps == sum(1 + n % LIMIT for n in range(5, 9))


def test_bytes_of_a_step_by_hand():
    # obs 2*4 uint8, state 5 float16, mask 2*3 bool; actions 2 int8, reward 4, terminated 1.
    assert bytes_per_step(LAYOUT) == (8 + 10 + 6, 2 + 4 + 1)
    assert largest_size(LAYOUT, 10, 6) == 10 * (24 * 7 + 7 * 6)


def test_large_predator_prey_fits_in_6_gb():
    from rllib_reborn.envs.registry import team_spec

    spec = team_spec("predator_prey/large")
    layout = field_layout(spec.n_agents, spec.n_actions, spec.obs_dim, spec.state_dim, spec.obs_dtype, spec.state_dtype)
    assert largest_size(layout, 5_000, spec.episode_limit) < 6e9


def test_more_than_the_memory_is_refused_with_advice():
    with pytest.raises(ReplayMemoryError, match=r"buffer_episodes to at most 4\b"):
        EpisodeReplay(10, LAYOUT, LIMIT, memory_limit=1000)


def test_this_machine_has_memory():
    assert 2**20 < available_memory() < 2**50


@pytest.mark.parametrize(("count", "text"), [(12, "12 B"), (4_100, "4.1 kB"), (4.1e9, "4.1 GB"), (3e12, "3.0 TB")])
def test_format_bytes(count, text):
    assert format_bytes(count) == text


@given(st.integers(0, 12), st.integers(1, 6))
def test_state_through_files_continues_exactly(count, capacity):
    replay = filled(count, capacity, seed=3)
    if count:
        replay.sample(3)
    files = Files()
    save_replay(replay.get_state(), files.writer)
    again = EpisodeReplay(capacity, LAYOUT, LIMIT, seed=99)
    again.set_state(load_replay(files.reader))
    assert (len(again), again.nbytes, again.episodes_added) == (len(replay), replay.nbytes, replay.episodes_added)
    if count:
        mine, theirs = replay.sample(5), again.sample(5)
        assert mine.indices.tolist() == theirs.indices.tolist()
        for name, array in mine.batch.items():
            np.testing.assert_array_equal(array, theirs.batch[name])


def test_files_are_plain_arrays_of_the_filled_part_only():
    files = Files()
    save_replay(filled(3, 100).get_state(), files.writer)
    assert set(files) == {f"{name}.npy" for name in OBSERVATION_FIELDS + STEP_FIELDS} | {"replay.json"}
    assert json.loads(files["replay.json"])["lengths"] == [1, 2, 3]
    assert np.load(io.BytesIO(files["obs.npy"]), allow_pickle=False).shape == (2 + 3 + 4, 2, 4)


def test_a_state_in_memory_does_not_change_with_training():
    replay = filled(3, 3)
    state = replay.get_state()
    replay.add(EpisodeBlock.of([episode(50, 2)]))
    again = EpisodeReplay(3, LAYOUT, LIMIT)
    again.set_state(state)
    assert again.sample(20).batch["reward"].max() == 2


@pytest.mark.parametrize("broken", ["cut", "missing"])
def test_damaged_files_are_refused_and_leave_the_replay_as_it_was(broken):
    files = Files()
    save_replay(filled(3, 3).get_state(), files.writer)
    if broken == "cut":
        files["obs.npy"] = files["obs.npy"][:-3]
    else:
        del files["reward.npy"]
    replay = filled(2, 3)
    with pytest.raises((ValueError, FileNotFoundError)):
        replay.set_state(load_replay(files.reader))
    assert len(replay) == 2


def test_a_smaller_replay_keeps_the_newest():
    small = EpisodeReplay(2, LAYOUT, LIMIT)
    small.set_state(filled(5, 5).get_state())
    assert set(small.sample(30).indices.tolist()) == {3, 4}


def test_wrong_shapes_are_named_before_anything_is_added():
    replay = filled(1, 3)
    bad = episode(1, 2)
    bad["obs"] = bad["obs"].astype(np.float32)
    with pytest.raises(ValueError, match="obs rows are float32"):
        replay.add(EpisodeBlock.of([episode(0, 1), bad]))
    with pytest.raises(ValueError, match=r"expected 1\.\.6"):
        replay.add(EpisodeBlock.of([episode(1, 7)]))
    assert len(replay) == 1


def test_empty_and_uneven_samples_are_refused():
    with pytest.raises(ValueError, match="empty"):
        EpisodeReplay(3, LAYOUT, LIMIT).sample(1)
    with pytest.raises(ValueError, match="multiple"):
        filled(3, 3).sample(3, shards=2)


def test_blocks_are_capped_in_bytes_and_keep_the_order():
    episodes = [episode(n, LIMIT) for n in range(5)]
    one = sum(a.nbytes for a in episodes[0].values())
    blocks = blocks_of(episodes, 2 * one)
    assert [len(block) for block in blocks] == [2, 2, 1]
    assert all(block.nbytes <= 2 * one for block in blocks)
    rewards = [e["reward"][0] for block in blocks for e in block.episodes()]
    assert rewards == [0, 1, 2, 3, 4]
    assert len(blocks_of(episodes, 1)) == 5
    assert blocks[0].env_steps() == 12
    assert blocks[0].agent_steps() == 24
