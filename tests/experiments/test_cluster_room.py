"""Room on a cluster: who finds a place, what is messages, and when the wait ends."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from rllib_reborn.experiments.cluster_room import shortage, wait_for_room
from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.load import experiment_from_dict
from rllib_reborn.experiments.schema import Experiment
from rllib_reborn.runtime.room import without_room


def experiment(evaluation: int = 0, **resources: Any) -> Experiment:
    return experiment_from_dict(
        {
            "algorithm": "QMIX",
            "env": "matrix/two_step",
            "resources": resources,
            "evaluation": {"num_env_runners": evaluation},
            "stop": {"iterations": 1},
        }
    )


def test_what_is_split_over_nodes_cannot_be_put_together() -> None:
    assert without_room([{"CPU": 2.0}], [{"CPU": 1.0}, {"CPU": 1.0}]) == 1
    assert without_room([{"CPU": 1.0}] * 2, [{"CPU": 1.0}, {"CPU": 1.0}]) == 0
    assert without_room([{"CPU": 1.0, "sc2": 8.0}] * 2, [{"CPU": 9.0}, {"CPU": 9.0, "sc2": 8.0}]) == 1
    assert without_room([], []) == 0
    assert without_room([{"CPU": 0.0}], [{}]) == 0


def test_the_message_counts_the_processes_that_find_no_place() -> None:
    nodes = [{"CPU": 3.0}]
    assert shortage(experiment(num_env_runners=8), nodes) == (
        "waiting for 5 of 8 env runners: 1 CPU each, the cluster has 3 CPU"
    )
    assert shortage(experiment(evaluation=2, num_env_runners=2), nodes) == (
        "waiting for 1 of 2 evaluation runners: 1 CPU each, the cluster has 3 CPU"
    )
    assert shortage(experiment(num_learners=2, num_gpus_per_learner=1), nodes) == (
        "waiting for 2 of 2 learners: 1 GPU each, the cluster has 0 GPU"
    )
    assert shortage(experiment(num_env_runners=3), nodes) is None
    assert shortage(experiment(num_env_runners=3), nodes, own={"CPU": 1.0}) == (
        "waiting for 1 of 3 env runners: 1 CPU each, the cluster has 3 CPU"
    )
    assert shortage(experiment(), nodes, own={"CPU": 1.0, "GPU": 1.0}) == (
        "waiting for 1 of 1 training processes: 1 CPU, 1 GPU each, the cluster has 3 CPU, 0 GPU"
    )
    assert shortage(experiment(), []) is None


class Cluster:
    """A clock that sleeping moves, and nodes that appear."""

    def __init__(self, appear_at: float | None) -> None:
        self.now = 0.0
        self.appear_at = appear_at
        self.messages: list[tuple[float, str]] = []
        self.demands: list[Any] = []

    def nodes(self) -> list[dict[str, float]]:
        there = self.appear_at is not None and self.now >= self.appear_at
        return [{"CPU": 3.0}, {"CPU": 5.0}] if there else [{"CPU": 3.0}]

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    @contextlib.contextmanager
    def demand(self, processes: Any) -> Iterator[None]:
        self.demands.append(("from", self.now, list(processes)))
        try:
            yield
        finally:
            self.demands.append(("to", self.now))

    def wait(self, **resources: Any) -> None:
        wait_for_room(
            experiment(num_env_runners=8, **resources),
            lambda reason: self.messages.append((self.now, reason)),
            nodes=self.nodes,
            demand=self.demand,
            clock=lambda: self.now,
            sleep=self.sleep,
        )


def test_it_is_said_after_half_a_minute_and_then_every_minute() -> None:
    cluster = Cluster(appear_at=155)
    cluster.wait()
    assert [round(now) for now, _ in cluster.messages] == [30, 90, 150]
    assert cluster.now == 155
    assert cluster.demands == [("from", 0.0, [{"CPU": 1.0}] * 8), ("to", 155.0)]


def test_with_room_there_is_no_wait() -> None:
    cluster = Cluster(appear_at=0)
    cluster.wait()
    assert (cluster.now, cluster.messages, cluster.demands) == (0, [], [])


def test_the_wait_ends() -> None:
    cluster = Cluster(appear_at=None)
    with pytest.raises(
        ExperimentError, match=r"gave up after 45 s \(resources.wait_timeout_s=45\), waiting for 5 of 8"
    ):
        cluster.wait(wait_timeout_s=45.0)
    assert len(cluster.messages) == 1
    assert cluster.demands[-1] == ("to", 45.0)


@pytest.mark.usefixtures("ray_session")
def test_while_it_waits_an_autoscaler_sees_what_is_wanted() -> None:
    """Ray's own list of what waits for a place; no node of the session has a 'nowhere'."""
    wanted = experiment(num_env_runners=2, custom_resources_per_env_runner={"nowhere": 1}, wait_timeout_s=4.0)
    refused: list[str] = []

    def wait() -> None:
        with pytest.raises(ExperimentError) as error:
            wait_for_room(wanted, refused.append)
        refused.append(str(error.value))

    def groups(state: str) -> list[Any]:
        return [
            group["bundles"]
            for group in ray.util.placement_group_table().values()
            if group["state"] == state and group["bundles"] == {0: bundle, 1: bundle}
        ]

    bundle = {"CPU": 1.0, "nowhere": 1.0}
    thread = threading.Thread(target=wait)
    thread.start()
    while thread.is_alive() and not groups("PENDING"):
        time.sleep(0.1)
    assert groups("PENDING")
    thread.join(60)
    assert not groups("PENDING")
    assert groups("REMOVED")
    assert "gave up after 4 s" in refused[-1]
