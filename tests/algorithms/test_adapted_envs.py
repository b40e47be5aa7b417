"""Environments of other libraries, by name alone, on remote and evaluation runners in fresh processes."""

import importlib.util

import numpy as np
import pytest

from rllib_reborn import QMIXConfig

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.slow]


@pytest.mark.parametrize(
    ("package", "name", "options"),
    [
        pytest.param("mpe2", "pettingzoo:mpe2.simple_spread_v3", {"max_cycles": 10}, marks=pytest.mark.long),
        ("lbforaging", "gymnasium:Foraging-8x8-2p-3f-v3", {"team": {"state": "observations", "episode_limit": 10}}),
        pytest.param(
            "ray",
            "tests.fakes.multi_agent_game:Falling",
            {"team": {"workers": "processes", "num_workers": 1}},
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_name_trains_and_evaluates_on_remote_runners(package, name, options):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"not run: {package} is not installed")
    config = (
        QMIXConfig()
        .environment(name, env_config=options)
        .env_runners(num_env_runners=1, num_envs_per_env_runner=2)
        .training(batch_episodes=4, learning_starts_episodes=4, buffer_episodes=50)
        .evaluation(evaluation_num_env_runners=1, evaluation_duration=4)
        .debugging(seed=0)
    )
    algorithm = config.build_algo()
    try:
        for _ in range(4):
            row = algorithm.train()["team"]
        assert row["updates"] > 0
        assert np.isfinite(row["train/return_mean"])
        assert row["faults/episodes_dropped"] == 0
        assert len(algorithm.evaluate()["env_runners"]["episode_returns"]) == 4
    finally:
        algorithm.stop()
