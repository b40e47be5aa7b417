"""From an experiment to RLlib's config, and what may change when a run goes on."""

from __future__ import annotations

from typing import Any

import pytest

from rllib_reborn.experiments.build import (
    build_config,
    config_hash,
    first_difference,
    replay_limit_bytes,
    resolved_dict,
)
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.load import experiment_from_dict
from rllib_reborn.experiments.schema import Experiment


def experiment(**changes: Any) -> Experiment:
    data = {"algorithm": "QMIX", "env": "matrix/two_step", "stop": {"iterations": 1}}
    return experiment_from_dict(data | changes)


def test_every_key_reaches_the_config() -> None:
    config = build_config(
        experiment(
            env="predator_prey/small",
            env_config={"obs_radius": 1},
            training={
                "lr": 0.1,
                "gamma": 0.5,
                "grad_clip": None,
                "batch_episodes": 8,
                "buffer_episodes": 50,
                "learning_starts_episodes": 9,
                "updates_per_episode": 0.5,
                "target_update": {"tau": 0.1},
                "epsilon": {"end": 0.2},
                "double_q": False,
                "bootstrap_at_limit": False,
                "n_step": 3,
                "optimizer": {"kind": "adam"},
                "model": {"hidden_dim": 32},
                "mixer": {"embed_dim": 16},
                "replay_weighting": {"kind": "age", "decay_env_steps": 900},
                "reward": {"scale": 2.0},
                "sampling": "async",
                "episodes_per_sample": 4,
                "nonfinite_patience": 3,
            },
            evaluation={
                "interval_env_steps": 7,
                "episodes": 5,
                "num_env_runners": 1,
                "parallel_to_training": True,
            },
            resources={
                "num_env_runners": 2,
                "num_envs_per_env_runner": 3,
                "num_cpus_per_env_runner": 0.5,
                "custom_resources_per_env_runner": {"sc2": 3},
                "sample_timeout_s": 99.0,
                "num_learners": 2,
                "num_cpus_per_learner": 1.0,
            },
            checkpoint={"replay": "none"},
            logging={"report_interval_env_steps": 77},
            seed=5,
        )
    )
    assert (config.env, config.env_config) == ("predator_prey/small", {"obs_radius": 1})
    assert (config.lr, config.gamma, config.grad_clip) == (0.1, 0.5, None)
    assert (config.batch_episodes, config.buffer_episodes, config.learning_starts_episodes) == (8, 50, 9)
    assert config.updates_per_episode == 0.5
    assert config.target_update["tau"] == 0.1
    assert config.epsilon["end"] == 0.2
    assert (config.double_q, config.bootstrap_at_limit, config.n_step) == (False, False, 3)
    assert config.team_optimizer["kind"] == "adam"
    assert config.team_model["hidden_dim"] == 32
    assert config.mixer["embed_dim"] == 16
    assert (config.replay_weighting["kind"], config.replay_weighting["decay_env_steps"]) == ("age", 900)
    assert config.reward["scale"] == 2.0
    assert (config.sampling, config.episodes_per_sample, config.nonfinite_patience) == ("async", 4, 3)
    assert (config.env_steps_per_evaluation, config.evaluation_duration) == (7, 5)
    assert (config.evaluation_num_env_runners, config.evaluation_parallel_to_training) == (1, True)
    assert (config.num_env_runners, config.num_envs_per_env_runner) == (2, 3)
    assert (config.num_cpus_per_env_runner, config.sample_timeout_s) == (0.5, 99.0)
    assert config.custom_resources_per_env_runner == {"sc2": 3.0}
    assert (config.num_learners, config.num_cpus_per_learner) == (2, 1.0)
    assert config.replay_in_checkpoints == "none"
    assert config.min_sample_timesteps_per_iteration == 77
    assert config.seed == 5


def test_a_key_that_is_not_given_keeps_the_default_of_the_config_class() -> None:
    config = build_config(experiment())
    assert config.lr == 5e-4
    assert config.buffer_episodes == 5000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"algorithm": "QMX"}, "unknown algorithm 'QMX'. Did you mean 'QMIX'?"),
        ({"env": "matrix/twostep"}, "unknown environment 'matrix/twostep'"),
        ({"env": "predator_prey/small", "env_config": {"obs_radus": 2}}, "unknown option 'obs_radus'"),
        ({"training": {"batch_episodes": 64, "buffer_episodes": 32}}, "more than buffer_episodes (32)"),
        ({"training": {"sampling": "async"}}, "num_env_runners 0"),
        ({"training": {"td_lambda": 0.5, "n_step": 2}}, "use one of them"),
        ({"algorithm": "VDN", "training": {"mixer": {"embed_dim": 8}}}, "mixer"),
    ],
)
def test_what_does_not_fit_is_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        build_config(experiment(**changes))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("algorithm", ["QMIX", "VDN"])
def test_the_resolved_form_says_every_setting_and_gives_the_same_config(algorithm: str) -> None:
    given = experiment(algorithm=algorithm, training={"lr": 0.01, "epsilon": {"end": 0.3}})
    resolved = resolved_dict(given, build_config(given))
    assert resolved["training"]["lr"] == 0.01
    assert resolved["training"]["epsilon"] == {"start": 1.0, "end": 0.3, "anneal_env_steps": 50_000}
    assert resolved["training"]["batch_episodes"] == 32
    assert ("mixer" in resolved["training"]) == (algorithm == "QMIX")
    again = experiment_from_dict(resolved)
    assert resolved_dict(again, build_config(again)) == resolved


def resolved(**changes: Any) -> dict[str, Any]:
    one = experiment(**changes)
    return resolved_dict(one, build_config(one))


def test_limits_and_machines_may_change_when_a_run_goes_on_and_what_is_learnt_may_not() -> None:
    mine = resolved()
    for changes in (
        {"stop": {"iterations": 9}},
        {"resources": {"num_envs_per_env_runner": 3}},
        {"checkpoint": {"keep": 5}},
        {"logging": {"report_interval_env_steps": 5}},
    ):
        assert first_difference(mine, resolved(**changes)) is None
        assert config_hash(mine) == config_hash(resolved(**changes))
    for changes, words in (
        ({"training": {"lr": 0.1}}, "training.lr is 0.0005 here and 0.1 there"),
        ({"seed": 3}, "seed is 0 here and 3 there"),
        ({"env": "matrix/penalty"}, "env is 'matrix/two_step' here and 'matrix/penalty' there"),
    ):
        assert first_difference(mine, resolved(**changes)) == words
        assert config_hash(mine) != config_hash(resolved(**changes))


def test_an_env_argument_on_either_side_is_a_difference() -> None:
    plain = resolved(env="predator_prey/small")
    changed = resolved(env="predator_prey/small", env_config={"obs_radius": 1})
    assert "env_config.obs_radius" in str(first_difference(plain, changed))
    assert "env_config.obs_radius" in str(first_difference(changed, plain))


def test_a_setting_that_an_older_version_did_not_have_is_no_difference() -> None:
    mine = resolved()
    older = mine | {"training": {key: value for key, value in mine["training"].items() if key != "n_step"}}
    assert first_difference(mine, older) is None


def test_the_replay_of_five_thousand_large_episodes_fits_in_six_gigabytes() -> None:
    assert replay_limit_bytes(build_config(experiment(env="predator_prey/large"))) < 6e9
