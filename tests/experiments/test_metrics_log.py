"""metrics.jsonl: strict JSON, whole lines, cut back to a checkpoint."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from rllib_reborn.experiments.metrics_log import MetricsLog, rows_until


def test_rows_are_strict_json_with_null_for_what_is_not_finite(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"iteration": np.int64(1), "a": np.float32(0.5), "b": math.nan, "c": [1.0, math.inf], "d": None})
    log.append({"iteration": 2, "e": np.array([1, 2]), "f": True, "g": "text"})

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    lines = log.path.read_text().splitlines()
    rows = [json.loads(line, parse_constant=refuse) for line in lines]
    assert rows == [
        {"iteration": 1, "a": 0.5, "b": None, "c": [1.0, None], "d": None},
        {"iteration": 2, "e": [1, 2], "f": True, "g": "text"},
    ]
    assert log.rows() == rows


def test_a_line_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for iteration in (1, 2, 3):
        log.append({"iteration": iteration})
    text = log.path.read_text()
    log.path.write_text(text[: len(text) - 4])
    assert [row["iteration"] for row in log.rows()] == [1, 2]
    log.replace(rows_until(log.rows(), 1))
    log.append({"iteration": 2})
    assert [row["iteration"] for row in log.rows()] == [1, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.jsonl", "metrics.jsonl.before-1"]
    assert (tmp_path / "metrics.jsonl.before-1").read_text() == text[: len(text) - 4]


def test_no_file_is_no_rows(tmp_path: Path) -> None:
    assert MetricsLog(tmp_path / "metrics.jsonl").rows() == []
