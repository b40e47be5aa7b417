"""Resume is exact: replay, running games, hidden states, targets, optimizer, counters and random streams included."""

import numpy as np
import pytest

from rllib_reborn import VDNConfig
from rllib_reborn.algorithms import ValueFactorization
from rllib_reborn.studies.trained_policy import load_team, team_from_algo
from tests.algorithms.helpers import WALK, equal, learner_weights, quick, rows, runner_weights

pytestmark = pytest.mark.usefixtures("ray_session")


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


CASES = {
    "qmix_walk": quick(env=WALK, target_update={"every": 12, "unit": "episodes"}),
    "vdn_td_lambda_adam": quick(
        VDNConfig, WALK, td_lambda=0.6, optimizer={"kind": "adam"}, reward={"standardise": True}
    ),
    "qmix_soft_feed_forward": quick(
        env=WALK, target_update={"tau": 0.1}, model={"hidden_dim": 8, "recurrent": False}, n_step=2
    ),
    "predator_prey": quick(
        env="predator_prey/small",
        batch_episodes=2,
        learning_starts_episodes=2,
    ).reporting(min_sample_timesteps_per_iteration=300),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_resumed_equals_uninterrupted_to_the_bit(case, build, tmp_path):
    config = CASES[case].copy(copy_frozen=False)
    config.evaluation(interval_env_steps=80, evaluation_duration=3)
    whole = build(config)
    rows(whole, 3)
    whole.save_to_path(tmp_path)
    rest = rows(whole, 3)
    resumed = ValueFactorization.from_checkpoint(tmp_path)
    assert rows(resumed, 3) == rest
    assert equal(learner_weights(whole), learner_weights(resumed))
    resumed.stop()


def test_a_checkpoint_is_taken_in_the_middle_of_episodes(build, tmp_path):
    algorithm = build(quick(env=WALK))
    rows(algorithm, 2)
    assert algorithm.env_runner.games_state()["time"].any()
    algorithm.save_to_path(tmp_path)
    again = build(quick(env=WALK))
    again.restore_from_path(tmp_path)
    mine, theirs = algorithm.env_runner.games_state(), again.env_runner.games_state()
    np.testing.assert_array_equal(mine["time"], theirs["time"])
    for name in ("hidden", "last_actions"):
        np.testing.assert_array_equal(mine["actor"][name], theirs["actor"][name])
    np.testing.assert_array_equal(mine["returns"], theirs["returns"])
    assert equal(mine["buffers"], theirs["buffers"])


def test_games_that_do_not_fit_are_counted_and_said(build, tmp_path, caplog):
    algorithm = build(quick(env=WALK))
    rows(algorithm, 2)
    running = int((algorithm.env_runner.games_state()["time"] > 0).sum())
    assert running > 0
    algorithm.save_to_path(tmp_path)
    again = build(quick(env=WALK).env_runners(num_envs_per_env_runner=3))
    again.restore_from_path(tmp_path)
    assert again.counters.episodes_dropped == running
    message = (
        "saved with num_env_runners=0 and num_envs_per_env_runner=4, and there are 0 and 3 now: "
        f"{running} running episode(s)"
    )
    assert [message in record.getMessage() for record in caplog.records if "num_env" in record.getMessage()] == [True]
    assert rows(again, 1)[0]["faults/episodes_dropped"] == running


def test_games_that_fit_go_on_without_a_word(build, tmp_path, caplog):
    algorithm = build(quick(env=WALK))
    rows(algorithm, 2)
    algorithm.save_to_path(tmp_path)
    again = build(quick(env=WALK))
    again.restore_from_path(tmp_path)
    assert again.counters.episodes_dropped == 0
    assert not [record for record in caplog.records if "num_env_runners" in record.getMessage()]


def test_relative_paths_are_paths(build, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    algorithm = build(quick(env=WALK))
    rows(algorithm, 2)
    algorithm.save_to_path("here/checkpoint")
    again = build(quick(env=WALK))
    again.restore_from_path("here/checkpoint")
    restored = ValueFactorization.from_checkpoint("here/checkpoint")
    assert restored.counters.env_steps == algorithm.counters.env_steps
    restored.stop()
    assert len(load_team("here/checkpoint").evaluate(2, 0).returns) == 2
    assert again.counters.env_steps == algorithm.counters.env_steps
    assert equal(learner_weights(algorithm), learner_weights(again))


def test_state_in_memory_rolls_a_live_algorithm_back(build):
    algorithm = build(quick(env=WALK))
    rows(algorithm, 2)
    state, weights = algorithm.get_state(), learner_weights(algorithm)
    first = rows(algorithm, 2)
    assert not equal(weights, learner_weights(algorithm))
    algorithm.set_state(state)
    assert equal(weights, learner_weights(algorithm))
    assert rows(algorithm, 2) == first


def test_without_replay_the_run_warms_up_again(build, tmp_path):
    algorithm = build(quick(env=WALK).checkpointing(replay="none"))
    rows(algorithm, 2)
    updates = algorithm.counters.updates
    algorithm.save_to_path(tmp_path)
    assert not (tmp_path / "replay").exists()
    again = build(quick(env=WALK).checkpointing(replay="none"))
    again.restore_from_path(tmp_path)
    assert len(again.replay) == 0
    assert again.counters.updates == updates
    rows(again, 2)
    assert again.counters.updates > updates


def test_an_env_that_cannot_be_saved_starts_new_episodes(build, tmp_path):
    config = quick(env="tests.fakes.envs:Unsaveable")
    algorithm = build(config)
    rows(algorithm, 2)
    algorithm.save_to_path(tmp_path)
    again = build(config)
    again.restore_from_path(tmp_path)
    assert again.env_runner.games_state() is None
    assert rows(again, 1)[0]["episodes"] > algorithm.counters.episodes


def test_a_saved_team_plays_as_the_live_one(build, tmp_path):
    algorithm = build(quick(env=WALK))
    rows(algorithm, 3)
    algorithm.save_to_path(tmp_path)
    active, saved = team_from_algo(algorithm).evaluate(9, 4), load_team(tmp_path).evaluate(9, 4)
    np.testing.assert_array_equal(active.returns, saved.returns)
    assert len(active.returns) == 9
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        load_team(tmp_path / "replay")


@pytest.mark.long  # its sample: tests/algorithms/test_distributed.py, equal seeds
def test_restored_remote_runners_act_with_the_restored_weights(build, tmp_path):
    config = (
        quick(env=WALK).env_runners(num_env_runners=1).evaluation(evaluation_num_env_runners=1, evaluation_duration=2)
    )
    algorithm = build(config)
    assert all(equal(learner_weights(algorithm), w) for w in runner_weights(algorithm)), "initial weights"
    rows(algorithm, 3)
    algorithm.save_to_path(tmp_path)
    saved = learner_weights(algorithm)
    rows(algorithm, 2)
    # 1. a fresh algorithm, 2. a live one rolled back, 3. the same through set_state
    fresh = build(config.copy(copy_frozen=False))
    fresh.restore_from_path(tmp_path)
    algorithm.restore_from_path(tmp_path)
    for restored in (fresh, algorithm):
        assert equal(saved, learner_weights(restored))
        for weights in runner_weights(restored) + runner_weights(restored, evaluation=True):
            assert equal(saved, weights)
    state = algorithm.get_state()
    rows(algorithm, 2)
    algorithm.set_state(state)
    assert all(equal(saved, w) for w in runner_weights(algorithm))
    # Running games of remote runners are part of the checkpoint too.
    games = fresh.env_runner_group.foreach_env_runner(
        lambda r: r.games_state()["time"].tolist(), local_env_runner=False
    )
    assert any(any(times) for times in games)
