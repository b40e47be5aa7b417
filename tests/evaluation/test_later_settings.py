"""Runs of earlier versions are seeds of today's experiments."""

from __future__ import annotations

import copy
import zipfile
from typing import Any

import pytest
import yaml

from rllib_reborn.evaluation.later_settings import _LATER, _LATER_OF_TRAINING, with_later_settings
from rllib_reborn.experiments.build import build_config, resolved_dict
from rllib_reborn.experiments.load import load_experiment
from tests.golden.test_golden import FOLDER, VERSIONS


def resolved(algorithm: str) -> dict[str, Any]:
    experiment = load_experiment(f"matrix/two_step/{algorithm}")
    return resolved_dict(experiment, build_config(experiment))


@pytest.mark.parametrize("algorithm", ["qmix", "qplex", "dmix", "vdn", "iql"])
def test_a_config_of_then_becomes_that_of_today(algorithm: str) -> None:
    today = resolved(algorithm)
    then = copy.deepcopy(today)
    for name in _LATER_OF_TRAINING:
        del then["training"][name]
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
    today["training"]["replay_weighting"] = dict(_LATER_OF_TRAINING["replay_weighting"]) | {"kind": "age"}
    assert with_later_settings(today) == today


@pytest.mark.parametrize("version", VERSIONS)
def test_a_run_of_an_earlier_version_has_every_setting_of_today(version: str) -> None:
    """Who adds a setting adds it to later_settings.py, or such runs are a group of their own in reports."""
    with zipfile.ZipFile(FOLDER / version / "run.zip") as packed:
        config = yaml.safe_load(packed.read("run/config.yaml"))
    today = resolved("qmix+reborn")
    assert names(with_later_settings(config)) == names({**today, "interventions": config["interventions"]})


def names(tree: Any, path: str = "") -> set[str]:
    """Of all settings, with those of the parts that they are in."""
    if not isinstance(tree, dict) or not tree:
        return {path}
    return {name for key, value in tree.items() for name in names(value, f"{path}.{key}")}


@pytest.mark.parametrize("config", [{}, {"training": None}, {"training": {"lr": 0.1}}, {"training": {"model": 3}}])
def test_what_is_no_written_config_is_left_as_it_is(config: dict[str, Any]) -> None:
    assert with_later_settings(config) == config
