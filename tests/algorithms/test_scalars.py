"""What updates log: a row has the mean over its updates, of all learners, and RLlib's results have the same number."""

import numpy as np
import pytest

from rllib_reborn.algorithms.value_factorization.learner import ValueFactorizationLearner
from tests.algorithms.helpers import WALK, quick

pytestmark = pytest.mark.usefixtures("ray_session")


def test_a_row_has_the_means_of_its_updates(monkeypatch):
    logged = []
    update = ValueFactorizationLearner.update

    def watched(self, *args, **kwargs):
        logged.append(update(self, *args, **kwargs))
        return logged[-1]

    monkeypatch.setattr(ValueFactorizationLearner, "update", watched)
    algorithm = quick(env=WALK).build_algo()
    try:
        rounds = set()
        for _ in range(4):
            logged.clear()
            result = algorithm.train()
            rounds.add(len(logged))
            if not logged:
                continue
            of_learners = result["learners"]["default_policy"]
            for name, column in (
                ("total_loss", "train/loss"),
                ("td_error_abs", "train/td_error_abs"),
                ("grad_norm", "train/grad_norm"),
                ("q_tot_mean", "train/q_tot_mean"),
            ):
                mean = float(np.mean([numbers[name] for numbers in logged]))
                assert result["team"][column] == pytest.approx(mean, rel=1e-12)
                assert float(of_learners[name]) == result["team"][column]
            assert float(of_learners["num_updates"]) == result["team"]["updates"]
            assert float(result["learners"]["__all_modules__"]["num_env_steps_trained"]) > 0
    finally:
        algorithm.stop()
    assert max(rounds) > 1
    lifetime = float(result["learners"]["__all_modules__"]["num_env_steps_trained_lifetime"])
    assert lifetime == algorithm.counters.env_steps_trained
