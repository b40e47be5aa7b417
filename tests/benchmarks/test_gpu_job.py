"""The job that measures everything on a GPU: its arithmetic and its time limits; all of it, small, in the long tier."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.gpu_job import PARTS, RUN_STEPS, run_part, timed_run

ROOT = Path(__file__).parents[2]


def rows_of(pairs, updates=10):
    return [{"env_steps": steps, "time/total_s": seconds, "updates": updates} for steps, seconds in pairs]


def test_a_part_of_a_run_is_extrapolated_from_its_second_half_and_says_so():
    # The first half is slow (nothing is learnt from yet, libraries load): 200 steps in 10 s, then 100 steps a second.
    found = timed_run(rows_of([(100, 5.0), (200, 10.0), (300, 11.0)]))
    assert found["extrapolated"]
    assert found["env_steps_per_s"] == 100
    assert found["seconds_of_1m"] == 11 + (RUN_STEPS - 300) / 100


def test_a_whole_run_is_not_extrapolated():
    found = timed_run(rows_of([(100, 5.0), (RUN_STEPS, 70.0)]))
    assert not found["extrapolated"]
    assert found["seconds_of_1m"] == 70


def test_a_single_row_says_nothing():
    assert timed_run(rows_of([(100, 5.0)]))["seconds_of_1m"] is None


def test_parts_that_fail_or_hang_say_so_and_leave_what_they_printed(tmp_path):
    log = tmp_path / "log.txt"

    def part(code, seconds=60.0):
        return run_part([sys.executable, "-S", "-c", code], log, seconds)

    assert part("print('one', flush=True)") == "done"
    assert part("print('two', flush=True); raise SystemExit(3)") == "failed"
    start = time.monotonic()
    assert part("import time; print('three', flush=True); time.sleep(300)", 5.0) == "out of time"
    assert time.monotonic() - start < 200  # it was not waited for
    assert log.read_text().split() == ["one", "two", "three"]


def test_what_matters_most_has_time_however_long_it_takes():
    assert list(PARTS)[:4] == ["facts", "updates", "tests", "run"]
    assert sum(PARTS[name].seconds for name in ("facts", "updates", "tests", "run")) <= 470


@pytest.mark.long
def test_all_of_it_small_on_the_cpu(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu_job", "--out", str(tmp_path), "--device", "cpu", "--small"]
    answer = subprocess.run([*command, "--seconds", "600"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + (tmp_path / "log.txt").read_text()[-3000:]
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert {row["part"]: row["status"] for row in rows if "status" in row} == dict.fromkeys(PARTS, "done")
    by_part = {row["part"]: row for row in rows if "status" not in row}
    assert by_part["updates"]["padded_ms"] > 0
    assert by_part["equality"]["apart"] == 0
    assert by_part["trials"]["updates_per_s"] > 0
    assert by_part["run"]["env_steps"] > 0
