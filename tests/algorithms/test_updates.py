"""Updates reach the learners in order, and the next is ready when the present one is done."""

import dataclasses
import threading

import numpy as np
import pytest
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from rllib_reborn.algorithms.value_factorization import updates as updates_module
from rllib_reborn.algorithms.value_factorization.updates import Update, run_updates


def _update(number: int) -> Update:
    batch = MultiAgentBatch({"default_policy": SampleBatch({"x": np.arange(4) + 10 * number})}, env_steps=4)
    return Update(batch, {"number": number}, env_steps=4)


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
    monkeypatch.setattr(updates_module.ray, "put", lambda part: part)


@pytest.mark.parametrize("is_local", [True, False])
@pytest.mark.parametrize("count", [0, 1, 4])
def test_results_come_in_the_order_of_the_updates(is_local, count, stored_as_it_is):
    group = _Group(is_local=is_local)
    done = list(run_updates(group, (_update(i) for i in range(count))))
    assert [one.results for one in done] == [[f"result {i}"] for i in range(count)]
    assert (
        [one.update.timesteps["number"] for one in done]
        == [number for number, _, _ in group.calls]
        == list(range(count))
    )
    assert all(one.seconds >= 0 for one in done)


def test_each_learner_gets_its_contiguous_part(stored_as_it_is):
    group = _Group(is_local=False)
    list(run_updates(group, iter([_update(3)])))
    [(_, parts, kwargs)] = group.calls
    assert [part["default_policy"]["x"].tolist() for part in parts] == [[30, 31], [32, 33]]
    assert kwargs == {}  # no probe, no argument


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
    seen = []
    with pytest.raises(RuntimeError, match="update 1 failed"):
        seen.extend(one.update.timesteps["number"] for one in run_updates(group, (_update(i) for i in range(5))))
    assert [number for number, _, _ in group.calls] == [0]


def test_events_are_those_of_the_update_whose_probe_they_answer(stored_as_it_is, monkeypatch):
    group = _Group(is_local=False)
    monkeypatch.setattr(updates_module, "take_events", lambda asked: [f"after {len(asked.calls)} updates"])
    updates = [_update(0), dataclasses.replace(_update(1), probe="something is due"), _update(2)]
    done = list(run_updates(group, iter(updates)))
    assert [one.events for one in done] == [[], ["after 2 updates"], []]
    assert [kwargs for _, _, kwargs in group.calls] == [{}, {"probe": "something is due"}, {}]
