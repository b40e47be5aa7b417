"""Every algorithm on every kind of built-in environment, treated and not: a run in two parts is one run, to the bit.

All 128 in ``make test-long``; the quickest four in ``make test``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rllib_reborn.algorithm_names import ALGORITHM_NAMES
from rllib_reborn.experiments.interruption import Interruption
from rllib_reborn.experiments.load import load_experiment
from rllib_reborn.experiments.metrics_log import MetricsLog
from rllib_reborn.experiments.run import open_run, prepare_run
from rllib_reborn.tuning.trainable import _NoObserver
from tests.algorithms.helpers import comparable

pytestmark = pytest.mark.usefixtures("ray_session")

ITERATIONS, STOPPED_AFTER = 4, 2
#: Environment -> env steps of an iteration.
ENVS = {"matrix/two_step": 40, "predator_prey/small": 400, "battle/3m": 120, "lbf/8x8-2p-3f": 150}
INTERVENTIONS = ("none", "reborn", "knife", "sr")
MATRIX = list(itertools.product(ALGORITHM_NAMES, ENVS, INTERVENTIONS))
SAMPLE = [
    ("QMIX", "matrix/two_step", "reborn"),
    ("DMIX", "matrix/two_step", "knife"),
    ("RMIX", "matrix/two_step", "sr"),
    ("VDN", "lbf/8x8-2p-3f", "reborn"),
]


def experiment_of(algorithm: str, env: str, intervention: str, iterations: int) -> Any:
    name = f"{env}/{algorithm.lower()}" + ("" if intervention == "none" else f"+{intervention}")
    overrides = [
        "resources.num_envs_per_env_runner=2",
        "training.batch_episodes=2",
        "training.learning_starts_episodes=2",
        "training.buffer_episodes=12",
        "training.updates_per_episode=1",
        "training.target_update={every: 3, unit: updates}",
        "evaluation.interval_env_steps=null",
        f"logging.report_interval_env_steps={ENVS[env]}",
        "checkpoint.interval_env_steps=null",
        "checkpoint.replay=full",
        f"stop={{iterations: {iterations}, env_steps: null}}",
    ]
    if intervention != "none":
        overrides += ["interventions.0.unit=iterations", "interventions.0.every=1"]
    if intervention == "sr":
        overrides[4] = "interventions.0.updates_per_episode=1"
    return load_experiment(name, overrides)


def train(folder: Path, experiment: Any) -> dict[str, Any]:
    """Train to the end, or on to it, in a run folder; all that the algorithm is then."""
    with open_run(prepare_run(experiment, out=folder, resume="auto"), _NoObserver()) as run:
        run.loop.run(Interruption())
        state = run.algo.get_state()
    learner = state["learner_group"]["learner"]
    return {
        "weights": learner["rl_module"],
        "optimizer": learner["optimizer"],
        "learner": learner["value_factorization"],
        "replay": state["replay"],
        "games": state["env_runner"]["games"],
        "counters": state["value_factorization"]["counters"],
    }


def first_difference(left: Any, right: Any, where: str = "") -> str | None:
    """Where two nested states differ, seconds aside; a NaN is equal to itself."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        if left.keys() != right.keys():
            return f"{where}: keys {left.keys() ^ right.keys()}"
        found = (
            first_difference(left[key], right[key], f"{where}/{key}")
            for key in left
            if not str(key).startswith("seconds")
        )
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple):
        if len(left) != len(right):
            return f"{where}: {len(left)} and {len(right)} entries"
        found = (first_difference(*pair, f"{where}/{at}") for at, pair in enumerate(zip(left, right, strict=True)))
    else:
        arrays = [np.asarray(one.detach().cpu() if isinstance(one, torch.Tensor) else one) for one in (left, right)]
        if arrays[0].dtype == object:
            return None if repr(left) == repr(right) else f"{where}: {left!r} and {right!r}"
        same = arrays[0].dtype == arrays[1].dtype and arrays[0].tobytes() == arrays[1].tobytes()
        return None if same else f"{where}: {left!r} and {right!r}"
    return next((one for one in found if one is not None), None)


def check_a_run_in_two_parts(tmp_path: Path, algorithm: str, env: str, intervention: str) -> None:
    whole = train(tmp_path / "whole", experiment_of(algorithm, env, intervention, ITERATIONS))
    half = train(tmp_path / "parts", experiment_of(algorithm, env, intervention, STOPPED_AFTER))
    parts = train(tmp_path / "parts", experiment_of(algorithm, env, intervention, ITERATIONS))
    difference = first_difference(whole, parts)
    assert difference is None, difference
    assert first_difference(half["weights"], parts["weights"]) is not None, "nothing was learnt in the second part"
    assert whole["learner"]["num_updates"] > half["learner"]["num_updates"] > 0
    rows = [
        [comparable(row) for row in MetricsLog(tmp_path / name / "metrics.jsonl").rows()] for name in ("whole", "parts")
    ]
    assert len(rows[0]) == ITERATIONS
    assert rows[0] == rows[1]
    events = [(tmp_path / name / "dormancy" / "events.jsonl") for name in ("whole", "parts")]
    assert [path.exists() for path in events] == [intervention != "none"] * 2
    if intervention != "none":
        found = [MetricsLog(path).rows() for path in events]
        assert first_difference(*found) is None
        applied = [event["iteration"] for event in found[0] if event["event"] == "intervention"]
        assert min(applied) <= STOPPED_AFTER < max(applied), "it was not applied in both parts"


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "env", "intervention"), SAMPLE)
def test_a_sample_of_runs_in_two_parts_are_one(tmp_path: Path, algorithm: str, env: str, intervention: str) -> None:
    check_a_run_in_two_parts(tmp_path, algorithm, env, intervention)


@pytest.mark.long
@pytest.mark.parametrize(("algorithm", "env", "intervention"), MATRIX)
def test_every_run_in_two_parts_is_one(tmp_path: Path, algorithm: str, env: str, intervention: str) -> None:
    check_a_run_in_two_parts(tmp_path, algorithm, env, intervention)
