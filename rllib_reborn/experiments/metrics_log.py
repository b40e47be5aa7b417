"""``metrics.jsonl``: one line per iteration, on the disk before the next iteration starts.

A disk that is full or cannot be written does not end training: the lines are kept, and written once it can be. Nothing that
stands in the file is ever lost: where lines are cut off or replaced, the file as it was stays beside it as
``metrics.jsonl.before-<n>``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rllib_reborn.checkpoints import LogRecord
from rllib_reborn.experiments.atomic_text import write_text_atomically

logger = logging.getLogger(__name__)

#: Bytes of lines that are kept in memory while the disk does not take them.
MOST_WAITING = 1 << 28


class MetricsLog:
    """Appends rows to a file that can be cut back to a checkpoint.

    Attributes:
        path: The file.
        waiting: Lines that could not be written yet, oldest first.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.waiting: list[bytes] = []
        self._digest = hashlib.sha256()
        self._rows = 0
        self._size: int | None = None  # bytes of the file that are whole; None: not looked at yet
        self._failed = False  # the last attempt to write

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row; a value that is not finite becomes null, so that every line is strict JSON. Where the disk does not
        take it, the row is kept for the next call, and a warning is logged.

        Raises:
            OSError: So much is kept that memory would run out.
        """
        self._look()
        line = (json.dumps(plain(row), allow_nan=False) + "\n").encode()
        self._digest.update(line)
        self._rows += 1
        self.waiting.append(line)
        error = self.flush()
        if error is not None and sum(map(len, self.waiting)) > MOST_WAITING:
            raise error

    def flush(self) -> OSError | None:
        """Write what is kept; returns why it could not be written, None where nothing is left."""
        if not self.waiting:
            return None
        self._look()
        try:
            self._write(b"".join(self.waiting))
        except OSError as error:
            if not self._failed:
                logger.warning(
                    "%s could not be written (%s); training goes on, and rows are kept until it can be.",
                    self.path,
                    error,
                )
            self._failed = True
            return error
        if self._failed:
            logger.warning(
                "%s can be written again; the %d rows that were kept are in it.", self.path, len(self.waiting)
            )
        self.waiting, self._failed = [], False
        return None

    @property
    def record(self) -> LogRecord:
        """All rows so far, those that are kept included."""
        self._look()
        return LogRecord(self._rows, self._digest.hexdigest())

    def lines(self) -> list[bytes]:
        """What is in the file, line by line; the last one may be cut short. No file, or one that cannot be read: none."""
        try:
            return _lines(self.path.read_bytes())
        except FileNotFoundError:
            return []
        except OSError as error:
            logger.warning("%s cannot be read (%s).", self.path, error)
            return []

    def rows(self) -> list[dict[str, Any]]:
        """All whole rows; a line that is damaged, or cut short by a crash, is left out."""
        return [row for row in map(parsed_row, self.lines()) if row is not None]

    def replace(self, rows: Sequence[Mapping[str, Any]]) -> Path | None:
        """Make ``rows`` the whole content, in one atomic step.

        Returns:
            Where the file as it was is kept; None: all that it had is still in it.

        Raises:
            OSError: It cannot be written; the file is as it was.
        """
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        before = self.path.read_bytes() if self.path.exists() else None
        kept = None
        if before is None or before != text:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if before and not text.startswith(before):
                kept = self._keep_beside()
            write_text_atomically(self.path, text.decode())
        self.waiting, self._size = [], len(text)
        self._digest, self._rows = hashlib.sha256(text), len(rows)
        self._failed = False
        return kept

    def _look(self) -> None:
        """What is in the file before this process writes to it, stays and counts."""
        if self._size is None:
            lines = self.lines()
            self._size = sum(map(len, lines))
            self._digest, self._rows = hashlib.sha256(b"".join(lines)), len(lines)

    def _write(self, data: bytes) -> None:
        assert self._size is not None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as file:
            if self._failed:
                os.ftruncate(file.fileno(), self._size)  # that attempt may have written half a line
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        self._size += len(data)

    def _keep_beside(self) -> Path:
        number = 1
        while (kept := self.path.with_name(f"{self.path.name}.before-{number}")).exists():
            number += 1
        try:
            # Takes no room on a disk that is full; the file itself is replaced, not changed.
            os.link(self.path, kept)
        except OSError:  # no links here
            shutil.copy2(self.path, kept)
        return kept


def _lines(data: bytes) -> list[bytes]:
    """With their ends; only a line feed ends one."""
    *whole, rest = data.split(b"\n")
    return [line + b"\n" for line in whole] + ([rest] if rest else [])


def parsed_row(line: bytes) -> dict[str, Any] | None:
    """A line as a row, which has a whole ``iteration`` of at least 1; None: it is damaged."""
    try:
        row = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    iteration = row.get("iteration") if isinstance(row, dict) else None
    return row if type(iteration) is int and iteration >= 1 else None


def rows_until(rows: list[dict[str, Any]], iteration: int) -> list[dict[str, Any]]:
    """The rows of the first ``iteration`` iterations: what a checkpoint of that iteration knows of."""
    return [row for row in rows if row["iteration"] <= iteration]


def rows_of_checkpoint(
    path: Path, record: LogRecord | None, iteration: int, *, one_each: bool
) -> tuple[list[dict[str, Any]], str | None]:
    """The rows that a checkpoint builds upon.

    Args:
        path: The file.
        record: The rows that the checkpoint says there were; None: it does not say.
        iteration: Of the checkpoint.
        one_each: Whether an iteration has one row.

    Returns:
        The rows that can be read, in rising order of iterations; and a sentence on what was changed or is missing since the
        checkpoint was saved, None where all is as it was.
    """
    lines = MetricsLog(path).lines()
    if record is None:
        return rows_until([row for row in map(parsed_row, lines) if row is not None], iteration), None
    found = [parsed_row(line) for line in lines[: record.rows]]
    if len(lines) >= record.rows and hashlib.sha256(b"".join(lines[: record.rows])).hexdigest() == record.sha256:
        whole = [row for row in found if row is not None]
        if len(whole) == record.rows:
            return whole, None
    rows: list[dict[str, Any]] = []
    damaged = []
    for number, line in enumerate(lines, 1):
        row = parsed_row(line)
        if row is None or (rows and row["iteration"] < rows[-1]["iteration"] + one_each):
            damaged.append(number)
        elif row["iteration"] <= iteration:
            rows.append(row)
    what = f"{path} is not as it was when the checkpoint was saved: it had {record.rows} rows"
    if not lines:
        return [], f"{what}, and is empty or gone; these are missing from now on."
    where = f", damaged are the lines {', '.join(map(str, damaged[:10]))}" if damaged else ""
    return rows, f"{what}, of which {min(len(rows), record.rows)} can be read{where}; training goes on with these."


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
