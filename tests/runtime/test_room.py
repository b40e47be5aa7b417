"""From Python, too, a wait for room on the cluster says what it is for."""

from __future__ import annotations

import time

import pytest

from rllib_reborn import QMIXConfig
from rllib_reborn.runtime.room import processes_of_config, shortage_announced


def config_of(runners=0, evaluating=0, learners=0, **resources):
    config = QMIXConfig().environment("matrix/two_step").env_runners(num_env_runners=runners, **resources)
    return config.evaluation(evaluation_num_env_runners=evaluating).learners(num_learners=learners)


def announced(config, *, nodes, seconds, monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    messages = []
    with shortage_announced(config, messages.append, lambda: nodes, first_s=0.05):
        time.sleep(seconds)
    return messages


def test_what_the_processes_of_a_config_book():
    config = config_of(2, 1, 2, num_cpus_per_env_runner=0.5, custom_resources_per_env_runner={"sc2": 1})
    runner = {"CPU": 0.5, "sc2": 1}
    assert processes_of_config(config) == {
        "env runners": [runner] * 2,
        "evaluation runners": [runner],
        "learners": [{"CPU": 1.0}] * 2,
    }
    on_gpus = config_of(1, num_gpus_per_env_runner=0.25).learners(num_learners=1, num_gpus_per_learner=1)
    assert processes_of_config(on_gpus)["env runners"] == [{"CPU": 1.0, "GPU": 0.25}]
    assert processes_of_config(on_gpus)["learners"] == [{"GPU": 1.0}]


def test_a_shortage_is_announced_once_in_a_minute(monkeypatch):
    messages = announced(config_of(8), nodes=[{"CPU": 3}], seconds=0.4, monkeypatch=monkeypatch)
    assert messages == ["waiting for 5 of 8 env runners: 1 CPU each, the cluster has 3 CPU; start nodes, or set fewer."]


@pytest.mark.parametrize(
    ("config", "nodes", "seconds"),
    [
        (config_of(2), [{"CPU": 2}], 0.3),  # there is room: what takes long is another thing
        (config_of(), [], 0.3),  # nothing is started
        (config_of(8), [{"CPU": 1}], 0.0),  # it is over before
    ],
)
def test_else_nothing_is_announced(config, nodes, seconds, monkeypatch):
    assert announced(config, nodes=nodes, seconds=seconds, monkeypatch=monkeypatch) == []


def test_what_is_raised_inside_comes_out_and_ends_the_watch(monkeypatch):
    with pytest.raises(KeyError), shortage_announced(config_of(8), [].append, lambda: [{"CPU": 1}], first_s=60):
        raise KeyError("x")
