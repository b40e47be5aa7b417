"""Reading ``dormancy/events.jsonl``, whole and damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rllib_reborn.evaluation.dormancy_events import Drift, read_events
from rllib_reborn.evaluation.runs import read_run

from .synthetic import application, check, drift_event, rows, write_run

LAYERS = {"mixer/V": [0.0, 0.05, 3.9, 0.05]}


def events_of(folder: Path, events: list[dict[str, Any]]) -> Any:
    return read_events(write_run(folder / "run", events=events))


def test_a_check_and_an_application(tmp_path: Path) -> None:
    done = application(200, {"mixer/V": ([0, 1], [2])}, iteration=2, drift=0.25)
    found = events_of(tmp_path, [check(100, LAYERS), done])
    (one,), (two,) = found.checks, found.applications
    assert (one.env_steps, one.layers["mixer/V"].width) == (100, 4)
    assert one.layers["mixer/V"].scores.tolist() == LAYERS["mixer/V"]
    assert one.layers["mixer/V"].dormant == {0, 1, 3}
    assert one.layers["mixer/V"].overactive == {2}
    assert (two.env_steps, two.kind, two.dry_run, two.neurons) == (200, "reborn", False, 3)
    assert two.recycled == {"mixer/V": {0, 1}}  # the donor, neuron 2, is none of them
    assert (two.function_drift, two.greedy_actions_changed) == (0.25, 0.025)
    assert one.position < two.position
    assert found.unreadable == 0


def test_drifts_belong_to_their_application(tmp_path: Path) -> None:
    """By its update and its place in the config; what could not be measured is there, without a number."""
    events = [
        application(10, {}, updates=10, q_drift=0.125),
        application(10, {}, updates=10, q_drift=0.5, position=1),
        drift_event(10, 1, 1.5, 0.25, position=1),
        drift_event(10, 10, None, position=1),
        application(15, {}, updates=15, kind="redo"),
        drift_event(15, 1, 0.75, 0.5),
    ]
    first, second, third = events_of(tmp_path, events).applications
    assert first.drifts == {0: Drift(0.125)}
    assert second.drifts == {0: Drift(0.5), 1: Drift(1.5, 0.25), 10: Drift(None)}
    assert third.drifts == {1: Drift(0.75, 0.5)}  # written before there was one right after it


def test_at_one_update_the_check_comes_first_whatever_the_order_in_the_file(tmp_path: Path) -> None:
    done = application(200, {"mixer/V": ([0], [])}, updates=2)
    found = events_of(tmp_path, [done, check(200, LAYERS, updates=2), check(300, LAYERS, updates=3)])
    assert [one.position for one in found.checks] == [0, 2]
    assert found.applications[0].position == 1


def test_a_resumed_run_writes_iterations_again_and_the_later_ones_count(tmp_path: Path) -> None:
    first = [check(100 * i, LAYERS, iteration=i) for i in (1, 2, 3)]
    again = [check(steps, LAYERS, iteration=2) for steps in (210, 260)]
    found = events_of(tmp_path, [*first, *again])
    assert [one.env_steps for one in found.checks] == [100, 210, 260]


@pytest.mark.parametrize(
    "damage",
    [
        {"clock": {"env_steps": 1}},
        {"clock": None},
        {"iteration": "1"},
        {"event": "party"},
        {"layers": {"mixer/V": {"scores": [1.0], "dormant": [1], "overactive": []}}},
        {"layers": {"mixer/V": {"scores": [], "dormant": [], "overactive": []}}},
        {"layers": {"mixer/V": {"scores": [None], "dormant": [], "overactive": []}}},
    ],
)
def test_damaged_lines_are_dropped_and_counted(tmp_path: Path, damage: dict[str, Any]) -> None:
    found = events_of(tmp_path, [check(100, LAYERS), check(200, LAYERS) | damage])
    assert ([one.env_steps for one in found.checks], found.unreadable) == ([100], 1)


def test_a_half_written_line_is_told_in_the_notes_of_the_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", lines=rows(iterations=2), events=[check(100, LAYERS)])
    with (folder / "dormancy" / "events.jsonl").open("a") as file:
        file.write(json.dumps(check(200, LAYERS))[:50])
    run = read_run(folder)
    assert len(run.events.checks) == 1
    assert "1 line of dormancy/events.jsonl unreadable, dropped" in run.notes


def test_old_runs_have_no_events(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", lines=rows(iterations=2)))
    assert (run.events.checks, run.events.applications) == ((), ())
    assert not any("events" in note for note in run.notes)
