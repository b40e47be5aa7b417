"""Learning tests on games with known answers: seconds, not hours."""

import numpy as np
import pytest

from rllib_reborn import QMIXConfig, VDNConfig
from rllib_reborn.studies.trained_policy import team_from_algo

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.slow]


def train(config_class, env, iterations, env_config=None, **training):
    settings = {
        "lr": 2e-3,
        "batch_episodes": 32,
        "buffer_episodes": 500,
        "updates_per_episode": 0.25,
        "epsilon": {"start": 1.0, "end": 1.0},
        "target_update": {"every": 50, "unit": "updates"},
        "model": {"hidden_dim": 32},
    }
    algorithm = (
        config_class()
        .environment(env, env_config=env_config or {})
        .env_runners(num_env_runners=0, num_envs_per_env_runner=32)
        .training(**(settings | training))
        .reporting(min_sample_timesteps_per_iteration=500)
        .debugging(seed=1)
        .build_algo()
    )
    for _ in range(iterations):
        algorithm.train()
    returns = team_from_algo(algorithm).evaluate(8, seed=0).returns
    algorithm.stop()
    return returns


def test_qmix_finds_the_optimum_of_the_two_step_game():
    np.testing.assert_array_equal(train(QMIXConfig, "matrix/two_step", 12), 8.0)


def test_vdn_cannot_represent_it_and_settles_for_the_safe_matrix():
    np.testing.assert_array_equal(train(VDNConfig, "matrix/two_step", 12), 7.0)


@pytest.mark.parametrize("config_class", [QMIXConfig, pytest.param(VDNConfig, marks=pytest.mark.long)])
def test_a_monotonic_matrix_game_is_solved(config_class):
    from rllib_reborn.envs.registry import make_team_env

    env = make_team_env("matrix/monotonic")
    best = max(float(_payoff(env, [[a, b]])) for a in range(env.spec.n_actions) for b in range(env.spec.n_actions))
    np.testing.assert_allclose(train(config_class, "matrix/monotonic", 5), best)


def test_pictures_are_learnt_from_because_their_bytes_are_scaled():
    settings = {"lr": 5e-4, "batch_episodes": 16, "updates_per_episode": 1.0, "model": {}}
    options = {"size": 12, "team": {"state": "observations"}}
    # As they are, with observation_scale "none", the mean is 3.06.
    np.testing.assert_allclose(train(QMIXConfig, "tests.fakes.picture_game:Pictures", 2, options, **settings), 4.0)


def _payoff(env, joint):
    env.reset(seed=0)
    return env.step(np.array(joint)).reward[0]
