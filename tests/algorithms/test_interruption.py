"""An iteration that is broken off between two updates goes on, here or from a checkpoint, as if nothing had happened."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from rllib_reborn import VDNConfig
from rllib_reborn.algorithms import ValueFactorization
from rllib_reborn.runtime.interruption import InterruptedIterationError
from tests.algorithms.helpers import WALK, equal, learner_weights, quick, rows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]

ITERATIONS = 4
REBORN = [{"kind": "reborn", "every": 4, "unit": "updates", "alpha": 0.5, "beta": 1.2}]
CASES = {
    # Several updates in a training step, several training steps in an iteration.
    "qmix_reborn": quick(
        env=WALK, updates_per_episode=2.0, interventions=REBORN, dormancy={"every": 3, "unit": "updates"}
    ),
    "vdn_standardised": quick(VDNConfig, WALK, reward={"standardise": True}, updates_per_episode=0.7),
    "remote_runner": quick(env=WALK).env_runners(num_env_runners=1),
    "remote_learner": quick(env=WALK, updates_per_episode=2.0).learners(num_learners=1),
    "evaluation_beside_it": quick(env=WALK, updates_per_episode=2.0).evaluation(
        evaluation_parallel_to_training=True, evaluation_num_env_runners=1
    ),
}
IN_EVERY_RUN = ("qmix_reborn", "vdn_standardised")
#: At which look each is interrupted; what has processes of its own takes long to build.
LOOKS = dict.fromkeys(CASES, (0, 5, 12)) | {"qmix_reborn": (0, 1, 5, 12, 13), "remote_runner": (5,)}


@pytest.fixture
def build():
    """Builds algorithms and stops them afterwards."""
    built = []

    def make(config):
        algorithm = config.build_algo()
        built.append(algorithm)
        return algorithm

    yield make
    for algorithm in built:
        algorithm.stop()


def config_of(case: str) -> Any:
    # Beside the next iteration, an evaluation is due after each.
    interval = 20 if case == "evaluation_beside_it" else 80
    return CASES[case].copy(copy_frozen=False).evaluation(interval_env_steps=interval, evaluation_duration=3)


def interrupt_at(algorithm: ValueFactorization, look: int) -> None:
    """Interrupt it at the ``look``-th time that it looks (from 0), and never again."""
    looks = itertools.count()
    algorithm.interrupt_when(lambda: next(looks) == look)


def events(algorithm: ValueFactorization, count: int) -> list[Any]:
    """Of ``count`` iterations, without how long each took."""
    found = [algorithm.train()["plasticity"] for _ in range(count)]
    return [[{key: value for key, value in event.items() if key != "seconds"} for event in one] for one in found]


@pytest.mark.parametrize(
    "case", [case if case in IN_EVERY_RUN else pytest.param(case, marks=pytest.mark.long) for case in CASES]
)
def test_restored_in_another_process_it_is_as_if_it_had_never_been(case, build, tmp_path):
    whole = build(config_of(case))
    expected = rows(whole, ITERATIONS)
    assert sum(row["eval/episodes"] is not None for row in expected) >= 1
    cuts = 0
    for number, look in enumerate(LOOKS[case]):
        cut, found = build(config_of(case)), []
        interrupt_at(cut, look)
        with pytest.raises(InterruptedIterationError):  # noqa: PT012 - in which iteration is not known
            while len(found) < ITERATIONS:
                found += rows(cut, 1)
        cuts += cut.counters.updates_left > 0
        cut.save_to_path(tmp_path / str(number))
        resumed = ValueFactorization.from_checkpoint(tmp_path / str(number))
        try:
            assert found + rows(resumed, ITERATIONS - len(found)) == expected, f"interrupted at look {look}"
            assert equal(learner_weights(whole), learner_weights(resumed))
        finally:
            resumed.stop()
    assert cuts >= 1, "in the middle of a training step"


def test_the_same_process_can_go_on_too_however_often(build):
    expected = rows(build(config_of("qmix_reborn")), ITERATIONS)
    cut, found, times = build(config_of("qmix_reborn")), [], 0
    while len(found) < ITERATIONS:
        interrupt_at(cut, 2)  # each time one update, or one training step without any, is done
        try:
            found += rows(cut, 1)
        except InterruptedIterationError:
            times += 1
    assert found == expected
    assert times > ITERATIONS


def test_interrupted_before_its_rest_begins_nothing_is_done(build):
    expected = rows(build(config_of("qmix_reborn")), 1)
    cut = build(config_of("qmix_reborn"))
    interrupt_at(cut, 3)
    with pytest.raises(InterruptedIterationError):
        cut.train()
    before = cut.counters.get_state()
    for _ in range(2):
        interrupt_at(cut, 0)
        with pytest.raises(InterruptedIterationError):
            cut.train()
    after = cut.counters.get_state()
    assert {name: before[name] for name in ("updates", "updates_left", "env_steps", "interrupted_env_steps")} == {
        name: after[name] for name in ("updates", "updates_left", "env_steps", "interrupted_env_steps")
    }
    cut.interrupt_when(bool)
    assert rows(cut, 1) == expected


def test_plasticity_events_of_the_first_part_are_not_lost(build, tmp_path):
    expected = events(build(config_of("qmix_reborn")), 2)
    cut = build(config_of("qmix_reborn"))
    interrupt_at(cut, 12)
    with pytest.raises(InterruptedIterationError):
        events(cut, 2)
    cut.save_to_path(tmp_path)
    cut_iteration = cut.counters.iterations
    resumed = ValueFactorization.from_checkpoint(tmp_path)
    try:
        assert events(resumed, 1)[0] == expected[cut_iteration]
    finally:
        resumed.stop()


def test_without_the_replay_the_updates_that_were_left_are_given_up(build, tmp_path):
    config = config_of("qmix_reborn").checkpointing(replay="none")
    cut = build(config)
    interrupt_at(cut, 6)
    with pytest.raises(InterruptedIterationError):
        rows(cut, ITERATIONS)
    assert cut.counters.updates_left > 0
    cut.save_to_path(tmp_path)
    resumed = ValueFactorization.from_checkpoint(tmp_path)
    try:
        before = cut.counters.updates
        (row,) = rows(resumed, 1)
        assert row["updates"] == before
        assert row["env_steps"] > 0
    finally:
        resumed.stop()


def test_episodes_that_a_save_has_received_pay_for_updates_and_are_in_the_next_row_after_a_restore(build, tmp_path):
    """Overlapped sampling: what is under way is received by the save, between two iterations."""
    algorithm = build(config_of("qmix_reborn"))
    rows(algorithm, 2)
    under_way = [algorithm.runners.collect(algorithm.counters.env_steps)]
    algorithm.runners.drain = lambda: under_way.pop() if under_way else []
    algorithm.save_to_path(tmp_path)
    assert algorithm.counters.new_episodes > 0
    resumed = ValueFactorization.from_checkpoint(tmp_path)
    try:
        assert rows(resumed, 2) == rows(algorithm, 2)
    finally:
        resumed.stop()
