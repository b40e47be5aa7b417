"""Ray Tune by class and by name, with schedulers, and intervals searched inside interventions."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.algorithms.helpers import quick

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[2]


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("by", [pytest.param("class", marks=pytest.mark.long), "name"])
def test_tuner_runs_two_trials_and_their_checkpoints_restore(by, tmp_path):
    from ray import tune

    from rllib_reborn.algorithms import QMIX, ValueFactorization

    config = quick(model={"hidden_dim": tune.grid_search([4, 12])})
    results = tune.Tuner(
        QMIX if by == "class" else "QMIX",
        param_space=config,
        run_config=tune.RunConfig(
            storage_path=str(tmp_path),
            verbose=0,
            stop={"training_iteration": 2},
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True),
        ),
    ).fit()
    assert [result.error for result in results] == [None, None]
    # Each trial trained the network that its value asked for.
    widths = {}
    for result in results:
        algorithm = ValueFactorization.from_checkpoint(result.checkpoint.path)
        asked = result.config["team_model"]["hidden_dim"]
        widths[asked] = algorithm.learner_group.get_state()["learner"]["rl_module"]["default_policy"][
            "agents.nets.0.head.weight"
        ].shape[1]
        assert algorithm.counters.env_steps == result.metrics["team"]["env_steps"] > 0
        algorithm.stop()
    assert widths == {4: 4, 12: 12}


@pytest.mark.usefixtures("ray_session")
@pytest.mark.long  # its sample: tests/tuning/test_campaign.py
@pytest.mark.parametrize("how", ["data", "partial"])
def test_tuner_searches_inside_interventions(how, tmp_path):
    """Alpha, beta and the interval: the callback in each trial's learner performs with its trial's own."""
    from functools import partial

    from ray import tune

    from rllib_reborn import ReBornCallback

    searched = {"alpha": tune.uniform(0.05, 0.4), "beta": tune.uniform(1.5, 2.0), "every": tune.grid_search([3, 4])}
    settings = {"unit": "updates", "scoring_episodes": 4, **searched}
    if how == "data":
        config = quick(interventions=[{"kind": "reborn", **settings}])
    else:
        config = quick().callbacks(partial(ReBornCallback, **settings))
    results = tune.Tuner(
        "QMIX",
        param_space=config,
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0, stop={"training_iteration": 2}),
    ).fit()
    assert [result.error for result in results] == [None] * 2
    samples = []
    for result in results:
        events = result.metrics["plasticity"]
        assert events
        asked = {name: result.config["interventions"][0][name] for name in searched}
        for event in events:
            assert {name: event["settings"][name] for name in searched} == asked
            assert event["clock"]["updates"] % asked["every"] == 0
        samples.append(asked)
    assert all(samples[0][name] != samples[1][name] for name in searched)


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    "metric",
    [
        "team/eval/return_mean",
        pytest.param("evaluation/env_runners/episode_return_mean", marks=pytest.mark.long),
        pytest.param("last_evaluation/return_mean", marks=pytest.mark.long),
    ],
)
def test_a_scheduler_uses_the_last_evaluation(metric, tmp_path):
    """Not every iteration evaluates; each result has a number all the same."""
    import math

    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    config = quick(lr=tune.grid_search([1e-4, 1e-3])).evaluation(interval_env_steps=90, evaluation_duration=2)
    results = {}

    class Watch(tune.Callback):
        def on_trial_result(self, iteration, trials, trial, result, **info):
            results.setdefault(trial.trial_id, []).append(result)

    found = tune.Tuner(
        "QMIX",
        param_space=config,
        tune_config=tune.TuneConfig(
            metric=metric,
            mode="max",
            scheduler=ASHAScheduler(time_attr="num_env_steps_sampled_lifetime", grace_period=20, max_t=200),
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0, callbacks=[Watch()]),
    ).fit()
    assert [result.error for result in found] == [None, None]
    for rows in results.values():
        played = [row["last_evaluation"]["env_steps"] for row in rows]
        assert len(set(played)) < len(played), "an evaluation in each row is no test"
        assert played == sorted(played)
        for row in rows:
            assert math.isfinite(row["last_evaluation"]["return_mean"])
            assert row["last_evaluation"]["return_mean"] == row["team"]["eval/return_mean"]
        assert rows[0]["last_evaluation"]["env_steps"] == 0
    assert math.isfinite(found.get_best_result().metrics["last_evaluation"]["return_mean"])


SHUTDOWN = """
import ray
from ray import tune
import rllib_reborn.algorithms
from tests.algorithms.helpers import quick
from rllib_reborn import IQLConfig

for number, name in enumerate(("QMIX", "QMIX", "IQL")):
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    config = quick() if name == "QMIX" else quick(IQLConfig)
    (result,) = tune.Tuner(name, param_space=config, run_config=tune.RunConfig(
        storage_path={storage!r}, name=str(number), verbose=0, stop={{"training_iteration": 1}})).fit()
    assert result.error is None, result.error
    assert result.metrics["team"]["env_steps"] > 0
    ray.shutdown()
print("all three")
"""


@pytest.mark.long  # its sample: test_tune_knows_our_algorithms_by_name_for_good
def test_tuner_finds_them_by_name_in_a_second_ray(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SHUTDOWN.format(storage=str(tmp_path))],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert "all three" in done.stdout, done.stdout + done.stderr


def test_tune_knows_our_algorithms_by_name_for_good():
    from ray.rllib.algorithms.registry import ALGORITHMS as OF_RLLIB

    from rllib_reborn.algorithms import ALGORITHMS
    from rllib_reborn.algorithms.value_factorization.config import algorithm_class_of

    for name, config_class in ALGORITHMS.items():
        assert OF_RLLIB[name]()[0] is algorithm_class_of(config_class)


def test_what_goes_wrong_in_a_trials_beginning_is_not_lost():
    """Ray asks a half-made actor for its repr, and takes an error there for the actor's death."""
    from rllib_reborn.algorithms import QMIX

    made = QMIX.__new__(QMIX)
    assert repr(made) == "QMIX(not built)"
    made.config = None
    assert repr(made) == "QMIX(not built)"
