"""``metrics.csv`` read back."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from rllib_reborn.monitoring.trackers.csv import CsvTracker
from tests.monitoring.trackers.runs import evaluated, new_run, row, train


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_line_for_each_row(tmp_path: Path) -> None:
    folder = new_run(tmp_path)
    train(CsvTracker(), folder, [row(1), evaluated(2)], to_the_end=True)
    assert read(folder) == [
        {
            "iteration": "1",
            "env_steps": "100",
            "train/return_mean": "10.0",
            "eval/return_mean": "",
            "eval/returns": "",
        },
        {
            "iteration": "2",
            "env_steps": "200",
            "train/return_mean": "20.0",
            "eval/return_mean": "2.0",
            "eval/returns": "[1.0, 3.0]",
        },
    ]
    table = pd.read_csv(folder / "metrics.csv")
    assert list(table["train/return_mean"]) == [10.0, 20.0]
    assert table["eval/return_mean"].isna().tolist() == [True, False]


def test_values_that_are_no_plain_numbers(tmp_path: Path) -> None:
    folder = new_run(tmp_path)
    odd = {"nan": float("nan"), "numpy": np.float32(0.5), "array": np.array([1, 2]), "text": 'a "b", c', "true": True}
    train(CsvTracker(), folder, [row(1, **odd)])
    found = read(folder)[0]
    assert [found[name] for name in odd] == ["", "0.5", "[1, 2]", 'a "b", c', "true"]


def test_a_new_column_stands_at_the_end_and_is_empty_before(tmp_path: Path) -> None:
    folder = new_run(tmp_path)
    train(CsvTracker(), folder, [row(1), row(2, **{"intervention/count": 1}), row(3)])
    assert [line["intervention/count"] for line in read(folder)] == ["", "1", ""]
    assert list(read(folder)[0])[-1] == "intervention/count"
    assert [line["train/return_mean"] for line in read(folder)] == ["10.0", "20.0", "30.0"]


def test_a_resumed_run_has_each_row_once_and_none_beyond_its_checkpoint(tmp_path: Path) -> None:
    folder = new_run(tmp_path)
    train(CsvTracker(), folder, [row(1), row(2), row(3), row(4, late=1.0)])
    train(CsvTracker(), folder, [row(3), row(4)], before=[row(1), row(2)])
    assert [line["iteration"] for line in read(folder)] == ["1", "2", "3", "4"]
    assert "late" not in read(folder)[0]


def test_it_has_the_rows_from_before_it_was_switched_on(tmp_path: Path) -> None:
    folder = new_run(tmp_path)
    train(CsvTracker(), folder, [row(3)], before=[row(1), evaluated(2)])
    assert [line["eval/returns"] for line in read(folder)] == ["", "[1.0, 3.0]", ""]


def test_a_run_without_a_row_is_an_empty_file(tmp_path: Path) -> None:
    train(CsvTracker(), new_run(tmp_path), [])
    assert (tmp_path / "metrics.csv").read_text() == ""
