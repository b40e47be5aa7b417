"""Which Ray a run uses, and with how many CPUs; Ray itself is not started here."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import ray
import torch

from rllib_reborn.experiments.errors import ExperimentError
from rllib_reborn.experiments.load import experiment_from_dict
from rllib_reborn.experiments.ray_session import (
    check_custom_resources,
    check_gpus,
    cpus_needed,
    custom_resources_needed,
    gpus_needed,
    ray_session,
    start_ray,
)
from rllib_reborn.experiments.schema import Experiment


def experiment(**sections: Any) -> Experiment:
    return experiment_from_dict({"algorithm": "QMIX", "env": "x", "stop": {"iterations": 1}} | sections)


class FakeRay:
    """Notes the calls of ray.init and ray.shutdown."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, running: bool = False) -> None:
        self.started: list[dict[str, Any]] = []
        self.stopped = 0
        monkeypatch.setattr(ray, "is_initialized", lambda: running)
        monkeypatch.setattr(ray, "init", lambda **options: self.started.append(options))
        monkeypatch.setattr(ray, "shutdown", self.stop)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def stop(self) -> None:
        self.stopped += 1


def test_a_local_ray_has_a_core_for_everything_that_books_one(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay(monkeypatch)
    many = experiment(
        resources={"num_env_runners": 3, "num_cpus_per_env_runner": 0.5, "num_learners": 2},
        evaluation={"num_env_runners": 2},
    )
    assert cpus_needed(experiment()) == 1
    assert cpus_needed(many) == 6
    with ray_session(many):
        assert fake.started == [
            {
                "address": "local",
                "num_cpus": 6,
                "include_dashboard": False,
                "dashboard_host": "127.0.0.1",
                "logging_level": "ERROR",
                "log_to_driver": False,
            }
        ]
    assert fake.stopped == 1


def test_inside_a_job_the_cluster_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay(monkeypatch)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
        with ray_session(experiment(logging={"level": "warning"})):
            pass
    assert fake.started == [{"logging_level": "WARNING", "log_to_driver": True}]
    assert fake.stopped == 1


def test_custom_resources_are_there_where_ray_is_started_and_looked_for_where_it_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakeRay(monkeypatch)
    nodes = [{"Alive": True, "Resources": {"sc2": 4.0}}] * 3 + [{"Alive": False, "Resources": {"sc2": 99.0}}]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)

    def with_games(games: float, runners: int, evaluators: int = 0) -> Experiment:
        booked = {"num_env_runners": runners, "custom_resources_per_env_runner": {"sc2": games}}
        return experiment(resources=booked, evaluation={"num_env_runners": evaluators})

    with ray_session(with_games(4, 2, 1)):
        assert fake.started[0]["resources"] == {"sc2": 12.0}
    assert custom_resources_needed(with_games(8, 0)) == {"sc2": 8.0}
    with pytest.raises(
        ExperimentError, match=r"each runner books 8 of 'sc2' .* has more than 4; start nodes with: ray start"
    ):
        ray_session(with_games(8, 2)).__enter__()
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    with pytest.raises(ExperimentError, match="has more than 4"):
        ray_session(with_games(5, 2)).__enter__()


@pytest.mark.parametrize(
    ("nodes", "room"),
    [([16.0], 2), ([24.0], 3), ([8.0, 16.0], 3), ([12.0, 12.0], 2), ([8.0, 8.0, 8.0], 3)],
)
def test_every_runner_that_books_has_a_place_evaluation_included(
    monkeypatch: pytest.MonkeyPatch, nodes: list[float], room: int
) -> None:
    FakeRay(monkeypatch, running=True)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"sc2": have}} for have in nodes])
    booked = {"num_env_runners": 2, "custom_resources_per_env_runner": {"sc2": 8}}
    run = experiment(resources=booked, evaluation={"num_env_runners": 1})
    if room == 3:
        check_custom_resources(run)
        return
    with pytest.raises(ExperimentError) as caught:
        ray_session(run).__enter__()
    message = str(caught.value)
    assert message.startswith(
        "the experiment books 3 x 8 = 24 of 'sc2' (resources.num_env_runners=2 and evaluation.num_env"
    )
    assert f"have {sum(nodes):g}, room for 2 of these; take fewer runners" in message
    assert """ray start --resources='{"sc2": 24}'""" in message


def test_a_ray_that_runs_is_left_running(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay(monkeypatch, running=True)
    with ray_session(experiment()):
        pass
    assert fake.started == []
    assert fake.stopped == 0


def test_it_is_shut_down_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay(monkeypatch)
    with pytest.raises(KeyError), ray_session(experiment()):
        raise KeyError
    assert fake.stopped == 1


def test_too_few_gpus_is_told_before_ray_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay(monkeypatch)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    two = experiment(resources={"num_learners": 2, "num_gpus_per_learner": 1.0})
    assert gpus_needed(two) == 2
    with pytest.raises(ExperimentError, match="need 2 GPUs and 1 are here"):
        check_gpus(two)
    check_gpus(experiment(resources={"num_gpus_per_learner": 1.0}))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    check_gpus(two)  # the cluster may have them
    assert fake.started == []


class TestARayThatDoesNotComeUp:
    @pytest.fixture
    def failing(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Calls of ray.init, of which each fails as long as the list has ``fails`` in it."""
        calls: list[str] = []

        def init(**options: Any) -> None:
            calls.append("init")
            if calls.count("init") <= calls.count("fails"):
                raise RuntimeError("The current node timed out\nduring startup.")

        monkeypatch.setattr(ray, "init", init)
        monkeypatch.setattr(ray, "shutdown", lambda: calls.append("shutdown"))
        return calls

    def test_is_tried_once_more(self, failing: list[str], caplog: pytest.LogCaptureFixture) -> None:
        failing.append("fails")
        start_ray({"address": "local"})
        assert failing == ["fails", "init", "shutdown", "init"]
        assert "it is tried once more" in caplog.text

    def test_twice_is_one_sentence(self, failing: list[str]) -> None:
        failing += ["fails", "fails"]
        with pytest.raises(ExperimentError, match="Ray did not start, nor when it was tried again") as caught:
            start_ray({"address": "local"})
        assert "RuntimeError: The current node timed out during startup; its logs are below" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_cluster_that_is_not_one(self, failing: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        failing += ["fails", "fails"]
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"127.0.0.1:{server.getsockname()[1]}"
            monkeypatch.setenv("RAY_ADDRESS", address)
            with pytest.raises(
                ExperimentError, match=rf"the Ray cluster '{address}' .* cannot be reached: RuntimeError"
            ):
                start_ray({})

    @pytest.mark.parametrize(
        "address", ["127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:1", "nowhere.invalid:6379", "127.0.0.1:99999"]
    )
    def test_where_nobody_listens_ray_is_not_asked(
        self, failing: list[str], monkeypatch: pytest.MonkeyPatch, address: str
    ) -> None:
        monkeypatch.setattr("rllib_reborn.experiments.ray_session.CLUSTER_S", 0.2)
        monkeypatch.setenv("RAY_ADDRESS", address)
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):  # a Ray of this process may have set them
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(ExperimentError, match=r"cannot be reached: .* set RAY_AUTH_MODE=token where it asks"):
            start_ray({})
        assert failing == []
