"""Every algorithm's own learner takes the new targets, and every arm begins as it should."""

from __future__ import annotations

import math

import pytest

from rllib_reborn.algorithms import ALGORITHMS, algorithm_config_class
from rllib_reborn.replay import EpisodeBlock
from rllib_reborn.replay.fields import FIELDS
from rllib_reborn.studies.invariance import play_episodes
from rllib_reborn.studies.probe import ProbeSettings, ProbeStudy
from rllib_reborn.studies.probe.arms import ARMS
from rllib_reborn.studies.probe.offline_learner import offline_learner
from rllib_reborn.studies.trained_policy import TrainedPolicy
from tests.algorithms.helpers import WALK, quick

#: A learner of its own loss, one of the simplest; the others are ``long``.
SAMPLE = ("IQL", "RMIX")


@pytest.mark.slow
@pytest.mark.parametrize(
    "algorithm", [name if name in SAMPLE else pytest.param(name, marks=pytest.mark.long) for name in sorted(ALGORITHMS)]
)
def test_it_learns_the_new_reward(algorithm: str) -> None:
    config = quick(algorithm_config_class(algorithm), WALK, lr=5e-3, optimizer={"kind": "adam", "eps": 1e-8})
    learner = offline_learner(config)
    team = TrainedPolicy(learner.module, WALK, {})
    columns = play_episodes(team, 24, seed=1, epsilon=1.0)
    episodes = list(EpisodeBlock(columns["lengths"], {name: columns[name] for name in FIELDS}).episodes())
    study = ProbeStudy(team, learner, episodes, ProbeSettings(seeds=1, updates=2, episodes=24))
    result = study.run()
    without_mixer = {"mixer_reset", "agents_frozen", "state_only"} if algorithm in ("IQL", "VDN") else set()
    assert {arm.arm for arm in result.arms if arm.refused} == without_mixer
    assert list(result.areas()) == [arm for arm in ARMS if arm not in without_mixer]
    assert all(math.isfinite(error) for arm in result.arms for c in arm.curves.values() for error in c.errors)

    # Training episodes are learnt by heart: by its own loss every algorithm comes nearer to the targets that were given.
    plan = study.plan(0)
    learner.put(study.saved)
    training = EpisodeBlock.of(list(plan.training))
    target = learner.values(training) + plan.training_targets
    given = EpisodeBlock(training.lengths, {**training.fields, "reward": target.astype("float32")})
    errors = []
    for _ in range(60):
        errors.append(float(((learner.values(training) - target) ** 2).mean()))
        learner.learn(given)
    assert errors[0] == pytest.approx(float((plan.training_targets**2).mean()), rel=1e-3)
    assert min(errors[-5:]) < 0.9 * errors[0]
