"""Age-weighted replay in training: what is refused, every algorithm, several learners, overlapped sampling, exact resume."""

from __future__ import annotations

from typing import Any

import pytest

from rllib_reborn.algorithms import ALGORITHMS, ValueFactorization
from rllib_reborn.algorithms.value_factorization.setup import make_replay
from rllib_reborn.experiments.build import build_config
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.load import load_experiment
from rllib_reborn.replay import EpisodeReplay
from rllib_reborn.replay.age_weighting import AgeWeightedReplay, ages
from tests.algorithms.helpers import WALK, equal, learner_weights, quick, rows

#: The walk's 64 episodes of up to 6 steps are at most 378 env steps old.
AGE = {"kind": "age", "decay_env_steps": 60, "min_weight": 0.1}


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"replay_weighting": 3}, "replay_weighting is 3; expected a dict"),
        ({"replay_weighting": {"kind": "young"}}, "replay_weighting.kind is 'young'"),
        ({"replay_weighting": {"knd": "age"}}, "unknown key 'replay_weighting.knd'. Did you mean 'kind'"),
        ({"replay_weighting": {"kind": "age", "decay_env_steps": 0}}, "replay_weighting.decay_env_steps is 0"),
        (
            {"replay_weighting": {"kind": "age", "decay_env_steps": 1e6}},
            "replay_weighting.decay_env_steps is 1000000.0",
        ),
        ({"replay_weighting": {"kind": "age", "min_weight": 0.0}}, "replay_weighting.min_weight is 0.0"),
        ({"replay_weighting": {"kind": "age", "min_weight": 1.0}}, "min_weight is 1.0, .*expected a number below 1"),
        ({"replay_weighting": {"kind": "age", "min_weight": float("nan")}}, "replay_weighting.min_weight is nan"),
        ({"replay_weighting": {"min_weight": 0.2}}, "min_weight is 0.2, but kind is 'uniform'.*set kind: age"),
        (
            {"replay_weighting": {"kind": "uniform", "decay_env_steps": 5}},
            "decay_env_steps is 5, but kind is 'uniform'",
        ),
        (
            {"replay_weighting": AGE, "batch_episodes": 64},
            "kind is 'age' with buffer_episodes 64 and batch_episodes 64: every update draws all .*enlarge the buffer",
        ),
        (
            # 378 / 0.9 = 420
            {"replay_weighting": AGE | {"decay_env_steps": 420}},
            r"decay_env_steps is 420, so that min_weight \(0.1\) is reached at an age of 378 .* below 420",
        ),
        ({"replay_weighting": {"kind": "age"}}, "decay_env_steps is 80000, .*lower decay_env_steps below 420"),
    ],
)
def test_what_is_wrong_or_without_effect_is_refused_with_a_remedy(training: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quick(env=WALK, **training).validate()


def test_evaluation_may_have_shorter_episodes() -> None:
    config = quick(env=WALK, replay_weighting=AGE, buffer_episodes=64)
    config.evaluation(evaluation_config={"env_config": {"limit": 1}}).validate()
    config.get_evaluation_config_object().validate()


def test_what_has_an_effect_is_taken() -> None:
    quick(env=WALK, replay_weighting=AGE | {"decay_env_steps": 419}).validate()
    quick(env=WALK, replay_weighting=AGE, batch_episodes=63).validate()
    # As resolved experiments write it.
    quick(
        env=WALK, replay_weighting={"kind": "uniform", "decay_env_steps": 80_000, "min_weight": 0.1}, batch_episodes=64
    ).validate()


def test_experiments_take_and_refuse_it() -> None:
    config = build_config(load_experiment("predator_prey/small/qmix", ["training.replay_weighting.kind=age"]))
    assert config.replay_weighting["kind"] == "age"
    replay = make_replay(config)
    assert isinstance(replay, AgeWeightedReplay)
    assert (replay.decay_env_steps, replay.min_weight, replay.capacity) == (80_000, 0.1, config.buffer_episodes)
    with pytest.raises(ExperimentError, match="lower decay_env_steps below"):
        build_config(load_experiment("matrix/two_step/qmix", ["training.replay_weighting.kind=age"]))


def test_by_default_there_are_no_weights() -> None:
    assert type(make_replay(quick(env=WALK))) is EpisodeReplay
    assert type(make_replay(quick(env=WALK, replay_weighting={"kind": "uniform"}))) is EpisodeReplay


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_learns_from_young_episodes(name: str) -> None:
    def found(**training: Any) -> tuple[dict[str, Any], Any]:
        algorithm = quick(ALGORITHMS[name], WALK, **training).build_algo()
        row = rows(algorithm, 4)[-1]
        weights, replay = learner_weights(algorithm), algorithm.replay
        algorithm.stop()
        lengths = [len(episode["reward"]) for episode in replay.get_state()["episodes"]]
        return row | {"held_age_mean": ages(lengths).mean()}, weights

    row, weights = found(replay_weighting=AGE)
    plain, other = found()
    assert row["updates"] == plain["updates"] > 0
    # A batch of 8 of 40 or so: the mean age of uniform draws is the mean over the replay, give or take a fifth.
    assert 0 < row["train/drawn_age_mean"] < 0.8 * row["held_age_mean"]
    assert "train/drawn_age_mean" not in plain
    assert not equal(weights, other)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_resumed_equals_uninterrupted_to_the_bit(tmp_path) -> None:
    config = quick(env=WALK, replay_weighting=AGE, reward={"standardise": True})
    whole = config.build_algo()
    rows(whole, 3)
    whole.save_to_path(tmp_path)
    rest = rows(whole, 3)
    resumed = ValueFactorization.from_checkpoint(tmp_path)
    assert isinstance(resumed.replay, AgeWeightedReplay)
    assert rows(resumed, 3) == rest
    assert len({row["train/drawn_age_mean"] for row in rest}) == 3
    assert equal(learner_weights(whole), learner_weights(resumed))
    whole.stop()
    resumed.stop()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_two_learners_draw_what_one_does() -> None:
    one = quick(env=WALK, replay_weighting=AGE).build_algo()
    two = quick(env=WALK, replay_weighting=AGE).learners(num_learners=2).build_algo()
    single, double = rows(one, 3), rows(two, 3)
    for mine, theirs in zip(single, double, strict=True):
        assert mine["train/drawn_age_mean"] == theirs["train/drawn_age_mean"]
        if mine["train/loss"] is not None:
            assert theirs["train/loss"] == pytest.approx(mine["train/loss"], rel=1e-3)
    assert single[-1]["train/drawn_age_mean"] is not None
    states = [algorithm.replay.get_state()["rng"] for algorithm in (one, two)]
    assert states[0] == states[1]
    one.stop()
    two.stop()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_overlapped_sampling_and_a_checkpoint_without_the_replay(tmp_path) -> None:
    config = quick(env=WALK, replay_weighting=AGE, sampling="async").env_runners(num_env_runners=1)
    algorithm = config.checkpointing(replay="none").build_algo()
    row = rows(algorithm, 5)[-1]
    assert row["train/drawn_age_mean"] is not None
    algorithm.save_to_path(tmp_path)
    algorithm.restore_from_path(tmp_path)
    assert (len(algorithm.replay), algorithm.replay.batch_metrics) == (0, {"drawn_age_mean": None})
    assert rows(algorithm, 5)[-1]["train/drawn_age_mean"] is not None
    algorithm.stop()
