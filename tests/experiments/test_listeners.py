"""Who listens to a run: the export to Prometheus on a cluster that is joined, and where it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray

from rllib_reborn.experiments import own_ray
from rllib_reborn.experiments.listeners import listeners_of
from rllib_reborn.experiments.schema import Experiment
from rllib_reborn.monitoring.prometheus import PrometheusExport


def exports(prometheus: bool | str | None) -> bool:
    logging: dict[str, Any] = {} if prometheus is None else {"prometheus": prometheus}
    experiment = Experiment(algorithm="QMIX", env="matrix/climbing", logging=logging, stop={"env_steps": 100})
    listeners = listeners_of(experiment, Path("runs/x"))
    assert all(isinstance(one, PrometheusExport) for one in listeners)
    return len(listeners) == 1


@pytest.mark.parametrize(
    ("is_running", "address", "environment", "is_joined"),
    [
        (False, "", {}, False),
        (False, "local", {}, False),
        (False, "10.0.0.1:6379", {}, True),
        (True, "", {}, True),  # the user's own ray.init(), or a process of a cluster
        (True, "", {"RLLIB_REBORN_OWN_RAY": "1"}, False),  # a run of a sweep on a Ray of its own
    ],
)
def test_on_a_cluster_that_is_joined(
    monkeypatch: pytest.MonkeyPatch, is_running: bool, address: str, environment: dict[str, str], is_joined: bool
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: is_running)
    monkeypatch.setenv("RAY_ADDRESS", address)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert own_ray.joins_a_cluster() == is_joined
    assert exports(None) == exports("auto") == is_joined
    assert exports(True)
    assert not exports(False)


@pytest.mark.parametrize("value", ["always", 2, None])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="prometheus"):
        Experiment(algorithm="QMIX", env="matrix/climbing", logging={"prometheus": value}, stop={"env_steps": 100})
