"""``metrics.jsonl``: one line per iteration, on the disk before the next iteration starts."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rllib_reborn.experiments.atomic_text import write_text_atomically


class MetricsLog:
    """Appends rows to a file that can be cut back to a checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row; a value that is not finite becomes null, so that every line is strict JSON."""
        line = json.dumps(plain(row), allow_nan=False) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def rows(self) -> list[dict[str, Any]]:
        """All whole rows. A line cut short by a crash, which can only be the last, is left out."""
        if not self.path.exists():
            return []
        rows = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                break
            rows.append(row)
        return rows

    def replace(self, rows: list[dict[str, Any]]) -> None:
        """Make ``rows`` the whole content, in one atomic step."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(self.path, "".join(json.dumps(row) + "\n" for row in rows))


def rows_until(rows: list[dict[str, Any]], iteration: int) -> list[dict[str, Any]]:
    """The rows of the first ``iteration`` iterations: what a checkpoint of that iteration knows of."""
    return [row for row in rows if row["iteration"] <= iteration]


def plain(value: Any) -> Any:
    """``value`` with numpy numbers and arrays as plain Python, and None for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
