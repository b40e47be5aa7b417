"""Batches of learners are parts of a sample; updates reach them in order, and the next is ready when one is done."""

import dataclasses
import threading

import numpy as np
import pytest
import torch
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from rllib_reborn.algorithms.value_factorization import learner_updates
from rllib_reborn.algorithms.value_factorization.learner_updates import (
    LONGEST_EPISODE,
    STEPS_OF_ALL_LEARNERS,
    Update,
    dense_steps,
    learner_batches,
    packed_columns,
    run_updates,
)
from rllib_reborn.replay import EpisodeBlock, ReplaySample
from rllib_reborn.replay.fields import OBSERVATION_FIELDS, field_layout
from rllib_reborn.replay.reward_scaling import RewardScaler


def _update(number: int, learners: int = 2) -> Update:
    """One batch for each learner: [10 * number, ...], [10 * number + 1, ...]."""
    batches = [
        MultiAgentBatch({"default_policy": SampleBatch({"x": np.full(2, 10 * number + part)})}, env_steps=2)
        for part in range(learners)
    ]
    return Update(batches, {"number": number}, env_steps=2 * learners)


class _Group:
    """Answers like a learner group; ``before`` is called with the number of each update in the thread that computes it."""

    def __init__(self, *, is_local: bool, before=lambda number: None):
        self.is_local = is_local
        self.calls = []
        self._before = before

    def __len__(self):
        return 2

    def update(self, *, timesteps, batch=None, batch_refs=None, **kwargs):
        self._before(timesteps["number"])
        self.calls.append((timesteps["number"], batch if batch_refs is None else batch_refs, kwargs))
        return [f"result {timesteps['number']}"]


@pytest.fixture
def stored_as_it_is(monkeypatch):
    monkeypatch.setattr(learner_updates.ray, "put", lambda part: part)


@pytest.mark.parametrize("is_local", [True, False])
@pytest.mark.parametrize("count", [0, 1, 4])
def test_results_come_in_the_order_of_the_updates(is_local, count, stored_as_it_is):
    group = _Group(is_local=is_local)
    done = list(run_updates(group, (_update(i, 1 if is_local else 2) for i in range(count))))
    assert [one.scalars for one in done] == [[f"result {i}"] for i in range(count)]
    assert (
        [one.update.timesteps["number"] for one in done]
        == [number for number, _, _ in group.calls]
        == list(range(count))
    )
    assert all(one.seconds >= 0 for one in done)


def test_each_learner_gets_its_own_batch(stored_as_it_is):
    group = _Group(is_local=False)
    list(run_updates(group, iter([_update(3)])))
    [(_, parts, kwargs)] = group.calls
    assert [part["default_policy"]["x"].tolist() for part in parts] == [[30, 30], [31, 31]]
    assert kwargs == {"scalars_only": True}  # no request, no argument


def test_a_learner_in_this_process_gets_the_batch_itself():
    group, update = _Group(is_local=True), _update(3, learners=1)
    list(run_updates(group, iter([update])))
    [(_, batch, _)] = group.calls
    assert batch is update.batches[0]


def test_the_next_update_is_made_while_the_present_one_is_computed(stored_as_it_is):
    second_is_made = threading.Event()

    def made():
        yield _update(0)
        second_is_made.set()
        yield _update(1)

    def before(number):
        # Fails if the second update is drawn only after the first is done.
        assert number != 0 or second_is_made.wait(timeout=20)

    assert len(list(run_updates(_Group(is_local=False, before=before), made()))) == 2


def test_an_error_of_an_update_is_raised_and_nothing_follows_it(stored_as_it_is):
    def before(number):
        if number == 1:
            raise RuntimeError("update 1 failed")

    group = _Group(is_local=False, before=before)
    numbers = []
    with pytest.raises(RuntimeError, match="update 1 failed"):
        numbers.extend(one.update.timesteps["number"] for one in run_updates(group, (_update(i) for i in range(5))))
    assert [number for number, _, _ in group.calls] == [0]


def test_events_are_those_of_the_update_whose_probe_they_answer(stored_as_it_is, monkeypatch):
    group = _Group(is_local=False)
    monkeypatch.setattr(learner_updates, "take_events", lambda asked: [f"after {len(asked.calls)} updates"])
    updates = [_update(0), dataclasses.replace(_update(1), request="something is due"), _update(2)]
    done = list(run_updates(group, iter(updates)))
    assert [one.events for one in done] == [[], ["after 2 updates"], []]
    assert [kwargs for _, _, kwargs in group.calls] == [
        {"scalars_only": True, **asked} for asked in ({}, {"request": "something is due"}, {})
    ]


# ---------------------------------------------------------------------- batches


def _sample(lengths: tuple[int, ...]) -> ReplaySample:
    """Episodes in which every number is 10 * episode + step."""
    layout = field_layout(2, 3, 4, 1, "float32", "float32")
    episodes = []
    for number, length in enumerate(lengths):
        episode = {}
        for name, (shape, dtype) in layout.items():
            steps = np.arange(length + (name in OBSERVATION_FIELDS)).reshape(-1, *[1] * len(shape))
            episode[name] = np.broadcast_to(10 * number + steps, (len(steps), *shape)).astype(dtype)
        episodes.append(episode)
    return ReplaySample(EpisodeBlock.of(episodes), np.arange(len(lengths)))


def _columns(batch: MultiAgentBatch) -> dict[str, np.ndarray]:
    return packed_columns(dict(batch["default_policy"]))


def test_one_learners_batch_is_the_sample():
    sample = _sample((3, 1, 2))
    (batch,) = learner_batches(sample, 1)
    assert batch.env_steps() == 6
    assert batch["default_policy"].count == 1  # RLlib sees one row
    found = _columns(batch)
    for name, array in sample.batch.items():
        np.testing.assert_array_equal(found[name], array)
    assert found[STEPS_OF_ALL_LEARNERS].tolist() == [6.0]
    assert found[LONGEST_EPISODE].tolist() == [3.0]


def test_the_batches_of_two_learners_make_up_that_of_one():
    sample = _sample((3, 1, 2, 2))
    steps = {"per_step": np.arange(8.0)[:, np.newaxis]}
    episodes = {"per_episode": np.array([5.0, 6.0, 7.0, 8.0])}
    (whole,), parts = (learner_batches(sample, count, episode_columns=episodes, step_columns=steps) for count in (1, 2))
    assert [part.env_steps() for part in parts] == [4, 4]
    whole, first, second = map(_columns, (whole, *parts))
    for name, array in whole.items():
        if name in (STEPS_OF_ALL_LEARNERS, LONGEST_EPISODE):  # each knows those of both
            np.testing.assert_array_equal(first[name], array)
            np.testing.assert_array_equal(second[name], array)
        else:
            np.testing.assert_array_equal(np.concatenate([first[name], second[name]]), array)
    assert first["reward"].tolist() == [0, 1, 2, 10]
    assert first["per_step"].ravel().tolist() == [0, 1, 2, 3]
    assert second["per_episode"].tolist() == [7, 8]


def test_rewards_are_scaled_in_the_batch_and_not_in_the_sample():
    sample = _sample((2, 2))
    before = sample.batch["reward"].copy()
    batches = learner_batches(sample, 2, scaler=RewardScaler(scale=0.5))
    np.testing.assert_array_equal(np.concatenate([_columns(one)["reward"] for one in batches]), before / 2)
    np.testing.assert_array_equal(sample.batch["reward"], before)


@pytest.mark.parametrize("kind", ["episode_columns", "step_columns"])
def test_a_further_column_may_not_take_the_place_of_another(kind):
    with pytest.raises(ValueError, match="a further column is called 'reward', which the batch has already"):
        learner_batches(_sample((2,)), 1, **{kind: {"reward": np.zeros(2, np.float32)}})


def test_dense_steps_by_hand():
    columns = {
        "lengths": torch.tensor([1, 3]),
        "reward": torch.tensor([5.0, 6.0, 7.0, 8.0]),
        "pairs": torch.arange(8).reshape(4, 2),
    }
    mask, dense = dense_steps(columns, ("reward", "pairs"))
    assert mask.tolist() == [[True, False, False], [True, True, True]]
    assert dense["reward"].tolist() == [[5, 0, 0], [6, 7, 8]]
    assert dense["pairs"].tolist() == [[[0, 1], [0, 0], [0, 0]], [[2, 3], [4, 5], [6, 7]]]
    # As long as the longest episode of all learners, though it is another's.
    mask, dense = dense_steps({**columns, LONGEST_EPISODE: torch.tensor([4.0])}, ("reward",))
    assert mask.shape == (2, 4)
    assert dense.keys() == {"reward"}
    assert dense["reward"].tolist() == [[5, 0, 0, 0], [6, 7, 8, 0]]
