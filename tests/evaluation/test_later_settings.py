"""Runs of earlier versions are seeds of today's experiments."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from rllib_reborn.evaluation.later_settings import _LATER, _REPLAY_WEIGHTING, with_later_settings
from rllib_reborn.experiments.build import build_config, resolved_dict
from rllib_reborn.experiments.load import load_experiment


def resolved(algorithm: str) -> dict[str, Any]:
    experiment = load_experiment(f"matrix/two_step/{algorithm}")
    return resolved_dict(experiment, build_config(experiment))


@pytest.mark.parametrize("algorithm", ["qmix", "qplex", "dmix", "vdn", "iql"])
def test_a_config_of_then_becomes_that_of_today(algorithm: str) -> None:
    today = resolved(algorithm)
    then = copy.deepcopy(today)
    del then["training"]["replay_weighting"]
    for part, settings in _LATER.items():
        for name in settings:
            (then["training"].get(part) or {}).pop(name, None)
    assert (then != today) is True
    given = copy.deepcopy(then)
    assert with_later_settings(then) == today
    assert then == given


def test_what_a_config_says_stays() -> None:
    today = resolved("qmix")
    today["training"]["mixer"] |= {"state": "none", "normalisation": "layer"}
    today["training"]["replay_weighting"] = dict(_REPLAY_WEIGHTING) | {"kind": "age"}
    assert with_later_settings(today) == today


@pytest.mark.parametrize("config", [{}, {"training": None}, {"training": {"lr": 0.1}}, {"training": {"model": 3}}])
def test_what_is_no_written_config_is_left_as_it_is(config: dict[str, Any]) -> None:
    assert with_later_settings(config) == config
