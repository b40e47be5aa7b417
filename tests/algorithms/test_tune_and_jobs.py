"""The other ways in: Tune by class and by name, and a job submitted to a token-protected cluster on localhost."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
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


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@pytest.fixture
def token_cluster(tmp_path):
    """A Ray head on localhost that asks for a token; yields the environment a client needs."""
    port, dashboard, agent = _free_ports(3)
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    env |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    # Ray's sockets need a short path.
    folder = Path("/tmp") / f"rr{os.getpid()}"
    head = subprocess.Popen(
        [
            *("ray", "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={port}"),
            *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", "--num-cpus=4"),
            # Without an agent of its own (another Ray may hold the usual port) no job can be started.
            f"--dashboard-agent-listen-port={agent}",
            *(f"--temp-dir={folder}", "--disable-usage-stats"),
        ],
        env=env,
        stdout=(tmp_path / "head.log").open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        deadline = time.monotonic() + 90
        while True:
            listed = subprocess.run(["ray", "job", "list"], env=env, capture_output=True, text=True)
            if listed.returncode == 0:
                break
            assert head.poll() is None, (tmp_path / "head.log").read_text()
            assert time.monotonic() < deadline, listed.stderr
            time.sleep(1)
        yield env
    finally:
        head.send_signal(signal.SIGTERM)
        try:
            head.wait(30)
        except subprocess.TimeoutExpired:
            head.kill()


@pytest.mark.timeout(420)
def test_ray_job_submit_trains_on_a_cluster_with_token(token_cluster, tmp_path):
    out = tmp_path / "run"
    command = ["ray", "job", "submit", "--working-dir", str(tmp_path / "empty"), "--", sys.executable]
    command += ["-m", "rllib_reborn", "train", "matrix/two_step/qmix", "stop.env_steps=400", f"--out={out}", "--quiet"]
    (tmp_path / "empty").mkdir()
    without = {k: v for k, v in token_cluster.items() if not k.startswith("RAY_AUTH")} | {"HOME": str(tmp_path)}
    refused = subprocess.run(["ray", "job", "list"], env=without, capture_output=True, text=True)
    assert refused.returncode != 0
    deadline = time.monotonic() + 120
    while True:
        done = subprocess.run(command, env=token_cluster, capture_output=True, text=True, cwd=REPOSITORY)
        # The head answers some seconds before the agent that starts jobs is there.
        if "No available agent" not in done.stderr + done.stdout or time.monotonic() > deadline:
            break
        time.sleep(2)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "succeeded" in done.stdout + done.stderr
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["env_steps"] >= 400
