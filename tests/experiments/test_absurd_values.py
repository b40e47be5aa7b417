"""Numbers far above all use: one sentence, before anything is built, waited for or looped over."""

from __future__ import annotations

from typing import Any

import pytest

from rllib_reborn.algorithms import QMIXConfig
from rllib_reborn.experiments.build import build_config
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.load import load_experiment


@pytest.mark.parametrize(
    "override",
    [
        "resources.num_envs_per_env_runner=1e9",
        "resources.num_env_runners=1000000",
        "resources.num_learners=1000000",
        "resources.num_cpus_per_env_runner=1e300",
        "resources.sample_timeout_s=1e300",
        "resources.wait_timeout_s=1e10",
        "resources.num_envs_per_env_runner=.inf",
        "evaluation.num_env_runners=1000000",
        "evaluation.episodes=1e9",
        "evaluation.final_episodes=99999999999999999999999999",
        "evaluation.interval_env_steps=1e300",
        "checkpoint.interval_s=1e300",
        "checkpoint.keep=9999999999999999999",
        "stop.env_steps=99999999999999999999",
        "stop.time_s=.nan",
        "training.updates_per_episode=1e300",
        "training.updates_per_episode=1e6",
        "training.updates_per_episode=.inf",
        "training.lr=1e300",
        "training.grad_clip=1e300",
        "training.n_step=1e12",
        "training.batch_episodes=1e12",
        "training.buffer_episodes=1e12",
        "training.episodes_per_sample=1e12",
        "training.learning_starts_episodes=1e12",
        "training.replay_weighting={kind: age, decay_env_steps: 99999999999}",
        "training.replay_weighting={kind: age, min_weight: .inf}",
        "training.nonfinite_patience=99999999999999999999",
        "training.gamma=.nan",
        "seed=99999999999",
    ],
)
def test_an_experiment(override: str) -> None:
    key = override.partition("=")[0].rpartition(".")[2]
    with pytest.raises(ExperimentError, match=f"{key}|evaluation") as caught:
        build_config(load_experiment("matrix/two_step/qmix", [override]))
    assert len(str(caught.value)) < 500


def test_an_intervention_that_brings_the_replay_ratio() -> None:
    with pytest.raises(ExperimentError, match="updates_per_episode"):
        build_config(load_experiment("matrix/two_step/qmix+sr", ["interventions.0.updates_per_episode=1e300"]))


@pytest.mark.parametrize(
    ("call", "given"),
    [
        ("env_runners", {"num_envs_per_env_runner": 10**9}),
        ("env_runners", {"num_env_runners": 10**9}),
        ("learners", {"num_learners": 10**9}),
        ("training", {"updates_per_episode": 1e300}),
        ("training", {"updates_per_episode": 10**400}),
        ("training", {"lr": 1e300}),
        ("training", {"lr": 10**400}),
        ("training", {"n_step": 10**400}),
        ("evaluation", {"evaluation_duration": 10**9}),
    ],
)
def test_a_config_in_python(call: str, given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(given))} is .*expected") as caught:
        getattr(QMIXConfig().environment("matrix/two_step"), call)(**given).validate()
    assert len(str(caught.value)) < 500


def test_what_people_use_is_let_pass() -> None:
    overrides = ["training.updates_per_episode=10000", "resources.num_envs_per_env_runner=4096", "training.lr=1e6"]
    build_config(load_experiment("matrix/two_step/qmix", [*overrides, "training.buffer_episodes=100000"]))
