"""What the feeding benchmark prints, and one small measurement; never how fast it is."""

import pytest

from benchmarks.feeding import feeding, rows_of, table


def test_runners_of_a_driver_core_are_the_ratio_of_the_pairs():
    row = rows_of(driver_us=[2.0, 4.0, 5.0], runner_us=[40.0, 60.0, 100.0])
    assert row["driver_us"] == [4.0, 2.0, 5.0]
    assert row["runner_us"][0] == 60.0
    assert row["runners_per_driver_core"] == [20.0, 15.0, 20.0]


def test_the_same_measurements_have_the_same_bounds():
    values = {"driver_us": [3.0, 4.0, 5.0, 7.0], "runner_us": [60.0, 66.0, 70.0, 80.0]}
    assert rows_of(**values) == rows_of(**values)


def test_the_table_has_a_line_for_each_row():
    rows = [
        {"name": f"feeding/matrix/{runners}", **rows_of([2.0, 2.0], [40.0, 40.0]), "ray_us": 1.25} for runners in (1, 2)
    ]
    lines = table(rows).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["feeding/matrix/1", "feeding/matrix/2"]
    assert "20 (20 to 20)" in lines[1]
    assert "1.25" in lines[1]


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["sync", pytest.param("async", marks=pytest.mark.long)])
def test_a_measurement_collects_and_learns_nothing(ray_session, sampling):
    row = feeding("matrix", 2, sampling=sampling, steps=20, repeats=2)
    assert row["runners"] == 2
    # An iteration is the least that is measured.
    assert row["env_steps"] >= 2 * row["steps_per_iteration"]
    assert row["driver_us"][0] > 0
    assert row["runner_us"][0] > 0
