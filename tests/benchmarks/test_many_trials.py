"""The arithmetic of the benchmark of many trials, and what it reads of a sweep; no sweep is run here."""

import io
import json
import os

import pytest
from rich.console import Console

from benchmarks.many_trials import (
    OVER,
    Sample,
    TrialTimes,
    count_files,
    line_through,
    overhead_s,
    summary,
    sweep_text,
    trial_times,
)
from rllib_reborn.cli.sweep_display import SweepLines
from rllib_reborn.tuning.points import known_points, runs_of
from rllib_reborn.tuning.sweep import read_sweep
from rllib_reborn.tuning.sweep_folder import RunState


@pytest.fixture
def sweep(tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text(sweep_text(10, concurrency=2, iterations=2, steps=100))
    return read_sweep(file)


def test_the_sweep_has_as_many_runs_as_were_asked_for(sweep):
    names = [run.name for run in runs_of(sweep, known_points(sweep))]
    assert len(set(names)) == 10


def test_an_odd_number_of_trials_is_refused():
    with pytest.raises(ValueError, match="trials is 9"):
        sweep_text(9, concurrency=2, iterations=2, steps=100)


def test_what_a_sweep_prints_says_how_many_trials_are_over(sweep):
    out = io.StringIO()
    display = SweepLines(Console(file=out), sweep)
    names = [run.name for run in runs_of(sweep, known_points(sweep))]
    display.on_start(dict.fromkeys(names, RunState.WAITING), len(names))
    display.on_end(names[0], RunState.DONE)
    display.on_end(names[1], RunState.DONE)
    assert [found[1] for found in OVER.finditer(out.getvalue())] == ["1", "2"]


def test_a_line_through_points_and_what_grows_faster():
    straight = line_through([0, 10, 20, 30], [5.0, 25.0, 45.0, 65.0])
    assert straight.slope == pytest.approx(2.0)
    assert straight.residual == pytest.approx(0.0, abs=1e-9)
    bent = line_through([0, 1, 2, 3, 4, 5], [0.0, 1.0, 4.0, 9.0, 16.0, 25.0])
    assert bent.residual > 1.0
    assert bent.halves[1] > 3 * bent.halves[0]


def test_overhead_is_what_a_place_is_held_for_without_training():
    # Two places: trials of 10 s with 8 s of training, and 1 s between two of them.
    trials = [TrialTimes(start, start + 10.0, 8.0) for start in (0.0, 0.5, 11.0, 11.5, 22.0, 22.5)]
    assert overhead_s(trials, concurrency=2) == (pytest.approx(2.0), pytest.approx(1.0))


def test_times_of_the_trials_that_came_to_their_end(tmp_path):
    for number, name in enumerate(("a/s0", "a/s1")):
        run = tmp_path / name
        run.mkdir(parents=True)
        (run / ".lock").touch()
        rows = [{"time/total_s": 1.0}, {"time/total_s": 2.5}]
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        os.utime(run / ".lock", (100.0, 100.0))
        if number == 0:
            (run / "final_evaluation.json").write_text("{}")
            os.utime(run / "final_evaluation.json", (104.0, 104.0))
    assert trial_times(tmp_path) == [TrialTimes(100.0, 104.0, 2.5)]
    assert count_files(tmp_path)[0] == 5


def test_a_summary_of_samples():
    samples = [
        Sample(
            over=over,
            wall_s=20.0 + 3.0 * over,
            driver_mb=400.0 + 0.1 * over,
            driver_cpu_s=4.0 + 0.05 * over,
            gcs_mb=50.0,
            trial_mb=500.0 + over,
            files=10 + 28 * over,
            file_mb=0.5 * over,
            tune_files=4,
            ray_files=60,
        )
        for over in range(1, 9)
    ]
    row = summary(samples, [TrialTimes(3.0 * number, 3.0 * number + 2.0, 1.5) for number in range(8)], concurrency=1)
    assert row["trials_over"] == 8
    assert row["wall_s_per_trial"] == pytest.approx(3.0)
    assert row["driver_mb_per_100"] == pytest.approx(10.0)
    assert row["files_per_trial"] == pytest.approx(28.0)
    assert row["overhead_s_per_trial"] == pytest.approx(1.5)
    assert row["ray_files_per_100"] == pytest.approx(0.0, abs=1e-9)
