"""Unlike agents of a particle world go through training: padded observations, masks and groups."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_reborn import QMIXConfig

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.slow]


def test_a_few_updates_of_a_hunt():
    config = (
        QMIXConfig()
        .environment("mpe/simple_world_comm", env_config={"max_cycles": 8})
        .env_runners(num_env_runners=0, num_envs_per_env_runner=4)
        .training(
            batch_episodes=4,
            learning_starts_episodes=4,
            buffer_episodes=20,
            model={"hidden_dim": 16, "parameter_sharing": "group"},
        )
        .debugging(seed=0)
    )
    algorithm = config.build_algo()
    try:
        for _ in range(3):
            row = algorithm.train()["team"]
        assert row["updates"] > 0
        assert np.isfinite(row["train/loss"])
        assert np.isfinite(row["train/return_mean"])
        assert row["faults/episodes_dropped"] == 0
    finally:
        algorithm.stop()
