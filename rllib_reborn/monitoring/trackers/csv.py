"""``metrics.csv``: the rows of ``metrics.jsonl`` as a table for spreadsheets and R."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rllib_reborn.monitoring.listeners import Row, RunFacts

FILE = "metrics.csv"


class CsvTracker:
    """Keeps ``metrics.csv`` of a run folder equal to its ``metrics.jsonl``: one line for each row, in the same order.

    Columns stand in the order in which the rows first have them. Where a row has a new one, the file is written again with
    that column at the end, empty in earlier lines. Null and NaN are empty, true and false words, lists JSON.
    """

    name = "csv"

    def __init__(self) -> None:
        self._path: Path | None = None
        self._columns: list[str] = []

    def on_start(self, run: RunFacts) -> None:
        """Write the rows that the run goes on from; what the file had beyond them is gone, as in ``metrics.jsonl``."""
        self._path = run.folder / FILE
        self._columns = list(dict.fromkeys(name for row in run.rows for name in row))
        self._write_all([_cells(row) for row in run.rows])

    def on_iteration(self, row: Row, events: Sequence[Row]) -> None:
        """Append the row."""
        assert self._path is not None
        cells = _cells(row)
        new = [name for name in cells if name not in self._columns]
        if new:
            with self._path.open(newline="", encoding="utf-8") as file:
                before = list(csv.DictReader(file))
            self._columns += new
            self._write_all([*before, cells])
            return
        with self._path.open("a", newline="", encoding="utf-8") as file:
            file.write(_lines(self._columns, [cells]))

    def on_checkpoint(self, path: Path) -> None:
        """Nothing."""

    def on_wait(self, reason: str) -> None:
        """Nothing."""

    def on_final_evaluation(self, final: Mapping[str, Any]) -> None:
        """Nothing: ``final_evaluation.json`` stands beside."""

    def close(self) -> None:
        """Nothing: no file is kept open."""

    def _write_all(self, rows: Iterable[Mapping[str, str]]) -> None:
        assert self._path is not None
        header = _lines(self._columns, [{name: name for name in self._columns}]) if self._columns else ""
        beside = self._path.with_name(f".{self._path.name}.new")
        beside.write_text(header + _lines(self._columns, rows), encoding="utf-8", newline="")
        beside.replace(self._path)


def _lines(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns, restval="", lineterminator="\n").writerows(rows)
    return text.getvalue()


def _cells(row: Row) -> dict[str, str]:
    return {name: _cell(value) for name, value in row.items()}


def _cell(value: Any) -> str:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return value if isinstance(value, str) else json.dumps(value)
