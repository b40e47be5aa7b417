"""Reading ``metrics.jsonl``: rows as they were written, and a table of what of them can be used.

What cannot be used is left out and counted, value by value where the row itself is sound.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rllib_reborn.parsing import ParseError, parse_json
from rllib_reborn.parsing.lines import GrowingLines, read_lines
from rllib_reborn.short_repr import short_repr

#: 100,000 iterations of 5,000 bytes each.
MAX_BYTES = 500_000_000
MAX_LINE_BYTES = 4_000_000
MAX_CELLS = 30_000_000
MAX_NAMES = 5_000
MOST_STEPS = 2**62
#: No number of a float32 network is larger than 3.4e38; of this one the square is still a float.
MOST_VALUE = 1e100

_FRACTION = (0.0, 1.0)
#: Columns that are used as more than numbers to draw.
_RANGES: Mapping[str, tuple[float, float]] = {
    "eval/win_rate": _FRACTION,
    "train/win_rate": _FRACTION,
    "eval/episodes": (1, 1e9),
    "intervention/count": (0, 1e5),
    "time/total_s": (0, 1e12),
}
#: Columns whose values decide about the row as a whole; each may be missing but the first.
_CLOCKS = ("env_steps", "updates", "iteration")
#: Columns that are numbers, whatever most of their values are.
_NUMBERS = frozenset({*_RANGES, *_CLOCKS, "eval/return_mean"})


@dataclasses.dataclass(frozen=True)
class MetricsRows:
    """What a file holds.

    Attributes:
        rows: In the order of the file, those that a resumed run has written again left out.
        unreadable: Lines that are half-written or no row.
        replaced: Rows that were written again.
    """

    rows: list[dict[str, Any]]
    unreadable: int
    replaced: int


def read_rows(path: Path) -> MetricsRows:
    """The rows of a file.

    Raises:
        ParseError: It cannot be read, or is too large.
    """
    return _with_lines(MetricsRows([], 0, 0), read_lines(path, most_bytes=MAX_BYTES, most_of_a_line=MAX_LINE_BYTES))


class GrowingRows:
    """The rows of a file that a training appends to: each time only what is new is read. A line that is being written is
    not there yet, and no mistake."""

    def __init__(self, path: Path) -> None:
        self._lines = GrowingLines(path, most_bytes=MAX_BYTES, most_of_a_line=MAX_LINE_BYTES)
        self._found = MetricsRows([], 0, 0)

    def read(self) -> MetricsRows:
        """All rows that there are now; the list is the same one each time.

        Raises:
            ParseError: The file cannot be read, or is too large.
        """
        lines, from_beginning = self._lines.new()
        self._found = _with_lines(MetricsRows([], 0, 0) if from_beginning else self._found, lines)
        return self._found


def _with_lines(found: MetricsRows, lines: Iterable[bytes | None]) -> MetricsRows:
    """The rows with those of further lines."""
    rows, unreadable, replaced = found.rows, found.unreadable, found.replaced
    for line in lines:
        row = None if line is None else _parse_row(line)
        if row is None:
            unreadable += 1
            continue
        while rows and _written_again(rows[-1], row):
            rows.pop()
            replaced += 1
        rows.append(row)
    return MetricsRows(rows, unreadable, replaced)


def table_of(rows: Sequence[Mapping[str, Any]]) -> tuple[pd.DataFrame, int, str]:
    """Columns of numbers and nulls become numeric; others (lists of numbers, text) stay as they are. What most values of a
    column are decides what it is.

    Returns:
        The table, how many values were left out of it, and the first of these in words.

    Raises:
        ParseError: There are too many names, or with so many rows too many.
    """
    # A row of a version that knew more or fewer names must not shift columns: every name is one column.
    names = list(dict.fromkeys(name for row in rows for name in row))
    if len(names) > MAX_NAMES or len(names) * len(rows) > MAX_CELLS:
        raise ParseError(f"has {len(rows):,} rows with {len(names):,} names, more than can be used")
    columns: dict[str, Any] = {}
    left_out, first = 0, ""
    for name in names:
        values = [row.get(name) for row in rows]
        columns[name], unusable = _column(name, values)
        left_out += len(unusable)
        if unusable and not first:
            first = f"{name[:100]} {short_repr(unusable[0])}"
    return pd.DataFrame(columns), left_out, first


def _parse_row(line: bytes) -> dict[str, Any] | None:
    try:
        row = parse_json(line.decode("utf-8", "replace"), most_bytes=2 * MAX_LINE_BYTES)
    except ParseError:
        return None
    if not isinstance(row, dict) or len(row) > MAX_NAMES or row.get("env_steps") is None:
        return None
    clocks = [row[name] for name in _CLOCKS if row.get(name) is not None]
    return row if all(_is_number(value) and 0 <= value <= MOST_STEPS for value in clocks) else None


def _written_again(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> bool:
    """Whether ``later`` starts at or before ``earlier``; an iteration of updates without a step does not."""
    if later["env_steps"] != earlier["env_steps"]:
        return bool(later["env_steps"] < earlier["env_steps"])
    return (later.get("updates") or 0) <= (earlier.get("updates") or 0)


def _column(name: str, values: Sequence[Any]) -> tuple[Any, list[Any]]:
    """The column, and the values that are no part of it."""
    given = [value for value in values if value is not None]
    kind = Counter(map(_kind, given)).most_common(1)[0][0] if given and name not in _NUMBERS else "number"
    if kind == "number":
        low, high = _RANGES.get(name, (-MOST_VALUE, MOST_VALUE))
        unusable = [value for value in given if not (_is_number(value) and _fits(value, low, high))]
        if name == "env_steps":
            return np.array([int(value) for value in values], dtype=np.int64), unusable
        numbers = _numbers(values, low, high)
        if name in _RANGES:
            numbers[~np.isfinite(numbers)] = math.nan
        return numbers, unusable
    unusable = [value for value in given if _kind(value) != kind or (kind == "list" and not _is_list_of_numbers(value))]
    wrong = set(map(id, unusable))
    return pd.Series([None if id(value) in wrong else value for value in values], dtype=object), unusable


def _numbers(values: Sequence[Any], low: float, high: float) -> npt.NDArray[np.float64]:
    return np.array([float(v) if _is_number(v) and _fits(v, low, high) else math.nan for v in values], dtype=np.float64)


def _fits(value: float, low: float, high: float) -> bool:
    """Whether a number is in its range, or not finite: that a training exploded is a result."""
    return low <= value <= high or (isinstance(value, float) and not math.isfinite(value))


def _kind(value: Any) -> str:
    if isinstance(value, int | float):
        return "number"
    return type(value).__name__


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_list_of_numbers(value: list[Any]) -> bool:
    return all(one is None or (isinstance(one, int | float) and abs(one) <= MOST_VALUE) for one in value)
