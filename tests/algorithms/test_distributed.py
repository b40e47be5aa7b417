"""Several processes: remote runners, killed runners, several learners, overlap."""

import hashlib
import os
import signal
import time

import numpy as np
import pytest

from tests.algorithms.helpers import WALK, equal, learner_weights, quick, rows, runner_weights

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.slow]


def digest(learner):
    """A fingerprint of everything a learner holds: weights, targets, optimizer state, counts."""
    module = learner.module["default_policy"].unwrapped()
    optimizer = learner.get_optimizer("default_policy")
    out = hashlib.sha256()
    for value in module.state_dict().values():
        out.update(np.ascontiguousarray(value.cpu().numpy()).tobytes())
    for state in optimizer.state.values():
        for value in state.values():
            out.update(np.ascontiguousarray(value.cpu().numpy()).tobytes())
    return out.hexdigest(), learner.num_updates, learner.num_target_updates


def digests(algorithm):
    return [result.get() for result in algorithm.learner_group.foreach_learner(digest)]


def test_two_learners_hold_equal_weights_and_do_what_one_does(tmp_path):
    one = quick(env=WALK).build_algo()
    two = quick(env=WALK).learners(num_learners=2).build_algo()
    single, double = rows(one, 4), rows(two, 4)
    first, second = digests(two)
    assert first == second
    assert first[1] == one.counters.updates > 0
    # Same episodes, same draws: the same training up to rounding of the split sums.
    for mine, theirs in zip(single, double):
        assert mine["updates"] == theirs["updates"]
        for name in ("train/loss", "train/td_error_abs", "train/q_tot_mean", "train/grad_norm"):
            if mine[name] is not None:
                assert theirs[name] == pytest.approx(mine[name], rel=1e-3)
    for name, value in learner_weights(one).items():
        np.testing.assert_allclose(learner_weights(two)[name], value, rtol=1e-2, atol=1e-3)
    # And a restored pair is equal too.
    two.save_to_path(tmp_path)
    saved = first
    rows(two, 1)
    two.restore_from_path(tmp_path)
    assert digests(two) == [saved, saved]
    one.stop()
    two.stop()


@pytest.mark.long  # its sample: tests/reliability
@pytest.mark.parametrize("sampling", ["sync", "async"])
def test_a_killed_runner_is_replaced_counted_and_sent_the_weights(sampling):
    config = (
        quick(env=WALK, sampling=sampling)
        .env_runners(num_env_runners=2, sample_timeout_s=20)
        .fault_tolerance(delay_between_env_runner_restarts_s=1)
    )
    algorithm = config.build_algo()
    initial = learner_weights(algorithm)
    before = rows(algorithm, 2)[-1]
    pids = algorithm.env_runner_group.foreach_env_runner(lambda _: os.getpid(), local_env_runner=False)
    os.kill(pids[0], signal.SIGKILL)
    deadline = time.monotonic() + 90
    while True:
        row = rows(algorithm, 1)[0]
        if row["faults/runner_restarts"] >= 1 and row["faults/runners_healthy"] == 2:
            break
        assert time.monotonic() < deadline, row
    assert row["faults/episodes_dropped"] == 4, "the games of the runner that was killed"
    assert row["env_steps"] > before["env_steps"]
    assert row["updates"] > before["updates"]
    new = algorithm.env_runner_group.foreach_env_runner(lambda _: os.getpid(), local_env_runner=False)
    assert len(set(new)) == 2
    assert pids[0] not in new
    assert not any(equal(initial, weights) for weights in runner_weights(algorithm)), "the run's first weights"
    clocks = algorithm.env_runner_group.foreach_env_runner(
        lambda r: r.num_env_steps_sampled_lifetime, local_env_runner=False
    )
    assert min(clocks) >= before["env_steps"]
    # Nothing half-finished came in: every stored episode ends by termination or at the limit.
    for episode in algorithm.replay.get_state()["episodes"]:
        assert episode["terminated"][-1] or len(episode["reward"]) == 6
    algorithm.stop()


def test_equal_seeds_give_equal_metrics_and_a_run_saved_before_its_first_update_goes_on_equally(tmp_path):
    config = quick(env=WALK, learning_starts_episodes=40, epsilon={"anneal_env_steps": 400}).env_runners(
        num_env_runners=2
    )
    whole = config.build_algo()
    first = rows(whole, 1)
    assert first[-1]["updates"] == 0
    whole.save_to_path(tmp_path)
    rest = rows(whole, 3)
    assert rest[-1]["updates"] > 0
    whole.stop()
    again = config.copy(copy_frozen=False).build_algo()
    assert rows(again, 4) == first + rest
    again.restore_from_path(tmp_path)
    assert rows(again, 3) == rest
    again.stop()


def test_overlapped_sampling_keeps_the_update_ratio_and_its_requests_belong_to_their_checkpoint(tmp_path):
    algorithm = quick(env=WALK, sampling="async").env_runners(num_env_runners=2).build_algo()
    row = rows(algorithm, 6)[-1]
    assert row["updates"] == pytest.approx(0.5 * (row["episodes"] - 8), abs=2)
    algorithm.save_to_path(tmp_path)
    progress = algorithm.counters.get_state()
    assert len(algorithm.replay) == min(64, progress["episodes"])
    rows(algorithm, 2)
    algorithm.restore_from_path(tmp_path)
    assert algorithm.counters.episodes == progress["episodes"]
    assert algorithm.replay.episodes_added == progress["episodes"]
    algorithm.stop()


@pytest.mark.long  # its sample: tests/cli/test_train_end_to_end.py, an environment that breaks on a runner
def test_a_broken_env_on_a_remote_runner_ends_training_with_its_sentence():
    from rllib_reborn.envs.contract import EnvContractError

    config = quick(env=WALK).environment(env_config={"fault": "nan_reward"}).env_runners(num_env_runners=1)
    algorithm = config.build_algo()
    with pytest.raises(EnvContractError, match="returned reward with the value nan"):
        rows(algorithm, 20)
    algorithm.stop()


@pytest.mark.parametrize("parallel", [pytest.param(False, marks=pytest.mark.long), True])
def test_remote_evaluation_plays_exactly_the_episodes_asked_for(parallel):
    config = quick(env=WALK).evaluation(
        interval_env_steps=40,
        evaluation_duration=5,
        evaluation_num_env_runners=2,
        evaluation_parallel_to_training=parallel,
    )
    algorithm = config.build_algo()
    if parallel:  # beside the next iteration, with the weights from before it
        asked = []
        original = algorithm.evaluate_with
        algorithm.evaluate_with = lambda weights: (
            asked.append((weights, learner_weights(algorithm))),
            original(weights),
        )[1]
    every = rows(algorithm, 5)
    evaluated = [row for row in every if row["eval/episodes"] is not None]
    # Iterations pass the interval of 40 steps every time; beside training the first one has nothing to evaluate yet.
    assert len(evaluated) == len(every) - parallel
    if parallel:
        assert len(asked) == len(evaluated)
    assert all(row["eval/episodes"] == 5 == len(row["eval/returns"]) for row in evaluated)
    assert algorithm.evaluate()["env_runners"]["num_episodes"] == 5
    algorithm.stop()
