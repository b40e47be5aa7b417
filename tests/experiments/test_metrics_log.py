"""metrics.jsonl: strict JSON, whole lines, cut back to a checkpoint."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_reborn.checkpoints import LogRecord
from rllib_reborn.experiments import metrics_log
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


def test_nothing_is_cut_or_replaced_without_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for number in (1, 2, 3):
        path.write_text(f'{{"iteration": {number}}}\n')
        kept = MetricsLog(path).replace([])
        assert kept == tmp_path / f"metrics.jsonl.before-{number}"
        assert kept.read_text() == f'{{"iteration": {number}}}\n'
    log = MetricsLog(path)
    assert log.replace([]) is None
    log.append({"iteration": 1})
    assert log.replace([{"iteration": 1}]) is None
    assert log.replace([{"iteration": 1}, {"iteration": 2}]) is None  # nothing of what was there is gone
    assert len(list(tmp_path.iterdir())) == 4


def test_the_record_is_of_all_rows_that_were_given(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.replace([{"iteration": 1}])
    log.append({"iteration": 2})
    assert log.record == LogRecord(2, hashlib.sha256(log.path.read_bytes()).hexdigest())
    assert MetricsLog(log.path).record == log.record


class FullDisk:
    """Takes ``room`` bytes, then no more until there is room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, room: int) -> None:
        self.room = room
        fsync = os.fsync

        def refuse(descriptor: int) -> None:
            if os.fstat(descriptor).st_size > self.room:
                raise OSError(number, os.strerror(number))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", refuse)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
def test_rows_that_the_disk_does_not_take_are_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"iteration": 1})
    disk = FullDisk(monkeypatch, number, room=40)
    for iteration in (2, 3, 4):
        log.append({"iteration": iteration})
    assert len(log.waiting) == 2
    assert len(caplog.records) == 1
    assert os.strerror(number) in caplog.text
    error = log.flush()
    assert error is not None
    assert error.errno == number
    assert log.record.rows == 4
    disk.room = 10**6
    log.append({"iteration": 5})
    assert log.flush() is None
    assert [row["iteration"] for row in log.rows()] == [1, 2, 3, 4, 5]
    assert log.record == MetricsLog(log.path).record
    assert "can be written again; the 3 rows that were kept are in it" in caplog.text


def test_half_a_line_that_fitted_is_not_left(tmp_path: Path) -> None:
    """A limit of the system on the size of files: the write takes what fits, then fails."""
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"iteration": 1})
    size = log.path.stat().st_size
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, before[1]))
    try:
        log.append({"iteration": 2})
        assert len(log.waiting) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [row["iteration"] for row in MetricsLog(log.path).rows()] == [1]
    log.append({"iteration": 3})
    assert log.path.read_text() == '{"iteration": 1}\n{"iteration": 2}\n{"iteration": 3}\n'


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = MetricsLog(tmp_path / "file" / "events.jsonl")
    log.append({"iteration": 1})
    assert len(log.waiting) == 1
    (tmp_path / "file").unlink()
    assert log.flush() is None
    assert [row["iteration"] for row in log.rows()] == [1]


def test_what_is_kept_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    monkeypatch.setattr(metrics_log, "MOST_WAITING", 30)
    FullDisk(monkeypatch, errno.ENOSPC, room=0)
    log.append({"iteration": 1})
    with pytest.raises(OSError, match="No space"):
        log.append({"iteration": 2})


def test_a_replacement_that_fails_leaves_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"iteration": 1})

    def refuse(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        log.replace([{"iteration": 7}])
    assert [row["iteration"] for row in log.rows()] == [1]
    assert not list(tmp_path.glob(".*"))
