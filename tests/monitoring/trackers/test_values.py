"""Numbers, lists and settings that trackers show."""

from __future__ import annotations

import numpy as np

from rllib_reborn.monitoring.trackers.values import final_numbers, flat_config, lists_of, numbers_of
from tests.monitoring.trackers.runs import FINAL


def test_numbers_of_a_row_are_its_finite_ones() -> None:
    row = {
        "int": 3,
        "float": 0.5,
        "true": True,
        "numpy": np.float32(0.25),
        "numpy bool": np.bool_(False),
        "null": None,
        "nan": float("nan"),
        "inf": np.inf,
        "text": "7",
        "list": [1.0],
    }
    assert numbers_of(row) == {"int": 3.0, "float": 0.5, "true": 1.0, "numpy": 0.25, "numpy bool": 0.0}


def test_lists_of_a_row_are_those_of_numbers() -> None:
    row = {"returns": [1, 2.5], "empty": [], "texts": ["a"], "mixed": [1.0, None], "number": 3.0, "null": None}
    assert lists_of(row) == {"returns": [1.0, 2.5]}


def test_final_numbers_have_the_policy_and_the_random_one() -> None:
    assert final_numbers(FINAL) == {
        "final/return_mean": 7.0,
        "final/win_rate": 0.5,
        "final/random/return_mean": -1.0,
    }


def test_every_setting_has_a_dotted_name() -> None:
    config = {"training": {"lr": 0.1, "td_lambda": None}, "interventions": [{"kind": "redo"}, {}], "trackers": []}
    assert flat_config(config) == {
        "training.lr": 0.1,
        "training.td_lambda": None,
        "interventions.0.kind": "redo",
        "interventions.1": "{}",
        "trackers": "[]",
    }
